"""A model as commands name it: a bundled one, a folder, or a function in a file of one's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from earmark.errors import EarmarkError, ModelError

if TYPE_CHECKING:
    from earmark.model import Model

METAVAR = "NAME|DIR|FILE.py:NAME"
HELP = (
    "One of [bold]earmark models[/bold], a model folder, or a function of your own file "
    "that returns what [bold]earmark.wrap[/bold] made."
)

# No installed package begins so: registered by its bare name, a file select.py would hide Python's own.
_LONGEST_REASON = 600  # characters
_PREFIX = "_earmark_own_"
_NEW = "explained"


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


def of_file(text: str, model: Model, folder: Path) -> tuple[str, str]:
    """Say how a model of one's own file is found again, with what was trained for it.

    Args:
        text: ``FILE.py:NAME``, whose model it is.
        model: what `find` returned for it.
        folder: the model folder that was written.

    Returns:
        ``FILE.py:NAME`` of a new function, and that function in a line.
    """
    file, _, name = text.rpartition(":")
    value = getattr(sys.modules[_module_name(file)], name)
    made = f"{name}()" if _is_to_call(value) else name
    # A classifier got its name for a model by `find`.
    classifier = made if model.name == name else f"{made}.classifier"
    new = _NEW if name != _NEW else f"{_NEW}_again"
    return f"{file}:{new}", f"def {new}(): return earmark.load({str(folder)!r}, classifier={classifier})"


def _module_name(file: str | Path) -> str:
    return f"{_PREFIX}{Path(file).stem}"


def _is_to_call(value: object) -> bool:
    # A network is callable too, but it is there already.
    return isinstance(value, FunctionType | type)


def _run(file: Path, name: str) -> Any:
    """Run a file, and return what one of its names gives."""
    if not file.is_file():
        raise ModelError(f"there is no file {file}", "FILE.py:NAME", "check the path")
    specification = spec_from_file_location(_module_name(file), file)
    if specification is None or specification.loader is None:
        raise ModelError(f"{file} cannot be run", "a Python file")
    module = module_from_spec(specification)
    try:
        with _at_home(module, str(file.resolve().parent)):
            specification.loader.exec_module(module)
            if not hasattr(module, name):
                there = ", ".join(key for key in vars(module) if not key.startswith("_")) or "nothing"
                raise ModelError(f"{file} has no {name!r}", f"one of {there}")
            value = getattr(module, name)
            return value() if _is_to_call(value) else value
    except EarmarkError:
        raise
    except Exception as error:
        whole = " ".join(str(error).split())[:_LONGEST_REASON]
        given = f"{file} fails: {type(error).__name__}: {whole}"
        fix = f'see where, in its folder: python -c "import {file.stem}; {file.stem}.{name}()"'
        raise ModelError(given, fix=fix) from error


@contextmanager
def _at_home(module: ModuleType, folder: str) -> Iterator[None]:
    """Make a module and its neighbours known to Python, as it does for a script; undo that on an error.

    They stay known: dataclasses look their module up, and a network may import a neighbour as late as when
    it first hears a sound.
    """
    new = folder not in sys.path
    if new:
        sys.path.insert(0, folder)
    sys.modules[module.__name__] = module
    try:
        yield
    except BaseException:
        sys.modules.pop(module.__name__, None)
        if new and folder in sys.path:
            sys.path.remove(folder)
        raise
