"""Names for results that can do no harm, and a place to finish them before the first appears."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from earmark.errors import OutputError

_LONGEST_STEM = 180  # bytes; file systems allow 255 for a name, and endings come after the stem
_LONGEST_LABEL = 40  # bytes; labels come after a stem


def safe_stem(source: str) -> str:
    """Return how the names of an input's results begin: its own name without the ending, made harmless.

    >>> safe_stem("field/dog 1.wav"), safe_stem("../.."), safe_stem("a:b?.wav")
    ('dog 1', 'sound', 'a_b_')
    """
    return harmless(Path(source).stem, _LONGEST_STEM - 20)  # room for a number behind it


def harmless(name: str, longest: int = _LONGEST_STEM) -> str:
    """Keep a name from leading out of its folder, and within what file systems take."""
    name = re.sub(r"[^\w .()+,=@-]", "_", name).strip(" .")
    return name.encode("utf-8", "ignore")[:longest].decode("utf-8", "ignore").strip(" .") or "sound"


def distinct(names: Iterable[str]) -> Iterator[str]:
    """Number the names that would be the same file on a system that takes no heed of case.

    >>> list(distinct(["dog", "DOG", "cat", "dog"]))
    ['dog', 'DOG-2', 'cat', 'dog-3']
    """
    taken: set[str] = set()
    for stem in names:
        number = 1
        while (name := stem if number == 1 else f"{stem}-{number}").casefold() in taken:
            number += 1
        taken.add(name.casefold())
        yield name


def stems_of_labels(stem: str, labels: Iterable[str]) -> list[str]:
    """Return how the names of the results of several classes of one sound begin.

    >>> stems_of_labels("night", ["owl", "a/b", "a:b"])
    ['night.owl', 'night.a_b', 'night.a_b-2']
    """
    short = stem.encode()[: _LONGEST_STEM - _LONGEST_LABEL].decode("utf-8", "ignore")
    return [f"{short}.{name}" for name in distinct(harmless(label, _LONGEST_LABEL) for label in labels)]


@contextmanager
def workshop(folder: Path, stem: str) -> Iterator[Path]:
    """Give a temporary folder in the folder, so that all files can be finished before the first appears.

    Raises:
        OutputError: for any OSError on the way.
    """
    with telling(folder, stem):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".earmark-", dir=folder) as temporary:
            yield Path(temporary)


@contextmanager
def telling(folder: Path, stem: str) -> Iterator[None]:
    """Tell what the system says against writing results as one line."""
    try:
        yield
    except (OSError, OutputError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        given = f"cannot write {stem}.* in {folder}: {cause.strerror or cause}"
        fix = "check its permissions and free space, or choose another folder"
        raise OutputError(given, "a writable folder", fix) from cause


def finite(value: float) -> float | None:
    """Turn what strict JSON cannot say into null."""
    return value if math.isfinite(value) else None


def finite_all(values: Mapping[str, float]) -> dict[str, Any]:
    """Do so for each of several."""
    return {name: finite(value) for name, value in values.items()}
