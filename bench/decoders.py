"""The two decoders side by side, trained on the same classifier, data, seed and schedule.

    python bench/decoders.py --data ESC10_DIR --noise NOISE_DIR [--work DIR] [--into docs/decoders.md]

Trains both by ``recipes/esc10/compare-*.yaml`` for the bundled classifier, about half an hour
on two cores; a stopped run goes on where it was. Then scores both as ``bench/quality.py`` does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import cast

import torch
from quality import COLUMNS, conditions, rows
from tables import emit

import earmark
from earmark.explainers.lmac.explainer import Lmac

RECIPES = Path(__file__).parent.parent / "recipes" / "esc10"
KINDS = ("compact", "paper")


def train(kind: str, arguments: argparse.Namespace) -> earmark.Model:
    """Train one decoder in two stages, or take up its training, and return the model."""
    first, second = arguments.work / f"{kind}-separate", arguments.work / kind
    command: list[str | Path] = [sys.executable, "-m", "earmark", "train", "lmac", "--model", "esc10"]
    command += ["--data", arguments.data, "--noise", arguments.noise]
    separate: list[str | Path] = ["--config", RECIPES / "compare-separate.yaml"]
    separate += ["--set", f"decoder.kind={kind}"]
    subprocess.run([*command, "--out", first, *separate], check=True)
    lmac: list[str | Path] = ["--config", RECIPES / "compare-lmac.yaml", "--finetune-from", first]
    subprocess.run([*command, "--out", second, *lmac], check=True)
    return earmark.load(second)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description="The two decoders side by side.")
    parser.add_argument("--data", type=Path, required=True, help="a folder in ESC-50's layout")
    parser.add_argument("--noise", type=Path, required=True, help="a folder in WHAM!'s layout")
    parser.add_argument("--work", type=Path, default=Path("runs/decoders"))
    parser.add_argument("--into", type=Path, nargs="*", default=[], help="documents that quote the table")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    models = {kind: train(kind, arguments) for kind in KINDS}
    sounds = conditions(models["compact"], arguments.data, arguments.noise, fold=4, seed=0)
    table = []
    for kind, model in models.items():
        explainer = cast("Lmac", model.explainers["lmac"])
        size = sum(p.numel() for p in explainer.decoder.parameters()) / 1e6
        table += [[kind, f"{size:.2f} M", *row] for row in rows(explainer, sounds, areas=(None, 0.2))]
    emit("decoders", ["decoder", "parameters", "condition", "mask", *COLUMNS], table, arguments.into)


if __name__ == "__main__":
    main()
