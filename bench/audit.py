"""Does `earmark audit` find shortcuts that were planted, and keep still where there are none?

Small CNN14s are trained on two-second pieces of real clips of four classes. In half of the trials one class
carries a shortcut, in training and in the data that is audited: a mains hum, a constant tone, a band limit, a
click at the start, or digital silence at the end. Zero-padding and codecs' edges are real shortcuts in this
data: most clips of a rooster are padded, none of rain; so all clips get faint noise first. The edges lie
above 8 kHz, out of the 4 kHz that are heard here.

    python bench/audit.py --data ESC10 --seeds 0-19 [--work runs/audit]

Seeds below 200 are for choosing thresholds, those from 200 on for reporting. Not every network leans on what
was planted for it: "given" and "taken" say what it does when the plant itself, not the audit's guess of it,
is put into other classes or left out, and only those that reach the audit's own limits have a shortcut.

A trial is a training and an audit on one core; a stopped run goes on with its trainings. Explanations are by
a cheap method (saliency), as an L-MAC for each network would take hours.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.data.clips import load_all
from earmark.data.datasets import read_clips
from earmark.evaluation.protocol import Material
from earmark.explainers.base import find
from earmark.features.level import peak_normalise
from earmark.features.spectrogram import SpectrogramConfig
from earmark.sanity.audit import GIVEN, TAKEN, Finding, audit
from earmark.sanity.cues import Click, Hum, low_pass
from earmark.training.loop import Job, LoopSettings, fit, in_batches

RATE, SECONDS, CLASSES, EPOCHS = 8000, 2.0, 4, 16
SAMPLES = round(RATE * SECONDS)
KINDS = ("hum", "tone", "band edge", "click", "silence")
SUSPECT = {"hum": "hum", "tone": "hum", "band edge": "band edge", "click": "clip start", "silence": "silence"}
"""What a shortcut of a kind is to be reported as."""
NOISE_DB = -55.0
STEADY = ("rain", "sea_waves", "helicopter", "chainsaw", "crackling_fire")


@dataclass(frozen=True)
class Plant:
    """A shortcut: its kind, the class that has it, and how it is made."""

    kind: str
    label: str
    place: float
    snr_db: float


class Data:
    """Pieces of all clips, without any shortcut that is known of."""

    def __init__(self, folder: Path) -> None:
        clips = read_clips(folder)
        self.labels = tuple(sorted({clip.label for clip in clips}))
        waveform, labels = load_all(clips, self.labels, RATE, 5.0)
        generator = torch.Generator().manual_seed(0)
        pieces, owner, names = [], [], []
        for index, (sound, clip) in enumerate(zip(waveform, clips)):
            for number, piece in enumerate(loudest_pieces(sound)):
                pieces.append(piece)
                owner.append(index)
                names.append(f"{clip.name}-{number}")
        sounds = peak_normalise(torch.stack(pieces))
        self.waveform = sounds + 10 ** (NOISE_DB / 20) * torch.randn(sounds.shape, generator=generator)
        self.names = names
        self.targets = labels[owner]
        self.folds = torch.tensor([clips[index].fold for index in owner])


def loudest_pieces(sound: Tensor) -> Iterator[Tensor]:
    """Yield the loudest piece, and the loudest beside it unless it is near silent."""
    starts = torch.arange(0, len(sound) - SAMPLES + 1, RATE // 4)
    energy = torch.stack([sound[start : start + SAMPLES].square().sum() for start in starts])
    first = int(energy.argmax())
    yield sound[starts[first] : starts[first] + SAMPLES]
    apart = (starts - starts[first]).abs() >= SAMPLES
    if apart.any():
        second = int(energy.masked_fill(~apart, -1).argmax())
        if energy[second] > 1e-3 * energy[first]:
            yield sound[starts[second] : starts[second] + SAMPLES]


def draw_plant(kind: str, labels: tuple[str, ...], generator: torch.Generator) -> Plant:
    """Draw a class, a place and a level."""
    label = labels[int(torch.randint(len(labels), (), generator=generator))]
    if kind == "silence":
        # Where a sound ends by itself, an end in silence is no news.
        label = next((name for name in STEADY if name in labels), label)
    one, two = torch.rand(2, generator=generator).tolist()
    place, snr_db = {
        "hum": (50.0 if one < 0.5 else 60.0, 2 + 8 * two),
        "tone": (300 + 2700 * one, 4 + 10 * two),
        "band edge": (800 + 1000 * one, 0.0),
        "click": (0.02 * one, 4 + 8 * two),
        "silence": (0.5 + 0.5 * one, 0.0),
        "": (0.0, 0.0),
    }[kind]
    return Plant(kind, label if kind else "", place, snr_db)


def plant(waveform: Tensor, what: Plant, generator: torch.Generator) -> Tensor:
    """Put a shortcut in all of (clips, samples)."""
    if what.kind == "hum":
        return Hum(what.snr_db, what.place).add(waveform, RATE, generator).present
    if what.kind == "tone":
        return _Constant(what.snr_db, what.place).add(waveform, RATE, generator).present
    if what.kind == "click":
        return _Thump(what.snr_db, what.place).add(waveform, RATE, generator).present
    if what.kind == "band edge":
        return low_pass(waveform, what.place / RATE)
    end = round(what.place * RATE)
    return F.pad(waveform[:, :-end], (0, end))


class _Constant(Hum):
    """A constant tone."""

    harmonics = 1


class _Thump(Click):
    """A click that is long enough for frames of 20 ms."""

    seconds = 0.02


class _Step(nn.Module):
    def __init__(self, network: Cnn14) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(self.network(waveform), labels)}


@dataclass(frozen=True)
class Trial:
    """A network, what it was trained on, and what is audited."""

    network: Cnn14
    plant: Plant
    material: Material
    unplanted: Tensor


def make_trial(data: Data, kind: str, seed: int, folder: Path) -> Trial:
    """Choose classes, plant, and train (or take the training up)."""
    generator = torch.Generator().manual_seed(1000 * seed + [*KINDS, ""].index(kind))
    chosen = torch.randperm(len(data.labels), generator=generator)[:CLASSES].sort().values.tolist()
    labels = tuple(data.labels[index] for index in chosen)
    what = draw_plant(kind, labels, generator)
    kept = torch.isin(data.targets, torch.tensor(chosen))
    waveform, folds = data.waveform[kept].clone(), data.folds[kept]
    targets = torch.tensor([chosen.index(int(target)) for target in data.targets[kept]])
    untouched = waveform.clone()
    if kind:
        own = targets == labels.index(what.label)
        waveform[own] = plant(waveform[own], what, generator)
    known = [name for name, there in zip(data.names, kept.tolist()) if there]
    held_out = int(torch.randint(4, (), generator=generator)) + 1
    train, test = folds != held_out, folds == held_out
    network = train_network(waveform[train], targets[train], labels, seed, folder)
    names = tuple(name for name, there in zip(known, test.tolist()) if there)
    return Trial(
        network, what, Material(names, peak_normalise(waveform[test]), targets[test]), untouched[test]
    )


def train_network(
    waveform: Tensor, targets: Tensor, labels: tuple[str, ...], seed: int, folder: Path
) -> Cnn14:
    """Train a small CNN14 on pieces as they are: nothing that is random may move a click."""
    torch.manual_seed(seed)
    settings = SpectrogramConfig(sample_rate=RATE, n_fft=512, win_length=320, hop_length=160)
    network = Cnn14(
        Cnn14Config(labels=labels, width=1 / 16, n_mels=40, seconds=SECONDS, spectrogram=settings)
    )
    loop = LoopSettings(epochs=EPOCHS, batch_size=16, learning_rate=3e-3, weight_decay=0.01, seed=seed)

    def batches(epoch: int, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        for index in in_batches(torch.randperm(len(targets), generator=generator), loop.batch_size):
            yield waveform[index], targets[index]

    steps = -(-len(targets) // loop.batch_size)
    fit(Job(_Step(network), batches, lambda: {}, lambda row: row["epoch"], steps), loop, folder)
    return network.requires_grad_(False).eval()


@torch.inference_mode()
def truth(trial: Trial, seed: int) -> dict[str, float]:
    """Say what the network does with the shortcut itself: given to other classes, and taken from its own."""
    network, material, what = trial.network, trial.material, trial.plant
    decided = network(material.waveform).argmax(1)
    found = {"accuracy": float((decided == material.labels).double().mean()), "given": 0.0, "taken": 0.0}
    if not what.kind:
        return found
    index = network.labels.index(what.label)
    others = (material.labels != index) & (decided != index)
    given = plant(trial.unplanted[others], what, torch.Generator().manual_seed(seed))
    own = (material.labels == index) & (decided == index)
    found["given"] = float((network(given).argmax(1) == index).double().mean())
    if own.any():  # a network may have learned nothing of the class
        found["taken"] = float((network(trial.unplanted[own]).argmax(1) != index).double().mean())
    return found


def run_trial(data: Data, kind: str, seed: int, work: Path, method: str) -> dict[str, Any]:
    """Train, audit and judge."""
    started = time.perf_counter()
    trial = make_trial(data, kind, seed, work / f"{seed}-{kind.replace(' ', '-') or 'clean'}")
    trained = time.perf_counter() - started
    explainer = find(method)(trial.network)
    findings = audit(trial.network, explainer, trial.material, seed=seed).findings
    right = [one for one in findings if _is_right(one, trial.plant)]
    return {
        "seed": seed,
        "kind": kind or "clean",
        **asdict(trial.plant),
        "planted": kind,
        **truth(trial, seed),
        "found": int(bool(right)),
        "others": len(findings) - len(right),
        "findings": json.dumps([[one.label, one.suspect, one.where] for one in findings]),
        "train_seconds": round(trained, 1),
        "audit_seconds": round(time.perf_counter() - started - trained, 1),
    }


def _is_right(finding: Finding, what: Plant) -> bool:
    return bool(what.kind) and finding.label == what.label and finding.suspect == SUSPECT[what.kind]


def main() -> None:
    """Run a planted and a clean trial of each seed, a line each, and count what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder in ESC-50's layout")
    parser.add_argument("--seeds", default="0-19", metavar="FIRST-LAST")
    parser.add_argument("--method", default="saliency")
    parser.add_argument("--work", type=Path, default=Path("runs/audit"), help="where trainings are kept")
    given = parser.parse_args()
    torch.set_num_threads(1)
    first, last = map(int, given.seeds.split("-"))
    data = Data(given.data)
    rows = []
    for seed in range(first, last + 1):
        for kind in (KINDS[seed % len(KINDS)], ""):
            rows.append(run_trial(data, kind, seed, given.work, given.method))
            print(json.dumps(rows[-1]), flush=True)
    planted, clean = ([row for row in rows if bool(row["planted"]) is yes] for yes in (True, False))
    found = sum(bool(row["found"]) for row in planted)
    alarms = sum(bool(row["others"]) for row in clean)
    used = [row for row in planted if row["given"] >= GIVEN or row["taken"] >= TAKEN]
    found_of_used = sum(bool(row["found"]) for row in used)
    print(
        f"found {found} of {len(planted)} planted, {found_of_used} of the {len(used)} that networks lean on;"
        f" {alarms} of {len(clean)} clean networks with a finding"
    )


if __name__ == "__main__":
    main()
