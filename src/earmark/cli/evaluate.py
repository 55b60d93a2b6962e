"""`earmark evaluate`: every method on every sound of a data set, one row each."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earmark import __version__
from earmark.cli.labels import few, known
from earmark.cli.own import HELP as MODEL_HELP
from earmark.cli.own import METAVAR, find
from earmark.cli.runs import fingerprint
from earmark.cli.terminal import FAILED, STOPPED, make_writable, progress, say, say_error, say_stopped
from earmark.errors import DataError, EarmarkError, RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from earmark.data.clips import Clip
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
_NOISE_SPLIT = "tt"
_MOST_VOICES = 200  # of LJSpeech's 13100, which would fill the memory
_MOST_REASONS = 10  # told at the end
_CHOOSY = ("deeplift-shap", "gradcam", "gradcam++", "guided-backprop", "guided-gradcam")
"""Methods that need feature maps, or every ReLU to be a module; not all networks have these."""


def evaluate(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Clips laid out as ESC-50, UrbanSound8K, or a folder a class.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="results.csv or results.parquet; goes on where it stopped.")
    ],
    model: Annotated[str, typer.Option(metavar=METAVAR, help=MODEL_HELP)] = "esc10",
    methods: Annotated[
        str | None, typer.Option(metavar="A,B", help="Some of [bold]earmark methods[/bold]; all by default.")
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
    from earmark.evaluation.protocol import Material

    classifier = model.classifier.frozen()
    explainers = {which: one.of(classifier) for which, one in _explainers(model, recipe).items()}
    clips = _known(read_clips(data, recipe.folds), classifier.labels, data)
    rate = classifier.spectrogram.sample_rate
    noises, voices = _read_recordings(recipe, folders, rate)
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

    methods = recipe.methods or _usable(model, recipe.domains[0])
    if "class-mean" in methods and TRAINED not in methods:
        given = f"class-mean takes the mean of the masks of {TRAINED}, which is not among the methods"
        raise RecipeError(given, fix=f"add {TRAINED}, or leave class-mean out")
    scale: MaskScale | None = "log1p" if recipe.protocol == "paper" else None
    return {
        (method, domain): model.explainer(method).on(domain, scale)
        for method in methods
        for domain in recipe.domains
    }


def _usable(model: Model, domain: Domain) -> tuple[str, ...]:
    """Return the methods that can explain a model, and tell of others why they cannot."""
    from earmark.evaluation.evaluate import TRAINED
    from earmark.explainers.base import names, registered

    untrained = () if TRAINED in model.explainers else (TRAINED, "class-mean")
    methods = [name for name in names() if name not in untrained]
    # All that ask for gradients would be slow to try, and without gradients fail at once.
    blind = not model.classifier.passes_gradients()
    kinds = registered()
    for name in list(methods):
        if name in _CHOOSY or (blind and getattr(kinds[name], "needs_gradients", False)):
            reason = _refusal(model.explainer(name).on(domain))
            if reason:
                methods.remove(name)
                its = f"it{reason.removeprefix(name)}" if reason.startswith(f"{name} ") else reason
                typer.echo(f"{name} is left out: {its}", err=True)
    return tuple(methods)


def _refusal(explainer: Explainer) -> str:
    """Return why a method cannot explain one faint noise; nothing if it can."""
    import torch

    classifier = explainer.classifier
    samples = round(classifier.seconds * classifier.spectrogram.sample_rate)
    noise = 0.1 * torch.randn((1, samples), generator=torch.Generator().manual_seed(0))
    noise = noise.to(classifier.device)
    stft = classifier.spectrogram(noise / classifier.level(noise))
    try:
        explainer.masks(stft, torch.zeros(1, dtype=torch.long, device=stft.device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a method may raise
        line = str(error).partition("\n")[0]
        return line if isinstance(error, EarmarkError) else f"{type(error).__name__}: {line}"
    return ""


def _known(clips: Sequence[Clip], labels: Sequence[str], data: Path) -> list[Clip]:
    """Keep the clips of classes that the model knows, and tell which others there are."""
    kept = [clip for clip in clips if clip.label in labels]
    others = sorted({clip.label for clip in clips} - set(labels))
    if not kept:
        given = f"{data} has the classes {few(others)}"
        raise DataError(given, f"some that the model knows: {known(labels, others)}", "pass its own data")
    name, times = Counter(clip.name for clip in kept).most_common(1)[0]
    if times > 1:
        raise DataError(
            f"{data} has {times} clips named {name!r}", "each once", "rename or remove the others"
        )
    if others:
        left_out = len(clips) - len(kept)
        say(f"{left_out} clips of classes that the model does not know are left out: {few(others)}")
    return kept


def _read_recordings(
    recipe: EvaluationRecipe, folders: Mapping[str, Path | None], rate: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Read the noises and the voices that the conditions need."""
    from earmark.data.ljspeech import read_ljspeech
    from earmark.data.noise import read_noise_named
    from earmark.evaluation.protocol import CONDITIONS

    wanted = {CONDITIONS[name].option for name in recipe.conditions}
    noise, speech = (folders[name] if name in wanted else None for name in ("noise", "speech"))
    noises = read_noise_named(noise, _NOISE_SPLIT, rate) if noise else {}
    return noises, read_ljspeech(speech, rate, most=_MOST_VOICES) if speech else {}


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
    weights = [fingerprint(getattr(one, "decoder", None)) for one in model.explainers.values()]
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
