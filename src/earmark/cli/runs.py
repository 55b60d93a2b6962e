"""The folder of a training: whose it is, what is told while it runs, and the curves it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from earmark import __version__
from earmark.cli.terminal import STOPPED, make_writable, progress, say, say_stopped
from earmark.errors import RecipeError
from earmark.files import whole, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pydantic import BaseModel
    from torch import nn

    from earmark.training.loop import Row

_NOT_FIGURES = ("epoch", "seconds")
_COLUMNS = 4  # of the picture of curves


def open_run(out: Path, command: str, recipe: BaseModel, inputs: Mapping[str, str]) -> None:
    """Make a training's folder and note the recipe in it, or see that a started training is the same one.

    Args:
        out: the folder.
        command: what is trained: "classifier", "lmac" or "fine-tuned lmac".
        recipe: the settings.
        inputs: what else the result depends on, by option, as `fingerprint` or a path has it.

    Raises:
        OutputError: nothing can be written there.
        RecipeError: the folder holds another training.
    """
    from earmark.training.recipe import WHERE, recipe_hash

    make_writable(out)
    # Where and how fast it is computed may change between sittings.
    settings = recipe.model_dump(mode="json", exclude={"loop": WHERE})
    note = {"command": command, "hash": recipe_hash(recipe), "earmark": __version__, "recipe": settings}
    if (out / "resume.pt").exists():
        _check_same(out / "recipe.json", command, settings | dict(inputs))
        say(f"{out} holds a started training: going on with it")
    write_text(out / "recipe.json", json.dumps(note | dict(inputs), indent=2) + "\n")


def fingerprint(module: nn.Module | None) -> str:
    """Return twelve hexadecimal digits that change with any weight; nothing for no network."""
    if module is None:
        return ""
    from earmark.classifiers.fingerprint import fingerprint as of_weights

    return of_weights(module)


def _check_same(path: Path, command: str, settings: dict[str, Any]) -> None:
    fix = "finish it as it was, or choose a new --out"
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        earlier = str(note.pop("command"))
        recipe = dict(note.pop("recipe")) | {key: note[key] for key in note.keys() - {"hash", "earmark"}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        given = f"{path} cannot be read, so nobody knows what {path.parent / 'resume.pt'} goes on with"
        raise RecipeError(given, fix="choose a new --out, or remove both") from error
    if earlier != command:
        raise RecipeError(f"{path.parent} holds the training of another kind: {earlier}", command, fix)
    changed = sorted(key for key in settings.keys() | recipe.keys() if settings.get(key) != recipe.get(key))
    if changed:
        raise RecipeError(f"{path.parent} holds a training with another {', '.join(changed)}", fix=fix)


@contextmanager
def reporting(epochs: int) -> Iterator[Callable[[int, int, Row], None]]:
    """Give what `earmark.training.loop.fit` reports to: a progress bar, and one line per epoch.

    Ctrl-C within ends the program with a hint on how to go on.
    """
    try:
        with progress() as display:
            task = display.add_task("training", total=None) if display else None

            def report(done: int, total: int, row: Row) -> None:
                if display and task is not None:
                    display.update(task, completed=done, total=total, description=_figures(row, most=3))
                if "criterion" in row:
                    say(f"epoch {row['epoch'] + 1:.0f}/{epochs}: {_figures(row)} ({row['seconds']:.0f} s)")

            yield report
    except KeyboardInterrupt as error:
        say_stopped("the same command goes on from the last finished epoch")
        raise typer.Exit(STOPPED) from error


def _figures(row: Row, most: int | None = None) -> str:
    names = [name for name in row if name not in _NOT_FIGURES]
    return ", ".join(f"{name} {row[name]:.3g}" for name in names[:most])


def save_curves(path: Path, log: Sequence[Row]) -> None:
    """Draw every figure of a training over its epochs, each in a panel of its own, the best epoch marked.

    Raises:
        OutputError: the file cannot be written.
    """
    figure = _draw(log)
    with whole(path) as temporary:
        figure.savefig(temporary)


def best_epoch(log: Sequence[Row]) -> int:
    """Return the index of the epoch that was kept: the first with the highest criterion."""
    return max(range(len(log)), key=lambda epoch: log[epoch]["criterion"])


def _draw(log: Sequence[Row]) -> Figure:
    from matplotlib.figure import Figure

    names = [name for name in log[0] if name not in _NOT_FIGURES]
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(3 * _COLUMNS, 2.3 * rows), dpi=100, layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, sharex=True, squeeze=False).flat
    epochs = [row["epoch"] + 1 for row in log]
    for axes, name in zip(panels, names):
        axes.plot(epochs, [row[name] for row in log], marker=".", color="tab:blue")
        axes.axvline(best_epoch(log) + 1, color="tab:orange", linewidth=1)
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3)
        axes.set_xlabel("epoch")
    for axes in list(panels)[len(names) :]:
        axes.set_visible(False)
    return figure
