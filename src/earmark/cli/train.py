"""`earmark train`: a classifier from labelled clips, and the L-MAC that explains it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earmark.cli.labels import few, known
from earmark.cli.own import METAVAR, find, is_own, of_file
from earmark.cli.runs import best_epoch, fingerprint, open_run, reporting, save_curves
from earmark.cli.terminal import say
from earmark.errors import DataError, ModelError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from earmark.classifiers.base import AudioClassifier
    from earmark.classifiers.training import ClassifierRecipe, Clips
    from earmark.explainers.lmac.explainer import Lmac
    from earmark.explainers.lmac.training import LmacRecipe
    from earmark.model import Model
    from earmark.training.loop import Row

train = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Train a classifier, and the L-MAC that explains it, on your own clips.",
)

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


@train.command(
    no_args_is_help=True,
    epilog="[bold]Examples[/bold]\n\n"
    "earmark train classifier --data ESC-50 --out my-model\n\n"
    "earmark train classifier --data ESC-50 --out small --set width=0.25 --set loop.epochs=30",
)
def classifier(
    data: Data,
    out: Out,
    config: Config = None,
    changes: Changes = None,
    noise: Noise = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Begin with this model's weights."),
    ] = None,
) -> None:
    """Train a CNN14 on labelled clips; the epoch that is best on the validation folds is kept."""
    from earmark.classifiers.training import ClassifierRecipe, train_classifier
    from earmark.model import Model, load_model, save_model
    from earmark.training.recipe import load_recipe

    recipe = load_recipe(ClassifierRecipe, config, changes or ())
    device = _device(recipe.loop.device)
    labels = _labels(data, recipe)
    network = _network(recipe, labels)
    if init:
        _begin_with(network, load_model(init, device).classifier, init)
    inputs = {"--data": str(data.resolve()), "--noise": str(noise and noise.resolve())}
    open_run(out, "classifier", recipe, inputs | {"--init": fingerprint(network) if init else ""})
    clips, validate = _clips(network, data, recipe, noise)
    with reporting(recipe.loop.epochs) as report:
        log = train_classifier(network, clips, validate, recipe, out, report)
    save_model(Model(out.resolve().name, network), out)
    _finish(out, log, f"next: earmark train lmac --model {out} --data {data} --out {out}-lmac")


@train.command(
    no_args_is_help=True,
    epilog="[bold]Examples[/bold]\n\n"
    "earmark train lmac --model my-model --data ESC-50 --out my-explained-model\n\n"
    "earmark train lmac --model my-model --data ESC-50 --out tuned --finetune-from my-explained-model"
    " --config recipes/paper-finetuned.yaml\n\n"
    "earmark train lmac --model mynet.py:make --data ESC-50 --out mynet-lmac",
)
def lmac(
    model: Annotated[str, typer.Option(metavar=METAVAR, help="Whose classifier is to be explained.")],
    data: Data,
    out: Out,
    config: Config = None,
    changes: Changes = None,
    finetune_from: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A model folder whose L-MAC is trained further.")
    ] = None,
    noise: Noise = None,
) -> None:
    """Train the L-MAC that explains a classifier; the classifier stays as it is."""
    from earmark.explainers.lmac.training import LmacRecipe, train_lmac
    from earmark.model import Model, save_model
    from earmark.training.recipe import load_recipe

    recipe = load_recipe(LmacRecipe, config, changes or ())
    device = _device(recipe.loop.device)
    base = find(model, device)
    before = _earlier(finetune_from, base, recipe, device) if finetune_from else None
    explainer = _new_lmac(base.classifier, recipe, before)
    inputs = {"--data": str(data.resolve()), "--noise": str(noise and noise.resolve())}
    inputs["--model"] = fingerprint(base.classifier)
    inputs["--finetune-from"] = fingerprint(before.decoder if before else None)
    open_run(out, "fine-tuned lmac" if before else "lmac", recipe, inputs)
    clips, validate = _clips(base.classifier, data, recipe, noise)
    scores = _scorer(explainer, validate, recipe)
    with reporting(recipe.loop.epochs) as report:
        log = train_lmac(explainer, clips, recipe, out, scores, before, report)
    save_model(Model(out.resolve().name, base.classifier, base.explainers | {"lmac": explainer}), out)
    _finish(out, log, *_what_next(model, base, explainer, data, out))


def _device(name: str) -> str:
    """Return what torch calls the device that Lightning Fabric will choose."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    best = next(device for device in ("cuda", "mps", "cpu") if there[device])
    device = best if name in ("auto", "gpu") else name
    if not there.get(device):
        usable = ", ".join(device for device in there if there[device])
        raise RecipeError(f"loop.device is {name!r}", f"one of auto, {usable} on this machine")
    return device


def _labels(data: Path, recipe: ClassifierRecipe) -> tuple[str, ...]:
    """Return the recipe's classes, or all that the data's training and validation folds have."""
    from earmark.data.datasets import read_clips

    clips = read_clips(data, {*recipe.train_folds, *recipe.validate_folds}, recipe.labels)
    labels = recipe.labels or tuple(sorted({clip.label for clip in clips}))
    if len(labels) < 2:
        raise DataError(f"{data} has one class, {labels[0]!r}", "at least two", "add clips of another class")
    return labels


