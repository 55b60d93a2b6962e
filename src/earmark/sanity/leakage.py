"""Does the mask itself spell the class, and would another classifier hear it in what is kept?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from pandas import DataFrame
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor

from earmark.classifiers.cnn14 import Cnn14
from earmark.classifiers.training import Augmentation, ClassifierRecipe, Clips, train_classifier
from earmark.evaluation.runner import at_areas
from earmark.features.masking import apply_mask
from earmark.sanity.base import Bench, Check, Row, Step, Verdict, register
from earmark.sanity.heard import through_wav
from earmark.sanity.mask_reader import read, shrink
from earmark.sanity.mixtures import ORACLE, decided_side, masks_of, mixed_scenes
from earmark.sanity.retraining import clips_of, small_cnn14
from earmark.sanity.shares import Shares
from earmark.sanity.statistics import by_sound, compare, interval, means, methods_of
from earmark.training.loop import LoopSettings

READS, JUDGE = "reads", "judge"
"""The two parts: a network that sees masks alone, and another classifier that hears what they keep."""

_SPELLS = 5.0
"""Points by which the class must be read better from masks than from ideal ones to be spelled in them."""

_NEAR = 10.0
"""Points by which another classifier may agree less on what is kept than on the sound itself."""


class LeakageSettings(BaseModel):
    """Which networks are trained.

    Args:
        snr_db: of the mixtures whose masks are read.
        seeds: of the networks that read masks.
        areas: shares of the bins at which the other classifier is asked, beside the soft mask.
        width: factor on the channels of that classifier, a CNN14.
        epochs: of its training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    snr_db: float = 3.0
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    areas: Shares = (0.05, 0.2)
    width: float = Field(1 / 8, gt=0)
    epochs: PositiveInt = 25


