"""`earmark report`: explanations, or an evaluation, as one page to look at and listen to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earmark.cli.terminal import FAILED, make_writable, say, say_error
from earmark.errors import DataError
from earmark.files import write_text

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark report explained\n\n"
    'earmark report explained --out owls.html --title "Owls of May"\n\n'
    "earmark report by-lmac by-gradcam --out both.html\n\n"
    "earmark report results.csv"
)

_TABLES = (".csv", ".parquet")


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|RESULTS",
            help="What [bold]earmark explain --out DIR[/bold] wrote, several side by side; "
            "or the results of [bold]earmark evaluate[/bold].",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The page.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="What stands above it.")] = None,
) -> None:
    """Make one HTML file of explanations: pictures, players that keep their place, a slider for the mask.

    Of an evaluation it makes tables to sort, and curves. It opens from disk and needs no network: sounds and
    masks are in it. Sounds longer than a minute are shown by their figures alone. The same sound in several
    folders is one on the page, so that methods can be heard side by side.
    """
    make_writable(out.parent)
    tables = [path for path in folders if path.suffix.lower() in _TABLES]
    if tables and len(folders) > 1:
        given = f"{tables[0]} is given with {len(folders) - 1} others"
        raise DataError(given, "one results file, or folders of explanations", "make a page for each")
    if tables:
        _of_evaluation(tables[0], out, title or f"How the methods of {tables[0].stem} do")
    else:
        _of_explanations(folders, out, title or "What was heard")


def _of_evaluation(results: Path, out: Path, title: str) -> None:
    from earmark.evaluation.tables import read_results
    from earmark.report.evaluation import evaluation_page

    table = read_results(results)
    write_text(out, evaluation_page(table, title))
    say(f"{table['method'].nunique()} methods → {out} ({out.stat().st_size / 1e6:.1f} MB)")


def _of_explanations(folders: list[Path], out: Path, title: str) -> None:
    from earmark.report.html import make_page

    page, problems = make_page(folders)
    shown = len(page.list) - len(problems)
    write_text(out, page.render(title, f"{shown} sounds, explained by earmark"))
    for problem in problems:
        say_error(problem)
    say(f"{shown} sounds → {out} ({out.stat().st_size / 1e6:.1f} MB)")
    if problems:
        raise typer.Exit(FAILED)
