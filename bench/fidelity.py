"""How often L2I's interpreter decides as the classifier that it explains, on sounds of fold 4.

    EARMARK_DATA=DIR python bench/fidelity.py [--into docs/methods.md]

DIR is as for bench/results.py, and so are the conditions. The interpreter sees the activations of its
dictionary alone: where it decides otherwise, its components explain another decision.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import cast

import torch
from tables import emit

import earmark
from earmark.data.clips import load_all
from earmark.data.datasets import read_clips
from earmark.data.noise import read_noise_named
from earmark.evaluation.protocol import Material, make_sounds
from earmark.evaluation.runner import hear_sounds
from earmark.explainers.l2i.explainer import L2i

CONDITIONS = ("clean", "in-domain", "mixtures", "white-noise")


@torch.no_grad()
def agreement(explainer: L2i, material: Material, condition: str) -> float:
    """Return the share of sounds for which both decide the same."""
    same = []
    for clips in torch.arange(len(material.names)).split(16):
        scene = hear_sounds(explainer.classifier, make_sounds(condition, material, clips.tolist()))
        same.append(explainer.decisions(scene.heard).argmax(1) == scene.target)
    return float(torch.cat(same).double().mean())


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, nargs="*", default=[], help="documents that quote the table")
    arguments = parser.parse_args()
    if "EARMARK_DATA" not in os.environ:
        sys.exit("error: EARMARK_DATA is not set; set it to the folder of esc10/ and ambient/")
    data = Path(os.environ["EARMARK_DATA"])
    explainer = cast("L2i", earmark.load("esc10").explainer("l2i"))
    classifier = explainer.classifier
    clips, rate = read_clips(data / "esc10", [4]), classifier.spectrogram.sample_rate
    waveform, labels = load_all(clips, classifier.labels, rate, classifier.seconds)
    noises = read_noise_named(data / "ambient", "tt", rate)
    material = Material(tuple(clip.name for clip in clips), waveform, labels, noises)
    rows = [[name, f"{agreement(explainer, material, name):.2f}"] for name in CONDITIONS]
    emit("l2i-fidelity", ["condition", f"decides as the classifier, of {len(clips)}"], rows, arguments.into)


if __name__ == "__main__":
    main()
