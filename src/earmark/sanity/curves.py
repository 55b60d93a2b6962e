"""Deletion and insertion: does the class go with the best bins, and come with them, whatever the fill?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import torch
from pandas import DataFrame, Series
from pydantic import BaseModel, ConfigDict, field_validator
from torch import Tensor

from earmark.classifiers.base import AudioClassifier
from earmark.evaluation.runner import Scene
from earmark.features.masking import binary_masks
from earmark.sanity.base import Bench, Check, Row, Step, Verdict, register
from earmark.sanity.fills import FILLS
from earmark.sanity.shares import Shares
from earmark.sanity.statistics import by_sound, interval, means, methods_of

DELETION, INSERTION = "deletion", "insertion"
RANKED_ALIKE = 0.7
"""Mean Kendall τ between fills from which rankings count as holding."""

_CONTROLS = {"random": "random", "loudest": "the loudest"}


class CurvesSettings(BaseModel):
    """Where the curves are measured.

    Args:
        areas: rising shares of the bins, beside none and all.
        fills: what replaces removed bins, see `earmark.sanity.fills.FILLS`.
        condition: what is explained, see `earmark.evaluation.protocol.CONDITIONS`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    areas: Shares = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
    fills: tuple[str, ...] = tuple(FILLS)
    condition: str = "mixtures"

    @field_validator("fills")
    @classmethod
    def _known(cls, fills: tuple[str, ...]) -> tuple[str, ...]:
        if not fills or not set(fills) <= FILLS.keys():
            raise ValueError(f"fills are some of {', '.join(FILLS)}")
        return fills


@register("curves")
class Curves(Check):
    """Areas under the curves of the class's probability over the share of bins that are deleted or inserted.

    What is put in place of removed bins is itself a sound that the classifier has an opinion of, so a ranking
    of methods counts only as far as it holds whatever the fill is. The classifier gets spectra as they are
    filled, and no sounds made of them.

    Source: Petsiuk, Das and Saenko, RISE, BMVC 2018.
    """

    summary = "does the class go with the best bins and come with them, whatever is put in their place"
    Settings = CurvesSettings
    settings: CurvesSettings

    def steps(self, bench: Bench) -> list[Step]:
        """See `Check.steps`; masks that put no bin before another have no curve."""
        return [Step(name) for name, explainer in bench.explainers.items() if explainer.ranks]

    def run(self, bench: Bench, step: Step) -> Iterator[Row]:
        """See `Check.run`; probabilities along the curves are means over the sounds."""
        settings, explainer = self.settings, bench.explainer(step.method)
        generator = torch.Generator().manual_seed(bench.seed)
        along: dict[str, list[Tensor]] = {name: [] for name in settings.fills}
        for scene in bench.scenes(settings.condition):
            masks = explainer.masks(scene.stft, scene.target, scene.heard).detach()
            binary = list(binary_masks(masks, settings.areas))
            for name in settings.fills:
                fill = FILLS[name](scene.stft, generator)
                both = curves(bench.classifier, scene, binary, fill)
                along[name].append(both)
                areas = torch.trapezoid(both, torch.tensor([0.0, *settings.areas, 1.0]).to(both), dim=2)
                for figure, values in zip((DELETION, INSERTION), areas.tolist()):
                    for sound, value in zip(bench.names(scene), values):
                        yield Row(figure, value, sound, name)
        for name, parts in along.items():
            points = torch.cat(parts, dim=1).mean(dim=1).tolist()
            for figure, values in zip((DELETION, INSERTION), points):
                for area, value in zip((0.0, *settings.areas, 1.0), values):
                    yield Row(f"p {figure}", value, variant=name, level=f"{area:g}")

    def table(self, rows: DataFrame) -> DataFrame:
        """See `Check.table`."""
        columns = [
            (f"{figure}, {fill}", rows[(rows["figure"] == figure) & (rows["variant"] == fill)])
            for figure in (DELETION, INSERTION)
            for fill in dict.fromkeys(rows["variant"])
        ]
        return means(rows, columns)

    def verdicts(self, rows: DataFrame) -> list[Verdict]:
        """See `Check.verdicts`: better than random and the loudest bins in every fill; τ over fills."""
        fills, methods = list(dict.fromkeys(rows["variant"])), methods_of(rows)
        found = [_verdict(self.name, rows, method, fills) for method in methods if method not in _CONTROLS]
        # Of three methods τ takes four values only; controls are in the ranking, too.
        comparable = len(methods) > 3 and len(fills) > 1
        return [*found, *([_rankings(self.name, rows, methods, fills)] if comparable else [])]


