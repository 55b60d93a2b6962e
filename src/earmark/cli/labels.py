"""Class names in a line: a model may have hundreds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches

_MOST = 12
_NEAR = 5


def few(labels: Collection[str]) -> str:
    """Name classes, or the first of many.

    >>> few(["dog", "rain"]), few([str(n) for n in range(200)])
    ('dog, rain', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 188 more')
    """
    more = f" and {len(labels) - _MOST} more" if len(labels) > _MOST else ""
    return ", ".join(list(labels)[:_MOST]) + more


def known(labels: Sequence[str], asked: Collection[str]) -> str:
    """Name the classes that a model knows; of many those that look most like what was asked for.

    Args:
        labels: the model's classes.
        asked: classes that it does not know.

    >>> known([f"bird {n}" for n in range(200)] + ["Dog"], ["dog"])
    'Dog or another of the 201 that `earmark info` lists'
    """
    if len(labels) <= _MOST:
        return ", ".join(labels)
    names = {label.casefold(): label for label in labels}
    near = [match for name in asked for match in get_close_matches(name.casefold(), names, 1)]
    shown = [names[match] for match in dict.fromkeys(near)][:_NEAR] or labels[:_NEAR]
    return f"{', '.join(shown)} or another of the {len(labels)} that `earmark info` lists"
