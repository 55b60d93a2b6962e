"""Do masks keep the sound that was decided for, where it is known which bins are its own?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from pandas import DataFrame
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from earmark.data.mixtures import mix
from earmark.evaluation.protocol import Sounds, make_sounds
from earmark.evaluation.runner import Scene, hear_sounds
from earmark.explainers.base import Explainer
from earmark.features.masking import apply_mask, largest_bins
from earmark.metrics import ideal_ratio_mask, kept_share, pointing, roc_auc, si_sdr
from earmark.sanity.base import Bench, Check, Row, Step, Verdict, register
from earmark.sanity.statistics import by_sound, compare, interval, means, methods_of

ORACLE = "ideal"
"""What is scored beside the methods: the ideal ratio mask of the part that was decided for."""

_FIGURES = ("IRM-AUC", "share", "SI-SDRi", "pointing")
_SOFT = "soft"
_FAINTEST_DB = 60.0
"""Bins further below the sound's loudest are heard by nobody, and most of them belong to whoever hisses."""


class MixturesSettings(BaseModel):
    """What is mixed.

    Args:
        snr_db: the clip's level over that of the clip of another class, over the whole sound.
        area: share of the bins that masks are binarised to, beside the soft mask.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    snr_db: tuple[float, ...] = Field((-5.0, 0.0, 3.0, 6.0, 12.0), min_length=1)
    area: float = Field(0.2, gt=0, lt=1)


@register("mixtures")
class MixturesCheck(Check):
    """Plausibility in mixtures of two clips, by signal-to-noise ratio.

    The part that counts is the one whose class was decided for; sounds decided for neither are left out.
    A classifier may well decide by the other part, and a faithful mask then shows that: this is
    plausibility, not faithfulness, and an explanation needs both.
    """

    summary = "do masks keep the sound that was decided for (plausibility, not faithfulness)"
    Settings = MixturesSettings
    settings: MixturesSettings

    def steps(self, bench: Bench) -> list[Step]:
        """See `Check.steps`; the ideal ratio mask is scored, too."""
        return [*super().steps(bench), Step(ORACLE)]

    def run(self, bench: Bench, step: Step) -> Iterator[Row]:
        """See `Check.run`."""
        explainer = None if step.method == ORACLE else bench.explainer(step.method)
        for snr_db in self.settings.snr_db:
            for scene in mixed_scenes(bench, snr_db):
                side = decided_side(bench, scene)
                mask = masks_of(explainer, scene, side)
                scores = score_places(scene, mask, side, explainer)
                order = mask if explainer else _gain(scene, mask)
                binary = score_places(scene, largest_bins(order, self.settings.area), side, explainer)
                yield from _rows(bench, scene, scores, side, _SOFT, f"{snr_db:g}")
                area = f"{self.settings.area:g}"
                for_area = {name: binary[name] for name in ("share", "SI-SDRi")}
                if explainer is None or explainer.ranks:
                    yield from _rows(bench, scene, for_area, side, area, f"{snr_db:g}")

    def table(self, rows: DataFrame) -> DataFrame:
        """See `Check.table`: means over the ratios."""
        soft, binary = rows[rows["variant"] == _SOFT], rows[rows["variant"] != _SOFT]
        columns = [(name, soft[soft["figure"] == name]) for name in (*_FIGURES, "share mixture")]
        columns += [(f"{name}, best bins", binary[binary["figure"] == name]) for name in ("share", "SI-SDRi")]
        return means(rows, columns)

    def verdicts(self, rows: DataFrame) -> list[Verdict]:
        """See `Check.verdicts`: more of the part's energy than the sound has, and nearer to it."""
        return [self._verdict(rows, method) for method in methods_of(rows)]

    def _verdict(self, rows: DataFrame, method: str) -> Verdict:
        shares = by_sound(rows, method, "share", variant=_SOFT)
        gain = interval(shares - by_sound(rows, method, "share mixture", variant=_SOFT))
        nearer = interval(by_sound(rows, method, "SI-SDRi", variant=_SOFT))
        auc = interval(by_sound(rows, method, "IRM-AUC", variant=_SOFT))
        loudest = compare(rows, method, "loudest", "IRM-AUC", variant=_SOFT)
        than = f" ({loudest.mean:+.2f} to the loudest bins)" if loudest.mean == loudest.mean else ""
        said = (
            f"{100 * gain.mean:+.0f} points of kept energy are the decided sound's, which comes out"
            f" {nearer.mean:+.1f} dB clearer; its bins are told from others with an AUC of"
            f" {auc.mean:.2f}{than}"
        )
        return Verdict(self.name, method, gain.low > 0 and nearer.low > 0, said)


