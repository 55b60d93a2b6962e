"""What every training by `earmark train` shares: its options, its clips, what scores an epoch, its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from earmark.cli.labels import few, known
from earmark.cli.own import METAVAR, is_own, of_file
from earmark.cli.runs import best_epoch, save_curves
from earmark.cli.terminal import say
from earmark.errors import DataError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from earmark.classifiers.base import AudioClassifier
    from earmark.classifiers.training import Clips
    from earmark.explainers.base import Explainer
    from earmark.model import Model
    from earmark.training.loop import LoopSettings, Row

Data = Annotated[
    Path, typer.Option(metavar="DIR", help="Clips with folds, laid out as ESC-50 or UrbanSound8K.")
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="The model folder; a stopped training goes on there.")]
Config = Annotated[Path | None, typer.Option(metavar="FILE", help="A recipe in YAML, see recipes/.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe; may be repeated."),
]
Noise = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Noise to mix in, laid out as WHAM!; tr/ is used."),
]

Devices = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Train on so many devices; a batch is shared between them."),
]
Nodes = Annotated[
    int | None, typer.Option("--num-nodes", metavar="N", min=1, help="On so many machines, N devices each.")
]
Precision = Annotated[
    str | None, typer.Option(metavar="NAME", help="32-true, bf16-mixed or 16-mixed, as Lightning has them.")
]

Explained = Annotated[str, typer.Option(metavar=METAVAR, help="Whose classifier is to be explained.")]


class Recipe(Protocol):
    """What all recipes have."""

    @property
    def train_folds(self) -> tuple[int, ...]:
        """Folds to train on."""

    @property
    def validate_folds(self) -> tuple[int, ...]:
        """Folds that choose the best epoch."""

    @property
    def loop(self) -> LoopSettings:
        """Epochs, rates, seed, device."""


def where(devices: int | None, nodes: int | None, precision: str | None) -> list[str]:
    """Return what options say of where a training runs, as changes of its recipe."""
    said = {"devices": devices, "num_nodes": nodes, "precision": precision}
    return [f"loop.{name}={value}" for name, value in said.items() if value is not None]


def start(settings: LoopSettings) -> str:
    """Start the processes of a training, and return the device of this one."""
    from earmark.training.processes import launch

    device = device_of(settings.device)
    fabric = launch(settings.model_copy(update={"device": device}))
    return str(fabric.device) if fabric.world_size > 1 else device


def device_of(name: str) -> str:
    """Return what torch calls the device that Lightning Fabric will choose."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    best = next(device for device in ("cuda", "mps", "cpu") if there[device])
    device = best if name in ("auto", "gpu") else name
    if not there.get(device):
        usable = ", ".join(device for device in there if there[device])
        raise RecipeError(f"loop.device is {name!r}", f"one of auto, {usable} on this machine")
    return device


def read_sounds(
    network: AudioClassifier, data: Path, recipe: Recipe, noise: Path | None
) -> tuple[Clips, Clips]:
    """Read the sounds to train on, and those that choose the epoch, into memory."""
    from earmark.classifiers.training import Clips
    from earmark.data.noise import read_noise

    rate = network.spectrogram.sample_rate
    noises = read_noise(noise, "tr", rate) if noise else []
    waveform, labels = _load(network, data, recipe.train_folds)
    if len(labels.unique()) < 2:
        given = f"the folds {recipe.train_folds} of {data} hold clips of one class of {few(network.labels)}"
        raise DataError(
            given, "at least two of them", "see that the labels are the data's, or change train_folds"
        )
    validate = Clips(*_load(network, data, recipe.validate_folds))
    say(
        f"{len(labels)} clips of {len(network.labels)} classes to train on,"
        f" {len(validate.labels)} to validate, {len(noises)} noises"
        + ("" if noises else " (the recipe's share of noise goes without: pass --noise)")
    )
    return Clips(waveform, labels, noises, not network.peak_normalised), validate


