"""Names for results that can do no harm, and a place to finish them before the first appears."""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from earmark.errors import OutputError

_LONGEST_STEM = 140  # bytes; file systems allow 255 for a name, and labels and endings come after the stem
_LONGEST_LABEL = 40  # bytes


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
    """Number the names that would be the same file where case and composed accents make no difference.

    >>> list(distinct(["dog", "DOG", "cat", "dog"]))
    ['dog', 'DOG-2', 'cat', 'dog-3']
    """
    taken: set[str] = set()
    for stem in names:
        number = 1
        while _same(name := stem if number == 1 else f"{stem}-{number}") in taken:
            number += 1
        taken.add(_same(name))
        yield name


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def stems_of_labels(stem: str, labels: Iterable[str]) -> list[str]:
    """Return how the names of the results of several classes of one sound begin.

    Different stems give different names: the stem is not cut, and what comes after its last dot is the label.

    >>> stems_of_labels("night", ["owl", "a/b", "a:b", "a.b"])
    ['night.owl', 'night.a_b', 'night.a_b-2', 'night.a_b-3']
    """
    short = (harmless(label.replace(".", "_"), _LONGEST_LABEL) for label in labels)
    return [f"{stem}.{name}" for name in distinct(short)]


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


def publish(made: Sequence[Path], folder: Path) -> list[Path]:
    """Move finished files to where they belong.

    The JSON says that all others are there and what they are, so an old one goes first and the new one,
    the last of the files, comes last. An old timeline goes where there is none any more.

    Returns:
        the files' new paths.
    """
    (folder / made[-1].name).unlink(missing_ok=True)
    for path in made:
        stem = path.name.removesuffix(".listen.wav")
        if stem != path.name:
            (folder / f"{stem}.timeline.csv").unlink(missing_ok=True)
    return [path.replace(folder / path.name) for path in made]


@contextmanager
def reserved(folder: Path, stem: str) -> Iterator[None]:
    """Keep other runs from results of this name, by a lock that ends with the process that holds it.

    Raises:
        OutputError: another run holds it.
    """
    path = folder / f".{stem}.lock"
    descriptor = _lock(path)
    if descriptor is None:
        given = f"another run is at work on {stem}.* in {folder}"
        raise OutputError(given, fix=f"wait for it or choose another folder; if there is none, delete {path}")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


if sys.platform == "win32":

    def _lock(path: Path) -> int | None:
        try:
            return os.open(path, os.O_CREAT | os.O_EXCL | os.O_TEMPORARY)
        except FileExistsError:
            return None

else:

    def _lock(path: Path) -> int | None:
        import fcntl

        while True:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError:
                return descriptor  # a file system without locks
            # Whoever held it may have removed the file between the two lines.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
            os.close(descriptor)


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
