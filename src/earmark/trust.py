"""How far one explanation can be trusted, in plain words: what it keeps, what goes with it, and by chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from earmark.pictures import percent

CONTROLS = ("random", "loudest")
"""The masks of the same size that an explanation is compared with."""

_CLEAR = 0.1
"""An explanation is better than a control if its gap, p(kept) - p(rest), is wider by this."""

_LEFT = 0.6
"""The share of its probability that a class may keep without what made the decision."""

Level = Literal["well", "partly", "not"]
_STARTS: dict[Level, str] = {
    "well": "trust it well",
    "partly": "trust it in part",
    "not": "do not trust it",
}


class Trust(NamedTuple):
    """What can be said for an explanation.

    An explanation stays if the kept part alone gets the same decision, and goes if without it the class keeps
    at most 60 % of its probability: of two classes, one that is sure can fall to 50 % only.

    Args:
        level: "well" if it stays and goes, and is clearly better than as many random bins and than the
            loudest; "partly" if it is clearly better than random bins, and stays or goes; else "not".
        said: why, in plain words.
    """

    level: Level
    said: str


def name_in(control: str) -> str:
    """Return the score that holds what the class gets from what a control keeps.

    >>> name_in("random"), name_out("random")
    ('random_in', 'random_out')
    """
    return f"{control}_in"


def name_out(control: str) -> str:
    """Return the score that holds what the class gets without what a control keeps."""
    return f"{control}_out"


def judge(label: str, scores: Mapping[str, float]) -> Trust | None:
    """Judge an explanation by its scores; None where it was not checked.

    Args:
        label: the class that is explained.
        scores: as `earmark.Explanation` has them, with those of the controls.

    Source: kept alone and left out are AI's and FF's two questions (Paissan et al., ICML 2024); one mean
    says little without the same of masks that explain nothing.

    >>> said = {"probability": 0.9, "probability_in": 0.95, "probability_out": 0.1, "Fid-In": 1.0}
    >>> by_chance = {"random_in": 0.2, "random_out": 0.9, "loudest_in": 0.7, "loudest_out": 0.4}
    >>> print(judge("dog", said | by_chance).said)
    trust it well: alone it is still dog (95 %), without it dog falls from 90 % to 10 %; better than as many
    random bins by 155 points, better than the loudest bins by 55
    """
    if any(name(control) not in scores for control in CONTROLS for name in (name_in, name_out)):
        return None
    whole, kept, rest = (scores[name] for name in ("probability", "probability_in", "probability_out"))
    by = [(kept - rest) - (scores[name_in(control)] - scores[name_out(control)]) for control in CONTROLS]
    stays, goes = scores["Fid-In"] >= 0.5, rest <= _LEFT * whole
    level: Level = "not"
    if by[0] >= _CLEAR and (stays or goes):
        level = "well" if stays and goes and by[1] >= _CLEAR else "partly"
    falls = "falls" if goes else "only goes" if rest < whole else "goes"
    still = "still" if stays else "no longer"
    why = (
        f"alone it is {still} {label} ({percent(kept)}),"
        f" without it {label} {falls} from {percent(whole)} to {percent(rest)}"
    )
    chance = f"{_better(by[0], 'as many random bins', ' points')}, {_better(by[1], 'the loudest bins')}"
    return Trust(level, f"{_STARTS[level]}: {why}; {chance}")


def _better(by: float, than: str, unit: str = "") -> str:
    if abs(by) < _CLEAR:
        return f"about as good as {than} (by {round(100 * by):+d}{unit})"
    return f"{'better' if by > 0 else 'worse'} than {than} by {100 * abs(by):.0f}{unit}"
