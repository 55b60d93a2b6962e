"""Weights that others saved with torch: read without running any of their code, and given earmark's names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from earmark.errors import ModelError

_MOST_NAMED = 3  # weights named in an error line
_STATE_DICT = "a state dict that torch saved"
_DOWNLOAD_AGAIN = "download or copy it again"
_SAVE_STATE = "save the network's state_dict()"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what `torch.save` wrote of a dictionary, on the CPU; nothing in it is run.

    Besides tensors, only plain values and NumPy's arrays are let in, which training scripts save beside them.

    Raises:
        ModelError: there is no such file, or it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path} is {'a folder' if path.is_dir() else 'missing'}", "a file of weights")
    try:
        with _numpy_allowed():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Any: torch raises whatever the bytes of a damaged or hostile file lead it to.
        raise ModelError(f"{path} {_refusal(error)}", _STATE_DICT, _DOWNLOAD_AGAIN) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a {type(content).__name__}", _STATE_DICT, _SAVE_STATE)
    return content


def state_of(content: Mapping[str, Any], path: str | Path) -> dict[str, Tensor]:
    """Return the state dict of what `read_checkpoint` read, as float32.

    It may lie under the key "model", and its names may begin with "module.", as `DataParallel` has it.

    Raises:
        ModelError: it holds something else than weights, or weights that are not finite.
    """
    inner = content["model"] if isinstance(content.get("model"), Mapping) else content
    state = {}
    for name, value in inner.items():
        if not isinstance(value, Tensor):
            given = f"{path} has a {type(value).__name__} under {name!r}"
            raise ModelError(given, "tensors only", _SAVE_STATE)
        state[str(name).removeprefix("module.")] = value.float() if value.is_floating_point() else value
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise ModelError(f"{path} has weights that are no numbers: {_named(broken)}", fix=_DOWNLOAD_AGAIN)
    return state


def translated(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], original: Callable[[str], str], path: str | Path
) -> dict[str, Tensor]:
    """Return others' weights by the names of an earmark network.

    The originals lay time over frequency, earmark frequency over time, so kernels are transposed.

    Args:
        own: the state dict of the network that they are for.
        given: the weights by the original's names.
        original: the original's name for one of the network's.
        path: the file they came from, for errors.

    Raises:
        ModelError: weights are missing, unknown or of another shape; the original's names are told.
    """
    names = {original(name): name for name in own}
    expected = {theirs: own[name] for theirs, name in names.items()}
    # Only training counts batches, and old files lack the count.
    counters = {name: value for name, value in expected.items() if name.endswith("num_batches_tracked")}
    state = {
        name: value.transpose(2, 3).contiguous() if value.ndim == 4 else value
        for name, value in (counters | dict(given)).items()
    }
    check_weights(expected, state, path, "the weights of the original network", "check which file it is")
    return {name: state[theirs] for theirs, name in names.items()}


def check_weights(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], path: str | Path, what: str, fix: str
) -> None:
    """Check names, shapes and types of weights against a network's own.

    Args:
        expected: a network's state dict.
        given: what a file holds.
        path: the file, for errors.
        what: what was expected, for errors.
        fix: what to do, for errors.

    Raises:
        ModelError: they do not fit; the weights are named.
    """
    both = sorted(expected.keys() & given.keys())
    shapes = [
        f"{name} is {tuple(given[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in both
        if given[name].shape != expected[name].shape
    ]
    types = [
        f"{name} is {str(given[name].dtype).removeprefix('torch.')}"
        for name in both
        if given[name].is_floating_point() != expected[name].is_floating_point()
    ]
    problems = {
        "lacks": sorted(expected.keys() - given.keys()),
        "has unknown weights": sorted(given.keys() - expected.keys()),
        "has weights of another shape:": shapes,
        "has weights of another type:": types,
    }
    for problem, names in problems.items():
        if names:
            raise ModelError(f"{path} {problem} {_named(names)}", what, fix)


def read_lines(path: str | Path, what: str) -> list[str]:
    """Return the lines of a text file, without blank ones and comments that begin with ``#``.

    Args:
        path: the file, in UTF-8.
        what: what it should hold, for errors.

    Raises:
        ModelError: it is missing or no text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ModelError(f"{path} cannot be read: {reason}", what) from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _refusal(error: Exception) -> str:
    # Not torch's own words, which advise to load the file without protection.
    code = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"holds code ({code[1]}), which is not run" if code else "is damaged, or no file that torch saved"


def _numpy_allowed() -> AbstractContextManager[Any]:
    """Let torch read NumPy's plain arrays and numbers, under the names of NumPy 1 and 2."""
    allow = getattr(torch.serialization, "safe_globals", None)
    if allow is None:  # before torch 2.5
        return nullcontext()
    rebuild = np.zeros(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    functions = [
        (function, f"numpy.{core}.multiarray.{name}")
        for function, name in ((rebuild, "_reconstruct"), (scalar, "scalar"))
        for core in ("core", "_core")
    ]
    kinds = {type(np.dtype(code)) for code in np.typecodes["All"] if code not in "OV"}
    return allow([np.ndarray, np.dtype, *kinds, *functions])
