"""The next batch is made while this one is worked on, and nothing else changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from earmark.training.ahead import ahead


def test_the_next_is_made_meanwhile() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    found = ahead(items())
    assert next(found) == 1
    assert made.wait(10)
    assert list(found) == [2]


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="no more"):
        next(found)
