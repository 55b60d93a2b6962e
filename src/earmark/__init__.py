"""earmark: hear what your audio classifier heard."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earmark.api import explain, load
    from earmark.classifiers.taps import Tokens
    from earmark.classifiers.wrap import list_layers, wrap
    from earmark.errors import EarmarkError
    from earmark.explanation import Explanation
    from earmark.features.front_ends import LogMel, Mfcc
    from earmark.features.spectrogram import SpectrogramConfig
    from earmark.model import Model

__version__ = "0.1.0"

__all__ = [
    "EarmarkError",
    "Explanation",
    "LogMel",
    "Mfcc",
    "Model",
    "SpectrogramConfig",
    "Tokens",
    "__version__",
    "explain",
    "list_layers",
    "load",
    "wrap",
]

# Where each public name lives: it is imported when it is first asked for, as torch takes seconds to import.
_HOMES = {
    "EarmarkError": "earmark.errors",
    "Explanation": "earmark.explanation",
    "LogMel": "earmark.features.front_ends",
    "Mfcc": "earmark.features.front_ends",
    "Model": "earmark.model",
    "SpectrogramConfig": "earmark.features.spectrogram",
    "Tokens": "earmark.classifiers.taps",
    "explain": "earmark.api",
    "list_layers": "earmark.classifiers.wrap",
    "load": "earmark.api",
    "wrap": "earmark.classifiers.wrap",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'earmark' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
