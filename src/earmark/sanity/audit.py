"""What does a classifier lean on that is none of the sound? Explanations and trials, class by class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from earmark.classifiers.base import AudioClassifier
from earmark.evaluation.protocol import Material
from earmark.explainers.base import Explainer
from earmark.features.masking import apply_mask
from earmark.sanity.suspect import Case, Suspect, rms
from earmark.sanity.suspects import SUSPECTS

Report = Callable[[int, int, str], None]
"""Called with classes done, classes in all, and what is at work."""

FEWEST = 5
"""So many sounds a class, and so many of others, is the least that anything is said about."""

_LISTEN = 5
_TRIED = 48
"""So many sounds of a class are explained and tried at most, and so many of others: the shares are sure
enough (± 14 points), and thousands of clips take no longer."""


@dataclass(frozen=True)
class Evidence:
    """What was found out about a suspect in a class.

    Args:
        clips: how many of the class's sounds have it.
        of: how many sounds are decided for the class.
        elsewhere: share of the other sounds that have it, too; NaN where that says nothing.
        taken: share of the sounds with it that are decided otherwise, or lose half of the class's
            probability, when it is taken away.
        given: share of the other sounds that are decided for the class when they get it.
        sham: the same where as much is changed, but not by the suspect; NaN where there is no such change.
        shown: share of the explanations that lies where the suspect is.
        area: share of the bins that lies there.
    """

    clips: int
    of: int
    elsewhere: float
    taken: float
    given: float
    sham: float
    shown: float
    area: float


@dataclass(frozen=True)
class Finding:
    """A class that leans on a suspect.

    Args:
        label: the class.
        suspect: "hum", "band edge", "silence", "clip start" or "clip end".
        where: in words, with Hz or seconds.
        evidence: the figures.
        clips: names of the clips to listen to, in which most depends on it first.
        said: all this in one sentence.
    """

    label: str
    suspect: str
    where: str
    evidence: Evidence
    clips: tuple[str, ...]
    said: str


@dataclass(frozen=True)
class Audit:
    """What an audit came to.

    Args:
        findings: what is suspicious, in the order of the classes.
        clips: by class, how many sounds are decided for it.
    """

    findings: tuple[Finding, ...]
    clips: dict[str, int]

    def was_asked(self, label: str) -> bool:
        """Return whether there were enough sounds to say anything of a class."""
        return _enough(self.clips[label], sum(self.clips.values()) - self.clips[label])


def _enough(own: int, others: int) -> bool:
    return min(own, others) >= FEWEST


@dataclass(frozen=True)
class Looked:
    """A suspect in a class that was looked into, whether or not the class leans on it."""

    label: str
    suspect: str
    case: Case
    evidence: Evidence
    falls: Tensor
    own: Tensor


def audit(
    classifier: AudioClassifier,
    explainer: Explainer,
    material: Material,
    suspects: Sequence[Suspect] = SUSPECTS,
    batch_size: int = 16,
    seed: int = 0,
    report: Report = lambda *_: None,
) -> Audit:
    """Find the classes that lean on a hum, a band edge, digital silence, or a clip's start or end.

    Sounds are grouped by what is decided. A suspect is looked into where most sounds of a class have it and
    few others do. Two trials say whether the class leans on it: it is taken from the class's sounds, and
    given to sounds of other classes. Explanations say whether it is shown.

    Args:
        classifier: in evaluation mode.
        explainer: of this classifier, with masks on the STFT.
        material: the clips.
        suspects: what is looked for.
        batch_size: sounds at a time.
        seed: of who gives to whom.
        report: is told how far it is.

    Returns:
        what is suspicious, and how many sounds of each class there were.
    """
    hall = Hall(classifier, explainer, material, batch_size, seed)
    looked = hall.look(suspects, report)
    findings = tuple(_finding(one, material) for one in looked if leans(one.evidence, one.case.intrudes))
    counts = torch.bincount(hall.decided, minlength=len(classifier.labels)).tolist()
    return Audit(findings, dict(zip(classifier.labels, counts)))


# Chosen on the development seeds of bench/audit.py.
TAKEN, GIVEN = 0.4, 0.3
"""A class leans on what decides so many of its own sounds, or turns so many others into it."""


_SOME = 0.1
"""Where a suspect cannot be taken away without bringing in sound of others, it must turn so many into it."""


def leans(evidence: Evidence, intrudes: bool = False) -> bool:
    """Tell whether the figures say that a class leans on a suspect.

    It does if 40 % of its sounds depend on it, or if it turns 30 % of others into the class; where there is a
    sham, that must turn at most half as many.

    Args:
        evidence: the figures.
        intrudes: whether taking the suspect away brought in sound of others; it must then turn 10 % at least.
    """
    if evidence.sham > evidence.given / 2:  # never so for NaN
        return False
    depends = evidence.taken >= TAKEN and (not intrudes or evidence.given >= _SOME)
    return depends or evidence.given >= GIVEN


class Hall:
    """Sounds, who decides on them, and who explains that."""

    def __init__(
        self,
        classifier: AudioClassifier,
        explainer: Explainer,
        material: Material,
        batch_size: int,
        seed: int,
    ) -> None:
        self.classifier, self.explainer, self.batch_size, self.seed = classifier, explainer, batch_size, seed
        self.audible = material.audible.nonzero()[:, 0]
        self.waveform = material.waveform[self.audible]
        self.decided = self.probabilities(self.waveform).argmax(1)

    @torch.no_grad()
    def probabilities(self, waveform: Tensor) -> Tensor:
        """Return (sounds, classes)."""
        classifier = self.classifier
        parts = [
            classifier.probabilities(classifier(part.to(classifier.device))).cpu()
            for part in waveform.split(self.batch_size)
        ]
        return torch.cat(parts)

    def places(self, index: int) -> tuple[Tensor, Tensor]:
        """Return which sounds are decided for a class, and which are not."""
        return (self.decided == index).nonzero()[:, 0], (self.decided != index).nonzero()[:, 0]

    def look(self, suspects: Sequence[Suspect], report: Report) -> Iterator[Looked]:
        """Yield all that is looked into, class by class, with the figures that `leans` judges."""
        labels = self.classifier.labels
        for index, label in enumerate(labels):
            report(index, len(labels), label)
            own, others = self.places(index)
            if _enough(len(own), len(others)):
                yield from self._look(index, own, others, suspects)
        report(len(labels), len(labels), "done")

    def _look(self, index: int, own: Tensor, others: Tensor, suspects: Sequence[Suspect]) -> Iterator[Looked]:
        rate = self.classifier.spectrogram.sample_rate
        for suspect in suspects:
            case = suspect.look(self.waveform[own], self.waveform[others], rate)
            if case is None or not case.has.any():
                continue
            tried = own[case.has][_spread(int(case.has.sum()))]
            evidence, falls = self.weigh(case, index, own, tried, others)
            yield Looked(
                self.classifier.labels[index], suspect.name, case, evidence, falls, self.audible[tried]
            )

    def shown(self, case: Case, index: int, tried: Tensor) -> tuple[float, float]:
        """Return which share of the class's explanations lies where the suspect is, and of the bins."""
        shares, areas = [], []
        for part in self.waveform[tried].split(self.batch_size):
            masks = self._masks(part, index)
            where = case.region(self.classifier.spectrogram, part)
            shares.append((masks * where).sum((1, 2)) / masks.sum((1, 2)).clamp_min(1e-9))
            areas.append(where.mean((1, 2)))
        return _mean(torch.cat(shares)), _mean(torch.cat(areas))

    def weigh(
        self, case: Case, index: int, own: Tensor, tried: Tensor, others: Tensor
    ) -> tuple[Evidence, Tensor]:
        """Take the suspect away, give it to others, and see where explanations lie.

        Returns:
            the figures; and for each sound that was tried by which share the class's probability falls.
        """
        generator = torch.Generator().manual_seed(self.seed)
        sounds = self.waveform[tried]
        # Each other sound about as often as any, and no fewer trials than there may be.
        order = torch.randperm(len(others), generator=generator)
        rest = self.waveform[others[order[torch.arange(_TRIED) % len(order)]]]
        donors = sounds[torch.randint(len(sounds), (len(rest),), generator=generator)]
        fill = rest[torch.randint(len(rest), (len(sounds),), generator=generator)]
        before = self.probabilities(sounds)[:, index]
        without = self.probabilities(case.without(sounds, fill))
        falls = 1 - without[:, index] / before.clamp_min(1e-9)
        # A hum may be as loud in all sounds, or go with their level: what tells the class is tried both ways.
        levels = (donors, donors * (rms(rest) / rms(donors).clamp_min(1e-9)))
        shams = [case.sham(rest, each) for each in levels]
        shown, area = self.shown(case, index, tried)
        evidence = Evidence(
            clips=int(case.has.sum()),
            of=len(own),
            elsewhere=case.elsewhere,
            taken=_mean((without.argmax(1) != index) | (falls > 0.5)),
            given=max(self._become(index, case.given(rest, each)) for each in levels),
            sham=max((self._become(index, sham) for sham in shams if sham is not None), default=float("nan")),
            shown=shown,
            area=area,
        )
        return evidence, falls

    def _become(self, index: int, sounds: Tensor) -> float:
        return _mean(self.probabilities(sounds).argmax(1) == index)

    def _masks(self, waveform: Tensor, index: int) -> Tensor:
        return _explain(self.explainer, waveform, index)[1].cpu()


