"""Write a file whole or not at all, so that a stopped or failed run leaves no half of a result behind."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from earmark.errors import OutputError


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` only when the block ends well.

    The temporary file lies in the same folder (so that the last step is one rename) and has the same ending
    (so that writers that look at it work). When the block fails it is removed, and an old `path` stays.

    Args:
        path: the file to write; its folder must exist.

    Raises:
        OutputError: for any OSError on the way: no such folder, not writable, disk full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole(Path(folder) / "a.json") as temporary:
    ...         _ = temporary.write_text("{}")
    ...     [file.name for file in Path(folder).iterdir()]
    ['a.json']
    """
    path = Path(path)
    # Not mkstemp, whose files only their owner can read; not the old name, which may be as long as allowed.
    temporary = path.with_name(f".earmark-{secrets.token_hex(6)}{path.suffix}")
    try:
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _output_error(path, error) from error


def write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8 with plain line feeds, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes, whole or not at all.

    Libraries that write files themselves report a full disk each in a way of their own; Python does not.

    Raises:
        OutputError: the file cannot be written.
    """
    with whole(path) as temporary:
        temporary.write_bytes(content)


def _output_error(path: Path, error: OSError) -> OutputError:
    folder = path.parent
    reason = error.strerror or str(error)
    if not folder.is_dir():
        return OutputError(
            f"cannot write {path}: {folder} is not a folder", fix="create it or choose another"
        )
    if path.is_dir():
        return OutputError(
            f"cannot write {path}: it is a folder", "the name of a file", "choose another name"
        )
    fix = "check its permissions and free space, or choose another folder"
    return OutputError(f"cannot write {path.name} in {folder}: {reason}", "a writable folder", fix)
