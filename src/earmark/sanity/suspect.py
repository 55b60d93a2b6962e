"""What a suspect is: something that classifiers lean on though it is none of the sound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from earmark.features.spectrogram import Spectrogram

# A suspect is looked into if it is in most sounds of a class and in few of others: what all sounds share
# cannot tell a class, and what a few have is no rule. Chosen on the development seeds of bench/audit.py.
_MOST, _MORE = 0.6, 0.5
FAINT = 1e-4
"""What is so far below a sound's peak (80 dB) is silence: no microphone is that quiet, but zeros are."""


@dataclass(frozen=True, eq=False)
class Case(ABC):
    """A suspect in the sounds of one class.

    Args:
        where: in words, with Hz or seconds.
        has: (own,), which of the class's sounds have it.
        elsewhere: share of other sounds that have it, too; NaN where that says nothing.
        rate: sample rate in Hz.

    Attributes:
        intrudes: whether sound of other classes comes in its place, which may itself change the decision.
    """

    intrudes: ClassVar[bool] = False
    where: str
    has: Tensor
    elsewhere: float
    rate: int

    @abstractmethod
    def without(self, sounds: Tensor, others: Tensor) -> Tensor:
        """Return sounds that have it, (batch, samples), without it.

        Args:
            sounds: the sounds.
            others: as many sounds of other classes, for what is to come in its place.
        """

    @abstractmethod
    def given(self, sounds: Tensor, donors: Tensor) -> Tensor:
        """Return sounds that lack it, (batch, samples), with that of as many donors."""

    @abstractmethod
    def region(self, spectrogram: Spectrogram, sounds: Tensor) -> Tensor:
        """Return where it is in sounds, (batch, bins, frames) of 0 and 1."""

    def sham(self, sounds: Tensor, donors: Tensor) -> Tensor | None:
        """Return sounds that are changed as much by donors, but not by the suspect; None where nothing is."""
        return None


class Suspect(ABC):
    """Something to look for.

    Attributes:
        name: what a finding calls it.
    """

    name: ClassVar[str]

    @abstractmethod
    def look(self, own: Tensor, others: Tensor, rate: int) -> Case | None:
        """Look for it in the sounds of a class.

        Args:
            own: (sounds, samples), those of the class.
            others: (other sounds, samples).
            rate: in Hz.

        Returns:
            the case, or None where the class has nothing of the kind that others have not.
        """


def stands_out(own: Tensor, others: Tensor, most: float = _MOST, more: float = _MORE) -> Tensor:
    """Return where most sounds of a class have what others lack, from (sounds, places) of booleans.

    Args:
        own: of the class.
        others: of others.
        most: the share of the class that must have it.
        more: by how much that must exceed the share of others.
    """
    share = own.double().mean(0)
    return (share >= most) & (share - others.double().mean(0) >= more)


def rms(sounds: Tensor) -> Tensor:
    """Return the root mean square of (batch, samples), (batch, 1)."""
    return sounds.square().mean(1, keepdim=True).sqrt()


def transform_length(rate: int) -> int:
    """Return a quarter of a second in samples, as a power of two: it tells 50 Hz from 60 Hz."""
    return 1 << (round(rate / 4) - 1).bit_length()
