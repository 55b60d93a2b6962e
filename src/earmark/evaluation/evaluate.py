"""Methods × conditions × domains × seeds → one row per sound and area."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator
from torch import Tensor

from earmark.classifiers.base import AudioClassifier
from earmark.evaluation.protocol import CONDITIONS, Material, make_sounds
from earmark.evaluation.results import Journal, key_of
from earmark.evaluation.runner import hear_sounds
from earmark.evaluation.unit import Place, Row, Unit
from earmark.explainers.base import Domain, Explainer
from earmark.explainers.controls import ClassMean
from earmark.metrics import Protocol

Which = tuple[str, Domain]
"""A method, and where its masks live."""

Report = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what is at work; a step is a method on a batch."""

TRAINED = "lmac"
"""The method whose masks `class-mean` takes the mean of."""

_SEED = Annotated[int, Field(ge=0, lt=2**32)]


class EvaluationRecipe(BaseModel):
    """Settings of ``earmark evaluate``; what is named twice counts once.

    Args:
        methods: names of explainers; all that the model can be explained by, if not given.
        conditions: see `earmark.evaluation.protocol.CONDITIONS`.
        domains: where the masks live.
        areas: shares of the bins that masks are binarised to; None is the soft mask.
        seeds: of the choice of interferers, and of what methods draw at random.
        folds: of the data; all if not given.
        clips: explain so many clips, evenly chosen; all if not given.
        protocol: "corrected" by definition, "paper" as the authors' program.
        batch_size: sounds that are explained together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    methods: tuple[str, ...] | None = None
    conditions: tuple[str, ...] = ("in-domain", "mixtures", "white-noise", "speech")
    domains: tuple[Domain, ...] = ("stft",)
    areas: tuple[float | None, ...] = (None, 0.05, 0.2)
    seeds: tuple[_SEED, ...] = (0,)
    folds: tuple[int, ...] | None = None
    clips: PositiveInt | None = None
    protocol: Protocol = "corrected"
    batch_size: PositiveInt = 16

    @field_validator("areas")
    @classmethod
    def _shares(cls, areas: tuple[float | None, ...]) -> tuple[float | None, ...]:
        if any(area is not None and not 0 < area < 1 for area in areas):
            raise ValueError("areas are shares between 0 and 1, or null (on the command line: soft)")
        return areas

    @field_validator("conditions")
    @classmethod
    def _known(cls, conditions: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in conditions if name not in CONDITIONS]:
            raise ValueError(f"no condition {', '.join(unknown)}; there are {', '.join(CONDITIONS)}")
        return conditions

    @field_validator("methods", "conditions", "domains", "areas", "seeds", "folds")
    @classmethod
    def _once(cls, values: tuple[object, ...] | None) -> tuple[object, ...] | None:
        if values == ():
            raise ValueError("name at least one")
        return values and tuple(dict.fromkeys(values))


@dataclass(frozen=True)
class Task:
    """What is evaluated.

    Args:
        classifier: whose decisions are explained.
        explainers: by method and domain, all of this classifier; their seed is set.
        material: the clips, and what is added to them.
        failures: clips that could not be read, which are silent in the material: index → why.
    """

    classifier: AudioClassifier
    explainers: Mapping[Which, Explainer]
    material: Material
    failures: Mapping[int, str]


class Batch(NamedTuple):
    """Clips that are heard together: in one condition, with interferers drawn by one seed."""

    condition: str
    seed: int
    clips: list[int]


def evaluate(
    task: Task, recipe: EvaluationRecipe, journal: Journal, report: Report = lambda *_: None
) -> None:
    """Score every method on every sound, and write a row for each, also for what failed.

    Rows that the journal has already are not computed again.

    Args:
        task: what is evaluated.
        recipe: how.
        journal: where rows go.
        report: is told how far it is.

    Raises:
        OutputError: rows cannot be written; those before them are there.
    """
    steps = [(batch, _missing(task, recipe, batch, journal)) for batch in _batches(task, recipe)]
    total = len(steps) * len(task.explainers)
    done = total - sum(len(missing) for _, missing in steps)
    if any(method == ClassMean.name for _, missing in steps for method, _ in missing):
        report(done, total, "class means")
        learn_class_means(task)
    for batch, missing in steps:
        if not missing:
            continue
        sounds = make_sounds(batch.condition, task.material, batch.clips, batch.seed, recipe.protocol)
        unit = Unit(task.classifier, sounds, task.failures)
        for which in missing:
            report(done, total, f"{batch.condition}: {which[0]}")
            explainer = task.explainers[which]
            explainer.seed = batch.seed
            found = unit.score(explainer, _areas(explainer, recipe), recipe.protocol)
            keys = _keys(task, recipe, batch, which)
            journal.add(key | found[place] for place, key in keys.items())
            done += 1
    report(total, total, "done")


def learn_class_means(task: Task) -> None:
    """Show the control `class-mean` the masks of the trained explainer, by class, on all clips alone."""
    for (_, domain), control in task.explainers.items():
        trained = task.explainers.get((TRAINED, domain))
        if isinstance(control, ClassMean) and trained:
            means = _class_means(task, trained)
            if means:
                control.learn(torch.stack(list(means.values())), torch.tensor(list(means)))


def _class_means(task: Task, trained: Explainer) -> dict[int, Tensor]:
    """Return the mean mask of each class that is decided for at all."""
    sums: dict[int, Tensor] = {}
    count: Counter[int] = Counter()
    device = task.classifier.device
    # One at a time: no clip changes what becomes of others, and all masks at once would fill the memory.
    for index in task.material.audible.nonzero()[:, 0]:
        sounds = make_sounds("clean", task.material, [int(index)])
        scene = hear_sounds(task.classifier, sounds.part(torch.tensor([0]), device))
        with suppress(Exception):  # what fails is told where it is scored
            mask = trained.masks(scene.stft, scene.target, scene.heard).detach()[0]
            if mask.isfinite().all():
                target = int(scene.target)
                sums[target] = sums[target] + mask if target in sums else mask
                count[target] += 1
    return {target: mask / count[target] for target, mask in sums.items()}


def _batches(task: Task, recipe: EvaluationRecipe) -> Iterator[Batch]:
    count = len(task.material.names)
    # Evenly over the set, which data sets order by class or fold.
    chosen = torch.linspace(0, count - 1, min(recipe.clips or count, count)).round().long()
    for seed in recipe.seeds:
        for condition in recipe.conditions:
            for part in chosen.split(recipe.batch_size):
                yield Batch(condition, seed, part.tolist())


def _missing(task: Task, recipe: EvaluationRecipe, batch: Batch, journal: Journal) -> list[Which]:
    """Return which methods lack a row for one of the sounds or areas."""
    return [
        which
        for which in task.explainers
        if any(key_of(row) not in journal.done for row in _keys(task, recipe, batch, which).values())
    ]


def _keys(task: Task, recipe: EvaluationRecipe, batch: Batch, which: Which) -> dict[Place, Row]:
    """Return what names each row, and its clip, by the clip's index and the area."""
    material, (method, domain) = task.material, which
    return {
        (index, area): {
            "condition": batch.condition,
            "seed": batch.seed,
            "sound": material.names[index],
            "method": method,
            "domain": domain,
            "area": area,
            "clip": material.names[index],
            "label": task.classifier.labels[int(material.labels[index])],
        }
        for index in batch.clips
        for area in _areas(task.explainers[which], recipe)
    }


def _areas(explainer: Explainer, recipe: EvaluationRecipe) -> list[float | None]:
    """Leave out the areas of a method whose masks put no bin before another."""
    return [area for area in recipe.areas if area is None or explainer.ranks]
