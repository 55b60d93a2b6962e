"""The one path on which every explainer is scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from earmark.classifiers.base import AudioClassifier, Heard
from earmark.evaluation.protocol import Sounds
from earmark.explainers.base import Explainer
from earmark.features.masking import apply_mask, binary_masks, mask_features
from earmark.metrics import Protocol, input_fidelity, kept_share, score, si_sdr

Scores = dict[str, Tensor]

ABOUT_SOURCE = ("share", "share mixture", "SI-SDRi", "SI-SDR")
"""What speaks of the source, and so of masks on the STFT alone, as others cannot be heard."""


@dataclass(frozen=True)
class Scene:
    """A batch of sounds, heard once by the classifier; every method is scored on the same one.

    Args:
        classifier: who heard it.
        sounds: what was heard.
        source: complex (batch, bins, frames).
        interferer: the same.
        heard: what the classifier made of their sum.
        none: (1, classes), the logits of silence.
    """

    classifier: AudioClassifier
    sounds: Sounds
    source: Tensor
    interferer: Tensor
    heard: Heard
    none: Tensor

    @cached_property
    def stft(self) -> Tensor:
        """The sum of both parts, complex (batch, bins, frames)."""
        return self.source + self.interferer

    @cached_property
    def magnitude(self) -> Tensor:
        """Its absolute value."""
        return self.stft.abs()

    @cached_property
    def power(self) -> Tensor:
        """The square of it."""
        return self.magnitude.square()

    @cached_property
    def silence(self) -> Tensor:
        """What the features of silence are, (1, rows, 1)."""
        return self.classifier.silence()

    @cached_property
    def owned(self) -> Tensor:
        """1 where the source is the louder part, else 0."""
        return (self.source.abs() > self.interferer.abs()).to(self.magnitude.dtype)

    @cached_property
    def target(self) -> Tensor:
        """The classes that the classifier decided for, (batch,)."""
        return self.heard.logits.argmax(1)

    @cached_property
    def about_mixture(self) -> tuple[Tensor, Tensor]:
        """What the untouched mixtures get: the source's share of energy, and their SI-SDR."""
        whole = torch.ones_like(self.magnitude)
        share = kept_share(whole, self.power, self.owned)
        return share, si_sdr(self.sounds.mixture, self.sounds.source)


@dataclass(frozen=True)
class Said:
    """What a classifier says of sounds, of what masks keep of them, and of the rest: (batch, classes) each.

    Args:
        classifier: who says it.
        whole: logits of the sounds.
        kept: of what is kept.
        rest: of the rest.
        target: (batch,), the classes that are explained.
    """

    classifier: AudioClassifier
    whole: Tensor
    kept: Tensor
    rest: Tensor
    target: Tensor

    def part(self, index: Tensor) -> Said:
        """Return what is said of some of the sounds."""
        parts = (values[index] for values in (self.whole, self.kept, self.rest, self.target))
        return Said(self.classifier, *parts)

    def probability(self, logits: Tensor) -> Tensor:
        """Return the targets' probabilities, (batch,)."""
        return self.classifier.probabilities(logits).gather(1, self.target[:, None])[:, 0]

    def scores(self, mask: Tensor, protocol: Protocol = "corrected") -> Scores:
        """Return the metrics of `earmark.metrics.score`, and "p", "p_in" and "p_out", (batch,) each.

        Where several labels may hold, the target's yes or no is scored. Fid-In still asks whether the most
        probable label stays: most labels are "no" for most sounds, with or without a mask.

        Args:
            mask: (batch, rows, frames).
            protocol: see `earmark.metrics.score`.
        """
        every = self.whole, self.kept, self.rest
        (whole, index), (kept, _), (rest, _) = (self.classifier.question(each, self.target) for each in every)
        scores = score(whole, kept, rest, mask, index, protocol)
        scores["Fid-In"] = input_fidelity(self.whole, self.kept)
        return scores | {name: self.probability(each) for name, each in zip(("p", "p_in", "p_out"), every)}


@torch.no_grad()
def hear_sounds(classifier: AudioClassifier, sounds: Sounds) -> Scene:
    """Let a classifier hear sounds once, at the level that it hears; they must be on its device."""
    sounds = sounds.divided(classifier.level(sounds.mixture))
    source, interferer = classifier.spectrogram(torch.cat([sounds.source, sounds.interferer])).chunk(2)
    heard = classifier.hear(source + interferer)
    none = classifier.logits(classifier.features(torch.zeros_like(source[:1])))
    return Scene(classifier, sounds, source, interferer, heard, none)


