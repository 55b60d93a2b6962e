"""What earmark raises for bad input: one line that says what was given, what was expected, what to do."""

from __future__ import annotations


class EarmarkError(Exception):
    """Bad input, told in one line.

    Args:
        given: what was wrong, with the offending value or file in it.
        expected: what would have been right, without "expected"; may be empty.
        fix: what to do about it, as an instruction; may be empty.

    >>> str(EarmarkError("rate is -1 Hz", "a positive sample rate", "pass its own rate"))
    'rate is -1 Hz; expected a positive sample rate; pass its own rate'
    """

    def __init__(self, given: str, expected: str = "", fix: str = "") -> None:
        parts = [given, f"expected {expected}" if expected else "", fix]
        super().__init__("; ".join(part for part in parts if part).replace("\n", " "))


class AudioError(EarmarkError):
    """A sound file or a waveform that cannot be used."""


class ModelError(EarmarkError):
    """A model folder, label or network that cannot be used."""


class DataError(EarmarkError):
    """A data set that is not laid out as its kind demands."""


class RecipeError(EarmarkError):
    """A setting that does not exist or has an impossible value."""


class OutputError(EarmarkError):
    """A result that cannot be written."""
