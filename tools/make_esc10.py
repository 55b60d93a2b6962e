"""Make the bundled model `esc10` anew: two trainings of the classifier, four of its L-MAC, three of others.

    EARMARK_DATA=DIR python tools/make_esc10.py [--work runs/esc10]

DIR holds ``esc10/`` in ESC-50's layout and ``ambient/`` in WHAM!'s. It takes almost three hours on two cores;
a stopped run goes on where it was. The classifier is rounded to half precision, as it is shipped, before the
decoder learns to explain it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from earmark.model import Model, load_model, save_model

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "recipes" / "esc10"
BUNDLED = ROOT / "src" / "earmark" / "models" / "esc10"


def train(kind: str, recipe: str, out: Path, *options: str | Path) -> Path:
    """Run one training with one recipe."""
    if "EARMARK_DATA" not in os.environ:
        sys.exit("error: EARMARK_DATA is not set; set it to the folder that holds esc10/ and ambient/")
    data = Path(os.environ["EARMARK_DATA"])
    earmark: list[str | Path] = [sys.executable, "-m", "earmark", "train", kind]
    sounds: list[str | Path] = ["--data", data / "esc10", "--noise", data / "ambient"]
    subprocess.run([*earmark, *sounds, "--config", RECIPES / recipe, "--out", out, *options], check=True)
    return out


def main() -> None:
    """Train in nine steps, and store the result with the package."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/esc10"), help="where the trainings are kept")
    work = parser.parse_args().work
    first = train("classifier", "classifier.yaml", work / "classifier")
    second = train("classifier", "classifier-refined.yaml", work / "refined", "--init", first)
    rounded = work / "rounded"
    save_model(load_model(second), rounded, half=True)
    guided = train("lmac", "separate.yaml", work / "separate", "--model", rounded)
    faithful = train("lmac", "lmac.yaml", work / "lmac", "--model", rounded, "--finetune-from", guided)
    asked = train("lmac", "targets.yaml", work / "targets", "--model", rounded, "--finetune-from", faithful)
    final = train("lmac", "heard.yaml", work / "heard", "--model", rounded, "--finetune-from", asked)
    for method in ("l2i", "piq", "lmac-td"):  # each is kept beside those before it
        final = train(method, f"{method}.yaml", work / method, "--model", final)
    model = load_model(final)
    save_model(Model("esc10", model.classifier, model.explainers), BUNDLED, half=True)
    print(f"{BUNDLED} is made; bench/quality.py scores it")


if __name__ == "__main__":
    main()
