"""`earmark report`: explanations as one page to look at and listen to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earmark.cli.terminal import FAILED, make_writable, say, say_error
from earmark.files import write_text

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark report explained\n\n"
    'earmark report explained --out owls.html --title "Owls of May"\n\n'
    "earmark report by-lmac by-gradcam --out both.html"
)


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR", help="What [bold]earmark explain --out DIR[/bold] wrote; several go side by side."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The page.")] = Path("report.html"),
    title: Annotated[str, typer.Option(metavar="TEXT", help="What stands above it.")] = "What was heard",
) -> None:
    """Make one HTML file of explanations: pictures, players that keep their place, a slider for the mask.

    It opens from disk and needs no network: sounds and masks are in it. Sounds longer than a minute are
    shown by their figures alone. The same sound in several folders is one on the page, so that methods can
    be heard side by side.
    """
    make_writable(out.parent)
    from earmark.report.html import make_page

    page, problems = make_page(folders)
    shown = len(page.list) - len(problems)
    write_text(out, page.render(title, f"{shown} sounds, explained by earmark"))
    for problem in problems:
        say_error(problem)
    say(f"{shown} sounds → {out} ({out.stat().st_size / 1e6:.1f} MB)")
    if problems:
        raise typer.Exit(FAILED)
