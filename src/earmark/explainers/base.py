"""What every explainer is: masks from a spectrum and a class, and a registry of them by name."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar, Literal, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from typing_extensions import Self

from earmark.classifiers.base import AudioClassifier, Heard, evaluating
from earmark.errors import ModelError
from earmark.features.masking import MaskScale

Domain = Literal["stft", "features"]
"""What a mask is laid on: the linear spectrum, which can be listened to, or the classifier's features."""


class Components(ABC):
    """Parts that together are a sound, and what each says of a class.

    Args:
        relevance: (batch, parts), how much each speaks for the class (below 0: against it); the largest in
            size is 1 or -1.
    """

    def __init__(self, relevance: Tensor) -> None:
        self.relevance = relevance

    @abstractmethod
    def mask(self, chosen: Tensor) -> Tensor:
        """Return the share of each bin that parts are, (batch, bins, frames) in [0, 1].

        Args:
            chosen: (batch, parts), how much of each is kept, in [0, 1].
        """


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
        domains: where its masks can live.
        ranks: whether its masks put bins in an order; if not, their best bins mean nothing.
        needs_examples: whether it must have seen other sounds, and so can only be evaluated.
        choosy: whether it needs more of a network than logits and gradients, and refuses some.
        costly: whether a sound takes it a hundred passes through the classifier or more; such a method only
            runs where it is named.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    domains: ClassVar[tuple[Domain, ...]] = ("stft", "features")
    ranks: ClassVar[bool] = True
    needs_examples: ClassVar[bool] = False
    choosy: ClassVar[bool] = False
    costly: ClassVar[bool] = False
    domain: Domain = "stft"
    scale: MaskScale = "magnitude"

    def __init__(self, classifier: AudioClassifier, seed: int = 0) -> None:
        self.classifier = classifier
        self.seed = seed

    def on(self, domain: Domain, scale: MaskScale | None = None) -> Self:
        """Return the same explainer with masks of another domain or scale; it shares all weights.

        Raises:
            ModelError: it has no masks there, or was trained for another domain.
        """
        if domain not in self.domains:
            raise ModelError(f"{self.name} has no masks on the {domain}", " or ".join(self.domains))
        other = copy.copy(self)
        other.domain, other.scale = domain, scale or self.scale
        return other

    def of(self, classifier: AudioClassifier) -> Self:
        """Return the same explainer of another copy of the classifier, such as a frozen one."""
        other = copy.copy(self)
        other.classifier = classifier
        return other

    def components(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Components:
        """Return the parts that sounds are made of and what each says of a class, where a method knows any.

        Arguments are those of `masks`.

        Raises:
            ModelError: it knows none.
        """
        raise ModelError(f"{self.name} knows no components", "a method that explains by them, such as l2i")

    def variant(self, text: str) -> Self:
        """Return the same explainer with what follows "@" in a method's name, such as a threshold.

        Raises:
            ModelError: it has no variants, or not this one.
        """
        raise ModelError(f"{self.name}@{text}", f"{self.name} alone, as it has no variants")

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


class Trained(Explainer):
    """An explainer with weights of its own, which are trained for one classifier and kept beside it.

    Args:
        classifier: the frozen classifier.
        config: what it is beside its weights, of the type ``settings``.

    Attributes:
        settings: what its config is.
    """

    settings: ClassVar[type[BaseModel]]
    config: BaseModel

    def __init__(self, classifier: AudioClassifier, config: Any = None) -> None:
        super().__init__(classifier)

    @property
    @abstractmethod
    def weights(self) -> nn.Module:
        """The network that was trained."""


@torch.no_grad()
def map_channels(classifier: AudioClassifier, method: str) -> list[int]:
    """Return how many channels each of a classifier's feature maps has, from shallow to deep.

    Args:
        classifier: it hears silence once.
        method: who reads the maps, for the message.

    Raises:
        ModelError: it has no feature maps.
    """
    spectrogram = classifier.spectrogram
    silence = torch.zeros(1, round(classifier.seconds * spectrogram.sample_rate), device=classifier.device)
    with evaluating(classifier):
        heard = classifier.hear(spectrogram(silence))
    if not heard.representations:
        fix = "name one with wrap(…, layers=[…])"
        raise ModelError(f"{method} needs a feature map, and the classifier has none", fix=fix)
    return [maps.shape[1] for maps in heard.representations]


# The file of each method in this folder, so that choosing one does not import them all.
_FILES = {
    "all-ones": "controls",
    "all-zeros": "controls",
    "attention-rollout": "attention_rollout",
    "audiolime": "audiolime",
    "audiolime-hpss": "audiolime",
    "class-mean": "controls",
    "deeplift-shap": "deeplift_shap",
    "gradcam": "gradcam",
    "gradcam++": "gradcam_plus_plus",
    "gradient-shap": "gradient_shap",
    "gradient-x-attention": "gradient_x_attention",
    "guided-backprop": "guided_backprop",
    "guided-gradcam": "guided_gradcam",
    "input-x-gradient": "input_x_gradient",
    "integrated-gradients": "integrated_gradients",
    "l2i": "l2i.explainer",
    "lmac": "lmac.explainer",
    "lmac-td": "lmac_td.explainer",
    "loudest": "controls",
    "lrp": "lrp",
    "occlusion": "occlusion",
    "opti-cam": "opti_cam",
    "optimised-mask": "optimised_mask",
    "piq": "piq.explainer",
    "random": "controls",
    "rise": "rise",
    "saliency": "saliency",
    "slime": "slime",
    "slime-frequency": "slime",
    "slime-time": "slime",
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
    """Return the explainer of that name; what follows "@" names a variant, see `Explainer.variant`.

    Raises:
        ModelError: there is none; the message lists those there are.

    >>> find("saliency").name, find("l2i@0.4").name
    ('saliency', 'l2i')
    """
    name = name.partition("@")[0]
    if name not in _REGISTRY and name in _FILES:
        import_module(f"earmark.explainers.{_FILES[name]}")
    if name not in _REGISTRY:
        raise ModelError(f"there is no method {name!r}", f"one of {', '.join(names())}", "pick one of these")
    return _REGISTRY[name]
