"""PANNs: the networks that were trained on AudioSet, with their published weights."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal, cast

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from typing_extensions import Self

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.checkpoints import read_checkpoint, read_lines, state_of, translated
from earmark.classifiers.cnn14 import ConvBlock
from earmark.errors import ModelError
from earmark.features.bands import bands_to_bins
from earmark.features.mel import mel_filterbank, mel_position
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig

Architecture = Literal["cnn6", "cnn10", "cnn14"]

_BLOCKS = {"cnn6": 4, "cnn10": 4, "cnn14": 6}
_SILENCE_DB = -100.0  # of a band that holds nothing: the least power is 1e-10
_AUDIOSET = Path(__file__).parent / "audioset_labels.txt"
# Highest mel frequency and settings of the STFT by the length of its window.
_FRONT_ENDS = {
    1024: (14000.0, {"sample_rate": 32000, "hop_length": 320}),
    512: (8000.0, {"sample_rate": 16000, "hop_length": 160}),
}
_FRONT_KEYS = {
    "real": "spectrogram_extractor.stft.conv_real.weight",
    "imaginary": "spectrogram_extractor.stft.conv_imag.weight",
    "mel": "logmel_extractor.melW",
}
_ORIGINAL_NAMES = {"norm": "bn0", "hidden": "fc1", "head": "fc_audioset"}


def _spectrogram(window: int) -> SpectrogramConfig:
    rate = _FRONT_ENDS[window][1]
    return SpectrogramConfig(n_fft=window, win_length=window, window="hann", pad="reflect", **rate)


class PannsConfig(BaseModel):
    """Settings of a PANN and its front end; the defaults are those of the published Cnn14 at 32 kHz.

    Args:
        labels: class names in the order of the logits.
        architecture: which of the networks.
        width: factor on the channels 64 … 2048.
        n_mels: number of mel bands, at least 32.
        f_min: lower edge of the lowest band in Hz.
        f_max: upper edge of the highest band in Hz, at most half the sample rate.
        seconds: length of sound it was trained on.
        multi_label: whether several labels may hold at once.
        spectrogram: settings of the STFT.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: tuple[str, ...] = Field(min_length=1)
    architecture: Architecture = "cnn14"
    width: PositiveFloat = 1.0
    n_mels: PositiveInt = Field(64, ge=32)
    f_min: NonNegativeFloat = 50.0
    f_max: PositiveFloat = 14000.0
    seconds: PositiveFloat = 10.0
    multi_label: bool = True
    spectrogram: SpectrogramConfig = _spectrogram(1024)

    @model_validator(mode="after")
    def _hears_its_bands(self) -> PannsConfig:
        if not self.f_min < self.f_max <= self.spectrogram.sample_rate / 2:
            raise ValueError("f_min < f_max <= sample_rate / 2 must hold")
        return self


