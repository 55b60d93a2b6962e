"""A network's layers in the order in which it uses them, and new random weights for some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from earmark.classifiers.base import AudioClassifier

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_PAPER = (nn.modules.conv._ConvNd, nn.Linear)


class Layer(NamedTuple):
    """A layer with weights, and the normalisations that follow it.

    Args:
        name: of the layer, as its network knows it.
        modules: the names of all its modules with weights of their own.
    """

    name: str
    modules: tuple[str, ...]


def layers_of(classifier: AudioClassifier, stft: Tensor) -> list[Layer]:
    """Return a classifier's layers, those next to the logits first.

    Args:
        classifier: it is run once.
        stft: complex (batch, bins, frames), something that it can hear.
    """
    names = {
        module: name
        for name, module in classifier.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    }
    used: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda one, *_, name=name: used.append(name))
        for module, name in names.items()
    ]
    try:
        with torch.no_grad():
            classifier.hear(stft)
    finally:
        for hook in hooks:
            hook.remove()
    # What is used without being called, such as a projection inside attention, comes first of all.
    order = [*(name for name in names.values() if name not in used), *dict.fromkeys(used)]
    return _grouped(order, {name: module for module, name in names.items()})[::-1]


def _grouped(order: Sequence[str], modules: dict[str, nn.Module]) -> list[Layer]:
    layers: list[Layer] = []
    for name in order:
        if layers and isinstance(modules[name], _NORMS):
            layers[-1] = Layer(layers[-1].name, (*layers[-1].modules, name))
        else:
            layers.append(Layer(name, (name,)))
    return layers


def reinitialise(classifier: AudioClassifier, layer: Layer, norms: bool = True, seed: int = 0) -> None:
    """Give a layer new random weights, in place.

    Args:
        classifier: whose layer.
        layer: one of `layers_of`.
        norms: whether everything is drawn anew, statistics of batch-norms among it; if not, convolutions and
            linear layers alone, as in the paper.
        seed: of the weights.
    """
    modules = dict(classifier.named_modules())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in layer.modules:
            if norms or isinstance(modules[name], _PAPER):
                _draw(modules[name])


@torch.no_grad()
def _draw(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset) and not list(module.children()):
        reset()
        if isinstance(module, _PAPER):
            # torch's own first weights let what passes ten layers die away; He's keep its size.
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        return
    # Nobody says how such weights begin: the same ones in another order are as random.
    for parameter in module.parameters(recurse=False):
        order = torch.randperm(parameter.numel()).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
