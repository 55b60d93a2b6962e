"""ROAR: does a network that is trained without the best bins do worse than one without random bins?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pandas import DataFrame
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.augment import spec_augment
from earmark.classifiers.cnn14 import Cnn14
from earmark.classifiers.fingerprint import fingerprint
from earmark.evaluation.protocol import make_sounds
from earmark.evaluation.runner import Scene, hear_sounds
from earmark.features.masking import binary_masks
from earmark.files import whole
from earmark.sanity.base import Bench, Check, Row, Step, Verdict, register
from earmark.sanity.ordering import random_order
from earmark.sanity.retraining import small_cnn14
from earmark.sanity.shares import Shares
from earmark.sanity.statistics import by_sound, interval, means, methods_of
from earmark.training.loop import Job, LoopSettings, fit, in_batches

RANDOM = "random"
WHOLE = "0"
"""The level of networks that are trained on all bins."""


class RoarSettings(BaseModel):
    """What is removed, and what is trained on the rest.

    Args:
        shares: rising shares of the bins that are removed, best first.
        seeds: of the networks' first weights and the order of the clips.
        width: factor on the channels of the CNN14 that is trained.
        n_mels: its mel bands, at least 32.
        pool: so many frames are averaged to one, which makes a training that much quicker.
        epochs: passes over the clips; the last one's network counts, as none may be chosen by the test clips.
        batch_size: clips a step.
        learning_rate: its highest value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shares: Shares = (0.2, 0.4, 0.6, 0.8)
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    width: float = Field(1 / 16, gt=0)
    n_mels: PositiveInt = Field(40, ge=32)
    pool: PositiveInt = 2
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 16
    learning_rate: float = Field(4e-3, gt=0)