def _spread(count: int) -> Tensor:
    """Return so many places as are tried, evenly chosen."""
    return torch.linspace(0, count - 1, min(count, _TRIED)).round().long()


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _explain(explainer: Explainer, waveform: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """Return the spectra of sounds at the level that is heard, and the masks for a class."""
    classifier = explainer.classifier
    sounds = waveform.to(classifier.device)
    stft = classifier.spectrogram(sounds / classifier.level(sounds))
    with torch.no_grad():
        heard = classifier.hear(stft)
    target = torch.full((len(sounds),), index, device=stft.device)
    return stft, explainer.masks(stft, target, heard).detach().nan_to_num(0.0)


def kept_sounds(explainer: Explainer, material: Material, finding: Finding) -> Tensor:
    """Return what explanations of a finding's clips keep, (clips, samples), as loud as it is in the clips.

    Args:
        explainer: whose masks.
        material: the clips that were audited.
        finding: of these.
    """
    classifier = explainer.classifier
    places = [material.names.index(name) for name in finding.clips]
    waveform = material.waveform[places]
    stft, masks = _explain(explainer, waveform, classifier.label_index(finding.label))
    kept = classifier.spectrogram.inverse(apply_mask(stft, masks, explainer.scale), waveform.shape[1])
    return (kept * classifier.level(waveform.to(kept))).cpu()


def _finding(looked: Looked, material: Material) -> Finding:
    evidence, case = looked.evidence, looked.case
    order = looked.falls.argsort(descending=True)[:_LISTEN]
    clips = tuple(material.names[index] for index in looked.own[order].tolist())
    share = (
        "" if evidence.elsewhere != evidence.elsewhere else f" ({100 * evidence.elsewhere:.0f} % of others)"
    )
    said = (
        f"{looked.label}: leans on {looked.suspect} ({case.where}), in {evidence.clips} of {evidence.of}"
        f" clips{share}: without it {100 * evidence.taken:.0f} % of them are decided otherwise or lose half"
        f" of their probability, and {100 * evidence.given:.0f} % of other clips become {looked.label} when"
        f" they get it; {100 * evidence.shown:.0f} % of the explanations lie there, as do"
        f" {100 * evidence.area:.0f} % of the bins"
    )
    return Finding(looked.label, looked.suspect, case.where, evidence, clips, said)
