"""What every explainer is: masks from a spectrum and a class, and a registry of them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, TypeVar

from torch import Tensor

from earmark.classifiers.base import AudioClassifier, Heard
from earmark.errors import ModelError
from earmark.features.masking import MaskScale

Domain = Literal["stft", "features"]


class Explainer(ABC):
    """Turns a spectrum and a class into a mask.

    Args:
        classifier: what is explained; it is left as it was.

    Attributes:
        name: under which it is registered.
        summary: one line for people who choose a method.
        domain: where its masks live: "stft", which can be listened to, or "features".
        scale: what its masks on the STFT multiply.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    domain: Domain = "stft"
    scale: MaskScale = "magnitude"

    def __init__(self, classifier: AudioClassifier) -> None:
        self.classifier = classifier

    @abstractmethod
    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        """Return a mask for each clip.

        Args:
            stft: complex (batch, bins, frames), of sounds at a peak of 1, as the classifier hears them.
            target: (batch,), the classes to explain.
            heard: what `AudioClassifier.hear` returned for this very ``stft``, if the caller has it;
                it spares methods that need no gradients a second pass through the classifier.

        Returns:
            (batch, bins, frames) in [0, 1], 1 = kept; (batch, mels, frames) in the domain "features".
        """


_REGISTRY: dict[str, type[Explainer]] = {}
Kind = TypeVar("Kind", bound=type[Explainer])


def register(name: str) -> Callable[[Kind], Kind]:
    """Make an explainer known under a name."""

    def add(kind: Kind) -> Kind:
        kind.name = name
        _REGISTRY[name] = kind
        return kind

    return add


def registered() -> dict[str, type[Explainer]]:
    """Return all known explainers by name."""
    # Importing a method's file registers it.
    from earmark.explainers.lmac import explainer as _  # noqa: F401

    return dict(sorted(_REGISTRY.items()))


def find(name: str) -> type[Explainer]:
    """Return the explainer of that name.

    Raises:
        ModelError: there is none; the message lists those there are.
    """
    known = registered()
    if name not in known:
        raise ModelError(f"there is no method {name!r}", f"one of {', '.join(known)}", "pick one of these")
    return known[name]
