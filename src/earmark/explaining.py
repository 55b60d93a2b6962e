"""The engine behind `explain`: windows of many sounds, in batches, each step once per batch."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earmark import audio as sound
from earmark.classifiers.base import AudioClassifier, Heard
from earmark.errors import AudioError, EarmarkError
from earmark.evaluation.runner import Said
from earmark.explainers.base import Explainer, find
from earmark.explanation import Explanation
from earmark.features.masking import apply_mask, largest_bins
from earmark.gathering import Finding, Part, Sound, failed, is_finite
from earmark.model import Model
from earmark.trust import CONTROLS, name_in, name_out
from earmark.windowing import Window, Windows

AudioInput: TypeAlias = "str | os.PathLike[str] | tuple[NDArray[Any] | Tensor, int]"
"""A sound file, or a waveform as `earmark.audio.to_mono_rate` takes it and its sample rate in Hz."""

Targets: TypeAlias = "tuple[int, ...] | None"
"""The classes to explain; None for what a window is found to be."""

_NAMES = {"p": "probability", "p_in": "probability_in", "p_out": "probability_out"}

AT_ONCE = 8
"""How many windows go through the classifier together: it bounds the memory."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Request:
    """All about an explanation but the sound, checked.

    Args:
        model: what is explained.
        explainer: what explains it.
        method: the explainer's name.
        windows: how long sounds are cut.
        targets: the classes to explain; the classifier's own decision if None.
        top: explain so many classes, the most probable ones.
        several: whether a sound gives a list of explanations.
        scores: whether to measure the explanations.
        check: whether to compare them with masks of the same size that explain nothing.
        threshold: bins with at least this are kept, all others dropped.
        area: this share of the bins of each window, the best, is kept, all others dropped.
    """

    model: Model
    explainer: Explainer
    method: str
    windows: Windows
    targets: Targets = None
    top: int | None = None
    several: bool = False
    scores: bool = True
    check: bool = False
    threshold: float | None = None
    area: float | None = None

    def __call__(self, audio: AudioInput, name: str = "sound") -> Explanation | list[Explanation]:
        """Explain one sound; an array may have a name."""
        (found,) = self.each([(audio, name)])
        if isinstance(found, EarmarkError):
            raise found
        return found if self.several else found[0]

    def each(self, sounds: Iterable[tuple[AudioInput, str]]) -> Iterator[list[Explanation] | EarmarkError]:
        """Explain sounds in their order, in batches of windows across them; one that fails gives its error.

        Args:
            sounds: files, or arrays, and their names. They are read as the batches need them.
        """
        waiting: deque[Sound] = deque()
        request = self
        for number, batch in enumerate(batched(self._windows_of(sounds, waiting), self.at_once)):
            request = request.quick() if number == 1 else request
            found = request.findings([(window, its.targets) for its, window in batch])
            for (its, window), finding in zip(batch, found):
                its.add(window, finding)
            while waiting and waiting[0].complete:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    @property
    def classifier(self) -> AudioClassifier:
        """What is explained, or a quicker copy of it."""
        return self.explainer.classifier

    @property
    def at_once(self) -> int:
        """How many windows go together; one where it takes seconds, so that one sees how far it is."""
        return 1 if self.explainer.costly else AT_ONCE

    @property
    def sample_rate(self) -> int:
        """The classifier's sample rate in Hz."""
        return self.classifier.spectrogram.sample_rate

    @property
    def hard(self) -> bool:
        """Whether masks are 0 and 1."""
        return self.threshold is not None or self.area is not None

    @property
    def named(self) -> bool:
        """Whether it is the same class in each window of a sound."""
        return self.targets is not None or self.top is not None

    @property
    def parts(self) -> int:
        """How many classes of a window are explained."""
        return self.top or len(self.targets or [0])

    def quick(self) -> Request:
        """Return the same with a copy of the classifier that is quicker, where there is one."""
        classifier = self.classifier
        if not classifier.frozen_is_quicker or classifier is not self.model.classifier:
            return self
        copied = classifier.frozen().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return replace(self, explainer=self.explainer.of(copied))

    def most_probable(self, windows: Iterable[Window]) -> Targets:
        """Return the `top` classes of the highest mean probability, and None if all is silent."""
        total, heard = torch.zeros(len(self.classifier.labels), dtype=torch.float64), 0
        loud = (window for window in windows if window.waveform.any())
        for batch in batched(loud, AT_ONCE):
            total += self._probabilities(batch).cpu().double().sum(0)
            heard += len(batch)
        return tuple(total.topk(self.top or 1).indices.tolist()) if heard else None

    @torch.no_grad()
    def _probabilities(self, windows: Sequence[Window]) -> Tensor:
        try:
            return self.classifier.probabilities(self.classifier(self.padded(windows)))
        except torch.OutOfMemoryError:
            if len(windows) == 1:
                raise
        return torch.cat([self._probabilities([window]) for window in windows])

    def findings(self, batch: Sequence[tuple[Window, Targets]]) -> list[Finding | Exception]:
        """Explain a batch of windows, each step once; silent ones are passed over.

        Where the network or the method fails, or memory runs out, windows are tried one by one, and those at
        which that happens again have the error.
        """
        loud = [index for index, (window, _) in enumerate(batch) if window.waveform.any()]
        found = dict(zip(loud, self._tried([batch[index] for index in loud])))
        return [found.get(index) or self._silence(window) for index, (window, _) in enumerate(batch)]

    def _tried(self, batch: Sequence[tuple[Window, Targets]]) -> list[Finding | Exception]:
        if not batch:
            return []
        try:
            return list(self._found(batch))
        except Exception as error:  # the network may be anyone's
            if len(batch) == 1:
                return [error.with_traceback(None)]
        # Not within the except block, which would keep the tensors of the failed step.
        return [found for one in batch for found in self._tried([one])]

    def _found(self, batch: Sequence[tuple[Window, Targets]]) -> Iterator[Finding]:
        classifier = self.classifier
        padded = self.padded([window for window, _ in batch])
        frames = [classifier.spectrogram.frames(len(window.waveform)) for window, _ in batch]
        with torch.no_grad():
            level = classifier.level(padded)
            stft = classifier.spectrogram(padded / level)
            heard = classifier.hear(stft)
            probabilities = classifier.probabilities(heard.logits)
        chosen = [self._choose(row, targets) for row, (_, targets) in zip(probabilities, batch)]
        columns = torch.tensor(chosen, device=stft.device).unbind(1)
        parts = [self._parts(stft, heard, target, level, frames) for target in columns]
        levels = level[:, 0].tolist()
        for index, ((window, _), row) in enumerate(zip(batch, probabilities.cpu())):
            samples = len(window.waveform)
            cut = tuple(p[index]._replace(listenable=p[index].listenable[:samples]) for p in parts)
            yield Finding(row, cut, stft[index, :, : frames[index]], levels[index])

    def _choose(self, probabilities: Tensor, targets: Targets) -> list[int]:
        return probabilities.topk(self.top or 1).indices.tolist() if targets is None else list(targets)

    def _parts(
        self, stft: Tensor, heard: Heard, target: Tensor, level: Tensor, frames: Sequence[int]
    ) -> list[Part]:
        """Explain one class for each window of a batch."""
        spectrogram = self.classifier.spectrogram
        found = self.explainer.masks(stft, target, heard).detach().float()
        masks = [self._hardened(mask[None, :, :count]) for mask, count in zip(found, frames)]
        with torch.no_grad():
            whole = torch.cat([_stretched(mask, stft.shape[-1]) for mask in masks])
            masked = apply_mask(stft, whole, self.explainer.scale)
            sound = spectrogram.inverse(masked, self.windows.length)
            scores = self._scores(stft, sound, heard, masks, target) if self.scores else [{} for _ in masks]
            listenable = (sound * level).cpu()
        return [
            Part(int(index), mask[0].cpu(), heard_part, figures)
            for index, mask, heard_part, figures in zip(target, masks, listenable, scores)
        ]

    def _hardened(self, mask: Tensor) -> Tensor:
        if not (self.hard and is_finite(mask)):
            return mask  # NaN is refused as such, and must not become a 0
        if self.threshold is not None:
            return (mask >= self.threshold).float()
        return mask if self.area is None else largest_bins(mask, self.area)

    def _scores(
        self, stft: Tensor, sound: Tensor, heard: Heard, masks: Sequence[Tensor], target: Tensor
    ) -> list[dict[str, float]]:
        """Score what is heard of the masks: the sounds that they make, and the rest of the whole sounds."""
        classifier = self.classifier
        masked = classifier.spectrogram(sound)
        inside = classifier.logits(classifier.features(masked))
        outside = classifier.logits(classifier.features(stft - masked))
        said = Said(classifier, heard.logits, inside, outside, target)
        each = zip(torch.arange(len(masks)).split(1), masks)
        figures = [
            {_NAMES.get(name, name): float(value) for name, value in said.part(one).scores(mask).items()}
            for one, mask in each
        ]
        for control in CONTROLS if self.check else ():
            for its, chance in zip(figures, self._by_chance(control, stft, heard, masks, target)):
                its |= chance
        return figures

    def _by_chance(
        self, control: str, stft: Tensor, heard: Heard, masks: Sequence[Tensor], target: Tensor
    ) -> list[dict[str, float]]:
        """Return what the classes get of as many bins as masks keep, chosen by a control, and of the rest."""
        classifier = self.classifier
        drawn = find(control)(classifier).masks(stft, target, heard)
        # Of the sound alone: bins in the silence after it would make a control worse than it is.
        hard = [
            largest_bins(one[None, :, : mask.shape[-1]], float(mask.mean()))
            for one, mask in zip(drawn, masks)
        ]
        masked = stft * torch.cat([_stretched(mask, stft.shape[-1]) for mask in hard])
        kept = classifier.spectrogram(classifier.spectrogram.inverse(masked, self.windows.length))
        said = [
            classifier.probabilities(classifier.logits(classifier.features(part))).gather(1, target[:, None])
            for part in (kept, stft - kept)
        ]
        return [
            {name_in(control): inside, name_out(control): outside}
            for inside, outside in torch.cat(said, dim=1).tolist()
        ]

    def _silence(self, window: Window) -> Finding:
        spectrogram, samples = self.classifier.spectrogram, len(window.waveform)
        empty = torch.zeros(spectrogram.bins, spectrogram.frames(samples))
        return Finding(None, self.parts * (Part(None, empty, torch.zeros(samples), {}),), empty)

    def padded(self, windows: Sequence[Window]) -> Tensor:
        """Return (windows, samples), with silence after a sound shorter than a window."""
        waveforms = [torch.from_numpy(window.waveform) for window in windows]
        padded = [F.pad(waveform, (0, self.windows.length - len(waveform))) for waveform in waveforms]
        return torch.stack(padded).to(self.model.device)

    def _windows_of(
        self, sounds: Iterable[tuple[AudioInput, str]], waiting: deque[Sound]
    ) -> Iterator[tuple[Sound, Window]]:
        for audio, name in sounds:
            try:
                source, waveform = read(audio, name, self.classifier.spectrogram.sample_rate)
            except EarmarkError as error:
                waiting.append(Sound(self, name, torch.zeros(0), error=error))
                continue
            targets, samples = self.targets, waveform.numpy()
            if self.top and self.windows.count(len(samples)) > 1:
                try:
                    targets = self.most_probable(self.windows.cut([samples]))
                except Exception as error:  # the network may be anyone's
                    waiting.append(Sound(self, source, waveform, error=failed(self, source, error)))
                    continue
            waiting.append(Sound(self, source, waveform, targets))
            for window in self.windows.cut([samples]):
                yield waiting[-1], window


def read(audio: AudioInput, name: str, sample_rate: int) -> tuple[str, Tensor]:
    """Return the source's name and the waveform, (samples,), at the wanted rate.

    Raises:
        AudioError: a sound that cannot be used, see `earmark.audio.read`.
    """
    if isinstance(audio, str | os.PathLike):
        return sound.named(audio), torch.from_numpy(sound.read(Path(audio), sample_rate)[0])
    if not (isinstance(audio, tuple) and len(audio) == 2):
        given = f"audio is {type(audio).__name__}"
        raise AudioError(given, "a file, or (waveform, sample_rate)", "pass an array with its rate")
    waveform = sound.to_mono_rate(*audio, sample_rate)
    sound.check(waveform, sample_rate, name)
    return name, torch.from_numpy(waveform)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of so many items; the last may be shorter.

    >>> list(batched("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _stretched(mask: Tensor, frames: int) -> Tensor:
    """Go on with the last frame over the silence after the sound, into which the last window reaches."""
    return F.pad(mask, (0, frames - mask.shape[-1]), mode="replicate")
