"""Model randomisation test: does the explanation change with the network's weights?"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from pandas import DataFrame
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor

from earmark.classifiers.base import AudioClassifier
from earmark.evaluation.runner import Scene
from earmark.explainers.base import Explainer
from earmark.files import whole
from earmark.sanity.base import Bench, Check, Row, Step, Verdict, register
from earmark.sanity.reinitialise import layers_of, reinitialise
from earmark.sanity.similarity import rank_correlation, structural_similarity
from earmark.sanity.statistics import by_sound, interval, means, methods_of

Variant = Literal["cascade", "paper"]

OTHERS = "other clips"
"""The variant of rows on how alike the untouched explanations of different clips are."""

_ALIKE = 0.5
_SURELY = 0.7


class RandomisationSettings(BaseModel):
    """How weights are drawn anew.

    Args:
        variants: "cascade" draws every layer anew, normalisations among them; "paper" convolutions and linear
            layers alone, and keeps what batch-norms have learned.
        depths: at so many depths at most explanations are compared; the first is the logits' layer alone, the
            last the whole network.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    variants: tuple[Variant, ...] = Field(("cascade", "paper"), min_length=1)
    depths: PositiveInt = 7


@register("randomisation")
class Randomisation(Check):
    """Draws a network's weights anew from the logits down, and compares explanations with the original ones.

    The class is the one that the untouched network decided for. What a trained explainer has learned itself,
    such as L-MAC's decoder, stays, and speaks of the network that it was trained for; whether a decoder
    learns from its network is what `retrained-labels` asks.

    Source: Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018; section 3.4 and Figure 3 of Paissan
    et al., ICML 2024.
    """

    summary = "does the explanation change with the network's weights (MRT, from the logits down)"
    Settings = RandomisationSettings
    settings: RandomisationSettings

    def steps(self, bench: Bench) -> list[Step]:
        """See `Check.steps`."""
        return [Step(method, variant) for method in bench.explainers for variant in self.settings.variants]

    def run(self, bench: Bench, step: Step) -> Iterator[Row]:
        """See `Check.run`; a strip of pictures of the first clip is left in the folder."""
        explainer, network = bench.explainer(step.method), copy.deepcopy(bench.original).eval()
        scenes = list(bench.scenes())
        before = [_masks(explainer, network, scene) for scene in scenes]
        strip = {"sound": _decibels(scenes[0]), "explanation": before[0][0]}
        cascade = step.part == "cascade"
        if cascade:
            yield from self._of_other_clips(bench, scenes, before)
        layers = layers_of(network, scenes[0].stft[:1])
        shown = self._shown(len(layers))
        for depth, layer in enumerate(layers):
            bench.tell(f"layer {depth + 1} of {len(layers)}")
            reinitialise(network, layer, norms=cascade, seed=bench.seed + depth)
            if depth not in shown:
                continue
            level = f"{depth + 1:03d} {layer.name}"
            after = [_masks(explainer, network, scene) for scene in scenes]
            strip[level] = after[0][0]
            for scene, one, other in zip(scenes, before, after):
                yield from _compared(bench.names(scene), one, other, step.part, level)
        if cascade:
            _keep(bench, step.method, strip)

    def _shown(self, count: int) -> set[int]:
        """Return the depths at which to compare: the first, the last, and some between."""
        return set(np.linspace(0, count - 1, min(self.settings.depths, count)).round().astype(int).tolist())

    def _of_other_clips(
        self, bench: Bench, scenes: Sequence[Scene], masks: Sequence[Tensor]
    ) -> Iterator[Row]:
        every = torch.cat(list(masks))
        names = [name for scene in scenes for name in bench.names(scene)]
        yield from _compared(names, every, every.roll(1, 0), OTHERS, "")

    def table(self, rows: DataFrame) -> DataFrame:
        """See `Check.table`: rank correlation at the first depth, halfway and at the last, and SSIM."""
        levels = sorted(set(rows["level"]) - {""})
        rank = rows[rows["figure"] == "rank"]
        columns = [
            (f"rank, {where}", rank[(rank["variant"] == "cascade") & (rank["level"] == level)])
            for where, level in zip(("logits", "half", "all"), _ends(levels))
        ]
        last = rows[rows["level"] == levels[-1]] if levels else rows
        structure = last[(last["variant"] == "cascade") & (last["figure"] == "SSIM")]
        of_others = rows[rows["variant"] == OTHERS]
        columns += [
            ("rank, all, paper", last[(last["variant"] == "paper") & (last["figure"] == "rank")]),
            ("rank, other clips", of_others[of_others["figure"] == "rank"]),
            ("SSIM, all", structure),
            ("SSIM, other clips", of_others[of_others["figure"] == "SSIM"]),
        ]
        return means(rows, columns)

    def verdicts(self, rows: DataFrame) -> list[Verdict]:
        """See `Check.verdicts`: once all weights are random, bins must be in another order.

        An explanation fails if the mean rank correlation with the original is 0.5 or more, of either sign, or
        an end of its 95 % interval, a bootstrap over clips, 0.7. The paper's variant counts only where it was
        run alone. SSIM does not judge, as sparse masks are alike wherever they are empty.
        """
        variant = "cascade" if "cascade" in self.settings.variants else "paper"
        own = rows[rows["variant"] == variant]
        levels = sorted(set(own["level"]))
        return [_verdict(self.name, own, method, levels) for method in methods_of(own)]


def _verdict(check: str, rows: DataFrame, method: str, levels: Sequence[str]) -> Verdict:
    last = interval(by_sound(rows, method, "rank", level=levels[-1]))
    first = interval(by_sound(rows, method, "rank", level=levels[0]))
    passed = abs(last.mean) < _ALIKE and last.high < _SURELY and last.low > -_SURELY
    said = (
        f"the order of bins correlates {first.mean:.2f} with the original once the logits' layer is random,"
        f" {last.mean:.2f} once all layers are (0 is unlike, 1 the same)"
    )
    if method == "lmac":
        said += "; its decoder keeps what it learned of the network as it was: see retrained-labels"
    return Verdict(check, method, passed if last.mean == last.mean else None, said)


def _ends(levels: Sequence[str]) -> list[str]:
    return [levels[0], levels[len(levels) // 2], levels[-1]] if levels else []


def _masks(explainer: Explainer, network: AudioClassifier, scene: Scene) -> Tensor:
    """Explain the original decisions as if this network had made them."""
    with torch.no_grad():
        heard = network.hear(scene.stft)
    masks = explainer.of(network).masks(scene.stft, scene.target, heard).detach()
    return masks.nan_to_num(0.0)  # a random network may say what has no gradient at all


def _compared(names: Sequence[str], one: Tensor, other: Tensor, variant: str, level: str) -> Iterator[Row]:
    figures = {"SSIM": structural_similarity(one, other), "rank": rank_correlation(one, other)}
    for figure, values in figures.items():
        for sound, value in zip(names, values.tolist()):
            yield Row(figure, value, sound, variant, level)


def _decibels(scene: Scene) -> Tensor:
    magnitude = scene.magnitude[0]
    return 20 * torch.log10(magnitude / magnitude.max().clamp_min(1e-12) + 1e-4)


def _keep(bench: Bench, method: str, strip: dict[str, Tensor]) -> None:
    """Write the pictures of one clip, the names of their layers among them."""
    folder = bench.folder / Randomisation.name
    folder.mkdir(parents=True, exist_ok=True)
    pictures = np.stack([picture.cpu().numpy().astype(np.float16) for picture in strip.values()])
    with whole(folder / f"{method}.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, pictures=pictures, names=np.array(list(strip)))
