"""Small networks that every explainer must take: mel bands, raw waveforms, and one with a known answer."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.classifiers.huggingface import HuggingFaceClassifier, HuggingFaceConfig
from earmark.classifiers.panns import Panns, PannsConfig
from earmark.classifiers.wrap import wrap
from earmark.features.front_ends import LogMel, Mfcc
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig

RATE = 4000
CONFIG = SpectrogramConfig(sample_rate=RATE, n_fft=128, win_length=128, hop_length=64)


def cnn14() -> AudioClassifier:
    """Make a CNN14 with seeded random weights."""
    torch.manual_seed(0)
    return Cnn14(
        Cnn14Config(labels=("a", "b", "c"), width=1 / 16, n_mels=32, seconds=0.5, spectrogram=CONFIG)
    )


class Raw(AudioClassifier):
    """Eats waveforms, as wav2vec-like networks do."""

    def __init__(self) -> None:
        super().__init__(Spectrogram(CONFIG), ("a", "b", "c"), seconds=0.5)
        torch.manual_seed(0)
        self.first = nn.Conv1d(1, 8, 16, 8)
        self.first_relu = nn.ReLU()
        self.second = nn.Conv1d(8, 8, 4, 4)
        self.second_relu = nn.ReLU()
        self.head = nn.Linear(8, 3)

    def features(self, stft: Tensor) -> Tensor:
        return self.spectrogram.inverse(stft, (stft.shape[-1] - 1) * CONFIG.hop_length)[:, None]

    def bands_to_bins(self) -> Tensor:
        return torch.eye(self.spectrogram.bins)

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        return stft.abs().log1p()

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        first = self.first_relu(self.first(features)).unsqueeze(2)
        second = self.second_relu(self.second(first.squeeze(2))).unsqueeze(2)
        return self.head(second.mean((2, 3))), [first, second]


class Cue(AudioClassifier):
    """Two layers with a known answer: each class is the sound in its own rows, and nothing else."""

    ROWS = ((8, 16), (40, 48))
    hears_phase = False

    def __init__(self) -> None:
        super().__init__(Spectrogram(CONFIG), ("low", "high"), seconds=0.5)
        rows = torch.zeros(2, self.spectrogram.bins)
        for row, (start, stop) in zip(rows, self.ROWS):
            row[start:stop] = 1
        self.rows = nn.Parameter(rows)
        self.relu = nn.ReLU()

    def features(self, stft: Tensor) -> Tensor:
        return stft.abs()

    def bands_to_bins(self) -> Tensor:
        return torch.eye(self.spectrogram.bins)

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = self.relu(features[:, None] * self.rows[None, :, :, None])
        return maps.mean((2, 3)), [maps]


class Functional(Cue):
    """The same, with a ReLU that no hook can find."""

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = F.relu(features[:, None] * self.rows[None, :, :, None])
        return maps.mean((2, 3)), [maps]


def wrapped(network: nn.Module, **settings: Any) -> AudioClassifier:
    """Wrap a network of seeded random weights for three classes of half a second."""
    return wrap(network, sample_rate=RATE, labels=("a", "b", "c"), seconds=0.5, **settings)


def conv1d() -> AudioClassifier:
    """Make a 1-D CNN over waveforms."""
    torch.manual_seed(0)
    layers = nn.Conv1d(1, 8, 32, 8), nn.ReLU(), nn.Conv1d(8, 8, 8, 4), nn.ReLU(inplace=True)
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3))
    return wrapped(network, layout="b1t")


class Recurrent(nn.Module):
    """A GRU over frames; the mean of what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(12, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.rnn(frames)[0].mean(1))


def recurrent() -> AudioClassifier:
    torch.manual_seed(0)
    return wrapped(Recurrent(), takes=Mfcc(12, LogMel(24, floor=1e-4)), layout="btf", spectrogram=CONFIG)


class OwnFrontEnd(nn.Module):
    """Makes its own spectrogram, works in place, adds a shortcut, and returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(128))
        self.first = nn.Conv2d(1, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 8, 3, 1, 1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, sound: Tensor) -> dict[str, Tensor]:
        spectrum = torch.stft(sound, 128, 64, window=self.window, return_complex=True)
        first = torch.relu_(self.first(spectrum.abs().log1p()[:, None]))
        second = self.norm(self.second(first))
        second += first
        return {"logits": self.head(torch.relu_(second).mean((2, 3)))}


def own_front_end() -> AudioClassifier:
    torch.manual_seed(0)
    return wrapped(OwnFrontEnd(), output="logits")


def image() -> AudioClassifier:
    """Make a CNN for pictures of one size, time down."""
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(1, 4, 5, 2),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3),
    )
    network = nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8 * 5 * 13, 3))
    return wrapped(network, takes="magnitude", layout="b1tf", spectrogram=CONFIG)


class Patches(nn.Module):
    """A small transformer over patches of a log-mel spectrogram, with a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 16, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.place = nn.Parameter(torch.randn(1, 13, 16))
        block = (nn.TransformerEncoderLayer(16, 2, 32, 0.1, "gelu", batch_first=True) for _ in range(3))
        self.blocks = nn.ModuleList(block)
        self.head = nn.Linear(16, 3)

    def forward(self, picture: Tensor) -> Tensor:
        patches = self.patch(picture).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(patches), -1, -1), patches], 1) + self.place
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens[:, 0])


