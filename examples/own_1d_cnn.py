"""A 1-D CNN over waveforms: wrap it and explain it."""
# ruff: noqa: T201

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn
from toy_sounds import LABELS, RATE, explain_mixtures, make_clips, train

import earmark


def make_network() -> nn.Module:
    """Build what stands for your network: (batch, 1, samples) → (batch, classes)."""
    return nn.Sequential(
        nn.Conv1d(1, 16, 64, stride=8),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Conv1d(16, 32, 16, stride=4),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Conv1d(32, 32, 8, stride=2),
        nn.ReLU(),
        nn.AdaptiveMaxPool1d(1),
        nn.Flatten(),
        nn.Linear(32, len(LABELS)),
    )


def run(out: Path) -> dict[str, float]:
    """Train, wrap and explain; returns what `explain_mixtures` does."""
    torch.manual_seed(0)
    network = make_network()
    sounds, classes = make_clips()
    print(f"The network is right about {train(network, sounds[:, None], classes):.0%} of its own sounds.")

    classifier = earmark.wrap(network, sample_rate=RATE, labels=LABELS, seconds=1.0, layout="b1t")
    print(f"Its maps are the outputs of the modules {', '.join(classifier.layers)}.")
    return explain_mixtures(
        earmark.Model("own-1d-cnn", classifier), ("integrated-gradients", "occlusion"), out
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("own-1d-cnn"), help="folder to write to (%(default)s)"
    )
    run(parser.parse_args().out)


if __name__ == "__main__":
    main()
