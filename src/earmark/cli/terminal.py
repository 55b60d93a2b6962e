"""How the command line speaks: errors in one line, progress only for people, exit codes."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from earmark.errors import EarmarkError, ModelError, OutputError, RecipeError

if TYPE_CHECKING:
    from rich.progress import Progress

FAILED = 1
WRONG_USAGE = 2
STOPPED = 130  # as shells have it for Ctrl-C: 128 + SIGINT

# Control characters, line separators, and what turns the direction of writing.
_COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def exit_code(error: EarmarkError) -> int:
    """Return 2 where the command was wrong (model, label, setting), 1 where an input or output was."""
    return WRONG_USAGE if isinstance(error, ModelError | RecipeError) else FAILED


def process() -> str:
    """Return the number of this process, where several train together; the first is "0", as is a lone one."""
    return os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or os.environ.get("NODE_RANK") or "0"


def say(line: str) -> None:
    """Print a line to stdout; whoever reads it may stop to, as `head` does.

    Where several processes train together, the first speaks for all.
    """
    if process() != "0":
        return
    # Not typer.echo, which writes past a progress display and into its line.
    try:
        sys.stdout.write(f"{_harmless(line)}\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        # What Python still holds for stdout would be told of as an error at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from error


def say_error(message: str) -> None:
    """Print ``error: message`` to stderr, in red where that is a terminal."""
    start = typer.style("error:", fg="red", bold=True) if sys.stderr.isatty() else "error:"
    who = "" if process() == "0" else f"process {process()}: "
    sys.stderr.write(f"{start} {who}{_harmless(message)}\n")
    sys.stderr.flush()


def _harmless(line: str) -> str:
    """Replace what a terminal would obey, or show out of order, in names of files and labels."""
    return _COMMANDS.sub("�", line)


def say_stopped(hint: str = "") -> None:
    """Print that the work was stopped, and how to go on."""
    typer.echo(f"\nstopped{'; ' + hint if hint else ''}", err=True)


def make_writable(folder: Path) -> None:
    """Make a folder and try it, so that hours of work do not end at a folder that takes nothing.

    Raises:
        OutputError: it cannot be made, or nothing can be written to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        given = f"cannot write to {folder}: {error.strerror or error}"
        fix = "check its permissions and free space, or choose another with --out"
        raise OutputError(given, "a folder to write to", fix) from error


@contextmanager
def progress(wanted: bool = True) -> Iterator[Progress | None]:
    """Give a progress display on stderr, or None where nobody looks at it."""
    if not (wanted and sys.stderr.isatty() and process() == "0"):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    # Lines for stdout may only pass through the display where both go to the same terminal.
    with Progress(
        *columns,
        console=Console(stderr=True, highlight=False),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ) as display:
        yield display
