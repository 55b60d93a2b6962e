"""What every check is: steps of work, rows of figures, and a verdict; and a registry of them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

import torch
from pandas import DataFrame
from pydantic import BaseModel, ConfigDict

from earmark.classifiers.base import AudioClassifier
from earmark.errors import ModelError, RecipeError
from earmark.evaluation.evaluate import TRAINED, Task, learn_class_means
from earmark.evaluation.protocol import Material, make_sounds
from earmark.evaluation.runner import Scene, hear_sounds
from earmark.explainers.base import Explainer
from earmark.explainers.controls import ClassMean


class Step(NamedTuple):
    """A piece of a check's work, which is done whole or not at all.

    Args:
        method: whose explanations are checked; empty for what concerns no method alone.
        part: which part of the check.
    """

    method: str
    part: str = ""


class Row(NamedTuple):
    """One figure.

    Args:
        figure: its name.
        value: what it is; NaN where there is none.
        sound: of which clip, by its name; empty where it is of all.
        variant: how it was got, such as the fill of what was removed.
        level: how far the variant went, such as a depth or a share of the bins.
        seed: of what was random.
    """

    figure: str
    value: float
    sound: str = ""
    variant: str = ""
    level: str = ""
    seed: int = 0


class Verdict(NamedTuple):
    """What a check says of a method.

    Args:
        check: its name.
        method: whose explanations.
        passed: whether they stand it; None where that cannot be told.
        said: why, in one plain line with the figures.
    """

    check: str
    method: str
    passed: bool | None
    said: str


@dataclass(frozen=True)
class Bench:
    """What checks are run on.

    Args:
        classifier: whose decisions are explained, frozen; it may be a quicker copy, with layers folded.
        original: the same with all its layers, for who changes them (in a copy).
        explainers: by method, all of this classifier, with masks on the STFT; their seed is set.
        material: clips that neither classifier nor explainers were trained on, and noises to add.
        clips: the indices of those that are explained.
        train: the clips that they were trained on, or may be, and noises; None where there are none.
        folder: where trainings and arrays are kept; what is there already is taken up.
        seed: of what is random.
        batch_size: sounds that are explained together.
        tell: is told what is at work within a step.
    """

    classifier: AudioClassifier
    original: AudioClassifier
    explainers: Mapping[str, Explainer]
    material: Material
    clips: tuple[int, ...]
    train: Material | None
    folder: Path
    seed: int = 0
    batch_size: int = 16
    tell: Callable[[str], None] = field(default=lambda _: None)

    def explainer(self, method: str) -> Explainer:
        """Return an explainer, ready: `class-mean` has seen the masks of all clips to train on."""
        explainer = self.explainers[method]
        if isinstance(explainer, ClassMean) and explainer.means is None:
            self._show_examples(explainer)
        return explainer

    def _show_examples(self, control: ClassMean) -> None:
        trained = self.explainers.get(TRAINED)
        if trained is None or self.train is None:
            given = f"class-mean takes the mean of the masks of {TRAINED} on clips to train on"
            raise ModelError(given, fix=f"add {TRAINED} to the methods, and clips to train on")
        both = {(TRAINED, control.domain): trained, (control.name, control.domain): control}
        self.tell("class means")
        learn_class_means(Task(self.classifier, both, self.train, {}))

    @property
    def training(self) -> Material:
        """The clips to train on.

        Raises:
            RecipeError: there are none.
        """
        if self.train is None:
            raise RecipeError("a check trains networks", "clips to train on", "pass --train-folds")
        return self.train

    @cached_property
    def audible(self) -> tuple[int, ...]:
        """The clips that are explained and not silent."""
        return tuple(index for index in self.clips if self.material.audible[index])

    def scenes(self, condition: str = "clean") -> Iterator[Scene]:
        """Yield batches of sounds, heard once; `Sounds.clips` of a scene are places in the material.

        Args:
            condition: one of `earmark.evaluation.protocol.CONDITIONS`.
        """
        for part in torch.tensor(self.audible, dtype=torch.long).split(self.batch_size):
            sounds = make_sounds(condition, self.material, part.tolist(), self.seed)
            everything = torch.arange(len(part))
            yield hear_sounds(self.classifier, sounds.part(everything, self.classifier.device))

    def names(self, scene: Scene) -> list[str]:
        """Return the names of a scene's clips."""
        return [self.material.names[index] for index in scene.sounds.clips.tolist()]


class NoSettings(BaseModel):
    """A check without any."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(ABC):
    """A question to explanations whose answer is known if they are true.

    Args:
        settings: of its `Settings`.

    Attributes:
        name: under which it is registered.
        summary: one line for people.
        Settings: what can be chosen.
        needs_training_clips: whether it works on `Bench.train`.
        long: whether it trains networks, and so is run only if it is asked for.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Settings: ClassVar[type[BaseModel]] = NoSettings
    needs_training_clips: ClassVar[bool] = False
    long: ClassVar[bool] = False

    def __init__(self, settings: BaseModel | None = None) -> None:
        self.settings = settings or self.Settings()

    def steps(self, bench: Bench) -> list[Step]:
        """Return the pieces of its work, in their order; by default one for each method."""
        return [Step(method) for method in bench.explainers]

    @abstractmethod
    def run(self, bench: Bench, step: Step) -> Iterator[Row]:
        """Do a piece and yield its figures; what it leaves in the folder it may take up again."""

    @abstractmethod
    def table(self, rows: DataFrame) -> DataFrame:
        """Sum the rows up: one row per method (the index), one column per figure for people.

        Args:
            rows: all of the check, with the columns method, part, figure, value, sound, variant, level, seed.
        """

    @abstractmethod
    def verdicts(self, rows: DataFrame) -> list[Verdict]:
        """Say of each method whether it stands the check; arguments as in `table`."""


# The file of each check in this folder, in the order in which they are told.
_FILES = {
    "randomisation": "randomisation",
    "retrained-labels": "retrained_labels",
    "roar": "roar",
    "road": "road",
    "curves": "curves",
    "mixtures": "mixtures",
    "planted": "planted",
    "leakage": "leakage",
    "heard": "heard",
}
_REGISTRY: dict[str, type[Check]] = {}
Kind = TypeVar("Kind", bound=type[Check])


def register(name: str) -> Callable[[Kind], Kind]:
    """Make a check known under a name."""

    def add(kind: Kind) -> Kind:
        kind.name = name
        _REGISTRY[name] = kind
        return kind

    return add


def names() -> list[str]:
    """Return the names of all known checks, in their order; those of others' own last."""
    return [*_FILES, *(name for name in _REGISTRY if name not in _FILES)]


def find(name: str) -> type[Check]:
    """Return the check of that name.

    Raises:
        RecipeError: there is none; the message lists those there are.

    >>> find("curves").name
    'curves'
    """
    if name not in _REGISTRY and name in _FILES:
        import_module(f"earmark.sanity.{_FILES[name]}")
    if name not in _REGISTRY:
        raise RecipeError(f"there is no check {name!r}", f"one of {', '.join(names())}", "pick one of these")
    return _REGISTRY[name]
