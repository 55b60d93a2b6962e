"""Label randomisation test: is a network that learned nonsense explained otherwise than one that learned?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from pandas import DataFrame
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor

from earmark.classifiers.cnn14 import Cnn14
from earmark.classifiers.training import Augmentation, ClassifierRecipe, Clips, evaluate, train_classifier
from earmark.evaluation.protocol import make_sounds
from earmark.evaluation.runner import hear_sounds
from earmark.explainers.base import Explainer
from earmark.explainers.lmac.explainer import Lmac
from earmark.explainers.lmac.objective import ObjectiveConfig
from earmark.features.level import peak_normalise
from earmark.sanity.base import Bench, Check, Row, Step, Verdict, register
from earmark.sanity.retraining import clips_of, fresh, quick_recipe, small_cnn14, trained_lmac
from earmark.sanity.similarity import rank_correlation, structural_similarity
from earmark.sanity.statistics import by_sound, interval, means, methods_of
from earmark.training.loop import LoopSettings
from earmark.training.loop import Row as Figures

TRUE, AGAIN, SHUFFLED = "true", "true again", "shuffled"
"""The networks: of the true labels, of these from another seed, and of the labels in another order."""

# The last two begin with the same weights and see the clips in the same order, so that labels are all that
# parts them.
_SEEDS = {TRUE: 0, AGAIN: 1, SHUFFLED: 1}
_DECODER = "decoder of "
_LEARNED = 0.9
"""The accuracy on its own training clips from which on a network has learned its labels."""


class RetrainedLabelsSettings(BaseModel):
    """Which networks are trained.

    Args:
        width: factor on the channels of the CNN14s.
        n_mels: their mel bands, at least 32.
        epochs: passes over the clips, enough to learn labels that have nothing to do with them.
        batch_size: clips a step.
        learning_rate: its highest value.
        decoder_epochs: passes over the clips for the decoder of an L-MAC.
        decoder_rate: the highest learning rate of a decoder.
        objective: what a decoder is trained for: faithfulness and a small area alone. Guidance by known
            sources would tell it what there is to find, whatever its network learned.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: float = Field(1 / 8, gt=0)
    n_mels: PositiveInt = Field(64, ge=32)
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 16
    learning_rate: float = Field(1e-3, gt=0)
    decoder_epochs: PositiveInt = 8
    decoder_rate: float = Field(2e-3, gt=0)
    objective: ObjectiveConfig = ObjectiveConfig()


