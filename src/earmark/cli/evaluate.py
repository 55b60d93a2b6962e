"""`earmark evaluate`: every method on every sound of a data set, one row each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earmark import __version__
from earmark.cli.choosing import explainers_of, of_known_classes, read_recordings
from earmark.cli.own import HELP as MODEL_HELP
from earmark.cli.own import METAVAR, find
from earmark.cli.runs import fingerprint
from earmark.cli.terminal import FAILED, STOPPED, make_writable, progress, say, say_error, say_stopped
from earmark.errors import DataError, RecipeError

if TYPE_CHECKING:
    from earmark.evaluation.evaluate import EvaluationRecipe, Task
    from earmark.evaluation.protocol import Material
    from earmark.evaluation.results import Journal
    from earmark.explainers.base import Domain, Explainer
    from earmark.features.masking import MaskScale
    from earmark.model import Model

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark evaluate --data ESC-50 --folds 5 --conditions mixtures,white-noise --out results.csv\n\n"
    "earmark evaluate --model my-model --data ESC-50 --noise wham_noise --speech LJSpeech-1.1"
    " --methods lmac,gradcam,loudest --areas soft,0.05,0.2 --out results.parquet\n\n"
    "earmark tables results.csv"
)
_MOST_REASONS = 10  # told at the end


def evaluate(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Clips laid out as ESC-50, UrbanSound8K, or a folder a class.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="results.csv or results.parquet; goes on where it stopped.")
    ],
    model: Annotated[str, typer.Option(metavar=METAVAR, help=MODEL_HELP)] = "esc10",
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Some of [bold]earmark methods[/bold]; all but costly ones by default."
        ),
    ] = None,
    conditions: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Some of clean, in-domain, mixtures, white-noise, speech; clean not by default.",
        ),
    ] = None,
    domains: Annotated[
        str | None, typer.Option(metavar="A,B", help="Where masks live: stft (by default), features.")
    ] = None,
    areas: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="'soft', and shares of the bins to keep; soft,0.05,0.2 by default."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="A,B", help="Of what is random; 0 by default.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="corrected|paper", help="By definition (default), or as the authors' program computes."
        ),
    ] = None,
    folds: Annotated[str | None, typer.Option(metavar="A,B", help="Of the data; all by default.")] = None,
    clips: Annotated[int | None, typer.Option(metavar="N", help="Only so many, evenly chosen.")] = None,
    noise: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For in-domain: noise laid out as WHAM!; tt/ is used.")
    ] = None,
    speech: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For speech: voices laid out as LJSpeech-1.1.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A recipe in YAML.")] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps …")] = "cpu",
) -> None:
    """Score explainers on the clips of a data set: one row per sound, method, domain and mask area.

    A killed run goes on where it was when the same command is given again; so does a finished one that is
    given more methods, conditions, seeds or areas. What fails is named, and leaves its figures empty.
    [bold]earmark tables[/bold] sums the rows up.
    """
    lists = {"methods": methods, "conditions": conditions, "domains": domains, "areas": areas}
    lists |= {"seeds": seeds, "folds": folds}
    recipe = _recipe(config, lists, {"protocol": protocol, "clips": clips})
    folders = {"noise": noise, "speech": speech}
    _check_options(recipe, folders)
    from earmark.evaluation.results import check_results_path, opened

    check_results_path(out)
    make_writable(out.parent)
    loaded = find(model, device)
    task = _task(loaded, recipe, data, folders)
    with opened(out, _same(loaded, recipe, task), _recordings(recipe, task.material)) as journal:
        if journal.done:
            say(f"{out} holds {len(journal.done)} rows already: going on after them")
        _run(task, recipe, journal)
    say(f"{len(journal.done)} rows → {out}")
    say(f"next: earmark tables {out}")
    if journal.failed:
        _tell_failures(journal)
        raise typer.Exit(FAILED)


def _recipe(
    config: Path | None, lists: Mapping[str, str | None], others: Mapping[str, Any]
) -> EvaluationRecipe:
    """Lay the options over the recipe, which makes numbers of them."""
    from earmark.evaluation.evaluate import EvaluationRecipe
    from earmark.training.recipe import load_recipe

    values = {name: _listed(text) for name, text in lists.items() if text is not None} | dict(others)
    changes = [f"{name}={json.dumps(value)}" for name, value in values.items() if value is not None]
    return load_recipe(EvaluationRecipe, config, changes)


def _listed(text: str) -> list[str | None]:
    parts = [part.strip() for part in text.split(",")]
    return [None if part == "soft" else part for part in parts if part]


def _check_options(recipe: EvaluationRecipe, folders: Mapping[str, Path | None]) -> None:
    from earmark.evaluation.protocol import CONDITIONS
    from earmark.explainers.base import find

    for method in recipe.methods or ():
        find(method)
    for name in recipe.conditions:
        option = CONDITIONS[name].option
        if option and folders[option] is None:
            given = f"the condition {name} ({CONDITIONS[name].summary}) needs --{option}"
            others = ",".join(other for other in recipe.conditions if not CONDITIONS[other].option)
            fix = f"pass it, or --conditions {others or 'mixtures,white-noise'}"
            raise RecipeError(given, fix=fix)


def _task(model: Model, recipe: EvaluationRecipe, data: Path, folders: Mapping[str, Path | None]) -> Task:
    from earmark.data.clips import load_each
    from earmark.data.datasets import read_clips
    from earmark.evaluation.evaluate import Task
    from earmark.evaluation.protocol import CONDITIONS, Material

    classifier = model.classifier.frozen()
    explainers = {which: one.of(classifier) for which, one in _explainers(model, recipe).items()}
    clips = of_known_classes(read_clips(data, recipe.folds), classifier.labels, data)
    rate = classifier.spectrogram.sample_rate
    wanted = {CONDITIONS[name].option for name in recipe.conditions}
    noises, voices = read_recordings(wanted, folders, rate)
    waveform, labels, failures = load_each(
        clips, classifier.labels, rate, classifier.seconds, own_level=not classifier.peak_normalised
    )
    material = Material(tuple(clip.name for clip in clips), waveform, labels, noises, voices)
    _check_mixable(recipe, material)
    methods = dict.fromkeys(method for method, _ in explainers)
    say(f"{min(recipe.clips or len(clips), len(clips))} clips; methods: {', '.join(methods)}")
    return Task(classifier, explainers, material, failures)


def _explainers(model: Model, recipe: EvaluationRecipe) -> dict[tuple[str, Domain], Explainer]:
    """Return the recipe's explainers, by method and domain; what needs a training only if asked for."""
    from earmark.evaluation.evaluate import TRAINED

    found = explainers_of(model, recipe.methods, recipe.domains)
    methods = {method for method, _ in found}
    if "class-mean" in methods and TRAINED not in methods:
        given = f"class-mean takes the mean of the masks of {TRAINED}, which is not among the methods"
        raise RecipeError(given, fix=f"add {TRAINED}, or leave class-mean out")
    scale: MaskScale | None = "log1p" if recipe.protocol == "paper" else None
    return {which: explainer.on(which[1], scale) for which, explainer in found.items()}


