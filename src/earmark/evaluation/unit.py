"""A batch of sounds, heard once and then explained by every method; where one fails, the others do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import torch

from earmark.classifiers.base import AudioClassifier
from earmark.errors import EarmarkError
from earmark.evaluation.protocol import Sounds
from earmark.evaluation.results import FIGURES
from earmark.evaluation.runner import ABOUT_SOURCE, Scene, Scores, at_areas, hear_sounds, score_masks
from earmark.explainers.base import Explainer
from earmark.metrics import Protocol

Row = dict[str, Any]
Place = tuple[int, float | None]
"""A clip's index, and the area of its mask."""

Found = dict[Place, Row]
"""What a row has beside what names it."""

_LONGEST_REASON = 300  # characters


class Unit:
    """Sounds that are heard once for all methods.

    Args:
        classifier: who hears them.
        sounds: on any device.
        failures: why clips cannot be used, by their index; silence is found here.
    """

    def __init__(self, classifier: AudioClassifier, sounds: Sounds, failures: Mapping[int, str]) -> None:
        self.interferers = dict(zip(sounds.clips.tolist(), sounds.names))
        self.problems: dict[int, str] = {}
        good = []
        for place, clip in enumerate(sounds.clips.tolist()):
            if problem := failures.get(clip) or _silence(sounds, place):
                self.problems[clip] = problem
            else:
                good.append(place)
        device = classifier.device
        self.scene = hear_sounds(classifier, sounds.part(torch.tensor(good), device)) if good else None

    def score(
        self, explainer: Explainer, areas: Sequence[float | None] = (None,), protocol: Protocol = "corrected"
    ) -> Found:
        """Explain and score all sounds.

        Args:
            explainer: whose masks.
            areas: None for the soft mask, or a share of the bins to binarise it to.
            protocol: see `earmark.evaluation.runner.score_masks`.

        Returns:
            for each clip and area "interferer", and its figures, "target" and an empty "error"; where it
            failed, "error" says why and is all.
        """
        found: Found = {(clip, area): {"error": why} for clip, why in self.problems.items() for area in areas}
        if self.scene:
            found |= _score(explainer, self.scene, areas, protocol)
        return {place: row | {"interferer": self.interferers[place[0]]} for place, row in found.items()}


def _silence(sounds: Sounds, place: int) -> str:
    """Return which part of a sound is silent that should not be."""
    if not sounds.source[place].any():
        return "the clip is silent"
    name = sounds.names[place]
    return f"its interferer {name} is silent" if name and not sounds.interferer[place].any() else ""


def _score(explainer: Explainer, scene: Scene, areas: Sequence[float | None], protocol: Protocol) -> Found:
    """Score a batch; where that fails, each of its sounds alone, so that one cannot spoil the others."""
    try:
        return _score_batch(explainer, scene, areas, protocol)
    except Exception as error:  # whatever a method may raise
        if len(scene.sounds) == 1:
            clip, why = int(scene.sounds.clips), _reason(error)
            return {(clip, area): {"error": why} for area in areas}
    found: Found = {}
    for place in torch.arange(len(scene.sounds)).split(1):
        alone = hear_sounds(scene.classifier, scene.sounds.part(place, scene.source.device))
        found |= _score(explainer, alone, areas, protocol)
    return found


def _score_batch(
    explainer: Explainer, scene: Scene, areas: Sequence[float | None], protocol: Protocol
) -> Found:
    if not scene.heard.logits.isfinite().all():
        raise EarmarkError("what the classifier says of it is not finite")
    started = perf_counter()
    mask = explainer.masks(scene.stft, scene.target, scene.heard).detach()
    # Until this is known, a GPU may not even have begun.
    finite = bool(mask.isfinite().all())
    seconds = (perf_counter() - started) / len(mask)
    if not finite:
        raise EarmarkError("its mask is not finite")
    found: Found = {}
    for area, hard in at_areas(mask, areas):
        scores = score_masks(explainer, scene, hard, protocol)
        for clip, row in zip(scene.sounds.clips.tolist(), _rows(scene, scores)):
            found[clip, area] = row | {"seconds": seconds, "error": ""}
    return found


def _rows(scene: Scene, scores: Scores) -> Iterator[Row]:
    figures = {name: values.cpu().double() for name, values in scores.items() if name in FIGURES}
    for name, values in figures.items():
        if not values.isfinite().all():
            raise EarmarkError(f"its {name} is not finite")
    for place, target in enumerate(scores["target"].tolist()):
        alone = not scene.sounds.names[place]
        row: Row = {
            name: float(values[place])
            for name, values in figures.items()
            if not (alone and name in ABOUT_SOURCE)
        }
        yield row | {"target": scene.classifier.labels[target]}


def _reason(error: Exception) -> str:
    line = str(error).partition("\n")[0][:_LONGEST_REASON]
    return line if isinstance(error, EarmarkError) else f"{type(error).__name__}: {line}".rstrip(": ")