@torch.no_grad()
def curves(classifier: AudioClassifier, scene: Scene, binary: Sequence[Tensor], fill: Tensor) -> Tensor:
    """Return the class's probability as bins are deleted, and as they are inserted.

    Args:
        classifier: who is asked.
        scene: the sounds.
        binary: masks of rising areas, (batch, bins, frames) each.
        fill: complex (batch, bins, frames), what stands where bins are missing.

    Returns:
        (2, batch, areas + 2): deletion and insertion, none and all of the bins at the ends.
    """

    def probability(stft: Tensor) -> Tensor:
        logits = classifier.logits(classifier.features(stft))
        return classifier.probabilities(logits).gather(1, scene.target[:, None])[:, 0]

    whole, gone = probability(scene.stft), probability(fill)
    deleted = [probability(torch.where(mask > 0, fill, scene.stft)) for mask in binary]
    inserted = [probability(torch.where(mask > 0, scene.stft, fill)) for mask in binary]
    rows = ([whole, *deleted, gone], [gone, *inserted, whole])
    return torch.stack([torch.stack(row, dim=1) for row in rows])


def _verdict(check: str, rows: DataFrame, method: str, fills: Sequence[str]) -> Verdict:
    ahead, judged = {}, False
    for control, bins in _CONTROLS.items():
        if (rows["method"] == control).any():
            gaps = [_gap(rows, method, fill) - _gap(rows, control, fill) for fill in fills]
            ahead[bins] = sum(interval(gap).low > 0 for gap in gaps)
            judged |= any(gap.notna().any() for gap in gaps)
    first = [by_sound(rows, method, figure, variant=fills[0]).mean() for figure in (DELETION, INSERTION)]
    said = f"deleted {first[0]:.2f}, inserted {first[1]:.2f} ({fills[0]})"
    if ahead:
        counts = ", ".join(f"than {bins} bins in {count}" for bins, count in ahead.items())
        said += f"; better {counts} of {len(fills)} fills"
    return Verdict(
        check, method, all(count == len(fills) for count in ahead.values()) if judged else None, said
    )


def _gap(rows: DataFrame, method: str, fill: str) -> Series:
    inserted, deleted = (by_sound(rows, method, figure, variant=fill) for figure in (INSERTION, DELETION))
    return inserted - deleted


def _rankings(check: str, rows: DataFrame, methods: Sequence[str], fills: Sequence[str]) -> Verdict:
    """Say how alike the rankings of methods are in pairs of fills."""
    from scipy.stats import kendalltau

    found = {}
    for figure in (DELETION, INSERTION):
        order = [[by_sound(rows, name, figure, variant=fill).mean() for name in methods] for fill in fills]
        found[figure] = [kendalltau(one, other).statistic for one, other in combinations(order, 2)]
    mean = {figure: float(np.mean(values)) for figure, values in found.items()}
    least = min(min(values) for values in found.values())
    said = (
        f"{len(methods)} methods and controls rank alike whatever the fill with Kendall τ"
        f" {mean[DELETION]:.2f} in deletion and {mean[INSERTION]:.2f} in insertion, {least:.2f} for the two"
        " fills that agree least"
    )
    known = not np.isnan(list(mean.values())).any()
    return Verdict(check, "", min(mean.values()) >= RANKED_ALIKE if known else None, said)
