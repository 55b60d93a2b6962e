"""Planted cues: where a known cue is the only way to the label, do explanations find it?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from pandas import DataFrame
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.augment import time_shift
from earmark.classifiers.cnn14 import Cnn14
from earmark.classifiers.training import Clips
from earmark.errors import RecipeError
from earmark.explainers.base import Explainer
from earmark.explainers.lmac.explainer import Lmac
from earmark.features.level import peak_normalise, peak_of
from earmark.features.masking import largest_bins
from earmark.metrics import kept_share, roc_auc
from earmark.sanity.base import Bench, Check, Row, Step, Verdict, register
from earmark.sanity.cues import KINDS, Cue, Planted, region, widened
from earmark.sanity.retraining import fresh, quick_recipe, small_cnn14, trained_lmac
from earmark.sanity.statistics import by_sound, compare, interval, means, methods_of
from earmark.training.loop import Job, LoopSettings, fit, in_batches

LABELS = ("without", "with")
BASELINES = ("random", "loudest")
"""What every method is held against, asked for or not."""

_WITH = 1
_DECODER = "decoder: "
_HIT, _LEARNED = 0.5, 0.95
_FIGURES = ("recall", "hits", "energy", "AUC", "chance")


class CueSettings(BaseModel):
    """One cue.

    Args:
        kind: "tone", "hum", "band edge" or "click".
        snr_db: the sound's level over that of the cue, over the whole clip.
        place: in Hz, or in seconds for the click.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    snr_db: float
    place: float = Field(ge=0)

    def make(self) -> Cue:
        """Return the cue.

        Raises:
            RecipeError: there is no such kind.
        """
        if self.kind not in KINDS:
            raise RecipeError(f"there is no cue {self.kind!r}", f"one of {', '.join(KINDS)}")
        return KINDS[self.kind](self.snr_db, self.place)


