"""A folder per class: the simplest layout, for one's own recordings."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from earmark.data.clips import Clip, choose, name_of
from earmark.errors import DataError

# What libsndfile reads, by the endings in use. Its list of formats knows no endings, and has raw data in it.
_ENDINGS = {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"}
_ENDINGS |= {".rf64", ".snd", ".w64", ".wav"}


def read_folder(root: str | Path, labels: Collection[str] | None = None) -> list[Clip]:
    """List the clips of a set that has one folder per class.

    Args:
        root: the folder of the classes' folders, whose names are the labels. Every sound file in them, at any
            depth, is a clip; other files, hidden ones, and what lies beside the classes' folders are not.
        labels: keep these only; None keeps all.

    Returns:
        The clips in the order of their paths, without folds; a clip's name begins with its class's folder.

    Raises:
        DataError: no such folder, none in it that holds sound, two sounds that differ by their ending only,
            or a label is unknown.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     (Path(root) / "dog").mkdir()
    ...     (Path(root) / "dog" / "a.wav").touch()
    ...     [(clip.label, clip.name) for clip in read_folder(root)]
    [('dog', 'dog/a')]
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", "one with a folder per class", "check the path")
    clips = [
        Clip(path, folder.name, name=name_of(path.relative_to(root).as_posix()))
        for folder in class_folders(root)
        for path in sorted(_sounds(folder))
    ]
    if not clips:
        given = f"{root} has no folder with a sound file in it"
        raise DataError(given, "a folder per class", "sort the sounds into folders named after their classes")
    _check_names(clips)
    return choose(clips, root, labels=labels)


def sounds_in(root: Path) -> list[Path]:
    """Return every sound file in a folder at any depth, in order; none if it does not exist."""
    return sorted(_sounds(root))


def class_folders(root: Path) -> list[Path]:
    """Return the folders in a folder that hold a sound file at any depth, by name; none if it does not exist.

    Args:
        root: the folder of the classes' folders.

    Raises:
        DataError: it cannot be read.
    """
    try:
        inside = sorted(root.iterdir()) if root.is_dir() else []
    except OSError as error:
        raise DataError(
            f"{root} cannot be read: {error}", "a readable folder", "check its permissions"
        ) from error
    return [
        folder
        for folder in inside
        if folder.is_dir() and not folder.name.startswith(".") and any(_sounds(folder))
    ]


def _sounds(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in _ENDINGS and not hidden and path.is_file():
            yield path


def _check_names(clips: list[Clip]) -> None:
    first: dict[str, Clip] = {}
    for clip in clips:
        other = first.setdefault(clip.name, clip)
        if other is not clip:
            given = f"{other.path} and {clip.path} are both named {clip.name!r}"
            raise DataError(given, "names that differ before the ending", "rename or remove one")
