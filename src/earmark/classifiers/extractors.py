"""What Hugging Face's feature extractors do, differentiably: from a waveform to a network's input and back.

The features of a sound cover its whole length and no more. What an extractor appends to them, or cuts off, is
appended or cut off as the network gets them, so that features, feature maps and the sound share one time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.features import kaldi, whisper
from earmark.features.bands import bands_to_bins
from earmark.features.mel import MelScale, mel_filterbank, mel_position
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig

_PICTURE_BANDS = 64


class AstConfig(BaseModel):
    """Settings of an ``ASTFeatureExtractor``.

    Args:
        num_mel_bins: number of bands.
        max_length: frames that the network takes.
        do_normalize: whether to shift and scale by ``mean`` and ``std``.
        mean: of the log energies in training.
        std: half of what they are divided by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ASTFeatureExtractor"] = "ASTFeatureExtractor"
    sampling_rate: Literal[16000] = 16000
    num_mel_bins: PositiveInt = 128
    max_length: PositiveInt = 1024
    do_normalize: bool = True
    mean: float = -4.2677393
    std: PositiveFloat = 4.5689974


class WhisperConfig(BaseModel):
    """Settings of a ``WhisperFeatureExtractor``.

    Args:
        sampling_rate: in Hz.
        feature_size: number of bands.
        n_fft: length of the window in samples.
        hop_length: samples from one frame to the next.
        chunk_length: seconds that the network takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["WhisperFeatureExtractor"] = "WhisperFeatureExtractor"
    sampling_rate: PositiveInt = 16000
    feature_size: PositiveInt = 80
    n_fft: PositiveInt = 400
    hop_length: PositiveInt = 160
    chunk_length: PositiveInt = 30


class WaveformConfig(BaseModel):
    """Settings of a ``Wav2Vec2FeatureExtractor``.

    Args:
        sampling_rate: in Hz.
        do_normalize: whether each sound is given zero mean and unit variance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["Wav2Vec2FeatureExtractor"] = "Wav2Vec2FeatureExtractor"
    sampling_rate: PositiveInt = 16000
    do_normalize: bool = True


ExtractorConfig: TypeAlias = Annotated[
    AstConfig | WhisperConfig | WaveformConfig, Field(discriminator="kind")
]
KNOWN: Mapping[str, type[AstConfig] | type[WhisperConfig] | type[WaveformConfig]] = {
    "ASTFeatureExtractor": AstConfig,
    "WhisperFeatureExtractor": WhisperConfig,
    "Wav2Vec2FeatureExtractor": WaveformConfig,
}


def linear_spectrogram(config: ExtractorConfig) -> SpectrogramConfig:
    """Return the STFT that masks live on: windows of 25 ms every 5 ms.

    With a hop of 5 ms its number of frames tells how many of 10 ms an extractor cuts from the same sound, and
    how many steps of 20 ms a network on waveforms takes.
    """
    rate = config.sampling_rate
    window = round(0.025 * rate)
    n_fft = 2 ** math.ceil(math.log2(window))
    return SpectrogramConfig(sample_rate=rate, n_fft=n_fft, win_length=window, hop_length=round(0.005 * rate))