@register("leakage")
class Leakage(Check):
    """Two questions to masks: can the class be read from them alone, and does another classifier agree?

    Masks of real evidence tell something of the class, as the ideal ratio mask of its sound does. More
    than that is spelled by whoever made the mask, or is evidence that all sounds of the class share,
    which no one can tell apart from outside: a failure says that a mask alone is no proof. And a mask
    that only persuades the classifier that it was made for does not persuade one that was trained by
    itself. Both are asked on clips that nothing was trained on.
    """

    summary = "does the mask spell the class, and does another classifier hear it in what is kept"
    Settings = LeakageSettings
    needs_training_clips = True
    long = True
    settings: LeakageSettings

    def steps(self, bench: Bench) -> list[Step]:
        """See `Check.steps`."""
        methods = list(bench.explainers)
        asked = [Step(method, JUDGE) for method in methods]
        return [Step("", JUDGE), *(Step(method, READS) for method in (ORACLE, *methods)), *asked]

    def run(self, bench: Bench, step: Step) -> Iterator[Row]:
        """See `Check.run`; the other classifier is kept in the folder."""
        if step.part == READS:
            return self._read(bench, step.method)
        return self._ask(bench, step.method) if step.method else self._clean(bench)

    def _read(self, bench: Bench, method: str) -> Iterator[Row]:
        train, classes = bench.training, len(bench.classifier.labels)
        bench.tell("masks to train on")
        known, labels, _ = self._masks(replace(bench, material=train), method)
        bench.tell("masks to read")
        asked, target, names = self._masks(bench, method)
        found = read(known, labels, asked, classes, self.settings.seeds)
        right = (found == target).double().mean(0)
        most = labels.bincount(minlength=classes).argmax()
        for sound, value, common in zip(names, right.tolist(), (target == most).double().tolist()):
            yield Row(READS, value, sound)
            yield Row("chance", common, sound)

    def _masks(self, bench: Bench, method: str) -> tuple[Tensor, Tensor, list[str]]:
        """Return what the network sees of the masks of all clips of the material, and what they explain."""
        everything = replace(bench, clips=tuple(range(len(bench.material.names))))
        masks, targets, names = [], [], []
        explainer = None if method == ORACLE else bench.explainer(method)
        for scene in mixed_scenes(everything, self.settings.snr_db):
            side = decided_side(everything, scene)
            # For what is in neither part there is no ideal mask to compare with.
            known = side >= 0
            masks.append(shrink(masks_of(explainer, scene, side))[known])
            targets.append(scene.target[known])
            names += [name for name, yes in zip(everything.names(scene), known.tolist()) if yes]
        return torch.cat(masks), torch.cat(targets), names

    def _clean(self, bench: Bench) -> Iterator[Row]:
        judge = self._judge(bench)
        for scene in bench.scenes():
            with torch.inference_mode():
                decided = judge(scene.sounds.mixture).argmax(1)
            agrees, right = decided == scene.target, decided == scene.sounds.labels
            for sound, yes, true in zip(bench.names(scene), agrees.tolist(), right.tolist()):
                yield Row("agreement", float(yes), sound, "clean")
                yield Row("accuracy", float(true), sound, "clean")

    def _ask(self, bench: Bench, method: str) -> Iterator[Row]:
        judge, explainer = self._judge(bench), bench.explainer(method)
        spectrogram = bench.classifier.spectrogram
        for scene in bench.scenes():
            masks = explainer.masks(scene.stft, scene.target, scene.heard).detach()
            areas = [None, *(self.settings.areas if explainer.ranks else ())]
            for area, mask in at_areas(masks, areas):
                kept = apply_mask(scene.stft, mask, explainer.scale)
                sound = spectrogram.inverse(kept, scene.sounds.mixture.shape[1])
                written = through_wav(sound[:, None], spectrogram.sample_rate)[:, 0]
                with torch.inference_mode():
                    agrees = judge(written).argmax(1) == scene.target
                variant = "soft" if area is None else f"{area:g}"
                for name, yes in zip(bench.names(scene), agrees.tolist()):
                    yield Row("agreement", float(yes), name, variant)

    def _judge(self, bench: Bench) -> Cnn14:
        """Train the other classifier, or take it up; clips to test on have no part in it."""
        settings, seed = self.settings, bench.seed + 1
        judge = small_cnn14(bench.classifier, bench.classifier.labels, settings.width, seed=seed)
        clips = clips_of(bench.training)
        recipe = ClassifierRecipe(
            augmentation=Augmentation(mixup=0.3, noise=0.3, bands=1),
            loop=LoopSettings(
                epochs=settings.epochs, learning_rate=2e-3, seed=seed, device=bench.classifier.device.type
            ),
        )
        bench.tell("another classifier")
        seen = Clips(clips.waveform, clips.labels)
        train_classifier(judge, clips, seen, recipe, bench.folder / self.name / "judge")
        return judge.eval()

    def table(self, rows: DataFrame) -> DataFrame:
        """See `Check.table`: all in %."""
        percent = rows.assign(value=100 * rows["value"])
        columns = [("class read from masks", percent[percent["figure"] == READS])]
        agreement = percent[percent["figure"] == "agreement"]
        for variant in [name for name in dict.fromkeys(agreement["variant"]) if name != "clean"]:
            columns.append((f"other agrees, {variant}", agreement[agreement["variant"] == variant]))
        chance = percent[(percent["figure"] == "chance") & (percent["method"] == ORACLE)]["value"].mean()
        clean = agreement[agreement["variant"] == "clean"]["value"].mean()
        return means(rows, columns).assign(**{"chance": chance, "other agrees, whole sound": clean})

    def verdicts(self, rows: DataFrame) -> list[Verdict]:
        """See `Check.verdicts`: two of each method."""
        methods = [name for name in methods_of(rows) if name != ORACLE]
        found = [self._spelling(rows, method) for method in methods]
        return [*found, *(self._agreement(rows, method) for method in methods)]

    def _spelling(self, rows: DataFrame, method: str) -> Verdict:
        seen = interval(100 * by_sound(rows, method, READS))
        ideal = interval(100 * by_sound(rows, ORACLE, READS))
        chance = interval(100 * by_sound(rows, ORACLE, "chance"))
        more = compare(rows, method, ORACLE, READS)
        said = (
            f"from its masks alone the class is read in {seen.mean:.0f} % (chance {chance.mean:.0f} %, from"
            f" ideal masks {ideal.mean:.0f} %)"
        )
        passed = not 100 * more.low > _SPELLS if more.low == more.low else None
        return Verdict(self.name, method, passed, said)

    def _agreement(self, rows: DataFrame, method: str) -> Verdict:
        clean = by_sound(rows, "", "agreement", variant="clean")
        less = interval(100 * (clean - by_sound(rows, method, "agreement", variant="soft")).dropna())
        own = rows[(rows["method"] == method) & (rows["figure"] == "agreement")]
        variants = list(dict.fromkeys(own["variant"]))
        figures = [
            f"{100 * by_sound(rows, method, 'agreement', variant=name).mean():.0f} % ({name})"
            for name in variants
        ]
        said = (
            f"another classifier hears the explained class in {', '.join(figures)} of what is kept, and in"
            f" {100 * clean.mean():.0f} % of the whole sounds"
        )
        return Verdict(self.name, method, less.mean <= _NEAR if less.mean == less.mean else None, said)
