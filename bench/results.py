"""Every method in every condition on real sound: the tables and curves of docs/results.md.

    EARMARK_DATA=DIR python bench/results.py [--out runs/results.csv] [--into docs/results.md]

DIR holds ``esc10/`` in ESC-50's layout, ``ambient/`` in WHAM!'s and ``ljspeech/`` in LJSpeech's. It runs
``earmark evaluate`` by ``recipes/esc10/results.yaml``, at most forty minutes on two cores; a stopped run goes
on where it was. Then it says, per condition and area, where L-MAC is ahead of every method that explains.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pandas import DataFrame
from tables import emit, emit_text

from earmark.evaluation.published import add_published
from earmark.evaluation.rendering import render
from earmark.evaluation.tables import BETTER, CONTROLS, at_area, read_results, select, summarise
from earmark.files import whole
from earmark.report.figures import faithfulness_curves

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "recipes" / "esc10" / "results.yaml"
METRICS = ("AI", "AD", "AG", "FF", "Fid-In")
SHOWN = (None, 0.05, 0.2)
DOMAINS = ("stft", "features")
MODEL = "esc10"


def run(out: Path) -> None:
    """Evaluate, or go on with it."""
    if "EARMARK_DATA" not in os.environ:
        sys.exit("error: EARMARK_DATA is not set; set it to the folder of esc10/, ambient/ and ljspeech/")
    data = Path(os.environ["EARMARK_DATA"])
    out.parent.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [sys.executable, "-m", "earmark", "evaluate", "--model", MODEL]
    command += ["--data", data / "esc10", "--noise", data / "ambient", "--speech", data / "ljspeech"]
    subprocess.run([*command, "--config", RECIPE, "--out", out], check=True)


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


def pictures(results: DataFrame, folder: Path) -> None:
    """Draw the curves over the area, a picture per domain."""
    for domain in DOMAINS:
        with whole(folder / f"curves_{domain}.png") as temporary:
            faithfulness_curves(select(results, domain=domain)).savefig(temporary, dpi=70)


def main() -> None:
    """Evaluate, print all tables as Markdown, and draw the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/results.csv"), help="the rows")
    parser.add_argument("--into", type=Path, nargs="*", default=[], help="documents that quote the tables")
    arguments = parser.parse_args()
    run(arguments.out)
    results = read_results(arguments.out)
    areas: Sequence[float] = sorted(results["area"].dropna().unique())
    header = ["condition", "domain", *(f"best {area:.0%}" for area in areas)]
    emit("ahead", header, ahead(results), arguments.into)
    for area in SHOWN:
        name = "soft" if area is None else f"best {area:.0%}"
        # The published figures are of soft masks.
        emit_text(name, render(add_published(summarise(at_area(results, area)))), arguments.into)
    if arguments.into:
        pictures(results, ROOT / "docs" / "images")


if __name__ == "__main__":
    main()
