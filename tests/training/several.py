"""Trains in so many processes, and writes what came of it: run by `test_processes.py`, as Lightning starts
the others by running the program again.

    python several.py WHAT FOLDER DEVICES
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.classifiers.simclr.training import SimclrRecipe, train_simclr
from earmark.classifiers.training import Augmentation, ClassifierRecipe, Clips, train_classifier
from earmark.data.segments import InMemory
from earmark.explainers.base import find
from earmark.explainers.l2i.training import L2iRecipe, train_l2i
from earmark.explainers.lmac.training import LmacRecipe, train_lmac
from earmark.explainers.piq.training import PiqRecipe, train_piq
from earmark.training import processes
from earmark.training.loop import Job, LoopSettings, Row, fit

LABELS = ("a", "b", "c")
CLIPS, STEPS_AN_EPOCH, EPOCHS = 26, 2, 10
TRAINERS: dict[str, tuple[type[BaseModel], Callable[..., object]]] = {
    "lmac": (LmacRecipe, train_lmac),
    "piq": (PiqRecipe, train_piq),
    "l2i": (L2iRecipe, train_l2i),
}
Report = Callable[[int, int, Row], None]
Train = Callable[[LoopSettings, Report], object]
SCORES = dict.fromkeys(("AI", "AG", "FF", "Fid-In", "MM", "AD", "SI-SDRi"), 0.5)


def clips(samples: int = 8_000) -> Clips:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(CLIPS) % 3
    time = torch.arange(samples) / 16_000
    tones = torch.sin(2 * torch.pi * (300.0 * (labels + 1))[:, None] * time)
    noise = torch.randn((CLIPS, samples), generator=generator)
    noises = tuple(torch.randn((3, samples), generator=generator))
    return Clips(0.5 * tones + 0.2 * noise, labels, noises)


def network() -> Cnn14:
    torch.manual_seed(0)
    return Cnn14(Cnn14Config(labels=LABELS, width=0.0625, seconds=0.5, dropout=0.2))


def losses_of(train: Train, devices: int) -> list[float]:
    """Return the loss of every step of a training of 20 steps, of 13 clips each.

    At ten times this rate Adam makes so much of the last digit that one process differs by 0.7 % from itself
    with another number of threads.
    """
    sums: list[float] = []

    def report(done: int, total: int, row: Row) -> None:
        if "criterion" not in row:
            within = (done - 1) % STEPS_AN_EPOCH + 1
            sums.append(within * row["loss"])

    train(LoopSettings(epochs=EPOCHS, batch_size=13, learning_rate=1e-4, devices=devices), report)
    return [total - (sums[step - 1] if step % STEPS_AN_EPOCH else 0.0) for step, total in enumerate(sums)]


def curves(folder: Path, devices: int) -> None:
    """Write the loss curves of the trainers, and the buffers of a network that was trained."""
    sounds, found = clips(), {}
    classifier = network()

    def of_classifier(loop: LoopSettings, report: Report) -> object:
        recipe = ClassifierRecipe(
            width=0.0625, seconds=0.5, loop=loop, augmentation=Augmentation(filter_db=3)
        )
        return train_classifier(classifier, sounds, sounds, recipe, folder / "classifier", report)

    found["classifier"] = losses_of(of_classifier, devices)
    found["simclr"] = losses_of(lambda loop, report: _simclr(loop, report, sounds, folder), devices)
    for name, (recipe, train) in TRAINERS.items():
        found[name] = losses_of(_explaining(name, recipe, train, sounds, folder), devices)
    if processes.rank() == 0:
        state = {key: value.flatten()[:3].tolist() for key, value in classifier.state_dict().items()}
        (folder / "found.json").write_text(json.dumps({"losses": found, "state": state}))


def _explaining(
    name: str, recipe: type[BaseModel], train: Callable[..., object], sounds: Clips, folder: Path
) -> Train:
    def run(loop: LoopSettings, report: Report) -> object:
        frozen = network()
        torch.manual_seed(1)
        settings = recipe.model_validate({"scenes": {"passes": 1}, "loop": loop.model_dump()})
        return train(find(name)(frozen), sounds, settings, folder / name, lambda: SCORES, report=report)

    return run


def _simclr(loop: LoopSettings, report: Report, sounds: Clips, folder: Path) -> object:
    recipe = SimclrRecipe.model_validate({"width": 0.0625, "views": {"seconds": 0.4}, "loop": loop})
    recordings = InMemory(list(sounds.waveform))
    return train_simclr(network(), recordings, sounds.noises, recipe, folder / "simclr", report)


class Seen(nn.Module):
    """Learns nothing, and notes which clips it was given."""

    def __init__(self, die_in: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.clips: list[list[int]] = []
        self.die_in = die_in

    def forward(self, index: Tensor) -> dict[str, Tensor]:
        self.clips.append(index.tolist())
        if self.die_in is not None and len(self.clips) > self.die_in and processes.rank() == 1:
            os._exit(7)
        return {"loss": ((self.weight - index.float()) ** 2).mean()}


def simple(
    folder: Path, devices: int, epochs: int = 1, count: int = 25, size: int = 6, die_in: int | None = None
) -> Seen:
    """Train on numbers; each is a clip."""
    step = Seen(die_in)
    settings = LoopSettings(epochs=epochs, batch_size=size, learning_rate=0.1, devices=devices)

    def batches(epoch: int, generator: torch.Generator) -> list[tuple[Tensor]]:
        order = torch.randperm(count, generator=generator)
        return [(part,) for part in order.tensor_split(-(-count // size))]

    def validate() -> Row:
        doubled = processes.over_shares(7, lambda own: 2.0 * torch.arange(7)[own])
        few = processes.over_shares(1, lambda own: torch.ones(1)[own])
        return {"sum": float(doubled.sum()), "rows": float(len(doubled) + len(few))}

    fit(Job(step, batches, validate, lambda row: row["epoch"], -(-count // size)), settings, folder)
    return step


def main() -> None:
    what, folder, devices = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if what == "curves":
        curves(folder, devices)
    elif what == "dying":
        simple(folder, devices, epochs=6, die_in=12)
    elif what == "few":
        simple(folder, devices, count=3, size=1)
    else:
        step = simple(folder, devices, epochs=int(what))
        (folder / f"seen{processes.rank()}.json").write_text(json.dumps(step.clips))


if __name__ == "__main__":
    main()
