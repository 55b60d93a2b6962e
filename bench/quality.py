"""How faithful, and how audible, is a model's L-MAC on real sound: the table of the README.

    python bench/quality.py --data ESC10_DIR --noise NOISE_DIR [--model esc10] [--fold 4] [--into README.md]

Two conditions, scored by definition ("corrected"), masks on the magnitude, the target the classifier's
own decision. *Mixtures*: each clip of the fold with two clips of other classes, one at a time, 3 dB
below it. *In noise*: each clip with recorded noise (the folder's ``tt``) as loud as it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from tables import emit

import earmark
from earmark.data.clips import load_all
from earmark.data.esc50 import read_esc50
from earmark.data.noise import read_noise
from earmark.evaluation.protocol import Sounds, in_noise, mixtures
from earmark.evaluation.runner import mean_scores, score_sounds
from earmark.explainers.base import Explainer

COLUMNS = (
    "AI",
    "AD",
    "AG",
    "FF",
    "FF all",
    "Fid-In",
    "SPS",
    "COMP",
    "MM",
    "SI-SDRi",
    "share",
    "share mixture",
)
AREAS = (None, 0.05, 0.2)


def conditions(model: earmark.Model, data: Path, noise: Path, fold: int, seed: int) -> dict[str, Sounds]:
    """Make the sounds of both conditions, and tell how many of the fold's clips the classifier knows."""
    classifier = model.classifier
    rate = classifier.spectrogram.sample_rate
    clips = read_esc50(data, folds=[fold])
    waveform, labels = load_all(clips, classifier.labels, rate, classifier.seconds)
    with torch.inference_mode():
        right = torch.cat([classifier(part) for part in waveform.split(16)]).argmax(1) == labels
    accuracy = float(right.float().mean())
    print(f"{model.name}: accuracy {accuracy:.1%} on the {len(clips)} clips of fold {fold}\n")
    noises = read_noise(noise, "tt", rate)
    return {
        "mixtures, 3 dB": mixtures(waveform, labels, per_clip=2, snr_db=3.0, seed=seed),
        "in noise, 0 dB": in_noise(waveform, labels, noises, snr_db=0.0, seed=seed),
    }


def rows(
    explainer: Explainer, sounds: dict[str, Sounds], areas: Sequence[float | None] = AREAS
) -> list[list[str]]:
    """Score the soft mask (None) and binary ones of given areas in each condition."""
    table = []
    for condition, part in sounds.items():
        for area, scores in score_sounds(explainer, part, areas).items():
            means = mean_scores(scores)
            mask = "soft" if area is None else f"best {area:.0%}"
            table.append([condition, mask, *(f"{means[column]:.3g}" for column in COLUMNS)])
    return table


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder in ESC-50's layout")
    parser.add_argument("--noise", type=Path, required=True, help="a folder in WHAM!'s layout")
    parser.add_argument("--model", default="esc10")
    parser.add_argument("--fold", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of interferers")
    parser.add_argument("--into", type=Path, nargs="*", default=[], help="documents that quote the table")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    model = earmark.load(arguments.model)
    sounds = conditions(model, arguments.data, arguments.noise, arguments.fold, arguments.seed)
    table = rows(model.explainers["lmac"], sounds)
    emit("quality", ["condition", "mask", *COLUMNS], table, arguments.into)


if __name__ == "__main__":
    main()
