"""What the `own_*.py` examples share: three toy sounds made from numbers, and how an explanation is judged.

A bird chirps at 2 to 3 kHz, an engine hums below 1 kHz, and something clicks, at all frequencies but for only
a few milliseconds. As they are known, so is what a good explanation of a mixture keeps.
"""
# ruff: noqa: T201

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import earmark
from earmark.features.spectrogram import Spectrogram
from earmark.metrics import energy_share

RATE = 8000
SAMPLES = RATE  # one second
LABELS = ("bird", "engine", "clicks")


class Mixture(NamedTuple):
    """Two sounds, the one named 5 dB louder, and background noise; (samples,) each."""

    label: str
    cue: Tensor
    rest: Tensor


def make_sound(label: str, chance: torch.Generator) -> Tensor:
    """Make a second of one of `LABELS` with a standard deviation of 0.05, (samples,)."""

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=chance))

    time = torch.arange(SAMPLES) / RATE
    sound = torch.zeros(SAMPLES)
    if label == "engine":
        pitch = draw(60, 110)
        for harmonic in range(1, 9):
            sound += torch.sin(math.tau * (harmonic * pitch * time + draw(0, 1))) / harmonic
    for start in torch.arange(draw(0, 0.1), 0.9, draw(0.2, 0.3)).tolist() if label == "bird" else ():
        length, low, high = draw(0.06, 0.12), draw(2000, 2400), draw(2600, 3000)
        inside = ((time - start) / length).clamp(0, 1)
        sweep = low * inside + (high - low) * inside.square() / 2
        sound += torch.sin(math.tau * length * sweep) * torch.sin(math.pi * inside)
    for start in torch.arange(draw(0, 0.1), 1, draw(0.06, 0.12)).tolist() if label == "clicks" else ():
        after = time - start
        sound += (
            torch.randn(SAMPLES, generator=chance) * torch.exp(-after.clamp_min(0) / 0.004) * (after >= 0)
        )
    return 0.05 * sound / sound.std()


def make_noise(chance: torch.Generator) -> Tensor:
    """Make a second of faint white noise, (samples,)."""
    return 0.01 * torch.randn(SAMPLES, generator=chance)


def make_clips(per_class: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Make sounds to learn from, one of a kind in noise: (clips, samples) and their classes, (clips,)."""
    chance = torch.Generator().manual_seed(seed)
    classes = torch.arange(len(LABELS)).repeat(per_class)
    clips = [make_sound(LABELS[index], chance) + make_noise(chance) for index in classes.tolist()]
    return torch.stack(clips), classes


def make_mixtures(seed: int = 1) -> list[Mixture]:
    """Mix each kind of sound with each other one."""
    chance = torch.Generator().manual_seed(seed)
    pairs = [(one, other) for one in LABELS for other in LABELS if one != other]
    quieter = 10 ** (-5 / 20)
    return [
        Mixture(one, make_sound(one, chance), quieter * make_sound(other, chance) + make_noise(chance))
        for one, other in pairs
    ]


def train(
    network: nn.Module,
    sounds: Tensor,
    classes: Tensor,
    logits: Callable[[Any], Tensor] = lambda said: said,
    steps: int = 60,
) -> float:
    """Train a network to name the louder one of two sounds, and return how often it names a sound alone.

    Args:
        network: of sounds, in training mode; it is left in evaluation mode.
        sounds: (clips, samples), or (clips, 1, samples).
        classes: (clips,).
        logits: picks them from what the network gives.
        steps: how many, of 32 sounds each.
    """
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, steps)
    for _ in range(steps):
        index, other = torch.randint(len(sounds), (2, 32))
        quieter, level = torch.rand(2, 32, *[1] * (sounds.ndim - 1))
        optimizer.zero_grad()
        # At many levels: L-MAC's training and evaluations play sounds at a peak of 1.
        said = logits(network(10**level * (sounds[index] + 0.8 * quieter * sounds[other]) / 2))
        nn.functional.cross_entropy(said, classes[index]).backward()
        optimizer.step()
        slower.step()
    with torch.no_grad():
        return float((logits(network.eval()(sounds)).argmax(1) == classes).float().mean())


def explain_mixtures(model: earmark.Model, methods: Sequence[str], out: Path) -> dict[str, float]:
    """Explain the louder sound of each mixture, save the first, and tell how much of what is kept is that.

    Returns:
        the mean share of the kept energy that lies where the louder sound is, by method, and that of the
        "whole sound".
    """
    mixtures = make_mixtures()
    shares: dict[str, float] = {}
    print(f"Of the energy kept in {len(mixtures)} mixtures, so much lies where the louder sound does:")
    for method in methods:
        found = [earmark.explain((one.cue + one.rest, RATE), model, method, one.label) for one in mixtures]
        kept, whole = zip(*(share_of_cue(one, it) for one, it in zip(mixtures, found)))
        shares |= {method: sum(kept) / len(kept), "whole sound": sum(whole) / len(whole)}
        listen, *_ = found[0].save(out, f"{mixtures[0].label}.{method}")
        print(f"  {shares[method]:4.0%}  {method}, to be heard in {listen}")
    decided = sum(one.label == it.decision for one, it in zip(mixtures, found))
    print(f"  {shares['whole sound']:4.0%}  the whole sound, for comparison")
    print(f"The network decided for the louder sound in {decided} of {len(mixtures)} mixtures.")
    return shares


def share_of_cue(mixture: Mixture, explanation: earmark.Explanation) -> tuple[float, float]:
    """Return how much energy lies in bins where the cue is the louder part, of what is kept and of all."""
    parts = Spectrogram(explanation.spectrogram)(torch.stack([mixture.cue, mixture.rest])).split(1)
    mask = explanation.mask[None]
    return float(energy_share(mask, *parts)), float(energy_share(torch.ones_like(mask), *parts))
