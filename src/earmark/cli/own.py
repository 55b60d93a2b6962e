"""A model as commands name it: a bundled one, a folder, or a function in a file of one's own."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from earmark.errors import EarmarkError, ModelError

if TYPE_CHECKING:
    from earmark.model import Model

METAVAR = "NAME|DIR|FILE.py:NAME"
HELP = (
    "One of [bold]earmark models[/bold], a model folder, or a function of your own file "
    "that returns what [bold]earmark.wrap[/bold] made."
)


def is_own(text: str) -> bool:
    """Whether a model is named as a function in a file: ``mynet.py:make``."""
    file, _, name = text.rpartition(":")
    return file.endswith(".py") and bool(name)


def find(text: str, device: str = "cpu") -> Model:
    """Return the model that a command names.

    Args:
        text: a bundled name, a model folder, or ``FILE.py:NAME``. That file is run, and NAME in it called,
            if it is a function; it is, or gives, an `AudioClassifier` or a `Model`.
        device: where the weights go.

    Raises:
        ModelError: there is no such model, file or name, the file fails, or gives something else.
    """
    from earmark.classifiers.base import AudioClassifier
    from earmark.model import Model, load_model

    if not is_own(text):
        return load_model(text, device)
    file, _, name = text.rpartition(":")
    found = _run(Path(file), name)
    if isinstance(found, AudioClassifier):
        found = Model(name, found)
    if not isinstance(found, Model):
        given = f"{name} of {file} gives a {type(found).__name__}"
        raise ModelError(given, "what earmark.wrap or earmark.load returns", f"let {name} return that")
    return found.to(device)


def _run(file: Path, name: str) -> Any:
    """Run a file, and return what one of its names gives."""
    if not file.is_file():
        raise ModelError(f"there is no file {file}", "FILE.py:NAME", "check the path")
    specification = spec_from_file_location(file.stem, file)
    if specification is None or specification.loader is None:
        raise ModelError(f"{file} cannot be run", "a Python file")
    module = module_from_spec(specification)
    # As Python does for a script, so that the file finds its neighbours.
    sys.path.insert(0, str(file.resolve().parent))
    try:
        specification.loader.exec_module(module)
        if not hasattr(module, name):
            there = ", ".join(key for key in vars(module) if not key.startswith("_")) or "nothing"
            raise ModelError(f"{file} has no {name!r}", f"one of {there}")
        value = getattr(module, name)
        # A network is callable too, but it is there already.
        return value() if isinstance(value, FunctionType | type) else value
    except EarmarkError:
        raise
    except Exception as error:
        given = f"{file} fails: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise ModelError(given, fix=f"run it by itself: python {file}") from error