class _Block5x5(nn.Module):
    """One 5×5 convolution with batch-norm and ReLU, then average pooling: Cnn6's block."""

    def __init__(self, channels_in: int, channels: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 5, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.pool = nn.AvgPool2d(pool)

    def forward(self, maps: Tensor) -> Tensor:
        return self.pool(self.relu1(self.bn1(self.conv1(maps))))

    def fold(self) -> None:
        self.conv1 = fuse_conv_bn_eval(self.conv1, self.bn1)
        self.bn1 = nn.Identity()  # type: ignore[assignment]


class Panns(AudioClassifier):
    """Convolutional blocks on the mel spectrum in dB, then two linear layers.

    Its features are dB above the least power, 1e-10, so that 0 is silence; the network itself is fed what
    it was trained on.

    Source: Kong et al., PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern
    Recognition, 2020.

    >>> cnn6 = Panns(PannsConfig(labels=("Speech", "Music"), architecture="cnn6", width=1 / 16)).eval()
    >>> logits, maps = cnn6.representations(cnn6.features(cnn6.spectrogram(torch.zeros(1, 32000))))
    >>> tuple(logits.shape), [tuple(m.shape[1:]) for m in maps[-2:]]
    ((1, 2), [(16, 8, 12), (32, 4, 6)])
    """

    kind: ClassVar[str] = "panns"
    mel: Tensor
    hears_phase = False
    peak_normalised = False
    frozen_is_quicker = True
    eats = "mel power in dB"

    def __init__(self, config: PannsConfig) -> None:
        spectrogram = Spectrogram(config.spectrogram)
        super().__init__(spectrogram, config.labels, config.seconds, config.multi_label)
        self.config = config
        stft = config.spectrogram
        edges = config.f_min, config.f_max, "slaney"
        bank = mel_filterbank(stft.sample_rate, stft.n_fft, config.n_mels, *edges)  # type: ignore[arg-type]
        self.register_buffer("mel", bank, persistent=False)
        count = _BLOCKS[config.architecture]
        channels = [1] + [max(1, round(config.width * 64 * 2**block)) for block in range(count)]
        # The sixth block does not pool.
        pools = [1 if block == 5 else 2 for block in range(count)]
        self.shortest = 2 ** sum(pool > 1 for pool in pools)
        block = _Block5x5 if config.architecture == "cnn6" else ConvBlock
        self.norm = nn.BatchNorm1d(config.n_mels)
        self.blocks = nn.ModuleList(
            block(before, after, pool) for (before, after), pool in zip(pairwise(channels), pools)
        )
        self.dropout = nn.Dropout(0.2)
        self.hidden = nn.Linear(channels[-1], channels[-1])
        self.relu = nn.ReLU()
        self.hidden_dropout = nn.Dropout(0.5)
        self.head = nn.Linear(channels[-1], len(config.labels))

    def features(self, stft: Tensor) -> Tensor:
        """Turn a complex (batch, bins, frames) into dB above silence, (batch, mels, frames)."""
        power = self.mel @ stft.abs().square()
        return 10 * torch.log10(power.clamp_min(10 ** (_SILENCE_DB / 10))) - _SILENCE_DB

    def bands_to_bins(self) -> Tensor:
        """See `AudioClassifier.bands_to_bins`; linear bins look up their place among the mel bands."""
        config = self.config
        edges = config.n_mels, config.f_min, config.f_max
        return bands_to_bins(mel_position(self.spectrogram.frequencies(), *edges, "slaney"), config.n_mels)

    def frozen(self) -> Self:
        """See `AudioClassifier.frozen`; the batch-norms are folded away, which spares time."""
        copied = super().frozen()
        for block in copied.blocks:
            cast("ConvBlock", block).fold()
        return copied.requires_grad_(False)

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits and the output of each block, (batch, channels, mels / 2^k, frames / 2^k)."""
        missing = max(0, self.shortest - features.shape[-1])
        maps = self.norm(F.pad(features, (0, missing)) + _SILENCE_DB).unsqueeze(1)
        outputs = []
        for block in self.blocks:
            maps = block(maps)
            outputs.append(maps)
            maps = self.dropout(maps)
        over_time = maps.mean(dim=2)
        pooled = self.hidden_dropout(over_time.amax(dim=2) + over_time.mean(dim=2))
        hidden = self.hidden_dropout(self.relu(self.hidden(pooled)))
        return self.head(hidden), outputs


def audioset_labels() -> tuple[str, ...]:
    """Return the names of AudioSet's 527 classes in the order of the published networks' logits.

    >>> audioset_labels()[0], len(audioset_labels())
    ('Speech', 527)
    """
    return tuple(read_lines(_AUDIOSET, "AudioSet's names"))


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Return class names from a file: one a line, or AudioSet's table with a column "display_name".

    Raises:
        ModelError: the file is missing or no text, or a name is there twice.
    """
    lines = read_lines(path, "a text file with one class name a line")
    if lines and "display_name" in next(csv.reader(lines[:1])):
        lines = [row["display_name"] for row in csv.DictReader(lines)]
    twice = sorted({name for name in lines if lines.count(name) > 1})
    if twice:
        raise ModelError(f"{path} has {twice[0]!r} twice", "each class name once")
    return tuple(lines)


def import_panns(path: str | Path, labels: str | Path | None = None, multi_label: bool = True) -> Panns:
    """Make a classifier of a published PANN's checkpoint: Cnn6, Cnn10, Cnn14 or Cnn14_16k.

    Args:
        path: the file, such as ``Cnn14_mAP=0.431.pth``, or one with the same weights by the same names.
        labels: a file of class names, see `read_labels`; AudioSet's if not given.
        multi_label: whether its logits were trained with a sigmoid each, as AudioSet's are.

    Raises:
        ModelError: the file is no checkpoint, or not of one of these networks; the weights that are
            missing, unknown or of another shape are named; the labels do not fit.
    """
    if "DecisionLevel" in Path(path).name:
        # Their weights have the same names and shapes as Cnn14's.
        given = f"{Path(path).name} decides for each moment of a sound"
        raise ModelError(given, "Cnn6, Cnn10, Cnn14 or Cnn14_16k", "take the network without DecisionLevel")
    state = state_of(read_checkpoint(path), path)
    names = read_labels(labels) if labels else audioset_labels()
    count = len(state.get("fc_audioset.bias", names))
    if count != len(names):
        given = f"{path} has {count} classes, {labels or 'AudioSet'} has {len(names)} names"
        raise ModelError(given, "one name for each class", "pass the file of its own names with --labels")
    window = _window(state, path)
    config = PannsConfig(
        labels=names,
        architecture=_architecture(state),
        width=len(state.get("conv_block1.bn1.bias", range(64))) / 64,
        f_max=_FRONT_ENDS[window][0],
        multi_label=multi_label,
        spectrogram=_spectrogram(window),
    )
    network = Panns(config)
    front = {name: state.pop(name) for name in _FRONT_KEYS.values() if name in state}
    network.load_state_dict(translated(network.state_dict(), state, _original_name, path))
    _check_front_end(network, front, path)
    return network.eval()


def _architecture(state: dict[str, Tensor]) -> Architecture:
    first = state.get("conv_block1.conv1.weight")
    if first is not None and first.shape[-1] == 5:
        return "cnn6"
    return "cnn14" if any(name.startswith("conv_block5.") for name in state) else "cnn10"


def _window(state: dict[str, Tensor], path: str | Path) -> int:
    missing = [name for name in _FRONT_KEYS.values() if name not in state]
    if missing:
        raise ModelError(f"{path} lacks {', '.join(missing)}", "a PANN with its front end")
    window = state[_FRONT_KEYS["real"]].shape[-1]
    if window not in _FRONT_ENDS:
        known = "1024 samples (32 kHz) or 512 (16 kHz)"
        raise ModelError(f"{path} has a window of {window} samples", known, "take one of these networks")
    return window


def _original_name(name: str) -> str:
    """Return what PANNs call one of our weights.

    >>> _original_name("blocks.2.conv1.weight"), _original_name("hidden.bias")
    ('conv_block3.conv1.weight', 'fc1.bias')
    """
    part, rest = name.split(".", 1)
    if part == "blocks":
        number, rest = rest.split(".", 1)
        return f"conv_block{int(number) + 1}.{rest}"
    return f"{_ORIGINAL_NAMES[part]}.{rest}"


def _check_front_end(network: Panns, front: dict[str, Tensor], path: str | Path) -> None:
    """See that the file's own front end, which is among its weights, is the one that was built."""
    stft, bank = front[_FRONT_KEYS["real"]], front[_FRONT_KEYS["mel"]]
    window = network.spectrogram.window
    # The zeroth bin's transform is the window itself.
    same_window = stft.ndim == 3 and torch.allclose(stft[0, 0], window, atol=1e-4)
    same_bank = bank.T.shape == network.mel.shape and torch.allclose(bank.T, network.mel, atol=1e-5)
    if not (same_window and same_bank):
        part = "mel filterbank" if same_window else "window"
        raise ModelError(f"{path} has a {part} of its own", "the front end of the published networks")
