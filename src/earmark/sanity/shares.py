"""Shares of the bins, as settings of checks have them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _rising(shares: tuple[float, ...]) -> tuple[float, ...]:
    if not shares or list(shares) != sorted(set(shares)) or not 0 < shares[0] <= shares[-1] < 1:
        raise ValueError("shares of the bins rise between 0 and 1, such as 0.05, 0.2")
    return shares


Shares = Annotated[tuple[float, ...], AfterValidator(_rising)]
"""At least one share of the bins; they rise between 0 and 1."""