@register("roar")
class Roar(Check):
    """Removes the bins that masks put first from all clips, and trains a new network on what is left.

    The masks are of the explained classifier's decisions, for clips to train on and to test on alike. Removed
    bins are silent; a network that is trained on such sounds takes no offence at holes. What it can still
    tell was not shown; or the holes themselves tell it, as they follow the decision, which favours nobody but
    hides how much was shown. The network is a small CNN14 on the classifier's own STFT, whatever that is.

    Source: Hooker et al., A Benchmark for Interpretability Methods in Deep Neural Networks, NeurIPS 2019;
    section 3.4 and Figure 4 of Paissan et al., ICML 2024.
    """

    summary = "does a network trained without the best bins do worse than without random ones (ROAR)"
    Settings = RoarSettings
    needs_training_clips = True
    long = True
    settings: RoarSettings

    def steps(self, bench: Bench) -> list[Step]:
        """See `Check.steps`; nothing removed and random bins are always among them."""
        ranking = [name for name, explainer in bench.explainers.items() if explainer.ranks]
        return [
            Step(method, f"seed {seed}")
            for method in dict.fromkeys(["", RANDOM, *ranking])
            for seed in self.settings.seeds
        ]

    def run(self, bench: Bench, step: Step) -> Iterator[Row]:
        """See `Check.run`; trainings are kept in the folder, and taken up from there."""
        seed = int(step.part.removeprefix("seed "))
        folder = bench.folder / self.name / self._digest(bench) / (step.method or "whole")
        kept = self._features(bench, step.method, folder)
        labels = _labels(bench)
        for level, features in kept.items():
            bench.tell(f"without {float(level):.0%}")
            right = self._train(bench, features, labels, folder / level / str(seed), seed)
            for sound, value in zip(bench.material.names, right.tolist()):
                yield Row("accuracy", value, sound, level=level, seed=seed)

    def _digest(self, bench: Bench) -> str:
        """Name what is trained by all that it depends on, so that nothing of other settings is taken up."""
        names = [*bench.training.names, *bench.material.names]
        settings = self.settings.model_dump(mode="json", exclude={"seeds"})
        values = [settings, names, bench.seed, fingerprint(bench.classifier)]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]

    def _features(self, bench: Bench, method: str, folder: Path) -> dict[str, Tensor]:
        """Return what is left of all clips' features, per share: (clips, mels, frames) in half precision."""
        levels = _levels(self.settings.shares) if method else [WHOLE]
        path = folder / "features.npz"
        if not path.exists():
            bench.tell("masks of all clips")
            generator = torch.Generator().manual_seed(bench.seed)
            parts = [self._left(bench, method, scene, generator) for scene in _all_scenes(bench)]
            arrays = {level: np.concatenate([part[level] for part in parts]) for level in levels}
            folder.mkdir(parents=True, exist_ok=True)
            with whole(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
        with np.load(path) as there:
            return {level: torch.from_numpy(there[level]) for level in levels}

    @torch.no_grad()
    def _left(
        self, bench: Bench, method: str, scene: Scene, generator: torch.Generator
    ) -> dict[str, NDArray[np.float16]]:
        network, settings = self._network(bench, seed=0), self.settings
        gone = {WHOLE: torch.zeros_like(scene.magnitude)}
        if method:
            masks = _masks(bench, method, scene, generator)
            gone = dict(zip(_levels(settings.shares), binary_masks(masks, settings.shares)))
        left = {level: network.features(scene.magnitude * (1 - mask)) for level, mask in gone.items()}
        return {
            level: F.avg_pool1d(features, settings.pool).half().cpu().numpy()
            for level, features in left.items()
        }

    def _network(self, bench: Bench, seed: int) -> Cnn14:
        settings = self.settings
        return small_cnn14(bench.classifier, bench.classifier.labels, settings.width, settings.n_mels, seed)

    def _train(self, bench: Bench, features: Tensor, labels: Tensor, folder: Path, seed: int) -> Tensor:
        """Train a network on the first clips, and return whether it is right on each of the others."""
        settings, network = self.settings, self._network(bench, seed)
        count = len(labels) - len(bench.material.labels)
        device = bench.classifier.device
        loop = LoopSettings(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=0.01,
            seed=seed,
            device=device.type,
        )

        def batches(epoch: int, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
            for index in in_batches(torch.randperm(count, generator=generator), settings.batch_size):
                yield features[index].float(), labels[index]

        job = Job(
            step=_Step(network),
            batches=batches,
            validate=lambda: {},
            criterion=lambda row: row["epoch"],
            steps_per_epoch=-(-count // settings.batch_size),
        )
        fit(job, loop, folder)
        with torch.inference_mode():
            logits = [network.logits(part.float().to(device)) for part in features[count:].split(32)]
        return (torch.cat(logits).argmax(1).cpu() == labels[count:]).double()

    def table(self, rows: DataFrame) -> DataFrame:
        """See `Check.table`: accuracy in % per share, and over all shares."""
        percent = rows.assign(value=100 * rows["value"])
        levels = sorted(set(rows["level"]) - {WHOLE}, key=float)
        columns = [(f"without {float(level):.0%}", percent[percent["level"] == level]) for level in levels]
        table = means(rows, [*columns, ("mean", percent[percent["level"] != WHOLE])])
        nothing = percent[percent["level"] == WHOLE]["value"].mean()
        return table.assign(**{"without 0%": nothing})

    def verdicts(self, rows: DataFrame) -> list[Verdict]:
        """See `Check.verdicts`: beside random removal, a bootstrap over the clips."""
        return [_verdict(self.name, rows, method) for method in methods_of(rows) if method != RANDOM]


class _Step(nn.Module):
    """Rolls features in time, silences some bands and gaps, and asks the network."""

    def __init__(self, network: Cnn14) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        shift = int(torch.randint(features.shape[2], ()))
        rolled = spec_augment(features.roll(shift, dims=2), bands=1, widest_band=6, widest_gap=24)
        return {"loss": F.cross_entropy(self.network.logits(rolled), labels)}


def _verdict(check: str, rows: DataFrame, method: str) -> Verdict:
    own, chance = (by_sound(rows, name, "accuracy") for name in (method, RANDOM))
    less = interval(100 * (chance - own).dropna())
    said = (
        f"networks trained without its best bins are right in {less.mean:+.1f} points fewer clips"
        f" than without random bins (95 %: {less.low:+.1f} … {less.high:+.1f}, over clips)"
    )
    return Verdict(check, method, less.low > 0 if less.mean == less.mean else None, said)


def _levels(shares: Sequence[float]) -> list[str]:
    return [f"{share:g}" for share in shares]


def _masks(bench: Bench, method: str, scene: Scene, generator: torch.Generator) -> Tensor:
    if method == RANDOM:
        return random_order(scene.stft.shape, generator).to(scene.magnitude)
    with torch.enable_grad():
        return bench.explainer(method).masks(scene.stft, scene.target, scene.heard).detach()


def _labels(bench: Bench) -> Tensor:
    train = bench.training
    return torch.cat([train.labels, bench.material.labels])


def _all_scenes(bench: Bench) -> Iterator[Scene]:
    """Yield all clips, those to train on first, as the classifier hears them."""
    for material in (bench.training, bench.material):
        for index in torch.arange(len(material.names)).split(bench.batch_size):
            sounds = make_sounds("clean", material, index.tolist(), bench.seed)
            part = sounds.part(torch.arange(len(index)), bench.classifier.device)
            yield hear_sounds(bench.classifier, part)
