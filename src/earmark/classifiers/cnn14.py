"""CNN14, the PANNs network of the L-MAC paper, with a width factor."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from typing_extensions import Self

from earmark.classifiers.base import AudioClassifier
from earmark.features.bands import bands_to_bins
from earmark.features.mel import MelScale, mel_filterbank, mel_position
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig
from earmark.training.processes import Dropout

# Five halvings of time and mel come before the last block.
_SMALLEST_SIDE = 32


class Cnn14Config(BaseModel):
    """Settings of a CNN14 and its front end.

    Args:
        labels: class names in the order of the logits.
        width: factor on the channels 64 … 2048.
        n_mels: number of mel bands, at least 32.
        mel_scale: which triangles, see `earmark.features.mel.mel_filterbank`.
        dropout: probability between blocks.
        input_norm: whether a batch-norm over the mel bands comes first, as in the L-MAC recipe.
        seconds: length of sound it is trained on.
        spectrogram: settings of the STFT.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: tuple[str, ...] = Field(min_length=2)
    width: PositiveFloat = 1.0
    n_mels: PositiveInt = Field(80, ge=_SMALLEST_SIDE)
    mel_scale: MelScale = "recipe"
    dropout: float = Field(0.2, ge=0, lt=1)
    input_norm: bool = False
    seconds: PositiveFloat = 5.0
    spectrogram: SpectrogramConfig = SpectrogramConfig()


class ConvBlock(nn.Module):
    """Two 3×3 convolutions with batch-norm and ReLU, then average pooling."""

    def __init__(self, channels_in: int, channels: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Map (batch, channels_in, mels, frames) to (batch, channels, mels / pool, frames / pool)."""
        maps = self.relu1(self.bn1(self.conv1(maps)))
        maps = self.relu2(self.bn2(self.conv2(maps)))
        return self.pool(maps)

    def fold(self) -> None:
        """Fold the batch-norms' fixed statistics into the convolutions before them."""
        for number in "12":
            convolution, norm = getattr(self, f"conv{number}"), getattr(self, f"bn{number}")
            setattr(self, f"conv{number}", fuse_conv_bn_eval(convolution, norm))
            setattr(self, f"bn{number}", nn.Identity())


class Cnn14(AudioClassifier):
    """Six convolutional blocks on log1p mel magnitudes, then one linear layer.

    Source: Kong et al., PANNs, 2020, without the first of its two linear layers, as in the L-MAC recipe.

    >>> cnn14 = Cnn14(Cnn14Config(labels=("dog", "rain"), width=1 / 16)).eval()
    >>> logits, maps = cnn14.representations(cnn14.features(cnn14.spectrogram(torch.zeros(1, 80000))))
    >>> tuple(logits.shape), [tuple(m.shape[1:]) for m in maps[-2:]]
    ((1, 2), [(64, 2, 13), (128, 2, 13)])
    """

    kind: ClassVar[str] = "cnn14"
    mel: Tensor
    hears_phase = False
    frozen_is_quicker = True
    eats = "log1p mel magnitudes"

    def __init__(self, config: Cnn14Config) -> None:
        spectrogram = Spectrogram(config.spectrogram)
        super().__init__(spectrogram, config.labels, config.seconds)
        self.config = config
        bank = mel_filterbank(
            spectrogram.sample_rate, config.spectrogram.n_fft, config.n_mels, scale=config.mel_scale
        )
        self.register_buffer("mel", bank, persistent=False)
        self.norm = nn.BatchNorm1d(config.n_mels) if config.input_norm else nn.Identity()
        channels = [1] + [max(1, round(config.width * 64 * 2**block)) for block in range(6)]
        pools = [2] * 5 + [1]
        self.blocks = nn.ModuleList(
            ConvBlock(before, after, pool) for (before, after), pool in zip(pairwise(channels), pools)
        )
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(channels[-1], len(config.labels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: He for the convolutions, Xavier for the linear layer."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def features(self, stft: Tensor) -> Tensor:
        """Turn a complex (batch, bins, frames) into log1p mel magnitudes, (batch, mels, frames)."""
        return torch.log1p(self.mel @ stft.abs())

    def bands_to_bins(self) -> Tensor:
        """See `AudioClassifier.bands_to_bins`; linear bins look up their place among the mel bands."""
        config, nyquist = self.config, self.spectrogram.sample_rate / 2
        position = mel_position(self.spectrogram.frequencies(), config.n_mels, 0, nyquist, config.mel_scale)
        return bands_to_bins(position, config.n_mels)

    def frozen(self) -> Self:
        """See `AudioClassifier.frozen`; the batch-norms are folded away, which spares passes over maps."""
        copied = super().frozen()
        for block in copied.blocks:
            cast("ConvBlock", block).fold()
        return copied.requires_grad_(False)

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits and the output of each block, (batch, channels, mels / 2^k, frames / 2^k)."""
        outputs = self._maps(features)
        return self.head(self.dropout(_pooled(self.dropout(outputs[-1])))), outputs

    def embed(self, features: Tensor) -> Tensor:
        """Return what the last layer decides by, (batch, channels)."""
        return _pooled(self.dropout(self._maps(features)[-1]))

    def _maps(self, features: Tensor) -> list[Tensor]:
        missing = max(0, _SMALLEST_SIDE - features.shape[-1])
        maps = self.norm(F.pad(features, (0, missing))).unsqueeze(1)
        outputs: list[Tensor] = []
        for block in self.blocks:
            # Dropout lies between the blocks: what they give is handed out as it is.
            outputs.append(block(self.dropout(outputs[-1]) if outputs else maps))
        return outputs


def _pooled(maps: Tensor) -> Tensor:
    """Return the mean over mels, then maximum and mean over time added, (batch, channels)."""
    over_time = maps.mean(dim=2)
    return over_time.amax(dim=2) + over_time.mean(dim=2)
