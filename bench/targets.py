"""Does another class than the decision get an explanation of its own: the table of docs/targets.md.

    python bench/targets.py --data ESC10_DIR [--model esc10] [--methods a,b] [--into docs/targets.md]

Mixtures of two clips of the fold, equally loud (0 dB), two for each clip, each explained for the class of
either clip and for one that is in neither; what is scored is told in `earmark.evaluation.targets`. The row
*all-ones* is what a mask that keeps everything gets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tables import emit

import earmark
from earmark.data.clips import load_all
from earmark.data.esc50 import read_esc50
from earmark.evaluation.targets import score_targets, two_classes

COLUMNS = ("own", "SI-SDRi", "overlap", "mean", "energy", "absent mean", "absent energy")


def main() -> None:
    """Score methods and print their table, or write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="esc10")
    parser.add_argument("--methods", default="lmac,gradcam,saliency,all-ones")
    parser.add_argument("--fold", type=int, default=4)
    parser.add_argument("--into", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    model = earmark.load(given.model)
    classifier = model.classifier
    clips = read_esc50(given.data, folds=[given.fold])
    waveform, labels = load_all(
        clips, classifier.labels, classifier.spectrogram.sample_rate, classifier.seconds
    )
    sounds, classes = two_classes(waveform, labels)
    rows = []
    for method in given.methods.split(","):
        scores = score_targets(model.explainer(method), sounds, classes)
        rows.append((method, *(f"{float(scores[name].mean()):.3g}" for name in COLUMNS)))
    emit("targets", ("method", *COLUMNS), rows, given.into)


if __name__ == "__main__":
    main()