def mixed_scenes(bench: Bench, snr_db: float) -> Iterator[Scene]:
    """Yield batches of the bench's clips, each mixed with the same clip of another class at every ratio."""
    for part in torch.tensor(bench.audible, dtype=torch.long).split(bench.batch_size):
        yield mixed_scene(bench, make_sounds("mixtures", bench.material, part.tolist(), bench.seed), snr_db)


def mixed_scene(bench: Bench, sounds: Sounds, snr_db: float) -> Scene:
    """Return mixtures at another ratio, heard."""
    _, interferer = mix(sounds.source, sounds.interferer, snr_db)
    sounds = replace(sounds, interferer=interferer)
    return hear_sounds(bench.classifier, sounds.part(torch.arange(len(sounds)), bench.classifier.device))


def decided_side(bench: Bench, scene: Scene) -> Tensor:
    """Return which part of each sound was decided for, (batch,): 0 the source, 1 the other, -1 neither."""
    label = dict(zip(bench.material.names, bench.material.labels.tolist()))
    others = torch.tensor([label[name] for name in scene.sounds.names], device=scene.target.device)
    of_other = torch.where(scene.target == others, 1, -1)
    return torch.where(scene.target == scene.sounds.labels, 0, of_other)


def masks_of(explainer: Explainer | None, scene: Scene, side: Tensor) -> Tensor:
    """Return the masks for what was decided; without an explainer the ideal ratio masks of that part."""
    if explainer:
        return explainer.masks(scene.stft, scene.target, scene.heard).detach()
    is_source = (side == 0)[:, None, None]
    parts = (scene.source, scene.interferer)
    wanted, other = (torch.where(is_source, one, two) for one, two in (parts, parts[::-1]))
    return ideal_ratio_mask(wanted, other)


def _gain(scene: Scene, ratio: Tensor) -> Tensor:
    """Return how much more energy each bin brings of the wanted part than of the other: an ideal order.

    Ideal ratios themselves put faint bins first, which belong to one part alone.
    """
    return (2 * ratio - 1) * (scene.source.abs().square() + scene.interferer.abs().square())


def score_places(
    scene: Scene, mask: Tensor, side: Tensor, explainer: Explainer | None = None
) -> dict[str, Tensor]:
    """Score where masks lie by the part that was decided for.

    Args:
        scene: the mixtures.
        mask: (batch, bins, frames).
        side: as `decided_side` returns it.
        explainer: whose masks, which says what they multiply.

    Returns:
        per name (batch,): "IRM-AUC", `roc_auc` for the bins in which the ideal ratio mask is above 1/2;
        "share", of the kept energy in these bins; "share mixture", the same of the whole sound; "SI-SDRi", of
        the listenable sound towards the part, in dB; "pointing". AUC and pointing look at bins that are at
        most 60 dB below the sound's loudest.
    """
    is_source = side == 0
    owned = torch.where(is_source[:, None, None], scene.owned, 1 - scene.owned)
    loudest = scene.magnitude.amax(dim=(1, 2), keepdim=True)
    counted = scene.magnitude >= loudest * 10 ** (-_FAINTEST_DB / 20)
    sounds = scene.sounds
    part = torch.where(is_source[:, None], sounds.source, sounds.interferer)
    kept = apply_mask(scene.stft, mask, explainer.scale if explainer else "magnitude")
    listenable = scene.classifier.spectrogram.inverse(kept, part.shape[1])
    return {
        "IRM-AUC": roc_auc(mask, owned, counted),
        "share": kept_share(mask, scene.power, owned),
        "share mixture": kept_share(torch.ones_like(mask), scene.power, owned),
        "SI-SDRi": si_sdr(listenable, part) - si_sdr(sounds.mixture, part),
        "pointing": pointing(mask, owned, counted),
    }


def _rows(
    bench: Bench, scene: Scene, scores: dict[str, Tensor], side: Tensor, variant: str, level: str
) -> Iterator[Row]:
    decided = (side >= 0).tolist()
    for name, values in scores.items():
        for sound, value, known in zip(bench.names(scene), values.tolist(), decided):
            if known:
                yield Row(name, value, sound, variant, level)
