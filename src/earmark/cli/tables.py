"""`earmark tables`: from the results of an evaluation to tables and curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from earmark.cli.terminal import say
from earmark.errors import RecipeError
from earmark.files import whole, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark tables results.csv\n\n"
    "earmark tables results.csv --area 0.05 --condition mixtures --condition speech\n\n"
    "earmark tables results.parquet --domain stft --format latex --out table.tex\n\n"
    "earmark tables results.csv --format csv --out summary.csv --plot curves.png\n\n"
    "earmark tables results.csv --area 0.05 --condition mixtures --cost cost.png"
)


def tables(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="What [bold]earmark evaluate[/bold] wrote.")
    ],
    area: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Masks binarised to this share, not the soft ones.")
    ] = None,
    domain: Annotated[
        Literal["stft", "features"] | None, typer.Option(help="Where the masks live; both, if not given.")
    ] = None,
    condition: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this condition; may be repeated.")
    ] = None,
    reference: Annotated[
        str, typer.Option(metavar="METHOD", help="The method that the others are compared with.")
    ] = "lmac",
    form: Annotated[
        Literal["markdown", "csv", "latex"], typer.Option("--format", help="What is written.")
    ] = "markdown",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write there, not to the terminal.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the scores over the area of the masks there."),
    ] = None,
    cost: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Draw the scores over seconds a sound there, at --area or the least."
        ),
    ] = None,
    published: Annotated[bool, typer.Option(help="Show the paper's figures beside ours.")] = True,
    dataset: Annotated[
        Literal["ESC-50", "UrbanSound8K"], typer.Option(help="On which data the paper's figures are.")
    ] = "ESC-50",
) -> None:
    """Sum up an evaluation: means, 95 % intervals and what differs from the reference.

    A table per condition, as the paper has them; [bold]--format csv[/bold] has all figures, one a line.
    """
    from earmark.evaluation.published import add_published
    from earmark.evaluation.rendering import render
    from earmark.evaluation.tables import at_area, read_results, select, summarise

    chosen = select(read_results(results), condition or (), domain)
    _check_reference(chosen, reference)
    summary = summarise(at_area(chosen, area), reference)
    if published:
        summary = add_published(summary, dataset)
    text = render(summary, form, reference)
    if plot:
        from earmark.report.figures import faithfulness_curves

        _draw(faithfulness_curves(chosen, reference), "--plot", plot)
    if cost:
        from earmark.report.cost import cost_and_truth

        least = chosen["area"].min() if area is None else area
        _draw(cost_and_truth(select(chosen, (), domain or "stft"), least, reference), "--cost", cost)
    if out:
        write_text(out, text)
        say(f"→ {out}")
    else:
        for line in text.splitlines():
            say(line)


def _check_reference(results: DataFrame, reference: str) -> None:
    # Whoever named none may well have evaluated other methods only.
    there = list(results["method"].unique())
    if reference not in there and reference != "lmac":
        given = f"the results have no method {reference!r} to compare with"
        raise RecipeError(given, f"one of {', '.join(there)}", "pick one of these")


def _draw(figure: Figure, option: str, path: Path) -> None:
    kinds = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in kinds:
        given = f"{option} {path} does not end as a picture does"
        raise RecipeError(given, f"one of {', '.join(f'.{kind}' for kind in kinds)}", "write FILE.png")
    with whole(path) as temporary:
        figure.savefig(temporary)
