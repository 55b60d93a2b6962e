"""What pre-training without labels is worth: a linear probe, and a classifier from 10 labels a class.

    python bench/simclr.py --data ESC10 --noise AMBIENT [--into docs/scale.md]

A CNN14 learns by SimCLR from folds 1 to 3, whose labels it does not see. *Linear probe*: logistic regression
(scikit-learn's, as it comes) on what the network gives of those folds' clips (`Cnn14.embed`), scored on fold
4; beside it the same of random weights; and both once more with features standardised, which helps random
ones. *10 labels a class*: a classifier is trained on 10 clips a class of folds 1 and 2, fold 3 chooses its
epoch, and fold 4, which nothing was chosen by, scores it; begun with pre-trained weights, and from scratch.
Means of three seeds, which also choose the clips.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import emit

from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.classifiers.encoder import begin_with, save_encoder
from earmark.classifiers.simclr.training import SimclrRecipe, train_simclr
from earmark.classifiers.training import ClassifierRecipe, Clips, evaluate, few_of_each, train_classifier
from earmark.data.clips import load_all
from earmark.data.datasets import read_clips
from earmark.data.noise import read_noise
from earmark.data.segments import recordings_of
from earmark.training.recipe import load_recipe

SEEDS = (0, 1, 2)
SECONDS, RATE = 5.0, 16_000


def read(data: Path, folds: Iterable[int], labels: tuple[str, ...]) -> Clips:
    """Read the clips of some folds."""
    waveform, targets = load_all(read_clips(data, tuple(folds)), labels, RATE, SECONDS)
    return Clips(waveform, targets)


def network(recipe: SimclrRecipe, labels: tuple[str, ...], seed: int, encoder: Path | None) -> Cnn14:
    """Return a network with random weights, or an encoder's."""
    torch.manual_seed(seed)
    form = recipe.model_dump(include={"width", "n_mels", "mel_scale", "spectrogram"})
    found = Cnn14(Cnn14Config(labels=labels, seconds=SECONDS, **form))
    if encoder:
        begin_with(found, encoder)
    return found


@torch.inference_mode()
def embedded(found: Cnn14, clips: Clips) -> np.ndarray:
    """Return what a network gives of clips, (clips, channels)."""
    found.eval()
    parts = [found.embed(found.features(found.spectrogram(part))) for part in clips.waveform.split(16)]
    return torch.cat(parts).numpy()


def probe(found: Cnn14, train: Clips, test: Clips, scaled: bool) -> float:
    """Return the accuracy of a linear classifier of what a network gives, in per cent."""
    model = make_pipeline(*([StandardScaler()] if scaled else []), LogisticRegression(max_iter=20_000))
    model.fit(embedded(found, train), train.labels.numpy())
    return 100 * float(model.score(embedded(found, test), test.labels.numpy()))


def from_few_labels(found: Cnn14, clips: Clips, choose: Clips, test: Clips, seed: int, epochs: int) -> float:
    """Return the accuracy of a classifier that saw 10 labels a class, in per cent."""
    few = few_of_each(clips, 10, seed)
    settings = {"loop": {"epochs": epochs, "batch_size": 20, "learning_rate": 1e-3, "seed": seed}}
    recipe = ClassifierRecipe.model_validate(settings | {"width": found.config.width})
    with tempfile.TemporaryDirectory() as folder:
        train_classifier(found, few, choose, recipe, Path(folder))
    return 100 * evaluate(found, test)["accuracy"]


def main() -> None:
    """Pre-train, probe, fine-tune, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--config", type=Path, default=Path("recipes/esc10/simclr.yaml"))
    parser.add_argument("--encoder", type=Path, help="pre-trained already")
    parser.add_argument("--epochs", type=int, default=15, help="of the classifiers from few labels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--into", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = load_recipe(SimclrRecipe, given.config)
    labels = tuple(sorted({clip.label for clip in read_clips(given.data)}))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        encoder = given.encoder or Path(folder)
        if not given.encoder:
            paths = [clip.path for clip in read_clips(given.data, (1, 2, 3))]
            noises = read_noise(given.noise, "tr", RATE) if given.noise else []
            learner = network(recipe, ("none", "other"), recipe.loop.seed, None)
            train_simclr(learner, recordings_of(paths, RATE), noises, recipe, encoder / "run")
            save_encoder(learner, encoder)
        pretrained = time.perf_counter() - started
        rows = _rows(given.data, recipe, labels, encoder, given.epochs)
    minutes = (time.perf_counter() - started) / 60
    print(f"pre-training {pretrained / 60:.1f} min, all {minutes:.1f} min")
    emit("simclr", ("fold 4, %", "random weights", "SimCLR", "gain"), rows, given.into)


def _rows(
    data: Path, recipe: SimclrRecipe, labels: tuple[str, ...], encoder: Path, epochs: int
) -> list[tuple[str, ...]]:
    seen, test = read(data, (1, 2, 3), labels), read(data, (4,), labels)
    learn, choose = read(data, (1, 2), labels), read(data, (3,), labels)
    probes = {"linear probe": False, "linear probe, features standardised": True}
    found: dict[str, list[list[float]]] = {name: [] for name in (*probes, "10 labels a class")}
    for seed in SEEDS:
        begun = [network(recipe, labels, seed, start) for start in (None, encoder)]
        for name, scaled in probes.items():
            found[name].append([probe(one, seen, test, scaled) for one in begun])
        found["10 labels a class"].append(
            [from_few_labels(one, learn, choose, test, seed, epochs) for one in begun]
        )
        print(f"seed {seed}: {[(name, values[-1]) for name, values in found.items()]}", flush=True)
    return [
        (name, *(f"{value:.1f}" for value in (scratch, simclr)), f"{simclr - scratch:+.1f}")
        for name, values in found.items()
        for scratch, simclr in [np.mean(values, axis=0)]
    ]


if __name__ == "__main__":
    main()
