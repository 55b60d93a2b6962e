"""What every explainer is: masks from a spectrum and a class, and a registry of them by name."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import ClassVar, Literal, TypeVar

from torch import Tensor
from typing_extensions import Self

from earmark.classifiers.base import AudioClassifier, Heard
from earmark.errors import ModelError
from earmark.features.masking import MaskScale

Domain = Literal["stft", "features"]
"""What a mask is laid on: the linear spectrum, which can be listened to, or the classifier's features."""


class Explainer(ABC):
    """Turns a spectrum and a class into a mask.

    Args:
        classifier: what is explained; it is left as it was.
        seed: of what a method draws at random; the same seed gives the same masks.

    Attributes:
        name: under which it is registered.
        summary: one line for people who choose a method.
        domain: where its masks live.
        scale: what its masks on the STFT multiply.
        ranks: whether its masks put bins in an order; if not, their best bins mean nothing.
        needs_examples: whether it must have seen other sounds, and so can only be evaluated.
        costly: whether a sound takes it a hundred passes through the classifier or more; such a method only
            runs where it is named.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    ranks: ClassVar[bool] = True
    needs_examples: ClassVar[bool] = False
    costly: ClassVar[bool] = False
    domain: Domain = "stft"
    scale: MaskScale = "magnitude"

    def __init__(self, classifier: AudioClassifier, seed: int = 0) -> None:
        self.classifier = classifier
        self.seed = seed

    def on(self, domain: Domain, scale: MaskScale | None = None) -> Self:
        """Return the same explainer with masks of another domain or scale; it shares all weights.

        Raises:
            ModelError: it was trained for another domain.
        """
        other = copy.copy(self)
        other.domain, other.scale = domain, scale or self.scale
        return other

    def of(self, classifier: AudioClassifier) -> Self:
        """Return the same explainer of another copy of the classifier, such as a frozen one."""
        other = copy.copy(self)
        other.classifier = classifier
        return other

    @abstractmethod
    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        """Return a mask for each clip.

        Args:
            stft: complex (batch, bins, frames), of sounds divided by their `AudioClassifier.level`.
            target: (batch,), the classes to explain.
            heard: what `AudioClassifier.hear` returned for this very ``stft``, if the caller has it;
                it spares methods that need no gradients a second pass through the classifier.

        Returns:
            (batch, bins, frames) in [0, 1], 1 = kept; of the features' shape in the domain "features".
        """


# The file of each method in this folder, so that choosing one does not import them all.
_FILES = {
    "all-ones": "controls",
    "all-zeros": "controls",
    "class-mean": "controls",
    "deeplift-shap": "deeplift_shap",
    "gradcam": "gradcam",
    "gradcam++": "gradcam_plus_plus",
    "gradient-shap": "gradient_shap",
    "guided-backprop": "guided_backprop",
    "guided-gradcam": "guided_gradcam",
    "input-x-gradient": "input_x_gradient",
    "integrated-gradients": "integrated_gradients",
    "lmac": "lmac.explainer",
    "loudest": "controls",
    "occlusion": "occlusion",
    "random": "controls",
    "saliency": "saliency",
    "smoothgrad": "smoothgrad",
}
_REGISTRY: dict[str, type[Explainer]] = {}
Kind = TypeVar("Kind", bound=type[Explainer])


def register(name: str) -> Callable[[Kind], Kind]:
    """Make an explainer known under a name."""

    def add(kind: Kind) -> Kind:
        kind.name = name
        _REGISTRY[name] = kind
        return kind

    return add


def names() -> list[str]:
    """Return the names of all known explainers, those of others' own among them."""
    return sorted(_FILES.keys() | _REGISTRY.keys())


def registered() -> dict[str, type[Explainer]]:
    """Return all known explainers by name."""
    return {name: find(name) for name in names()}


def find(name: str) -> type[Explainer]:
    """Return the explainer of that name.

    Raises:
        ModelError: there is none; the message lists those there are.

    >>> find("saliency").name
    'saliency'
    """
    if name not in _REGISTRY and name in _FILES:
        import_module(f"earmark.explainers.{_FILES[name]}")
    if name not in _REGISTRY:
        raise ModelError(f"there is no method {name!r}", f"one of {', '.join(names())}", "pick one of these")
    return _REGISTRY[name]