def _network(recipe: ClassifierRecipe, labels: tuple[str, ...]) -> AudioClassifier:
    import torch
    from pydantic import ValidationError

    from earmark.classifiers.cnn14 import Cnn14, Cnn14Config

    form = {"width", "n_mels", "mel_scale", "spectrogram", "dropout", "seconds"}
    settings = recipe.model_dump(include=form)
    try:
        config = Cnn14Config(labels=labels, **settings)
    except ValidationError as error:
        problem = error.errors()[0]
        key, given = problem["loc"][0], problem["input"]
        raise RecipeError(f"{key} is {given!r}: {problem['msg']}", fix=f"change {key}") from None
    torch.manual_seed(recipe.loop.seed)
    return Cnn14(config)


def _begin_with(network: AudioClassifier, earlier: AudioClassifier, folder: Path) -> None:
    """Copy the weights of a classifier of the same form and classes."""
    ours, theirs = network.state_dict(), earlier.state_dict()
    shapes = {name: value.shape for name, value in theirs.items()}
    if {name: value.shape for name, value in ours.items()} != shapes or network.labels != earlier.labels:
        given = f"the classifier of {folder} has another form or other classes"
        raise ModelError(given, "those of the recipe and the data", "change width, n_mels or labels")
    network.load_state_dict(theirs)


def _clips(
    network: AudioClassifier, data: Path, recipe: ClassifierRecipe | LmacRecipe, noise: Path | None
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


def _earlier(folder: Path, base: Model, recipe: LmacRecipe, device: str) -> Lmac:
    """Load the L-MAC to train further, and see that it belongs to the same classifier."""
    from earmark.explainers.lmac.explainer import Lmac
    from earmark.model import lacks_classifier, load_model

    model = load_model(folder, device, base.classifier if lacks_classifier(folder) else None)
    explainer = model.explainers.get("lmac")
    if not isinstance(explainer, Lmac):
        raise ModelError(f"{folder} has no trained lmac", fix="train one first, without --finetune-from")
    if not _same(base.classifier, model.classifier):
        given = f"the lmac of {folder} was trained for another classifier than {base.name!r}"
        raise ModelError(given, fix=f"pass --model {folder}")
    if "decoder" in recipe.model_fields_set and recipe.decoder != explainer.config.decoder:
        given = f"the recipe's decoder is not that of {folder}"
        raise RecipeError(given, fix="leave the decoder out of it: a decoder keeps its form")
    return explainer


def _same(one: AudioClassifier, other: AudioClassifier) -> bool:
    """Whether two classifiers are one, as near as half precision can tell."""
    import torch

    ours, theirs = one.state_dict(), other.state_dict()
    return (
        one.labels == other.labels
        and ours.keys() == theirs.keys()
        and all(ours[name].shape == theirs[name].shape for name in ours)
        and all(torch.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-3) for name in ours)
    )


def _new_lmac(network: AudioClassifier, recipe: LmacRecipe, before: Lmac | None) -> Lmac:
    import torch

    from earmark.explainers.lmac.explainer import Lmac, LmacConfig
    from earmark.training.recipe import recipe_hash

    stage = "fine-tuned" if before else "trained"
    description = f"{stage} by recipe {recipe_hash(recipe)}, seed {recipe.loop.seed}"
    if before:
        description = f"{before.config.description}; {description}"
    decoder = before.config.decoder if before else recipe.decoder
    scale = before.config.scale if before else recipe.scale
    torch.manual_seed(recipe.loop.seed)
    explainer = Lmac(network, LmacConfig(decoder=decoder, scale=scale, description=description))
    if before:
        explainer.decoder.load_state_dict(before.decoder.state_dict())
    return explainer


def _scorer(explainer: Lmac, clips: Clips, recipe: LmacRecipe) -> Callable[[], Row]:
    """Return what scores an epoch: the mean scores on mixtures of the validation clips, always the same."""
    from earmark.evaluation.runner import mean_scores, score_sounds
    from earmark.evaluation.targets import score_targets, two_classes

    # Other mixtures than those that an evaluation makes by default: what chose the epoch must not judge it.
    sounds, classes = two_classes(clips.waveform, clips.labels, per_clip=1, snr_db=3.0, seed=1)
    third = len(explainer.classifier.labels) > 2  # or no class is absent from a mixture of two

    def score() -> Row:
        scores = score_sounds(explainer, sounds, (None, *recipe.areas), recipe.loop.batch_size)
        row = mean_scores(scores.pop(None))
        for area, binary in scores.items():
            means = mean_scores(binary)
            row |= {f"{name} {area:g}": means[name] for name in ("AI", "AD", "AG", "FF", "Fid-In")}
        if recipe.scenes.absent and third and explainer.domain == "stft":
            empty = score_targets(explainer, sounds, classes, recipe.loop.batch_size)["absent energy"]
            row["absent energy"] = float(empty.mean())
        return row

    return score


def _what_next(model: str, base: Model, explainer: Lmac, data: Path, out: Path) -> list[str]:
    """Return what can be done with a trained L-MAC, and how its model is named in commands, in lines."""
    hints, name = [], str(out)
    if is_own(model):
        name, function = of_file(model, base, out)
        hints.append(f"next: add to {model.rpartition(':')[0]}: {function}")
    command = f"explain SOUND --model {name}"
    if explainer.domain == "features":
        hints.append("masks on features cannot be listened to")
        command = f"evaluate --model {name} --data {data} --domains features --out results.csv"
    return [*hints, f"{'then' if is_own(model) else 'next'}: earmark {command}"]


def _finish(out: Path, log: Sequence[Row], *hints: str) -> None:
    save_curves(out / "curves.png", log)
    say(f"kept epoch {best_epoch(log) + 1} of {len(log)} → {out}")
    for hint in hints:
        say(hint)
