"""earmark: hear what your audio classifier heard."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earmark.api import explain, load
    from earmark.errors import EarmarkError
    from earmark.explanation import Explanation
    from earmark.model import Model

__version__ = "0.1.0"

__all__ = ["EarmarkError", "Explanation", "Model", "__version__", "explain", "load"]

# Where each public name lives: it is imported when it is first asked for, as torch takes seconds to import.
_HOMES = {
    "EarmarkError": "earmark.errors",
    "Explanation": "earmark.explanation",
    "Model": "earmark.model",
    "explain": "earmark.api",
    "load": "earmark.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'earmark' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
