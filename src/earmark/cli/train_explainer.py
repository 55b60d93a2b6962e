"""`earmark train l2i`, `piq`, `lmac-td`: the methods beside L-MAC that have weights, all trained one way."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from earmark.cli.own import find
from earmark.cli.runs import fingerprint, open_run, reporting
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

if TYPE_CHECKING:
    from pydantic import BaseModel

    from earmark.classifiers.base import AudioClassifier
    from earmark.explainers.base import Trained


class _Method(NamedTuple):
    """A method that is trained.

    Args:
        file: what trains it, in `earmark.explainers`.
        recipe: its settings, a class in there; of its fields one is the explainer's config.
        config: that field.
        train: the function in there.
        does: what the command does, for its help.
    """

    file: str
    recipe: str
    config: str
    train: str
    does: str


_METHODS = {
    "l2i": _Method(
        "l2i.training", "L2iRecipe", "interpreter", "train_l2i", "the dictionary and interpreter of L2I"
    ),
    "piq": _Method("piq.training", "PiqRecipe", "piq", "train_piq", "the codes and decoder of PIQ"),
    "lmac-td": _Method(
        "lmac_td.training", "LmacTdRecipe", "network", "train_lmac_td", "the separator of LMAC-TD"
    ),
}


def add_methods(commands: typer.Typer) -> None:
    """Add a command for each method."""
    for name in _METHODS:
        commands.command(
            name,
            no_args_is_help=True,
            help=f"Train {_METHODS[name].does}, which explains a classifier; the classifier stays as it is.",
            epilog="[bold]Examples[/bold]\n\n"
            f"earmark train {name} --model my-model --data ESC-50 --out my-explained-model\n\n"
            f"earmark train {name} --model esc10 --data ESC-50 --out quick --set loop.epochs=5",
        )(_command(name))


def _command(name: str) -> Callable[..., None]:
    def run(
        model: Explained,
        data: Data,
        out: Out,
        config: Config = None,
        changes: Changes = None,
        noise: Noise = None,
        devices: Devices = None,
        nodes: Nodes = None,
        precision: Precision = None,
    ) -> None:
        wanted = [*(changes or ()), *where(devices, nodes, precision)]
        _train(name, model, data, out, config, wanted, noise)

    return run


def _train(
    name: str, model: str, data: Path, out: Path, config: Path | None, changes: Any, noise: Path | None
) -> None:
    from earmark.model import Model
    from earmark.training.recipe import load_recipe

    method = _METHODS[name]
    module = import_module(f"earmark.explainers.{method.file}")
    recipe = load_recipe(getattr(module, method.recipe), config, changes)
    base = find(model, start(recipe.loop))
    explainer = _new(name, base.classifier, recipe)
    inputs = {"--data": str(data.resolve()), "--noise": str(noise and noise.resolve())}
    open_run(out, name, recipe, inputs | {"--model": fingerprint(base.classifier)})
    clips, validate = read_sounds(base.classifier, data, recipe, noise)
    areas = getattr(recipe, "areas", ())
    scores = scorer(explainer, validate, recipe.loop.batch_size, areas)
    with reporting(recipe.loop.epochs) as report:
        log = getattr(module, method.train)(explainer, clips, recipe, out, scores, report)
    trained = Model(out.resolve().name, base.classifier, base.explainers | {name: explainer})
    finish(out, trained, log, *what_next(model, base, explainer, data, out))


def _new(name: str, classifier: AudioClassifier, recipe: BaseModel) -> Trained:
    """Build an explainer with new weights as a recipe says."""
    import torch

    from earmark.explainers.base import find as find_method
    from earmark.training.recipe import recipe_hash

    loop = recipe.loop  # type: ignore[attr-defined]
    described = f"trained by recipe {recipe_hash(recipe)}, seed {loop.seed}"
    config = getattr(recipe, _METHODS[name].config).model_copy(update={"description": described})
    torch.manual_seed(loop.seed)
    explainer: Trained = find_method(name)(classifier, config)  # type: ignore[assignment]
    return explainer
