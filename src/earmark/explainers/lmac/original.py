"""The decoder of the authors' own recipe: 236.7 million weights that draw on linear bins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.checkpoints import read_checkpoint, state_of, translated
from earmark.errors import ModelError
from earmark.explainers.base import Domain
from earmark.explainers.lmac.decoder import Decoder, DecoderConfig
from earmark.explainers.lmac.explainer import Lmac, LmacConfig

PSI = "psi_model.ckpt"
"""What the recipe calls the file of its decoder."""

_BINS = 513
_HEIGHTS = (10, 5, 2, 2)  # of the four deepest representations, from 80 mel bands
# Kernel, stride and padding along frequency and time of the transposed convolutions: those of the main path,
# and those of the representations that are added after its first three. The number is the recipe's.
_MAIN = {
    1: ((3, 3), (4, 2), (1, 1)),
    3: ((4, 7), (4, 2), (1, 1)),
    5: ((5, 3), (2, 2), (1, 1)),
    7: ((3, 4), (2, 2), (5, 0)),
    8: ((4, 3), (2, 2), (2, 0)),
    9: ((5, 1), (4, 1), (0, 0)),
}
_SIDE = {
    2: ((3, 3), (4, 2), (1, 1)),
    4: ((4, 5), (4, 2), (1, 1)),
    6: ((3, 3), (4, 2), (1, 1)),
}


class RecipeDecoder(Decoder):
    """The recipe's transposed convolutions over the four deepest representations.

    The original fits sounds of 32 n + 8 … 32 n + 15 frames only, and gives 32 n + 9. Here, the last frame of
    the representations is repeated until they fit, and the mask's until it is as long as the sound; what
    the original gives stays as it is. It draws on linear bins, so a mask on bands is their mean.

    Args:
        channels: of the classifier's representations; each of the last four twice as many as the one
            before, as in CNN14.
        rows: see `Decoder`; 513 bins, and 80 bands that are halved five times.

    Raises:
        ModelError: the classifier is none that it fits.
    """

    def __init__(self, channels: Sequence[int], rows: Tensor | None) -> None:
        super().__init__(rows)
        dim = channels[-1]
        if list(channels[-4:]) != [dim // 8, dim // 4, dim // 2, dim] or dim % 8:
            given = f"the classifier's maps have {', '.join(map(str, channels[-4:]))} channels"
            raise ModelError(given, "each twice as many as the one before", "take another kind of decoder")
        if rows is None or rows.shape[0] != _BINS or rows.shape[1] // 8 != _HEIGHTS[0]:
            given = "the recipe's decoder does not fit this classifier"
            raise ModelError(given, "one of 80 mel bands and 513 bins", "take another kind of decoder")
        widths = {1: (dim, dim), 3: (dim, dim), 5: (dim, dim // 2), 7: (dim // 2, dim // 4)}
        widths |= {8: (dim // 4, dim // 8), 9: (dim // 8, 1)}
        self.main = nn.ModuleList(nn.ConvTranspose2d(*widths[n], *_MAIN[n]) for n in _MAIN)
        widths = {2: (dim // 2, dim), 4: (dim // 4, dim), 6: (dim // 8, dim // 2)}
        self.side = nn.ModuleList(nn.ConvTranspose2d(*widths[n], *_SIDE[n]) for n in _SIDE)

    def forward(
        self,
        picture: Tensor,
        representations: Sequence[Tensor],
        target: Tensor,
        size: tuple[int, int],
        domain: Domain = "stft",
    ) -> Tensor:
        """See `Decoder.forward`."""
        logits = _fitted(self.on_bins(representations), picture.shape[-1])
        if domain == "features":
            logits = self._on_bands(logits)
        if logits.shape[1:] == size:
            return logits
        return F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]

    def on_picture(self, picture: Tensor, representations: Sequence[Tensor], target: Tensor) -> Tensor:
        """See `Decoder`; neither the picture nor the class is looked at, as in the recipe."""
        return self._on_bands(_fitted(self.on_bins(representations), picture.shape[-1]))

    def on_bins(self, representations: Sequence[Tensor]) -> Tensor:
        """Return mask logits as the original gives them, (batch, 513, 32 n + 9)."""
        block3, block4, block5, block6 = representations[-4:]
        # 4 n + 1, 2 n and n frames are what the strides fit together.
        n = max(1, (block3.shape[-1] + 2) // 4)
        maps = torch.relu(self.main[0](_fitted(block6, n)))
        for index, (inner, frames) in enumerate([(block5, n), (block4, 2 * n), (block3, 4 * n + 1)]):
            maps = maps + torch.relu(self.side[index](_fitted(inner, frames)))
            maps = torch.relu(self.main[index + 1](maps))
        return self.main[5](self.main[4](maps)).squeeze(1)

    def _on_bands(self, logits: Tensor) -> Tensor:
        rows: Tensor = self.rows  # type: ignore[assignment]
        return (rows / rows.sum(0).clamp_min(torch.finfo(rows.dtype).tiny)).T @ logits


def import_psi(path: str | Path, classifier: AudioClassifier) -> Lmac:
    """Make an explainer of the recipe's ``psi_model.ckpt``.

    Args:
        path: the file.
        classifier: what it was trained for, see `earmark.classifiers.speechbrain.import_classifier`.

    Raises:
        ModelError: the file is no checkpoint or has other weights, or does not fit the classifier.
    """
    state = state_of(read_checkpoint(path), path)
    config = LmacConfig(
        decoder=DecoderConfig(kind="recipe"), scale="log1p", description=f"imported from {Path(path).name}"
    )
    explainer = Lmac(classifier, config)
    own = explainer.decoder.state_dict()
    explainer.decoder.load_state_dict(translated(own, state, _original_name, path))
    return explainer


def _original_name(name: str) -> str:
    """Return what the recipe calls one of our weights.

    >>> _original_name("main.1.weight"), _original_name("side.2.bias")
    ('convt3.weight', 'convt6.bias')
    """
    path, index, rest = name.split(".")
    numbers = list(_MAIN if path == "main" else _SIDE)
    return f"convt{numbers[int(index)]}.{rest}"


def _fitted(values: Tensor, frames: int) -> Tensor:
    """Cut values, (…, frames), to a number of frames, or repeat the last one up to it."""
    missing = frames - values.shape[-1]
    if missing <= 0:
        return values[..., :frames]
    return torch.cat([values, values[..., -1:].expand(*values.shape[:-1], missing)], dim=-1)
