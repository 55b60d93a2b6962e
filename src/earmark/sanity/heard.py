"""Is what is heard what is scored: every metric again, from the sound as it is written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from pandas import DataFrame
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from earmark import audio
from earmark.evaluation.protocol import find_condition
from earmark.evaluation.runner import Said, Scene, at_areas, score_masks
from earmark.explainers.base import Explainer
from earmark.features.masking import apply_mask
from earmark.sanity.base import Bench, Check, Row, Step, Verdict, register
from earmark.sanity.shares import Shares
from earmark.sanity.statistics import means, methods_of

BOUNDS = {"AI": 2.0, "AD": 2.0, "AG": 2.0, "FF": 0.02, "Fid-In": 0.02}
"""By how much the mean of each metric may differ."""

HEARD, FILE = "heard ", "file "
"""What the names of figures begin with: from the WAV at the sound's level, and at a level of its own."""


class HeardSettings(BaseModel):
    """What is heard.

    Args:
        condition: one of `earmark.evaluation.protocol.CONDITIONS` that needs no recordings.
        areas: shares of the bins that masks are binarised to, beside the soft mask.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    condition: str = "mixtures"
    areas: Shares = (0.05, 0.2)


@register("heard")
class HeardCheck(Check):
    """Scores masks, writes what they keep and leave as 16-bit WAV, reads that back and scores it.

    A masked spectrum is no spectrum of any sound: its neighbouring frames contradict one another, and the
    sound that is heard has another. The kept sound also has 16 bits. Two readings: the WAV at the level that
    it has in the sound, as it is played; and as a file that somebody hands to the classifier, which may then
    put it at a level of its own.
    """

    summary = "is what is heard what is scored: every metric again from the written WAV"
    Settings = HeardSettings
    settings: HeardSettings

    def run(self, bench: Bench, step: Step) -> Iterator[Row]:
        """See `Check.run`."""
        find_condition(self.settings.condition)
        explainer = bench.explainer(step.method)
        areas = [None, *(self.settings.areas if explainer.ranks else ())]
        for scene in bench.scenes(self.settings.condition):
            mask = explainer.masks(scene.stft, scene.target, scene.heard).detach()
            for area, hard in at_areas(mask, areas):
                variant = "soft" if area is None else f"{area:g}"
                for name, values in score_heard(explainer, scene, hard).items():
                    for sound, value in zip(bench.names(scene), values.tolist()):
                        yield Row(name, value, sound, variant)

    def table(self, rows: DataFrame) -> DataFrame:
        """See `Check.table`: means from the WAV minus those of the masks."""
        columns = []
        for variant in dict.fromkeys(rows["variant"]):
            for name in BOUNDS:
                columns.append((f"{name} {variant}", _differences(rows, name, variant)))
        return means(rows, columns)

    def verdicts(self, rows: DataFrame) -> list[Verdict]:
        """See `Check.verdicts`."""
        return [self._verdict(rows[rows["method"] == method], method) for method in methods_of(rows)]

    def _verdict(self, rows: DataFrame, method: str) -> Verdict:
        found = {
            (name, variant): float(_differences(rows, name, variant)["value"].mean())
            for variant in dict.fromkeys(rows["variant"])
            for name in BOUNDS
        }
        # Judged as printed, so that 2.0 is not more than 2.
        worst = max(found, key=lambda key: abs(found[key]) / BOUNDS[key[0]])
        passed = all(round(abs(found[key]), 3) <= BOUNDS[key[0]] for key in found)
        name, variant = worst
        said = (
            f"from the written WAV {name} of masks {'soft' if variant == 'soft' else f'at {variant}'}"
            f" differs by {found[worst]:+.3g}, the most of all; {BOUNDS[name]:g} is the bound"
        )
        return Verdict(self.name, method, passed, said)


@torch.no_grad()
def score_heard(explainer: Explainer, scene: Scene, mask: Tensor) -> dict[str, Tensor]:
    """Score masks as spectra, as written sounds, and as files that are heard on their own.

    Args:
        explainer: whose masks they are.
        scene: the sounds.
        mask: (batch, bins, frames).

    Returns:
        for each of `BOUNDS` (batch,): the metric; after `HEARD` and `FILE` that from the WAVs.
    """
    classifier, samples = scene.classifier, scene.sounds.mixture.shape[1]
    scored = score_masks(explainer, scene, mask)
    kept = classifier.spectrogram.inverse(apply_mask(scene.stft, mask, explainer.scale), samples)
    parts = torch.stack([kept, scene.sounds.mixture - kept], dim=1)
    written = torch.cat(through_wav(parts, classifier.spectrogram.sample_rate).unbind(1))
    again = classifier.logits(classifier.features(classifier.spectrogram(written)))
    found = {name: scored[name] for name in BOUNDS}
    for start, logits in ((HEARD, again), (FILE, classifier(written))):
        inside, outside = logits.chunk(2)
        figures = Said(classifier, scene.heard.logits, inside, outside, scene.target).scores(mask)
        found |= {f"{start}{name}": figures[name] for name in BOUNDS}
    return found


def through_wav(parts: Tensor, rate: int) -> Tensor:
    """Write sounds as `Explanation.save` does, 16-bit WAV where that holds them, and read them back.

    Args:
        parts: (batch, parts, samples), those of one sound in the same format.
        rate: sample rate in Hz.
    """
    heard = torch.empty_like(parts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "heard.wav"
        for index, pair in enumerate(parts.cpu()):
            subtype = audio.subtype_for(float(part.abs().max()) for part in pair)
            for number, part in enumerate(pair):
                audio.write(path, part, rate, subtype)
                heard[index, number] = torch.from_numpy(audio.decode(path, rate)[0]).to(parts)
    return heard


def _differences(rows: DataFrame, name: str, variant: str) -> DataFrame:
    """Return per method and sound what the WAV's figure has more than the mask's."""
    own = rows[rows["variant"] == variant].set_index(["method", "sound"])
    values = own[own["figure"] == f"{HEARD}{name}"]["value"] - own[own["figure"] == name]["value"]
    return values.reset_index()
