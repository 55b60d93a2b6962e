"""Every method on real sound: the tables and curves of docs/results.md and docs/methods.md.

    EARMARK_DATA=DIR python bench/results.py [--out runs/results] [--into docs/results.md docs/methods.md]

DIR holds ``esc10/`` in ESC-50's layout, ``ambient/`` in WHAM!'s and ``ljspeech/`` in LJSpeech's. It runs
``earmark evaluate`` by ``recipes/esc10/results.yaml`` and ``family.yaml``, at most two hours on one core, as
some methods take hundreds of passes a sound; LRP needs ``pip install 'earmark[lrp]'``. A stopped run goes on
where it was. Then it says, per condition and area, where L-MAC is ahead of every method that explains, and
what each method costs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pandas
from pandas import DataFrame
from tables import emit, emit_text, quoting

from earmark.evaluation.published import add_published
from earmark.evaluation.rendering import render
from earmark.evaluation.tables import BETTER, CONTROLS, at_area, read_results, select, summarise
from earmark.files import whole
from earmark.report.cost import cost_and_truth
from earmark.report.figures import faithfulness_curves

ROOT = Path(__file__).parent.parent
RECIPES = ("results", "family")
METRICS = ("AI", "AD", "AG", "FF", "Fid-In")
SHOWN = (None, 0.05, 0.2)
DOMAINS = ("stft", "features")
MODEL = "esc10"
CONDITION, AREA = "mixtures", 0.05
"""Of the table that sets scores beside cost."""


def run(out: Path) -> DataFrame:
    """Evaluate by each recipe, or go on with it, and return all rows."""
    if "EARMARK_DATA" not in os.environ:
        sys.exit("error: EARMARK_DATA is not set; set it to the folder of esc10/, ambient/ and ljspeech/")
    data = Path(os.environ["EARMARK_DATA"])
    out.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [sys.executable, "-m", "earmark", "evaluate", "--model", MODEL]
    command += ["--data", data / "esc10", "--noise", data / "ambient", "--speech", data / "ljspeech"]
    for name in RECIPES:
        recipe = ROOT / "recipes" / "esc10" / f"{name}.yaml"
        subprocess.run([*command, "--config", recipe, "--out", out / f"{name}.csv"], check=True)
    return pandas.concat([read_results(out / f"{name}.csv") for name in RECIPES], ignore_index=True)


def ahead(results: DataFrame) -> list[list[str]]:
    """Return a line per condition and domain: at each area, which metrics another method leads in."""
    binary = results[results["area"].notna()]
    summary = summarise(binary)
    lines = []
    for (domain, condition), block in summary.groupby(["domain", "condition"], sort=False):
        cells = [_cell(part) for _, part in block.groupby("area")]
        lines.append([str(condition), str(domain), *cells])
    return lines


def _cell(block: DataFrame) -> str:
    """Name the methods that L-MAC is not ahead of; † where the difference is significant."""
    losses = []
    for metric in METRICS:
        rows = block[(block["metric"] == metric) & ~block["method"].isin(CONTROLS)].set_index("method")
        better = rows[BETTER[metric] * rows["difference"] > 0]
        if not better.empty:
            best = (BETTER[metric] * better["difference"]).idxmax()
            row = better.loc[best]
            lead = "†" if row["significant"] else ""
            losses.append(f"{metric}: {best} {row['mean']:.3g} over {rows.loc['lmac', 'mean']:.3g}{lead}")
    return "; ".join(losses) or "ahead in all five"


def beside_cost(results: DataFrame) -> list[list[str]]:
    """Return a line per method: seconds a sound, and the scores of masks of one size on mixtures."""
    chosen = at_area(select(results, [CONDITION], "stft"), AREA)
    seconds = chosen.groupby("method")["seconds"].median()
    summary = summarise(chosen)
    lines = []
    for method, block in summary.groupby("method", sort=False):
        row = block.set_index("metric")
        cells = [
            f"{row.loc[metric, 'mean']:.3g} [{row.loc[metric, 'lo']:.3g}, {row.loc[metric, 'hi']:.3g}]"
            for metric in METRICS
        ]
        cost = "" if method == "class-mean" else f"{seconds[method]:.2g}"
        lines.append([str(method), cost, *cells])
    return lines


def pictures(results: DataFrame, folder: Path) -> None:
    """Draw the curves over the area, a picture per domain, and scores over cost."""
    for domain in DOMAINS:
        with whole(folder / f"curves_{domain}.png") as temporary:
            faithfulness_curves(select(results, domain=domain)).savefig(temporary, dpi=70)
    with whole(folder / "cost.png") as temporary:
        chosen = select(results, ["in-domain", CONDITION], "stft")
        cost_and_truth(chosen, AREA).savefig(temporary, dpi=80)


def main() -> None:
    """Evaluate, print all tables as Markdown, and draw the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/results"), help="folder of the rows")
    parser.add_argument("--into", type=Path, nargs="*", default=[], help="documents that quote the tables")
    arguments = parser.parse_args()
    results = run(arguments.out)
    header = [
        "condition",
        "domain",
        *(f"best {area:.0%}" for area in sorted(results["area"].dropna().unique())),
    ]
    emit("ahead", header, ahead(results), quoting("ahead", arguments.into))
    for area in SHOWN:
        name = "soft" if area is None else f"best {area:.0%}"
        # The published figures are of soft masks.
        text = render(add_published(summarise(at_area(results, area))))
        emit_text(name, text, quoting(name, arguments.into))
    header = ["method", "seconds", *METRICS]
    emit("methods-scores", header, beside_cost(results), quoting("methods-scores", arguments.into))
    if arguments.into:
        pictures(results, ROOT / "docs" / "images")


if __name__ == "__main__":
    main()
