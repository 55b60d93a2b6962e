"""`earmark sanity`: do explanations stand checks that untrue ones fail?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earmark import __version__
from earmark.cli.choosing import explainers_of, of_known_classes, read_recordings
from earmark.cli.own import HELP as MODEL_HELP
from earmark.cli.own import METAVAR, find
from earmark.cli.sanity_report import tell, write_report
from earmark.cli.terminal import FAILED, STOPPED, make_writable, progress, say, say_stopped
from earmark.errors import DataError, RecipeError

if TYPE_CHECKING:
    from earmark.evaluation.protocol import Material
    from earmark.evaluation.results import Journal
    from earmark.explainers.base import Explainer
    from earmark.model import Model
    from earmark.sanity.base import Bench, Check
    from earmark.sanity.recipe import SanityRecipe

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark sanity --data ESC-50 --folds 5 --methods lmac,gradcam,random\n\n"
    "earmark sanity --model my-model --data ESC-50 --train-folds 1,2,3 --checks roar,leakage"
    " --out checked\n\n"
    "earmark sanity --data ESC-50 --train-folds 1,2,3 --checks all --noise wham_noise"
)
ROWS = "sanity.csv"


def sanity(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Clips laid out as ESC-50, UrbanSound8K, or a folder a class.")
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Rows, tables, figures and trainings; goes on where it stopped."),
    ] = Path("sanity"),
    model: Annotated[str, typer.Option(metavar=METAVAR, help=MODEL_HELP)] = "esc10",
    checks: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Some of those below, or all; those that train nothing by default."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Some of [bold]earmark methods[/bold]; all but costly ones by default."
        ),
    ] = None,
    folds: Annotated[
        str | None, typer.Option(metavar="A,B", help="Whose clips are explained; all but --train-folds.")
    ] = None,
    train_folds: Annotated[
        str | None, typer.Option(metavar="A,B", help="Whose clips checks may train on, as the model was.")
    ] = None,
    clips: Annotated[
        str | None, typer.Option(metavar="N", help="Explain so many, evenly chosen, or all; 24 by default.")
    ] = None,
    noise: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Noise to train with, laid out as WHAM!; tr/ is used.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A recipe in YAML.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Such as settings.roar.epochs=10; may be repeated."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps …")] = "cpu",
) -> None:
    """Check whether explanations are true: a verdict for each method and check, tables and figures.

    [bold]randomisation[/bold]: do they change with the network? · [bold]curves[/bold], [bold]road[/bold]:
    does the decision go with what they show, whatever is put in its place? · [bold]mixtures[/bold]: do they
    find the sound that was decided for? · [bold]heard[/bold]: is what is heard what is scored? Those that
    train take minutes to an hour: [bold]retrained-labels[/bold], [bold]roar[/bold], [bold]planted[/bold],
    [bold]leakage[/bold].
    """
    lists = {"checks": checks, "methods": methods, "folds": folds, "train_folds": train_folds}
    recipe = _recipe(config, lists, clips, changes or ())
    make_writable(out)
    loaded = find(model, device)
    bench = _bench(loaded, recipe, data, noise, out)
    wanted = recipe.make()
    from earmark.evaluation.results import opened
    from earmark.sanity.rows import LAYOUT, read_checks

    settings = {check.name: _hash([check.settings.model_dump(mode="json")]) for check in wanted}
    with opened(out / ROWS, _same(loaded, recipe, bench), settings, LAYOUT) as journal:
        if journal.done:
            say(f"{out / ROWS} holds {len(journal.done)} rows already: going on after them")
        _run(wanted, bench, journal)
    failed = tell(wanted, read_checks(out / ROWS))
    for path in write_report(wanted, read_checks(out / ROWS), out):
        say(f"→ {path}")
    if failed:
        raise typer.Exit(FAILED)


def _recipe(
    config: Path | None, lists: Mapping[str, str | None], clips: str | None, changes: Sequence[str]
) -> SanityRecipe:
    from earmark.sanity.base import names
    from earmark.sanity.recipe import SanityRecipe
    from earmark.training.recipe import load_recipe

    values: dict[str, Any] = {name: _listed(text) for name, text in lists.items() if text is not None}
    if values.get("checks") == ["all"]:
        values["checks"] = names()
    laid = [f"{name}={json.dumps(value)}" for name, value in values.items()]
    if clips is not None:
        laid.append(f"clips={'null' if clips == 'all' else json.dumps(clips)}")
    recipe = load_recipe(SanityRecipe, config, [*laid, *changes])
    _check_training_clips(recipe)
    return recipe


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _check_training_clips(recipe: SanityRecipe) -> None:
    from earmark.sanity.base import find as find_check

    if recipe.train_folds and set(recipe.train_folds) & set(recipe.folds or ()):
        given = f"folds {recipe.folds} and train_folds {recipe.train_folds} share some"
        raise RecipeError(given, "clips to explain that nothing was trained on", "choose others")
    if recipe.train_folds:
        return
    needy = [name for name in recipe.checks if find_check(name).needs_training_clips]
    if needy:
        fix = "pass --train-folds, such as 1,2,3"
        raise RecipeError(f"{', '.join(needy)} must be given clips to train on", fix=fix)


def _bench(model: Model, recipe: SanityRecipe, data: Path, noise: Path | None, out: Path) -> Bench:
    import torch

    from earmark.sanity.base import Bench

    classifier = model.classifier.frozen()
    material, train = _materials(model, recipe, data, noise)
    count = len(material.names)
    chosen = torch.linspace(0, count - 1, min(recipe.clips or count, count)).round().long().unique()
    explainers = _explainers(model, recipe)
    say(f"{len(chosen)} clips; methods: {', '.join(explainers)}")
    return Bench(
        classifier=classifier,
        original=model.classifier,
        explainers={name: one.of(classifier) for name, one in explainers.items()},
        material=material,
        clips=tuple(chosen.tolist()),
        train=train,
        folder=out,
        seed=recipe.seed,
        batch_size=recipe.batch_size,
    )


def _materials(
    model: Model, recipe: SanityRecipe, data: Path, noise: Path | None
) -> tuple[Material, Material | None]:
    """Read the clips to explain, and those to train on."""
    from earmark.data.datasets import read_clips

    folds = recipe.folds
    if folds is None and recipe.train_folds:
        there, trained = (
            {clip.fold for clip in read_clips(data, some) if clip.fold is not None}
            for some in (None, recipe.train_folds)
        )
        folds = tuple(sorted(there - trained))
        if not folds:
            given = f"all folds of {data} are train_folds"
            raise DataError(given, "a fold to explain that nothing was trained on", "leave one out")
    train = _material(model, data, recipe.train_folds, noise) if recipe.train_folds else None
    return _material(model, data, folds, None), train


def _material(model: Model, data: Path, folds: Sequence[int] | None, noise: Path | None) -> Material:
    from earmark.cli.terminal import say_error
    from earmark.data.clips import load_each
    from earmark.data.datasets import read_clips
    from earmark.evaluation.protocol import Material

    classifier = model.classifier
    clips = of_known_classes(read_clips(data, folds), classifier.labels, data)
    rate, own_level = classifier.spectrogram.sample_rate, not classifier.peak_normalised
    waveform, labels, failures = load_each(
        clips, classifier.labels, rate, classifier.seconds, own_level=own_level
    )
    for index, why in failures.items():
        say_error(f"{clips[index].path} is left out: {why}")
    noises, _ = read_recordings({"noise"}, {"noise": noise}, rate, split="tr")
    return Material(tuple(clip.name for clip in clips), waveform, labels, noises)


def _explainers(model: Model, recipe: SanityRecipe) -> dict[str, Explainer]:
    from earmark.evaluation.evaluate import TRAINED

    found = {
        method: explainer for (method, _), explainer in explainers_of(model, recipe.methods, ["stft"]).items()
    }
    if "class-mean" in found and not (recipe.train_folds and TRAINED in found):
        if recipe.methods:
            given = f"class-mean takes the mean of the masks of {TRAINED} on clips to train on"
            raise RecipeError(given, fix=f"add {TRAINED} and --train-folds, or leave class-mean out")
        del found["class-mean"]
    for explainer in found.values():
        explainer.seed = recipe.seed
    return found


def _same(model: Model, recipe: SanityRecipe, bench: Bench) -> dict[str, str]:
    """Return what makes rows comparable: versions, the model, and a hash of what else they depend on."""
    import torch

    sounds = [
        [material.names, material.labels.tolist(), material.audible.tolist(), sorted(material.noises)]
        for material in (bench.material, bench.train)
        if material
    ]
    return {
        "model": model.name,
        "earmark": __version__,
        "torch": str(torch.__version__),
        "recipe": _hash([model.fingerprints(), sounds, bench.clips, recipe.seed]),
    }


def _hash(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]


def _run(checks: Sequence[Check], bench: Bench, journal: Journal) -> None:
    """Run the checks under a progress bar."""
    from earmark.sanity.runner import run_checks

    try:
        with progress() as display:
            bar = display.add_task("checking", total=None) if display else None
            at = ""

            def report(done: int, total: int, step: str) -> None:
                nonlocal at
                at = step
                if display and bar is not None:
                    display.update(bar, completed=done, total=total, description=step)

            def within(what: str) -> None:
                if display and bar is not None:
                    display.update(bar, description=f"{at} · {what}")

            run_checks(checks, replace(bench, tell=within), journal, report)
    except KeyboardInterrupt as error:
        say_stopped("the same command goes on from here")
        raise typer.Exit(STOPPED) from error
