"""What each method costs, beside plain Captum; what scoring costs, beside Quantus and bare passes.

    python bench/methods.py [--repeats 5] [--into docs/results.md]

All in one run on two threads, on the bundled classifier and noise. The floor of a method is the
classifier's forward pass of one clip. Captum's column is the same call on the same network, written by
hand without earmark. Quantus is asked where it is installed (`pip install quantus==0.6.0`).
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, cast
from unittest import mock

import captum.attr
import numpy as np
import torch
from speed import alternate
from tables import emit
from torch import Tensor, autograd

import earmark
from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.cnn14 import Cnn14
from earmark.evaluation.evaluate import EvaluationRecipe, Task, evaluate
from earmark.evaluation.protocol import Material
from earmark.evaluation.results import SAME, Journal
from earmark.explainers.base import Domain, Explainer, names
from earmark.metrics import complexity, sparseness

SECONDS = 5


def captum_calls(
    classifier: AudioClassifier, features: Tensor, target: Tensor
) -> dict[str, Callable[[], object]]:
    """Return plain calls of Captum on features, (1, mels, frames), with the settings of ours."""
    network = torch.nn.Module()
    network.classifier = classifier
    network.forward = classifier.logits
    inputs = features / features.max()
    noise = 0.1 * torch.rand(3, *features.shape[1:])
    patch = tuple(-(-size // 8) for size in features.shape[1:])
    attr = captum.attr
    tunnel = {"nt_samples": 50, "nt_samples_batch_size": 16, "stdevs": 0.15, "nt_type": "smoothgrad"}
    windows = {"sliding_window_shapes": patch, "strides": patch, "perturbations_per_eval": 16}
    layer = cast("Cnn14", classifier).blocks[-1]
    return {
        "saliency": lambda: attr.Saliency(network).attribute(inputs, target),
        "input-x-gradient": lambda: attr.InputXGradient(network).attribute(inputs, target),
        "smoothgrad": lambda: attr.NoiseTunnel(attr.Saliency(network)).attribute(
            inputs, target=target, **tunnel
        ),
        "integrated-gradients": lambda: attr.IntegratedGradients(network).attribute(
            inputs, 0, target, n_steps=50, internal_batch_size=16
        ),
        "guided-backprop": lambda: attr.GuidedBackprop(network).attribute(inputs, target),
        "gradcam": lambda: attr.LayerGradCam(network, layer).attribute(inputs, target),
        "guided-gradcam": lambda: attr.GuidedGradCam(network, layer).attribute(inputs, target),
        "gradient-shap": lambda: attr.GradientShap(network).attribute(inputs, noise, 16, target=target),
        "deeplift-shap": lambda: attr.DeepLiftShap(network).attribute(inputs, noise, target),
        "occlusion": lambda: attr.Occlusion(network).attribute(inputs, target=target, baselines=0, **windows),
    }


def method_rows(model: earmark.Model, repeats: int) -> list[list[str]]:
    """Time every method in both domains over a forward pass, and in the features over Captum."""
    classifier = model.classifier.frozen()
    waveform = torch.randn(1, SECONDS * classifier.spectrogram.sample_rate)
    stft = classifier.spectrogram(waveform / waveform.abs().max())
    with torch.no_grad():
        heard = classifier.hear(stft)
    target = heard.logits.argmax(1)
    peers = captum_calls(classifier, heard.features, target)
    rows = []
    for name in names():
        if name == "class-mean":
            continue
        explainer = model.explainer(name).of(classifier)
        ours, stft_ours, forward, peer = alternate(
            repeats,
            partial(explainer.on("features").masks, stft, target, heard),
            partial(explainer.on("stft").masks, stft, target, heard),
            lambda: classifier.logits(classifier.features(stft)),
            peers.get(name, lambda: None),
        )
        beside = f"{ours / peer:.2f}" if name in peers else ""
        rows.append([name, f"{stft_ours / forward:.1f}", f"{ours / forward:.1f}", beside])
    return rows


def quantus_seconds(repeats: int) -> tuple[float, float] | None:
    """Return the seconds of SPS and COMP of 8 soft masks by Quantus and by ours; None where it is missing."""
    if find_spec("quantus") is None:
        return None
    import quantus

    mask = torch.rand(8, 513, 431)
    array, labels = mask[:, None].numpy(), np.zeros(8, int)
    metrics = [quantus.Sparseness(disable_warnings=True), quantus.Complexity(disable_warnings=True)]

    def theirs() -> None:
        for metric in metrics:
            metric(model=None, x_batch=array, y_batch=labels, a_batch=array, channel_first=True)

    peer, ours = alternate(repeats, theirs, lambda: (sparseness(mask), complexity(mask)))
    return peer, ours


def quantus_ratio(repeats: int) -> str:
    """Return how many times faster SPS and COMP of a soft mask are than Quantus's."""
    found = quantus_seconds(repeats)
    return f"{found[0] / found[1]:.1f}" if found else "Quantus is not installed"


def overhead(model: earmark.Model) -> str:
    """Return an evaluation's time over what it spends in the classifier: features, layers, and backwards."""
    classifier = model.classifier.frozen()
    methods = ("lmac", "saliency", "integrated-gradients", "gradcam", "loudest", "all-ones")
    explainers: dict[tuple[str, Domain], Explainer] = {
        (name, "stft"): model.explainer(name).of(classifier) for name in methods
    }
    samples = SECONDS * classifier.spectrogram.sample_rate
    labels = torch.arange(16) % len(classifier.labels)
    material = Material(tuple(map(str, range(16))), torch.randn(16, samples), labels)
    recipe = EvaluationRecipe(methods=methods, conditions=("white-noise",), areas=(None, 0.05, 0.1, 0.2))
    task = Task(classifier, explainers, material, {})
    watch = Stopwatch()
    classifier.features = watch.timing(classifier.features)  # type: ignore[method-assign]
    classifier.representations = watch.timing(classifier.representations)  # type: ignore[method-assign]
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("torch.autograd.grad", watch.timing(autograd.grad)),
    ):
        for run in range(2):  # the first warms up
            watch.seconds = 0.0
            journal = Journal(Path(folder) / f"{run}.csv", dict.fromkeys(SAME, "bench"))
            started = perf_counter()
            evaluate(task, recipe, journal)
            seconds = perf_counter() - started
    return f"{seconds / watch.seconds:.2f}"


class Stopwatch:
    """Adds up the seconds that functions take."""

    seconds = 0.0

    def timing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            started = perf_counter()
            result = function(*arguments, **options)
            self.seconds += perf_counter() - started
            return result

        return timed


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--into", type=Path, nargs="*", default=[], help="documents that quote the tables")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = earmark.load("esc10")
    header = [
        "method",
        "STFT masks / forward pass",
        "feature masks / forward pass",
        "feature masks / plain Captum",
    ]
    emit("methods", header, method_rows(model, arguments.repeats), arguments.into)
    rows = [
        ["SPS and COMP: Quantus 0.6 / ours", quantus_ratio(arguments.repeats)],
        ["an evaluation / its passes through the classifier", overhead(model)],
    ]
    emit("scoring", ["what", "ratio"], rows, arguments.into)


if __name__ == "__main__":
    main()
