"""earmark: hear what your audio classifier heard."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earmark.api import explain, explain_each, load
    from earmark.classifiers.taps import Tokens
    from earmark.classifiers.wrap import list_layers, wrap
    from earmark.components import Component, Decomposition, decompose
    from earmark.errors import EarmarkError
    from earmark.explanation import Explanation, Moment
    from earmark.features.front_ends import LogMel, Mfcc
    from earmark.features.spectrogram import SpectrogramConfig
    from earmark.model import Model
    from earmark.recording import explain_recording

__version__ = "0.1.0"

__all__ = [
    "Component",
    "Decomposition",
    "EarmarkError",
    "Explanation",
    "LogMel",
    "Mfcc",
    "Model",
    "Moment",
    "SpectrogramConfig",
    "Tokens",
    "__version__",
    "decompose",
    "explain",
    "explain_each",
    "explain_recording",
    "list_layers",
    "load",
    "wrap",
]

# Where each public name lives: it is imported when it is first asked for, as torch takes seconds to import.
_HOMES = {
    "Component": "earmark.components",
    "Decomposition": "earmark.components",
    "EarmarkError": "earmark.errors",
    "Explanation": "earmark.explanation",
    "LogMel": "earmark.features.front_ends",
    "Mfcc": "earmark.features.front_ends",
    "Model": "earmark.model",
    "Moment": "earmark.explanation",
    "SpectrogramConfig": "earmark.features.spectrogram",
    "Tokens": "earmark.classifiers.taps",
    "decompose": "earmark.components",
    "explain": "earmark.api",
    "explain_each": "earmark.api",
    "explain_recording": "earmark.recording",
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
