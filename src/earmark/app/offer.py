"""A model, and by which methods the page lets it be explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from earmark.api import prepare
from earmark.cli.choosing import usable
from earmark.errors import ModelError
from earmark.explainers.base import Trained, registered
from earmark.explaining import Request
from earmark.model import Model

_FIRST_CHOICES = ("lmac", "gradcam", "saliency")


@dataclass(frozen=True)
class Offer:
    """A model and its methods.

    Args:
        name: what the page calls it.
        model: it, with all explainers that were trained for it.
        quick: methods that answer at once.
        costly: methods that take a hundred passes and more.
    """

    name: str
    model: Model
    quick: tuple[str, ...]
    costly: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, name: str | None = None) -> Offer:
        """Return what can be offered of a model; controls explain nothing, and are not.

        Raises:
            ModelError: no method can explain it.
        """
        methods = usable(model, ("stft",), quiet=True)
        quick = tuple(method for method in methods if not _is_control(method))
        if not quick:
            raise ModelError(f"no quick method can explain {model.name!r}", fix="see `earmark methods`")
        return cls(name or model.name, model, quick, _costly(model))

    @property
    def first(self) -> str:
        """The method that is taken where none is named."""
        return next((name for name in _FIRST_CHOICES if name in self.quick), self.quick[0])

    def request(self, method: str = "", target: str = "") -> Request:
        """Return what explains a sound.

        Args:
            method: one of those offered; the first if empty.
            target: a class; what is decided if empty.

        Raises:
            ModelError: there is no such method or class.
        """
        method = method or self.first
        if method not in (*self.quick, *self.costly):
            given = f"{self.name} has no method {method!r} here"
            raise ModelError(given, f"one of {', '.join(self.quick + self.costly)}")
        return prepare(self.model, method, target or None, check=method in self.quick)

    def about(self) -> dict[str, Any]:
        """Return what the page is told of it."""
        kinds = registered()
        classifier = self.model.classifier
        return {
            "name": self.name,
            "labels": list(classifier.labels),
            "seconds": classifier.seconds,
            "method": self.first,
            "methods": [
                {"name": name, "summary": kinds[name].summary, "costly": name in self.costly}
                for name in (*self.quick, *self.costly)
            ],
        }


def _costly(model: Model) -> tuple[str, ...]:
    blind = not model.classifier.passes_gradients()
    return tuple(
        name
        for name, kind in registered().items()
        if kind.costly
        and "stft" in kind.domains
        and not issubclass(kind, Trained)
        and not (blind and getattr(kind, "needs_gradients", False))
    )


def _is_control(name: str) -> bool:
    return registered()[name].__module__.endswith(".controls")
