"""Print a Markdown table, and put it where documents quote it, between ``<!-- NAME -->`` marks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def emit(name: str, header: Sequence[str], rows: Sequence[Sequence[str]], files: Sequence[Path]) -> None:
    """Print a table, and replace the one of that name in each of the files.

    Args:
        name: what the marks around it say.
        header: the columns' names.
        rows: the cells.
        files: documents that hold ``<!-- NAME -->`` … ``<!-- /NAME -->``.
    """
    lines = [header, ["---"] * len(header), *rows]
    emit_text(name, "\n".join("| " + " | ".join(line) + " |" for line in lines), files)


def emit_text(name: str, text: str, files: Sequence[Path]) -> None:
    """Print Markdown, and replace what stands between the marks of that name in each of the files."""
    print(text)
    for file in files:
        before = file.read_text(encoding="utf-8")
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(before):
            raise SystemExit(f"error: {file} has no <!-- {name} --> … <!-- /{name} -->")
        after = pattern.sub(lambda match: f"{match[1]}{text.strip()}\n{match[2]}", before)
        file.write_text(after, encoding="utf-8")


def quoting(name: str, files: Sequence[Path]) -> list[Path]:
    """Return the documents that quote the table of a name."""
    return [file for file in files if f"<!-- {name} -->" in file.read_text(encoding="utf-8")]
