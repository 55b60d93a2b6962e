"""`earmark train`: a classifier from labelled clips, and what explains it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earmark.cli.own import find
from earmark.cli.runs import fingerprint, open_run, reporting
from earmark.cli.train_explainer import add_methods
from earmark.cli.train_simclr import EXAMPLES as SIMCLR_EXAMPLES
from earmark.cli.train_simclr import simclr
from earmark.cli.training import (
    Changes,
    Config,
    Data,
    Devices,
    Explained,
    Nodes,
    Noise,
    Out,
    Precision,
    finish,
    read_sounds,
    scorer,
    start,
    what_next,
    where,
)
from earmark.errors import DataError, ModelError, RecipeError

if TYPE_CHECKING:
    from earmark.classifiers.base import AudioClassifier
    from earmark.classifiers.cnn14 import Cnn14
    from earmark.classifiers.training import ClassifierRecipe
    from earmark.explainers.lmac.explainer import Lmac
    from earmark.explainers.lmac.training import LmacRecipe
    from earmark.model import Model

train = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Train a classifier, and the L-MAC or another method that explains it, on your own clips.",
)

train.command(no_args_is_help=True, epilog=SIMCLR_EXAMPLES)(simclr)


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
        typer.Option(metavar="DIR", help="Begin with the weights of this model, or of what simclr made."),
    ] = None,
    devices: Devices = None,
    nodes: Nodes = None,
    precision: Precision = None,
) -> None:
    """Train a CNN14 on labelled clips; the epoch that is best on the validation folds is kept."""
    from earmark.classifiers.encoder import begin_with, is_encoder
    from earmark.classifiers.training import ClassifierRecipe, few_of_each, train_classifier
    from earmark.model import Model, load_model
    from earmark.training.recipe import load_recipe

    recipe = load_recipe(ClassifierRecipe, config, [*(changes or ()), *where(devices, nodes, precision)])
    device = start(recipe.loop)
    labels = _labels(data, recipe)
    network = _network(recipe, labels)
    if init and is_encoder(init):
        begin_with(network, init)
    elif init:
        _begin_with(network, load_model(init, device).classifier, init)
    inputs = {"--data": str(data.resolve()), "--noise": str(noise and noise.resolve())}
    open_run(out, "classifier", recipe, inputs | {"--init": fingerprint(network) if init else ""})
    clips, validate = read_sounds(network, data, recipe, noise)
    clips = few_of_each(clips, recipe.clips_per_class, recipe.loop.seed)
    with reporting(recipe.loop.epochs) as report:
        log = train_classifier(network, clips, validate, recipe, out, report)
    finish(
        out,
        Model(out.resolve().name, network),
        log,
        f"next: earmark train lmac --model {out} --data {data} --out {out}-lmac",
    )


@train.command(
    no_args_is_help=True,
    epilog="[bold]Examples[/bold]\n\n"
    "earmark train lmac --model my-model --data ESC-50 --out my-explained-model\n\n"
    "earmark train lmac --model my-model --data ESC-50 --out tuned --finetune-from my-explained-model"
    " --config recipes/paper-finetuned.yaml\n\n"
    "earmark train lmac --model mynet.py:make --data ESC-50 --out mynet-lmac",
)
def lmac(
    model: Explained,
    data: Data,
    out: Out,
    config: Config = None,
    changes: Changes = None,
    finetune_from: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A model folder whose L-MAC is trained further.")
    ] = None,
    noise: Noise = None,
    devices: Devices = None,
    nodes: Nodes = None,
    precision: Precision = None,
) -> None:
    """Train the L-MAC that explains a classifier; the classifier stays as it is."""
    from earmark.explainers.lmac.training import LmacRecipe, train_lmac
    from earmark.model import Model
    from earmark.training.recipe import load_recipe

    recipe = load_recipe(LmacRecipe, config, [*(changes or ()), *where(devices, nodes, precision)])
    device = start(recipe.loop)
    base = find(model, device)
    before = _earlier(finetune_from, base, recipe, device) if finetune_from else None
    explainer = _new_lmac(base.classifier, recipe, before)
    inputs = {"--data": str(data.resolve()), "--noise": str(noise and noise.resolve())}
    inputs["--model"] = fingerprint(base.classifier)
    inputs["--finetune-from"] = fingerprint(before.decoder if before else None)
    open_run(out, "fine-tuned lmac" if before else "lmac", recipe, inputs)
    clips, validate = read_sounds(base.classifier, data, recipe, noise)
    scores = scorer(explainer, validate, recipe.loop.batch_size, recipe.areas, recipe.scenes.absent > 0)
    with reporting(recipe.loop.epochs) as report:
        log = train_lmac(explainer, clips, recipe, out, scores, before, report)
    trained = Model(out.resolve().name, base.classifier, base.explainers | {"lmac": explainer})
    finish(out, trained, log, *what_next(model, base, explainer, data, out))


def _labels(data: Path, recipe: ClassifierRecipe) -> tuple[str, ...]:
    """Return the recipe's classes, or all that the data's training and validation folds have."""

    from earmark.data.datasets import read_clips

    clips = read_clips(data, {*recipe.train_folds, *recipe.validate_folds}, recipe.labels)
    labels = recipe.labels or tuple(sorted({clip.label for clip in clips}))
    if len(labels) < 2:
        raise DataError(f"{data} has one class, {labels[0]!r}", "at least two", "add clips of another class")
    return labels


def _network(recipe: ClassifierRecipe, labels: tuple[str, ...]) -> Cnn14:
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


add_methods(train)