class PlantedSettings(BaseModel):
    """What is planted, and what is trained on it.

    Args:
        cues: the cues, by the name they go by. Levels are such that cues are learned and yet not always
            the loudest there is.
        backgrounds: so many clips to train on carry them, evenly chosen; each is in both classes.
        seconds: length of the sounds, the loudest piece of each clip; short ones make trainings quick.
        width: factor on the channels of the CNN14 that is trained.
        n_mels: its mel bands, at least 32.
        epochs: passes over the backgrounds.
        batch_size: backgrounds a step; each comes with the cue and without.
        learning_rate: its highest value.
        decoder_epochs: passes of an L-MAC's training.
        near_bins: best bins that are so near to the cue count as hits.
        near_frames: the same in frames.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cues: dict[str, CueSettings] = Field(
        {
            "tone": CueSettings(kind="tone", snr_db=10, place=1000),
            "hum": CueSettings(kind="hum", snr_db=5, place=50),
            "band edge": CueSettings(kind="band edge", snr_db=10, place=3000),
            "click": CueSettings(kind="click", snr_db=18, place=0.05),
        },
        min_length=1,
    )
    backgrounds: PositiveInt = Field(120, ge=2)
    seconds: float = Field(2.0, gt=0)
    width: float = Field(1 / 16, gt=0)
    n_mels: PositiveInt = Field(64, ge=32)
    epochs: PositiveInt = 15
    batch_size: PositiveInt = 8
    learning_rate: float = Field(3e-3, gt=0)
    decoder_epochs: PositiveInt = 6
    near_bins: NonNegativeInt = 4
    near_frames: NonNegativeInt = 2


@register("planted")
class PlantedCheck(Check):
    """Trains networks for which a cue is the only way to the label, and looks for it in explanations.

    Each background is in both classes, once with the cue and once without; so nothing else tells the classes
    apart. Sounds with the cue, made of other backgrounds, are explained for the class "with". Explanations
    are held against random bins and the loudest. A network may decide by a part of a cue, as by one of the
    hum's harmonics: then not even a true explanation shows all of it.
    """

    summary = "do explanations find a cue that is the only way to the label (small networks trained on it)"
    Settings = PlantedSettings
    needs_training_clips = True
    long = True
    settings: PlantedSettings

    def steps(self, bench: Bench) -> list[Step]:
        """See `Check.steps`: the networks, their decoders if L-MAC is there, then the methods on each."""
        cues = tuple(self.settings.cues)
        steps = [Step("", cue) for cue in cues]
        if any(isinstance(explainer, Lmac) for explainer in bench.explainers.values()):
            steps += [Step("", f"{_DECODER}{cue}") for cue in cues]
        methods = [name for name, one in bench.explainers.items() if one.ranks and not one.needs_examples]
        return steps + [Step(name, cue) for name in dict.fromkeys([*methods, *BASELINES]) for cue in cues]

    def run(self, bench: Bench, step: Step) -> Iterator[Row]:
        """See `Check.run`; trainings are kept in the folder, and taken up from there."""
        if step.method:
            yield from self._score(bench, step.method, step.part)
        elif step.part.startswith(_DECODER):
            self._lmac(bench, step.part.removeprefix(_DECODER))
        else:
            network, sounds = self._network(bench, step.part), self._sounds(bench, step.part)
            right = [
                network(part).argmax(1).cpu() == label
                for label, waveform in ((_WITH, sounds.present), (1 - _WITH, sounds.absent))
                for part in waveform.split(bench.batch_size)
            ]
            yield Row("accuracy", float(torch.cat(right).double().mean()), variant=step.part)

    def _score(self, bench: Bench, method: str, name: str) -> Iterator[Row]:
        explainer = self._explainer(bench, method, name)
        sounds = self._sounds(bench, name)
        names = [bench.material.names[index] for index in bench.audible]
        for index in torch.arange(len(names)).split(bench.batch_size):
            scores, decided = self._places(explainer, Planted(*(part[index] for part in sounds)))
            for figure, values in scores.items():
                for place, value in zip(index.tolist(), values.tolist()):
                    if decided[place - int(index[0])]:
                        yield Row(figure, value, names[place], variant=name)

    def _places(self, explainer: Explainer, sounds: Planted) -> tuple[dict[str, Tensor], Tensor]:
        """Score where masks for "with" lie; return the scores, and which sounds are decided for it."""
        network, settings = explainer.classifier, self.settings
        level = peak_of(sounds.present)
        stft = network.spectrogram(sounds.present / level)
        heard = network.hear(stft)
        target = torch.full_like(heard.logits[:, 0], _WITH, dtype=torch.long)
        mask = explainer.masks(stft, target, heard).detach()
        where = region(network.spectrogram, sounds.cue / level)
        near = widened(where, settings.near_bins, settings.near_frames)
        # As many of the best bins as the cue has, which differs from sound to sound.
        best = torch.cat([largest_bins(one[None], float(area)) for one, area in zip(mask, _areas(where))])
        count = best.sum((1, 2))
        scores = {
            "recall": (best * where).sum((1, 2)) / count,
            "hits": (best * near).sum((1, 2)) / count,
            "energy": kept_share(best, stft.abs().square(), near),
            "AUC": roc_auc(mask, where, torch.ones_like(where)),
            "chance": near.mean((1, 2)),
        }
        return scores, heard.logits.argmax(1) == _WITH

    def _explainer(self, bench: Bench, method: str, name: str) -> Explainer:
        if isinstance(bench.explainers.get(method), Lmac):
            return self._lmac(bench, name)
        return fresh(method, self._network(bench, name), bench.seed)

    def _cue(self, name: str) -> Cue:
        return self.settings.cues[name].make()

    def _sounds(self, bench: Bench, name: str) -> Planted:
        """Return the sounds to explain: those of the bench, with the cue and without, on its device."""
        backgrounds = self._pieces(bench, bench.material.waveform[list(bench.audible)])
        return self._plant(bench, name, backgrounds, seed=bench.seed)

    def _plant(self, bench: Bench, name: str, waveform: Tensor, seed: int) -> Planted:
        classifier, generator = bench.classifier, torch.Generator().manual_seed(seed)
        sounds = self._cue(name).add(waveform, classifier.spectrogram.sample_rate, generator)
        return Planted(*(part.to(classifier.device) for part in sounds))

    def _backgrounds(self, bench: Bench) -> Tensor:
        train = bench.training
        heard = train.audible.nonzero()[:, 0]
        chosen = torch.linspace(0, len(heard) - 1, min(self.settings.backgrounds, len(heard))).round().long()
        return self._pieces(bench, train.waveform[heard[chosen]])

    def _pieces(self, bench: Bench, waveform: Tensor) -> Tensor:
        length = round(self.settings.seconds * bench.classifier.spectrogram.sample_rate)
        return peak_normalise(loudest_piece(waveform, length))

    def _network(self, bench: Bench, name: str) -> Cnn14:
        """Train a network to hear a cue, or take it up; cues are drawn anew in every epoch."""
        settings, like, waveform = self.settings, bench.classifier, self._backgrounds(bench)
        network = self._new(bench)
        rate, cue = like.spectrogram.sample_rate, self._cue(name)

        def batches(epoch: int, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
            for index in in_batches(torch.randperm(len(waveform), generator=generator), settings.batch_size):
                sounds = cue.add(time_shift(waveform[index], generator), rate, generator)
                both = torch.cat([sounds.absent, sounds.present])
                yield both, torch.arange(2).repeat_interleave(len(index))

        job = Job(
            step=_Step(network),
            batches=batches,
            validate=lambda: {},
            criterion=lambda row: row["epoch"],
            steps_per_epoch=-(-len(waveform) // settings.batch_size),
        )
        loop = LoopSettings(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            seed=bench.seed,
            device=like.device.type,
        )
        fit(job, loop, _folder(bench, name) / "classifier", lambda done, of, _: bench.tell(f"{done} of {of}"))
        return network.requires_grad_(False).eval()

    def _new(self, bench: Bench) -> Cnn14:
        network = small_cnn14(bench.classifier, LABELS, self.settings.width, self.settings.n_mels, bench.seed)
        network.seconds = self.settings.seconds
        return network

    def _lmac(self, bench: Bench, name: str) -> Lmac:
        """Train an L-MAC for a cue's network, or take it up."""
        sounds = self._plant(bench, name, self._backgrounds(bench), bench.seed + 1)
        waveform = peak_normalise(torch.cat([sounds.absent, sounds.present])).cpu()
        clips = Clips(waveform, torch.arange(2).repeat_interleave(len(waveform) // 2))
        device, epochs = bench.classifier.device.type, self.settings.decoder_epochs
        loop = LoopSettings(epochs=epochs, learning_rate=2e-3, seed=bench.seed, device=device)
        recipe = quick_recipe(loop)
        return trained_lmac(
            self._network(bench, name),
            clips,
            clips,
            recipe,
            _folder(bench, name) / "decoder",
            lambda done, of, _: bench.tell(f"decoder: {done} of {of}"),
        )

    def table(self, rows: DataFrame) -> DataFrame:
        """See `Check.table`: means over cues, hits for each cue, and false alarms, in %."""
        rows = _of_learned(rows)
        percent = rows.assign(value=100 * rows["value"])
        of = {figure: percent[percent["figure"] == figure] for figure in _FIGURES}
        misses = of["hits"].assign(value=100 - of["hits"]["value"])
        columns = [("recall", of["recall"]), ("hits", of["hits"]), ("false alarms", misses)]
        columns += [
            (f"hits, {cue}", of["hits"][of["hits"]["variant"] == cue])
            for cue in dict.fromkeys(of["hits"]["variant"])
        ]
        auc = of["AUC"].assign(value=of["AUC"]["value"] / 100)
        return means(rows, [*columns, ("energy", of["energy"]), ("AUC", auc), ("chance", of["chance"])])

    def verdicts(self, rows: DataFrame) -> list[Verdict]:
        """See `Check.verdicts`: half of the best bins hit the cue, more than of random or the loudest bins.

        A method passes if the mean over cues and sounds of its hits is at least 50 % and, by a paired
        bootstrap over backgrounds, above that of random bins and of the loudest. Cues that their network
        learned in less than 95 % of the sounds do not count; without any, nothing can be told.
        """
        learned = _of_learned(rows)
        return [_verdict(self.name, learned, method) for method in methods_of(rows)]


def _verdict(check: str, rows: DataFrame, method: str) -> Verdict:
    own = by_sound(rows, method, "hits")
    mean = interval(own).mean
    if mean != mean:
        return Verdict(check, method, None, "no network learned its cue, or nothing was decided for it")
    of_cues = rows[(rows["method"] == method) & (rows["figure"] == "hits")].groupby("variant")["value"].mean()
    beyond = {other: compare(rows, method, other, "hits") for other in BASELINES if other != method}
    better = all(than.low > 0 for than in beyond.values() if than.mean == than.mean)
    parts = ", ".join(f"{cue} {100 * value:.0f} %" for cue, value in of_cues.items())
    than = ", ".join(f"{100 * each.mean:+.0f} points to {other} bins" for other, each in beyond.items())
    said = f"{100 * mean:.0f} % of its best bins are at the planted cue ({parts}); {than}"
    return Verdict(check, method, mean >= _HIT and better, said)


def loudest_piece(waveform: Tensor, length: int) -> Tensor:
    """Return the loudest piece of each of (batch, samples), (batch, length) or as long as they are.

    >>> loudest_piece(torch.tensor([[0.0, 0.0, 3.0, -3.0]]), 2)
    tensor([[ 3., -3.]])
    """
    length = min(length, waveform.shape[1])
    before = F.pad(waveform.double().square().cumsum(1), (1, 0))
    start = (before[:, length:] - before[:, : before.shape[1] - length]).argmax(1, keepdim=True)
    return waveform.gather(1, start + torch.arange(length, device=waveform.device))


class _Step(nn.Module):
    """Asks the network whether the cue is there."""

    def __init__(self, network: Cnn14) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(self.network(waveform), labels)}


def _of_learned(rows: DataFrame) -> DataFrame:
    """Keep the methods' figures for cues that their network knows."""
    accuracy = rows[rows["figure"] == "accuracy"].groupby("variant")["value"].mean()
    known = accuracy[accuracy >= _LEARNED].index
    return rows[(rows["method"] != "") & rows["variant"].isin(known)]


def _areas(where: Tensor) -> Tensor:
    """Return the share of the bins that is a cue's, (batch,), never 0."""
    return where.mean((1, 2)).clamp_min(1 / where[0].numel())


def _folder(bench: Bench, name: str) -> Path:
    return bench.folder / PlantedCheck.name / name.replace(" ", "-")
