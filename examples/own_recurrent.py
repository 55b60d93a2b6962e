"""A recurrent network over MFCCs: wrap it, train it through the wrapper, and explain it."""
# ruff: noqa: T201

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from toy_sounds import LABELS, RATE, explain_mixtures, make_clips, train

import earmark


class Recurrent(nn.Module):
    """What stands for your network: (batch, frames, coefficients) → (batch, classes)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(13)
        self.rnn = nn.GRU(13, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, len(LABELS))

    def forward(self, frames: Tensor) -> Tensor:
        """Say of each frame what it may be, and take the most of it."""
        frames = self.norm(frames.transpose(1, 2)).transpose(1, 2)
        said, _ = self.rnn(frames)
        most: Tensor = self.head(said).amax(1)
        return most


def run(out: Path) -> dict[str, float]:
    """Wrap, train and explain; returns what `explain_mixtures` does."""
    torch.manual_seed(0)
    classifier = earmark.wrap(
        Recurrent(),
        sample_rate=RATE,
        labels=LABELS,
        seconds=1.0,
        takes=earmark.Mfcc(13, earmark.LogMel(n_mels=40, floor=1e-5)),
        layout="btf",
        spectrogram=earmark.SpectrogramConfig.at(RATE),  # here the training uses it too
    )
    for layer in earmark.list_layers(classifier):
        print(f"{layer.name}: {layer.kind}, {layer.layout}{', explained by' if layer.chosen else ''}")
    # A wrapped network takes waveforms. Trained like this, it eats the same MFCCs now and when explained.
    print(f"The network is right about {train(classifier.train(), *make_clips()):.0%} of its own sounds.")

    model = earmark.Model("own-recurrent", classifier)
    return explain_mixtures(model, ("integrated-gradients", "occlusion"), out)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("own-recurrent"), help="folder to write to (%(default)s)"
    )
    run(parser.parse_args().out)


if __name__ == "__main__":
    main()