def _load(network: AudioClassifier, data: Path, folds: Sequence[int]) -> tuple[Tensor, Tensor]:
    from earmark.data.clips import load_all
    from earmark.data.datasets import read_clips

    wanted = set(network.labels)
    there = read_clips(data, folds)
    clips = [clip for clip in there if clip.label in wanted]
    if not clips:
        others = sorted({clip.label for clip in there})
        given = f"the folds {tuple(folds)} of {data} have clips of {few(others)} alone"
        fix = "pass the data that the classifier was made for"
        raise DataError(given, f"some of {known(network.labels, others)}", fix)
    rate, own_level = network.spectrogram.sample_rate, not network.peak_normalised
    return load_all(clips, network.labels, rate, network.seconds, own_level=own_level)


def scorer(
    explainer: Explainer,
    clips: Clips,
    batch_size: int,
    areas: Sequence[float] = (),
    absent: bool = False,
) -> Callable[[], Row]:
    """Return what scores an epoch: the mean scores on mixtures of the validation clips, always the same.

    Args:
        explainer: whose masks.
        clips: the validation clips.
        batch_size: sounds at a time.
        areas: shares of the bins at which binary masks are scored, too.
        absent: whether masks for classes that are not there are scored as well.
    """
    import torch

    from earmark.evaluation.runner import mean_scores, score_sounds
    from earmark.evaluation.targets import score_targets, two_classes
    from earmark.training.processes import count, share

    # Other mixtures than those that an evaluation makes by default: what chose the epoch must not judge it.
    sounds, classes = two_classes(clips.waveform, clips.labels, per_clip=1, snr_db=3.0, seed=1)
    third = len(explainer.classifier.labels) > 2  # or no class is absent from a mixture of two

    def score() -> Row:
        own = share(len(sounds)) if len(sounds) >= count() else slice(None)
        part = sounds.part(torch.arange(len(sounds))[own], sounds.source.device)
        scores = score_sounds(explainer, part, (None, *areas), batch_size)
        whole = {area: _gathered(found, len(sounds)) for area, found in scores.items()}
        row = mean_scores(whole.pop(None))
        for area, binary in whole.items():
            means = mean_scores(binary)
            row |= {f"{name} {area:g}": means[name] for name in ("AI", "AD", "AG", "FF", "Fid-In")}
        if absent and third and explainer.domain == "stft":
            empty = _gathered(score_targets(explainer, part, classes[own], batch_size), len(sounds))
            row["absent energy"] = float(empty["absent energy"].mean())
        return row

    return score


def _gathered(scores: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
    """Put the scores that each process has of its own sounds together, (sounds,) each."""
    from earmark.training.processes import count, gather_rows

    return {name: gather_rows(own) for name, own in scores.items()} if rows >= count() else scores


def what_next(model: str, base: Model, explainer: Explainer, data: Path, out: Path) -> list[str]:
    """Return what can be done with a trained explainer, and how its model is named in commands, in lines."""
    hints, name = [], str(out)
    if is_own(model):
        name, function = of_file(model, base, out)
        hints.append(f"next: add to {model.rpartition(':')[0]}: {function}")
    command = f"explain SOUND --model {name}"
    if explainer.domain == "features":
        hints.append("masks on features cannot be listened to")
        command = f"evaluate --model {name} --data {data} --domains features --out results.csv"
    return [*hints, f"{'then' if is_own(model) else 'next'}: earmark {command}"]


def finish(out: Path, model: Model, log: Sequence[Row], *hints: str) -> None:
    """Write the model, draw the curves, and say which epoch was kept and what can be done with it."""
    from earmark.model import save_model
    from earmark.training.processes import rank

    if rank():
        return  # the first process does it
    save_model(model, out)
    save_curves(out / "curves.png", log)
    say(f"kept epoch {best_epoch(log) + 1} of {len(log)} → {out}")
    for hint in hints:
        say(hint)