def patches() -> AudioClassifier:
    torch.manual_seed(0)
    return wrapped(Patches(), takes=LogMel(24, log="log1p"), layout="b1ft", spectrogram=CONFIG)


def many_labels() -> AudioClassifier:
    """Make a network whose labels may hold at once."""
    torch.manual_seed(0)
    layers = nn.Conv1d(24, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.ReLU()
    network = nn.Sequential(*layers, nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, 3))
    return wrapped(network, takes=LogMel(24, log="log1p"), multi_label=True, spectrogram=CONFIG)


def complex_spectra() -> AudioClassifier:
    """Make a network of complex spectra."""

    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Conv2d(1, 4, 3, 2, 1, dtype=torch.complex64)
            self.real = nn.Conv2d(4, 4, 3)
            self.head = nn.Linear(4, 3)

        def forward(self, spectrum: Tensor) -> Tensor:
            return self.head(self.real(self.mix(spectrum[:, None]).abs()).relu().mean((2, 3)))

    torch.manual_seed(0)
    return wrapped(Complex(), takes="complex", spectrogram=CONFIG)


def panns() -> AudioClassifier:
    """Make a narrow Cnn6 of the PANNs layout."""
    torch.manual_seed(0)
    stft = SpectrogramConfig(
        sample_rate=RATE, n_fft=256, win_length=256, hop_length=64, window="hann", pad="reflect"
    )
    bands = {"n_mels": 32, "f_min": 20, "f_max": 1900, "seconds": 0.5}
    labels = ("a", "b", "c")
    return Panns(PannsConfig(labels=labels, architecture="cnn6", width=1 / 32, spectrogram=stft, **bands))


def speechbrain() -> AudioClassifier:
    """Make a narrow CNN14 with the batch-norm that SpeechBrain's recipe has before it."""
    torch.manual_seed(0)
    settings = {"width": 1 / 32, "n_mels": 32, "seconds": 0.5, "spectrogram": CONFIG}
    return Cnn14(Cnn14Config(labels=("a", "b", "c"), input_norm=True, **settings))


def hugging_face(extractor: dict[str, Any], network: dict[str, Any]) -> AudioClassifier:
    """Make a tiny transformer of Hugging Face's."""
    from transformers import AutoConfig

    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = HuggingFaceConfig(
        labels=("a", "b", "c"),
        seconds=0.125,
        spectrogram=SpectrogramConfig(n_fft=512, win_length=400, hop_length=80),
        extractor=extractor,
        network=AutoConfig.for_model(**size, **network, num_labels=3).to_dict(),
    )
    classifier = HuggingFaceClassifier(config)
    with torch.no_grad():  # it is built without weights, as they are mostly loaded
        for name, weight in classifier.named_parameters():
            is_scale = weight.ndim == 1 and name.endswith("weight")
            weight.copy_(0.2 * torch.randn_like(weight) + is_scale)
    return classifier


def ast() -> AudioClassifier:
    extractor = {"kind": "ASTFeatureExtractor", "max_length": 32}
    return hugging_face(extractor, {"model_type": "audio-spectrogram-transformer", "max_length": 32})


def wav2vec2() -> AudioClassifier:
    convolutions = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    network = {"model_type": "wav2vec2", "classifier_proj_size": 8, **convolutions}
    return hugging_face({"kind": "Wav2Vec2FeatureExtractor"}, network)


CHECKPOINTS = {"PANNs": panns, "SpeechBrain": speechbrain}
TRANSFORMERS = {"AST": ast, "wav2vec2": wav2vec2} if find_spec("transformers") else {}
WRAPPED = {
    "1-D CNN": conv1d,
    "recurrent": recurrent,
    "own front end": own_front_end,
    "image": image,
    "patches": patches,
    "many labels": many_labels,
    "complex spectra": complex_spectra,
}
NETWORKS: dict[str, Callable[[], AudioClassifier]] = {"cnn14": cnn14, "raw": Raw, "cue": Cue}
NETWORKS |= {**WRAPPED, **CHECKPOINTS, **TRANSFORMERS}


def noise(clips: int = 3) -> Tensor:
    """Make noises at a peak of 1, (clips, samples)."""
    waveform = torch.randn(clips, RATE // 2, generator=torch.Generator().manual_seed(3))
    return waveform / waveform.abs().amax(1, keepdim=True)
