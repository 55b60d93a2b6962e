"""What `earmark sanity` leaves for people: verdicts in lines, tables in Markdown, a figure per check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from earmark.cli.terminal import say, say_error
from earmark.files import whole, write_text

if TYPE_CHECKING:
    from pandas import DataFrame

    from earmark.sanity.base import Check, Verdict

TABLES = "sanity.md"
_MARKS = {True: "stands", False: "FAILS", None: "cannot tell"}
_DPI = 70


def tell(checks: Sequence[Check], rows: DataFrame) -> int:
    """Print the verdicts, and the steps that failed; return how many did."""
    from earmark.sanity.rows import of_check

    for check in checks:
        own = of_check(rows, check.name)
        say(f"{check.name}: {check.summary}")
        for verdict in check.verdicts(own) if len(own) else []:
            say(f"  {_MARKS[verdict.passed]}: {_named(verdict)}{verdict.said}")
    broken = rows[rows["check"].isin([check.name for check in checks]) & (rows["error"] != "")]
    for row in broken.to_dict("records"):
        say_error(f"{row['check']} {row['method']} {row['part']}: {row['error']}")
    return len(broken)


def _named(verdict: Verdict) -> str:
    return f"{verdict.method}, " if verdict.method else ""


def write_report(checks: Sequence[Check], rows: DataFrame, out: Path) -> list[Path]:
    """Write all tables and verdicts as one Markdown file, and a figure per check.

    Returns:
        what was written.

    Raises:
        OutputError: the folder cannot be written.
    """
    from earmark.sanity.rows import of_check

    sections, figures = [], []
    for check in checks:
        own = of_check(rows, check.name)
        if own.empty:
            continue
        sections.append("\n".join(section(check, own)))
        figures.append(_draw(check.name, own, out))
    if not sections:
        return []
    write_text(out / TABLES, "\n".join(sections))
    return [out / TABLES, *figures]


def section(check: Check, rows: DataFrame) -> Iterator[str]:
    """Yield the lines of a check's section: its table, and its verdicts."""
    from earmark.evaluation.rendering import aligned, escaped

    table = check.table(rows)
    yield from (f"## {check.name}", "", f"{check.summary[:1].upper()}{check.summary[1:]}.", "")
    header = ["method", *map(escaped, map(str, table.columns))]
    cells = [
        [escaped(str(method)), *(_number(value) for value in values)]
        for method, values in zip(table.index, table.to_numpy(dtype=float).tolist())
    ]
    yield from aligned([header, ["---"] + ["--:"] * (len(header) - 1), *cells])
    yield ""
    for verdict in check.verdicts(rows):
        yield f"- **{_MARKS[verdict.passed]}**: {escaped(_named(verdict) + verdict.said)}"
    yield ""


def _number(value: float) -> str:
    if value != value:
        return "—"
    decimals = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def _draw(name: str, rows: DataFrame, out: Path) -> Path:
    draw = import_module(f"earmark.report.checks.{name.replace('-', '_')}").draw
    path = out / f"{name}.png"
    with whole(path) as temporary:
        draw(rows, out / name).savefig(temporary, dpi=_DPI, format="png")
    return path
