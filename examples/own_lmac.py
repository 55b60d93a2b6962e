"""Train an L-MAC for the network of `own_front_end.py`, keep it on disk, and explain by it.

L-MAC learns once, from sounds of the network's own kind; an explanation then takes two forward passes.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
from pathlib import Path

from own_front_end import make_classifier
from toy_sounds import explain_mixtures, make_clips

import earmark
from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.training import Clips
from earmark.evaluation.runner import mean_scores, score_sounds
from earmark.evaluation.targets import two_classes
from earmark.explainers.lmac.decoder import DecoderConfig
from earmark.explainers.lmac.explainer import Lmac, LmacConfig
from earmark.explainers.lmac.guidance import GuidanceConfig
from earmark.explainers.lmac.objective import ObjectiveConfig
from earmark.explainers.lmac.training import LmacRecipe, LmacScenes, train_lmac
from earmark.model import load_model, save_model
from earmark.training.loop import LoopSettings

# Far smaller and shorter than the defaults, which are for clips of five seconds and hours of training.
RECIPE = LmacRecipe(
    decoder=DecoderConfig(channels=(8, 16)),
    objective=ObjectiveConfig(mask_in=1, mask_out=1, out_loss="bounded", sparsity=1),
    # It is known what the sounds of a class are like alone, so masks are drawn towards them.
    guidance=GuidanceConfig(kind="sdr", weight=8),
    scenes=LmacScenes(clean=0, noise=0, other_class=0.5, passes=1),
    loop=LoopSettings(epochs=8, batch_size=16, learning_rate=3e-2),
)


def make_lmac(classifier: AudioClassifier, folder: Path) -> Lmac:
    """Train a decoder; of its epochs the one is kept that does best on mixtures of sounds it never met."""
    explainer = Lmac(classifier, LmacConfig(decoder=RECIPE.decoder))
    sounds, _ = two_classes(*make_clips(per_class=10, seed=2), per_clip=1, snr_db=3)
    log = train_lmac(
        explainer,
        Clips(*make_clips()),
        RECIPE,
        folder,
        validate=lambda: mean_scores(score_sounds(explainer, sounds)[None]),
    )
    print(f"Trained {len(log)} epochs; their figures are in {folder / 'log.csv'}.")
    return explainer


def run(out: Path) -> dict[str, float]:
    """Train, save, load and explain; returns what `explain_mixtures` does."""
    model = earmark.Model("own-lmac", make_classifier())
    model.explainers["lmac"] = make_lmac(model.classifier, out / "training")
    save_model(model, out / "model")
    # The folder has the decoder and a fingerprint of the network, which is to be given again.
    loaded = load_model(out / "model", classifier=model.classifier)
    return explain_mixtures(loaded, ("lmac",), out)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("own-lmac"), help="folder to write to (%(default)s)")
    run(parser.parse_args().out)


if __name__ == "__main__":
    main()
