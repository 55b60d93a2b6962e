"""Every sanity check on real sound: the tables and figures of docs/sanity.md.

    EARMARK_DATA=DIR python bench/sanity.py [--out runs/sanity] [--checks a,b] [--into docs/sanity.md]

DIR holds ``esc10/`` in ESC-50's layout and ``ambient/`` in WHAM!'s. It runs ``earmark sanity`` by
``recipes/esc10/sanity.yaml``, about an hour and a half on two cores; a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tables import emit_text

from earmark.cli.sanity import ROWS
from earmark.cli.sanity_report import section
from earmark.sanity.base import find, names
from earmark.sanity.rows import of_check, read_checks

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "recipes" / "esc10" / "sanity.yaml"
IMAGES = ROOT / "docs" / "images"


def run(out: Path, checks: str) -> None:
    """Run the checks, or go on with them."""
    if "EARMARK_DATA" not in os.environ:
        sys.exit("error: EARMARK_DATA is not set; set it to the folder that holds esc10/ and ambient/")
    data = Path(os.environ["EARMARK_DATA"])
    command: list[str | Path] = [sys.executable, "-m", "earmark", "sanity", "--config", RECIPE]
    command += ["--data", data / "esc10", "--noise", data / "ambient", "--checks", checks, "--out", out]
    subprocess.run(command, check=True)


def main() -> None:
    """Run the checks, print their sections, and copy the figures to the documents."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/sanity"), help="rows and trainings")
    parser.add_argument("--checks", default="all")
    parser.add_argument("--into", type=Path, nargs="*", default=[], help="documents that quote the tables")
    arguments = parser.parse_args()
    run(arguments.out, arguments.checks)
    rows = read_checks(arguments.out / ROWS)
    for name in names():
        own = of_check(rows, name)
        if len(own):
            _, _, *lines = section(find(name)(), own)
            emit_text(name, "\n".join(lines), arguments.into)
            if arguments.into:
                shutil.copyfile(arguments.out / f"{name}.png", IMAGES / f"sanity_{name}.png")


if __name__ == "__main__":
    main()
