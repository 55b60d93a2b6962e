"""A network with its own front end, learnable Gabor filters: wrap it and explain it.

Its masks still lie on a linear spectrogram and can be heard: a wrapped network of waveforms gets the masked
spectrogram turned back into sound, and gradients go through its own filters.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from toy_sounds import LABELS, RATE, explain_mixtures, make_clips, train

import earmark
from earmark.classifiers.wrap import WrappedClassifier

# A network of waveforms has no spectrogram, so the one of the masks is free; a small one is quick.
SPECTROGRAM = earmark.SpectrogramConfig(sample_rate=RATE, n_fft=256, win_length=256, hop_length=128)


class GaborFilters(nn.Module):
    """The logarithm of the energy behind filters whose places and widths are learned.

    (batch, samples) → (batch, filters, frames).
    """

    time: Tensor

    def __init__(self, filters: int = 40, length: int = 129, hop: int = 64) -> None:
        super().__init__()
        self.hop = hop
        self.centre = nn.Parameter(torch.linspace(0.01, 0.48, filters))  # in cycles a sample
        self.width = nn.Parameter(torch.full((filters,), length / 6.0))  # in samples
        self.register_buffer("time", torch.arange(length) - length // 2)

    def forward(self, sound: Tensor) -> Tensor:
        """See the class."""
        angle = math.tau * self.centre[:, None] * self.time
        bell = torch.exp(-0.5 * (self.time / self.width[:, None]).square()) / self.width[:, None]
        waves = torch.cat([bell * angle.cos(), bell * angle.sin()])
        real, imaginary = nn.functional.conv1d(sound[:, None], waves[:, None], stride=self.hop).chunk(
            2, dim=1
        )
        return torch.log(real.square() + imaginary.square() + 1e-5)


class Network(nn.Module):
    """What stands for your network: (batch, samples) → a dict that holds (batch, classes)."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = GaborFilters()
        self.norm = nn.BatchNorm2d(1)
        self.first = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, len(LABELS))

    def forward(self, sound: Tensor) -> dict[str, Tensor]:
        """Return the logits and what they are made of, as many networks do."""
        maps = self.second(self.first(self.norm(self.filters(sound)[:, None])))
        embedding = maps.amax(3).mean(2)
        return {"embedding": embedding, "logits": self.head(embedding)}


def make_classifier() -> WrappedClassifier:
    """Train the network and wrap it."""
    torch.manual_seed(0)
    network = Network()
    right = train(network, *make_clips(), logits=lambda said: said["logits"], steps=100)
    print(f"The network is right about {right:.0%} of its own sounds.")
    return earmark.wrap(
        network,
        sample_rate=RATE,
        labels=LABELS,
        seconds=1.0,
        layers={"first": "bcft", "second": "bcft"},
        output="logits",
        spectrogram=SPECTROGRAM,
    )


def run(out: Path) -> dict[str, float]:
    """Train, wrap and explain; returns what `explain_mixtures` does."""
    model = earmark.Model("own-front-end", make_classifier())
    return explain_mixtures(model, ("integrated-gradients", "occlusion", "gradcam"), out)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("own-front-end"), help="folder to write to (%(default)s)"
    )
    run(parser.parse_args().out)


if __name__ == "__main__":
    main()