@register("retrained-labels")
class RetrainedLabels(Check):
    """Trains a network on shuffled labels until it knows them, and compares how both are explained.

    Three small CNN14s: two with the true labels that differ in their seed, and one with the labels in another
    order. L-MAC gets a new decoder for each. Clips to train on are explained, which all three know, for the
    class that each decides for. How alike the explanations of the first two are says how much of a difference
    is chance; those of the third should differ more. The clips are the unit: what the interval says holds for
    these three networks.

    Source: the data randomisation test of Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018.
    """

    summary = "is a network that learned shuffled labels explained otherwise (decoders retrained)"
    Settings = RetrainedLabelsSettings
    needs_training_clips = True
    long = True
    settings: RetrainedLabelsSettings

    def steps(self, bench: Bench) -> list[Step]:
        """See `Check.steps`: the networks, their decoders if L-MAC is there, then the methods."""
        steps = [Step("", name) for name in _SEEDS]
        if any(isinstance(explainer, Lmac) for explainer in bench.explainers.values()):
            steps += [Step("", f"{_DECODER}{name}") for name in _SEEDS]
        return steps + [Step(name) for name, one in bench.explainers.items() if not one.needs_examples]

    def run(self, bench: Bench, step: Step) -> Iterator[Row]:
        """See `Check.run`; trainings are kept in the folder, and taken up from there."""
        if step.method:
            yield from self._compare(bench, step.method)
        elif step.part.startswith(_DECODER):
            self._lmac(bench, step.part.removeprefix(_DECODER))
        else:
            accuracy = evaluate(self._network(bench, step.part), _clips(bench, step.part))["accuracy"]
            yield Row("accuracy", accuracy, variant=step.part)

    def _compare(self, bench: Bench, method: str) -> Iterator[Row]:
        found = {}
        for name in _SEEDS:
            explainer = self._explainer(bench, method, name)
            bench.tell(f"explaining {name}")
            names, found[name] = _masks(bench, explainer)
        for variant in (AGAIN, SHUFFLED):
            pair = found[TRUE], found[variant]
            for figure, values in (("rank", rank_correlation(*pair)), ("SSIM", structural_similarity(*pair))):
                for sound, value in zip(names, values.tolist()):
                    yield Row(figure, value, sound, variant)

    def _explainer(self, bench: Bench, method: str, name: str) -> Explainer:
        if isinstance(bench.explainers[method], Lmac):
            return self._lmac(bench, name)
        return fresh(method, self._network(bench, name), bench.seed)

    def _network(self, bench: Bench, name: str) -> Cnn14:
        """Train a network, or take it up; the epoch that knows its labels best is kept."""
        settings, like, seed = self.settings, bench.classifier, bench.seed + _SEEDS[name]
        network = small_cnn14(like, like.labels, settings.width, settings.n_mels, seed)
        network.dropout.p = 0.0  # which is there to keep networks from learning by heart
        recipe = ClassifierRecipe(
            augmentation=Augmentation(mixup=0, noise=0, gain_db=0, bands=0),
            loop=LoopSettings(
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                seed=seed,
                device=like.device.type,
            ),
        )
        clips, folder = _clips(bench, name), _folder(bench, name) / "classifier"
        train_classifier(network, clips, clips, recipe, folder, _telling(bench, name))
        return network.requires_grad_(False)

    def _lmac(self, bench: Bench, name: str) -> Lmac:
        """Train a network's decoder, or take it up."""
        settings = self.settings
        loop = LoopSettings(
            epochs=settings.decoder_epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.decoder_rate,
            seed=bench.seed + _SEEDS[name],
            device=bench.classifier.device.type,
        )
        recipe = quick_recipe(loop, settings.objective)
        clips, folder = _clips(bench, name), _folder(bench, name) / "decoder"
        report = _telling(bench, f"{_DECODER}{name}")
        return trained_lmac(self._network(bench, name), clips, clips, recipe, folder, report)

    def table(self, rows: DataFrame) -> DataFrame:
        """See `Check.table`: how alike explanations are, and how many clips the networks know, in %."""
        columns = [
            (f"{figure}, {label}", rows[(rows["figure"] == figure) & (rows["variant"] == variant)])
            for figure in ("rank", "SSIM")
            for variant, label in ((AGAIN, "other seed"), (SHUFFLED, "shuffled labels"))
        ]
        known = {
            f"learned, {name}": 100 * value for name, value in _accuracies(rows).items() if name != AGAIN
        }
        return means(rows, columns).assign(**known)

    def verdicts(self, rows: DataFrame) -> list[Verdict]:
        """See `Check.verdicts`: explanations of true labels must be more like one another than the third's.

        It passes if the 95 % interval of the difference in rank correlation, a bootstrap over clips of the
        paired differences, lies above 0. If a network does not know 90 % of its labels, nothing can be told.
        """
        lacking = {name: value for name, value in _accuracies(rows).items() if not value >= _LEARNED}
        return [self._verdict(rows, method, lacking) for method in methods_of(rows)]

    def _verdict(self, rows: DataFrame, method: str, lacking: dict[str, float]) -> Verdict:
        if lacking:
            right = {name: f"{100 * value:.0f} %" for name, value in lacking.items() if value == value}
            said = ", ".join(f"{name}: {right.get(name, 'missing')}" for name in lacking)
            why = f"networks have not learned their labels (clips right, {said}): raise epochs"
            return Verdict(self.name, method, None, why)
        alike, other = (by_sound(rows, method, "rank", variant=name) for name in (AGAIN, SHUFFLED))
        more = interval((alike - other).dropna())
        said = (
            f"explanations of two networks with the true labels correlate {alike.mean():.2f}, with those of a"
            f" network with shuffled labels {other.mean():.2f}: {more.mean:+.2f} for the labels"
            f" (95 %: {more.low:+.2f} … {more.high:+.2f}, over clips)"
        )
        return Verdict(self.name, method, more.low > 0 if more.mean == more.mean else None, said)


def _accuracies(rows: DataFrame) -> dict[str, float]:
    """Return the share of its own clips that each network is right on, NaN for one that is missing."""
    known = rows[rows["figure"] == "accuracy"].groupby("variant")["value"].mean()
    return {name: float(known.get(name, float("nan"))) for name in _SEEDS}


def _clips(bench: Bench, name: str) -> Clips:
    """Return the clips to train on, at the level that a CNN14 hears, with the labels of a network."""
    clips = clips_of(bench.training)
    order = torch.arange(len(clips.labels))
    if name == SHUFFLED:
        order = torch.randperm(len(order), generator=torch.Generator().manual_seed(bench.seed))
    return Clips(peak_normalise(clips.waveform), clips.labels[order])


def _masks(bench: Bench, explainer: Explainer) -> tuple[list[str], Tensor]:
    """Explain as many clips to train on as the bench explains; return their names and masks."""
    train, network = bench.training, explainer.classifier
    heard = train.audible.nonzero()[:, 0]
    chosen = torch.linspace(0, len(heard) - 1, min(len(bench.clips), len(heard))).round().long()
    masks = []
    for part in heard[chosen].split(bench.batch_size):
        sounds = make_sounds("clean", train, part.tolist(), bench.seed)
        scene = hear_sounds(network, sounds.part(torch.arange(len(part)), network.device))
        mask = explainer.masks(scene.stft, scene.target, scene.heard).detach()
        masks.append(mask.nan_to_num(0.0))  # where nothing is explained there is no order either
    return [train.names[index] for index in heard[chosen].tolist()], torch.cat(masks)


def _folder(bench: Bench, name: str) -> Path:
    return bench.folder / RetrainedLabels.name / name.replace(" ", "-")


def _telling(bench: Bench, what: str) -> Callable[[int, int, Figures], None]:
    return lambda done, total, _: bench.tell(f"{what}: step {done} of {total}")