def score_sounds(
    explainer: Explainer,
    sounds: Sounds,
    areas: Sequence[float | None] = (None,),
    batch_size: int = 16,
) -> dict[float | None, Scores]:
    """Explain the classifier's decision on each sound and score the masks by the corrected protocol.

    Args:
        explainer: whose masks; its classifier is put in evaluation mode.
        sounds: what to explain.
        areas: None for the soft mask, or a share of the bins to binarise it to.
        batch_size: sounds at a time.

    Returns:
        for each area, per name (sounds,): what `score_masks` returns, and "label", the source's class.
    """
    explainer.classifier.eval()
    device = explainer.classifier.device
    found: dict[float | None, dict[str, list[Tensor]]] = {area: {} for area in areas}
    for index in torch.arange(len(sounds)).split(batch_size):
        scene = hear_sounds(explainer.classifier, sounds.part(index, device))
        mask = explainer.masks(scene.stft, scene.target, scene.heard).detach()
        for area, hard in at_areas(mask, areas):
            scores = score_masks(explainer, scene, hard) | {"label": scene.sounds.labels}
            for name, values in scores.items():
                found[area].setdefault(name, []).append(values.cpu())
    return {area: {name: torch.cat(values) for name, values in rows.items()} for area, rows in found.items()}


def at_areas(mask: Tensor, areas: Sequence[float | None]) -> Iterator[tuple[float | None, Tensor]]:
    """Yield a mask as it is (None) and binarised to its best bins, up to each area."""
    if None in areas:
        yield None, mask
    shares = [area for area in areas if area is not None]
    yield from zip(shares, binary_masks(mask, shares) if shares else ())


@torch.no_grad()
def score_masks(explainer: Explainer, scene: Scene, mask: Tensor, protocol: Protocol = "corrected") -> Scores:
    """Score masks by what the classifier says with and without them.

    A masked spectrum is that of no sound: its frames overlap and contradict one another. So what masks on the
    STFT keep and leave is made a sound first, and heard by the classifier as a listener hears it. The
    authors' program skips that.

    Args:
        explainer: whose masks they are, which says what they are laid on.
        scene: the sounds.
        mask: (batch, bins, frames), or of the features' shape.
        protocol: "corrected" follows the definitions, "paper" the authors' program.

    Returns:
        per name (batch,): the metrics of `earmark.metrics.score`; "FF all" the FF of the all-ones mask;
        "p", "p_in", "p_out" the class's probabilities; "target" the decided class; and for masks on the STFT
        "share" the kept energy in bins where the source dominates, "share mixture" the same of the whole
        sound, "SI-SDRi" the listenable sound's improvement towards the source in dB and "SI-SDR" what it
        comes to.
    """
    classifier, target = scene.classifier, scene.target
    features, listenable = _parts(explainer, scene, mask, protocol)
    logits_in, logits_out = classifier.logits(torch.cat(features)).chunk(2)
    said = Said(classifier, scene.heard.logits, logits_in, logits_out, target)
    scores = said.scores(mask, protocol)
    none = said.probability(scene.none.expand(len(target), -1))
    scores |= {"FF all": scores["p"] - none, "target": target}
    return scores if listenable is None else scores | _about_source(scene, mask, listenable)


def _parts(
    explainer: Explainer, scene: Scene, mask: Tensor, protocol: Protocol
) -> tuple[list[Tensor], Tensor | None]:
    """Return what the classifier eats of what a mask keeps and of the rest, and how the former sounds."""
    if explainer.domain == "features":
        silence = scene.silence
        return [mask_features(scene.heard.features, part, silence) for part in (mask, 1 - mask)], None
    classifier, mixture = scene.classifier, scene.sounds.mixture
    masked = apply_mask(scene.stft, mask, explainer.scale)
    sound = classifier.spectrogram.inverse(masked, mixture.shape[1])
    if protocol == "paper":
        seen = [masked, apply_mask(scene.stft, 1 - mask, explainer.scale)]
    else:
        # The rest is what is written as such: the sound without what is kept, whatever a mask multiplies.
        seen = [classifier.spectrogram(part) for part in (sound, mixture - sound)]
    return [classifier.features(part) for part in seen], sound


def _about_source(scene: Scene, mask: Tensor, listenable: Tensor) -> Scores:
    share, before = scene.about_mixture
    after = si_sdr(listenable, scene.sounds.source)
    return {
        "share": kept_share(mask, scene.power, scene.owned),
        "share mixture": share,
        "SI-SDRi": after - before,
        "SI-SDR": after,
    }


def mean_scores(scores: Scores) -> dict[str, float]:
    """Average over sounds; what speaks of the source only over those decided for its class, if there are any.

    "accuracy" is the share of sounds decided for the class of the source.
    """
    right = scores["target"] == scores["label"]
    means = {
        name: float((values[right] if name in ABOUT_SOURCE else values).double().mean())
        for name, values in scores.items()
        if name not in ("target", "label") and (right.any() or name not in ABOUT_SOURCE)
    }
    return {**means, "accuracy": float(right.double().mean())}