class Extractor(nn.Module, ABC):
    """A feature extractor, taken apart into what it makes of a sound and what it appends or cuts off.

    Args:
        spectrogram: the linear STFT that masks live on.
        bands: of the picture.
    """

    has_bands = False

    def __init__(self, spectrogram: Spectrogram, bands: int) -> None:
        super().__init__()
        self.spectrogram = spectrogram.config
        self.bands = bands

    @property
    @abstractmethod
    def seconds(self) -> float:
        """How long the sounds of the network's training were, as far as the settings tell."""

    def samples(self, frames: int) -> int:
        """Return how many samples to take from an STFT of so many frames: all that may lie in it."""
        return frames * self.spectrogram.hop_length - 1

    @abstractmethod
    def forward(self, waveform: Tensor) -> Tensor:
        """Turn (batch, samples) into features, (batch, rows, columns)."""

    @abstractmethod
    def entering(self, features: Tensor) -> Tensor:
        """Return what the network is given of them."""

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        """See `earmark.classifiers.base.AudioClassifier.picture`."""
        return features

    def bands_to_bins(self) -> Tensor:
        """See `earmark.classifiers.base.AudioClassifier.bands_to_bins`."""
        lowest, highest, scale = self._mels()
        config = self.spectrogram
        bins = torch.linspace(0, config.sample_rate / 2, config.n_fft // 2 + 1)
        return bands_to_bins(mel_position(bins, self.bands, lowest, highest, scale), self.bands)

    @abstractmethod
    def _mels(self) -> tuple[float, float, MelScale]:
        """Return the edges of the picture's bands in Hz and their scale."""


class AstExtractor(Extractor):
    """Kaldi's filterbank energies, normalised; zeros follow before that, up to the network's length.

    Source: Gong et al., AST, 2021; equal to ``ASTFeatureExtractor`` of transformers.
    """

    has_bands = True

    def __init__(self, config: AstConfig, spectrogram: Spectrogram) -> None:
        super().__init__(spectrogram, config.num_mel_bins)
        self.config = config
        self.fbank = kaldi.KaldiFbank(config.num_mel_bins)

    @property
    def seconds(self) -> float:
        """Whole seconds, where there are any: 10 of AudioSet's, which fill 998 of 1024 frames."""
        longest = ((self.config.max_length - 1) * kaldi.HOP + kaldi.WINDOW) / kaldi.SAMPLE_RATE
        return math.floor(longest) or longest

    def forward(self, waveform: Tensor) -> Tensor:
        """See `Extractor`; (batch, mels, frames)."""
        return self._normalised(self.fbank(waveform))

    def entering(self, features: Tensor) -> Tensor:
        """Return (batch, max_length, mels)."""
        missing = self.config.max_length - features.shape[-1]
        nothing = float(self._normalised(torch.zeros(())))
        return F.pad(features, (0, missing), value=nothing).transpose(1, 2)

    def _normalised(self, energies: Tensor) -> Tensor:
        it = self.config
        return (energies - it.mean) / (2 * it.std) if it.do_normalize else energies

    def _mels(self) -> tuple[float, float, MelScale]:
        return kaldi.LOWEST_HZ, kaldi.SAMPLE_RATE / 2, "htk"


class WhisperExtractor(Extractor):
    """Whisper's log-mel spectrogram; silence follows up to 30 s.

    Source: Radford et al., Whisper, 2022; equal to ``WhisperFeatureExtractor`` of transformers.
    """

    def __init__(self, config: WhisperConfig, spectrogram: Spectrogram) -> None:
        super().__init__(spectrogram, config.feature_size)
        self.config = config
        self.longest = config.chunk_length * config.sampling_rate
        self.log_mel = whisper.WhisperLogMel(
            config.sampling_rate, config.n_fft, config.hop_length, config.feature_size, self.longest
        )

    @property
    def seconds(self) -> float:
        """What Whisper hears at once."""
        return self.config.chunk_length

    def forward(self, waveform: Tensor) -> Tensor:
        """See `Extractor`; (batch, mels, frames), silence where Whisper no longer hears."""
        features: Tensor = self.log_mel(waveform)
        unheard = (waveform.shape[-1] - self.longest) // self.config.hop_length
        return self._followed_by_silence(features, max(0, unheard))

    def entering(self, features: Tensor) -> Tensor:
        """Return (batch, mels, frames of 30 s)."""
        missing = self.longest // self.config.hop_length - features.shape[-1]
        if missing < 0:
            return features[..., :missing]
        return self._followed_by_silence(features, missing)

    def _followed_by_silence(self, features: Tensor, frames: int) -> Tensor:
        silence = self.log_mel.silence(features).expand(-1, self.bands, frames)
        return torch.cat([features, silence], dim=-1)

    def _mels(self) -> tuple[float, float, MelScale]:
        return 0, whisper.HIGHEST_HZ, "slaney"


class WaveformExtractor(Extractor):
    """The waveform itself, at zero mean and unit variance if so set; decoders look at a mel picture.

    Source: Baevski et al., wav2vec 2.0, 2020; equal to ``Wav2Vec2FeatureExtractor`` of transformers without
    padding: every sound of a batch counts as heard to its end, so there is no attention mask.

    Args:
        config: settings.
        spectrogram: the linear STFT that masks live on.
        shortest: samples that the network needs.
    """

    bank: Tensor

    def __init__(self, config: WaveformConfig, spectrogram: Spectrogram, shortest: int) -> None:
        super().__init__(spectrogram, _PICTURE_BANDS)
        self.config = config
        self.shortest = shortest
        bank = mel_filterbank(config.sampling_rate, spectrogram.config.n_fft, _PICTURE_BANDS, scale="htk")
        self.register_buffer("bank", bank, persistent=False)

    @property
    def seconds(self) -> float:
        """One: the settings do not tell, and such networks hear sounds of any length."""
        return 1.0

    def samples(self, frames: int) -> int:
        """Return those that surely lie in an STFT of so many frames: silence would count as sound."""
        return (frames - 1) * self.spectrogram.hop_length

    def forward(self, waveform: Tensor) -> Tensor:
        """See `Extractor`; (batch, 1, samples)."""
        if self.config.do_normalize:
            variance, mean = torch.var_mean(waveform, dim=-1, keepdim=True, correction=0)
            waveform = (waveform - mean) / (variance + 1e-7).sqrt()
        return F.pad(waveform, (0, max(0, self.shortest - waveform.shape[-1])))[:, None]

    def entering(self, features: Tensor) -> Tensor:
        """Return (batch, samples)."""
        return features[:, 0]

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        """Return log1p mel magnitudes, (batch, bands, frames)."""
        return torch.log1p(self.bank @ stft.abs())

    def _mels(self) -> tuple[float, float, MelScale]:
        return 0, self.spectrogram.sample_rate / 2, "htk"


def make_extractor(
    config: ExtractorConfig, spectrogram: Spectrogram, network: Mapping[str, Any]
) -> Extractor:
    """Build what a config describes.

    Args:
        config: its settings.
        spectrogram: the linear STFT that masks live on.
        network: the settings of the network that it feeds.
    """
    if isinstance(config, AstConfig):
        return AstExtractor(config, spectrogram)
    if isinstance(config, WhisperConfig):
        return WhisperExtractor(config, spectrogram)
    return WaveformExtractor(config, spectrogram, shortest_sound(network))


def shortest_sound(network: Mapping[str, Any]) -> int:
    """Return the samples that a stack of convolutions needs for one step.

    >>> shortest_sound({"conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2)})
    400
    """
    samples = 1
    for kernel, stride in zip(reversed(network["conv_kernel"]), reversed(network["conv_stride"])):
        samples = (samples - 1) * stride + kernel
    return samples
