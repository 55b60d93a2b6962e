"""What a model is: its rate, labels, front end, representations, explainers, size and cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from earmark.classifiers.base import AudioClassifier, Heard
from earmark.classifiers.wrap import WrappedClassifier
from earmark.explainers.base import Explainer
from earmark.explainers.lmac.explainer import Lmac
from earmark.model import Model


def describe_model(model: Model) -> dict[str, Any]:
    """Tell what a model is, ready for strict JSON.

    Args:
        model: any model; it is run once on silence.

    Returns:
        "name", "kind"; "labels", "several" (whether more than one may hold); "sample_rate" in Hz, "seconds",
        "level" ("peak of 1" or "as it is"); "spectrogram", the STFT's settings; "eats" and "eaten" (rows and
        columns of a sound of ``seconds``); "representations", name and (channels, height, width) of each;
        "parameters" and "flops" of the classifier for one sound, and of each of "explainers" beside its
        "description". FLOPs are those of convolutions and matrix products.
    """
    classifier = model.classifier
    samples = round(classifier.seconds * classifier.spectrogram.sample_rate)
    with torch.no_grad():
        stft = classifier.spectrogram(torch.zeros((1, samples), device=classifier.device))
        with FlopCounterMode(display=False) as passing:
            heard = classifier.hear(stft)
    return {
        "name": model.name,
        "kind": getattr(classifier, "kind", type(classifier).__name__),
        "labels": list(classifier.labels),
        "several": classifier.multi_label,
        "sample_rate": classifier.spectrogram.sample_rate,
        "seconds": classifier.seconds,
        "level": "peak of 1" if classifier.peak_normalised else "as it is",
        "spectrogram": classifier.spectrogram.config.model_dump(mode="json"),
        "eats": classifier.eats,
        "eaten": list(heard.features.shape[1:]),
        "representations": _representations(classifier, heard),
        "parameters": _parameters(classifier),
        "flops": passing.get_total_flops(),
        "explainers": {
            name: _explainer(explainer, stft, heard) for name, explainer in model.explainers.items()
        },
    }


def _representations(classifier: AudioClassifier, heard: Heard) -> list[dict[str, Any]]:
    shapes = [list(maps.shape[1:]) for maps in heard.representations]
    named = classifier.layers if isinstance(classifier, WrappedClassifier) else range(1, len(shapes) + 1)
    return [{"name": str(name), "shape": shape} for name, shape in zip(named, shapes)]


def _explainer(explainer: Explainer, stft: torch.Tensor, heard: Heard) -> dict[str, Any]:
    target = heard.logits.argmax(1)
    with FlopCounterMode(display=False) as drawing:
        explainer.masks(stft, target, heard)
    found: dict[str, Any] = {"flops": drawing.get_total_flops()}
    if isinstance(explainer, Lmac):
        found["parameters"] = _parameters(explainer.decoder)
        found["description"] = explainer.config.description
        found["decoder"] = explainer.config.decoder.kind
    return found


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
