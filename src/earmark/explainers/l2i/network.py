"""From a classifier's representations to when each component sounds, and from there to a decision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

_ROWS = 4
"""As many rows as are left of a map's height: which component sounds shows in low and high places."""

_QUIET = 4.0
"""At first nearly nothing sounds: a hundred components at once would be far too loud."""


class L2iConfig(BaseModel):
    """What a trained L2I is, beside its weights.

    Args:
        components: spectra in the dictionary.
        channels: of the network between the representations and the activations.
        layers: how many of the deepest representations it reads.
        threshold: components whose relevance is above this are kept.
        description: how it was trained, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    components: PositiveInt = 100
    channels: PositiveInt = 96
    layers: PositiveInt = 4
    threshold: float = Field(0.2, ge=0, lt=1)
    description: str = ""


class L2iNetwork(nn.Module):
    """The interpreter: activations of a fixed dictionary, and a decision that is linear in them.

    Args:
        config: its sizes.
        channels: of the classifier's representations, from shallow to deep.
        bins: of the spectra.
        classes: how many the classifier has.
    """

    dictionary: Tensor
    usual: Tensor

    def __init__(self, config: L2iConfig, channels: Sequence[int], bins: int, classes: int) -> None:
        super().__init__()
        # How loud each component usually is: it sets the units of the decision, and nothing else.
        self.register_buffer("usual", torch.ones(config.components))
        self.read = channels[-config.layers :]
        self.register_buffer("dictionary", torch.zeros(bins, config.components))
        self.entries = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(_ROWS * c), nn.Conv1d(_ROWS * c, config.channels, 1))
            for c in self.read
        )
        self.inner = nn.Sequential(_convolution(config.channels), _convolution(config.channels))
        self.head = nn.Conv1d(config.channels, config.components, 3, padding=1)
        self.attention = nn.Sequential(
            nn.Conv1d(config.components, config.components, 1),
            nn.Tanh(),
            nn.Conv1d(config.components, 1, 1, bias=False),
        )
        self.decide = nn.Linear(config.components, classes, bias=False)

    def activations(self, representations: Sequence[Tensor], frames: int) -> Tensor:
        """Return how much of each component sounds when, (batch, components, frames), not negative."""
        maps = [
            entry(_as_sequence(inner))
            for entry, inner in zip(self.entries, representations[-len(self.read) :])
        ]
        finest = max(each.shape[2] for each in maps)
        together = torch.stack([_stretched(each, finest) for each in maps]).sum(0)
        return _stretched(F.softplus(self.head(self.inner(together)) - _QUIET), frames)

    def pooled(self, activations: Tensor) -> Tensor:
        """Return the activations' mean over time, (batch, components), weighted by attention.

        It is in units of how loud each component usually is.
        """
        against_usual = activations / self.usual[:, None]
        weights = self.attention(against_usual).softmax(2)
        return (against_usual * weights).sum(2)

    def relevance(self, pooled: Tensor, target: Tensor) -> Tensor:
        """Return how much each component speaks for a class, over the largest, (batch, components) up to 1.

        Args:
            pooled: (batch, components).
            target: (batch,).

        Source: section 3.3 of Parekh et al., Listen to Interpret, NeurIPS 2022.
        """
        say = pooled * self.decide.weight[target]
        return say / say.abs().amax(1, keepdim=True).clamp_min(torch.finfo(say.dtype).tiny)


def _as_sequence(maps: Tensor) -> Tensor:
    """Return feature maps, (batch, channels, height, width), as (batch, rows * channels, width)."""
    return F.adaptive_avg_pool2d(maps, (_ROWS, maps.shape[3])).flatten(1, 2)


def _stretched(sequence: Tensor, length: int) -> Tensor:
    if sequence.shape[2] == length:
        return sequence
    return F.interpolate(sequence, length, mode="linear", align_corners=False)


def _convolution(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels, channels, 5, padding=2, bias=False), nn.BatchNorm1d(channels), nn.ReLU()
    )