def _check_mixable(recipe: EvaluationRecipe, material: Material) -> None:
    """Say before hours of work that there is nothing to mix with."""
    if "mixtures" in recipe.conditions and len(material.labels[material.audible].unique()) < 2:
        given = "the clips that can be heard are of one class, so there is none of another to mix them with"
        raise DataError(given, "clips of two classes", "add some, or leave the condition mixtures out")


def _same(model: Model, recipe: EvaluationRecipe, task: Task) -> dict[str, str]:
    """Return what makes rows comparable, but for what was mixed in: versions, the model, and a hash."""
    import torch

    material = task.material
    clips = [material.names, material.labels.tolist(), material.audible.tolist()]
    weights = [fingerprint(one.weights) for one in model.explainers.values()]
    return {
        "protocol": recipe.protocol,
        "model": model.name,
        "earmark": __version__,
        "torch": str(torch.__version__),
        # Another number of clips is another choice among them.
        "recipe": _hash([fingerprint(model.classifier), weights, clips, recipe.clips]),
    }


def _recordings(recipe: EvaluationRecipe, material: Material) -> dict[str, str]:
    """Return a hash of what is drawn from for each condition; nothing where that is not recordings."""
    from earmark.evaluation.protocol import CONDITIONS

    there = {"noise": material.noises, "speech": material.speech}
    hashes = {option: _hash(sorted(recordings)) for option, recordings in there.items()}
    return {name: hashes.get(CONDITIONS[name].option, "") for name in recipe.conditions}


def _hash(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]


def _run(task: Task, recipe: EvaluationRecipe, journal: Journal) -> None:
    """Evaluate under a progress bar."""
    from earmark.evaluation.evaluate import evaluate as run

    try:
        with progress() as display:
            bar = display.add_task("evaluating", total=None) if display else None

            def report(done: int, total: int, at: str) -> None:
                if display and bar is not None:
                    display.update(bar, completed=done, total=total, description=at)

            run(task, recipe, journal, report)
    except KeyboardInterrupt as error:
        say_stopped("the same command goes on from here")
        raise typer.Exit(STOPPED) from error


def _tell_failures(journal: Journal) -> None:
    """Name what failed, once per reason."""
    from earmark.evaluation.results import KEY

    sounds: dict[str, dict[str, None]] = {}
    for key, reason in journal.failed.items():
        sounds.setdefault(reason, {})[key[KEY.index("sound")]] = None
    for reason, names in list(sounds.items())[:_MOST_REASONS]:
        first, *others = names
        say_error(f"{first}{f' and {len(others)} more' if others else ''}: {reason}")
    say_error(f"{len(journal.failed)} of {len(journal.done)} rows failed, see the column error")
