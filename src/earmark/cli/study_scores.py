"""What `earmark study score` says and writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from earmark.cli.terminal import say, say_error
from earmark.files import whole, write_text

if TYPE_CHECKING:
    from pandas import DataFrame

    from earmark.study.plan import Study
    from earmark.study.ratings import Ratings


def score_study(
    results: Sequence[Path], folder: Path | None, exclude: Sequence[str], drop_untouched: bool, out: Path
) -> None:
    """Read ratings, say what was done with them, and write tables and a figure.

    Raises:
        DataError: there is nothing to score.
        OutputError: the tables cannot be written.
    """
    from earmark.study.figure import draw_figure_2
    from earmark.study.plan import read_study
    from earmark.study.ratings import read_ratings
    from earmark.study.scores import FEWEST, opinion, paired, table_3

    study = read_study(folder) if folder else None
    found = read_ratings(results, study, exclude, drop_untouched)
    for line in found.broken:
        say_error(f"left out: {line}")
    if exclude and not found.excluded:
        say_error(f"no session is like {' or '.join(exclude)}")
    table, order = _named(found.table, study)
    listeners = table["listener"].nunique()
    say(f"{len(table)} ratings by {listeners} listeners{_counts(found, drop_untouched)}")
    recordings = opinion(table, ("set", "trial", "condition"))
    pairs = paired(table, order)
    text = "\n".join([*_of_table(table_3(table, order)), "", *_of_pairs(pairs), ""])
    write_text(out / "table3.md", text)
    for name, frame in (("mos", recordings), ("pairs", pairs)):
        with whole(out / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g")
    draw_figure_2(recordings, order, out / "figure2.png")
    for line in ("", *text.splitlines()):
        say(line)
    if listeners < FEWEST:
        say(f"with fewer than {FEWEST} listeners no test of a pair can find a difference")
    say(f"→ {out}")


def _named(ratings: DataFrame, study: Study | None) -> tuple[DataFrame, list[str]]:
    """Return ratings with what codes stand for and with sets, and the conditions in their order."""
    table = ratings.copy()
    if study is None:
        table["set"] = "MOS"
    else:
        trials = {trial.id: trial for trial in study.trials}
        table["set"] = [trials[one].set for one in table["trial"]]
        table["condition"] = table["condition"].map(study.called)
    wanted = [study.called(code) for code in study.rated] if study else []
    there = list(dict.fromkeys(table["condition"]))
    return table, [name for name in dict.fromkeys([*wanted, *there]) if name in there]


def _counts(found: Ratings, dropped: bool) -> str:
    said = [
        (found.missing, "missing"),
        (found.repeated, "given again, of which the last counts"),
        (len(found.broken), "kinds of rows left out"),
        (found.excluded, "sessions excluded"),
        (found.untouched, f"untouched pages {'left out' if dropped else 'counted, see --drop-untouched'}"),
    ]
    return "".join(f"; {count} {what}" for count, what in said if count)


def _of_table(table: DataFrame) -> Iterator[str]:
    from earmark.evaluation.rendering import aligned, escaped

    header = ["method", *(escaped(str(name)) for name in table.columns)]
    cells = [[escaped(str(name)), *row] for name, row in zip(table.index, table.to_numpy().tolist())]
    yield from aligned([header, ["---"] + ["--:"] * (len(header) - 1), *cells])


def _of_pairs(pairs: DataFrame) -> Iterator[str]:
    from earmark.evaluation.rendering import aligned, escaped

    header = ["pair", "difference", "p (Wilcoxon)", "p (Holm)", "listeners"]
    cells = [
        [
            escaped(f"{row.first} and {row.second}"),
            f"{row.difference:+.1f} ± {row.half:.1f}",
            f"{row.p:.3g}",
            f"{row.holm:.3g}",
            str(row.listeners),
        ]
        for row in pairs.itertuples()
    ]
    if cells:
        yield from aligned([header, ["---"] + ["--:"] * (len(header) - 1), *cells])
