"""A bench of short noises, for a network with a known answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from earmark.classifiers.base import AudioClassifier
from earmark.evaluation.protocol import Material
from earmark.explainers.base import Explainer
from earmark.sanity.base import Bench, Check
from earmark.sanity.rows import frame_of
from explainers.networks import RATE

SAMPLES = RATE // 2
BANDS = ((250, 500), (1250, 1500))
"""In Hz: what `explainers.networks.Cue` takes for its two classes."""


def noises(clips: int, seed: int = 0) -> Tensor:
    """Make white noises, (clips, samples)."""
    return torch.randn(clips, SAMPLES, generator=torch.Generator().manual_seed(seed))


def cues(labels: Tensor, other: float = 0.2, seed: int = 0) -> Tensor:
    """Make noises in the band of each label, and quieter by a factor in the other, (clips, samples)."""
    spectrum = torch.fft.rfft(noises(len(labels), seed))
    frequencies = torch.linspace(0, RATE / 2, spectrum.shape[1])
    inside = torch.stack([(frequencies >= low) & (frequencies < high) for low, high in BANDS]).float()
    gains = inside[labels] + other * inside[1 - labels]
    waveform = torch.fft.irfft(spectrum * gains, SAMPLES)
    return waveform / waveform.abs().amax(1, keepdim=True)


def material(waveform: Tensor, labels: Tensor, start: str = "clip") -> Material:
    """Name clips."""
    return Material(tuple(f"{start}{number:03d}" for number in range(len(labels))), waveform, labels)


def bench(
    classifier: AudioClassifier,
    explainers: Mapping[str, Explainer],
    clips: int | Material = 4,
    folder: Path = Path(),
    train: Material | None = None,
) -> Bench:
    """Lay out a bench: so many clips of alternating classes, in their own bands, or others."""
    labels = torch.arange(clips) % 2 if isinstance(clips, int) else clips.labels
    shown = material(cues(labels), labels) if isinstance(clips, int) else clips
    every = tuple(range(len(labels)))
    return Bench(classifier.eval(), classifier, explainers, shown, every, train, folder)


def run(check: Check, on: Bench, *parts: str) -> pd.DataFrame:
    """Run all steps of a check, or those of some parts."""
    steps = [step for step in check.steps(on) if not parts or step.part in parts]
    return frame_of([(step.method, step.part, row) for step in steps for row in check.run(on, step)])
