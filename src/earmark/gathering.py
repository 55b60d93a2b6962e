"""What was found in the windows of a sound, put together: one explanation, and what was decided when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite, nan
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from earmark.errors import EarmarkError, ModelError
from earmark.explanation import Explanation, Moment
from earmark.windowing import Stitcher, Window

if TYPE_CHECKING:
    from earmark.explaining import Request, Targets


class Part(NamedTuple):
    """What a method says about one window and one class.

    Args:
        target: the class; None in a silent window, which has none.
        mask: (bins, frames), of the sound without the silence after it.
        listenable: (samples,), as loud as it is in the sound.
        scores: metrics by name.
    """

    target: int | None
    mask: Tensor
    listenable: Tensor
    scores: dict[str, float]


class Finding(NamedTuple):
    """What was found in one window.

    Args:
        probabilities: (classes,); None where all is silent.
        parts: one for each class that was asked for.
        spectrum: (bins, frames), the window's STFT as the classifier heard it.
        level: what the window was divided by for that.
    """

    probabilities: Tensor | None
    parts: tuple[Part, ...]
    spectrum: Tensor
    level: float = 1.0

    @property
    def magnitude(self) -> Tensor:
        """(bins, frames), of the window's STFT at its own level; made where it is asked for, as few do."""
        return (self.spectrum.abs() * self.level).cpu()


class Tally:
    """What the classifier said of the windows of a sound, added up.

    Args:
        labels: the classifier's.
        parts: how many classes of each window are explained.
    """

    def __init__(self, labels: Sequence[str], parts: int) -> None:
        self.labels = labels
        self.total = torch.zeros(len(labels), dtype=torch.float64)
        self.heard = 0
        self.timelines: list[list[Moment]] = [[] for _ in range(parts)]

    def add(self, window: Window, finding: Finding, sample_rate: int) -> None:
        """Add the next window."""
        if finding.probabilities is not None:
            self.total += finding.probabilities.double()
            self.heard += 1
        for timeline, part in zip(self.timelines, finding.parts):
            timeline.append(self._moment(window, finding.probabilities, part, sample_rate))

    def _moment(self, window: Window, said: Tensor | None, part: Part, sample_rate: int) -> Moment:
        start, end = window.start / sample_rate, window.end / sample_rate
        if said is None or part.target is None:
            return Moment(start, end, None, 0.0, None, 0.0, {})
        return Moment(
            start=start,
            end=end,
            label=self.labels[part.target],
            probability=float(said[part.target]),
            decision=self.labels[int(said.argmax())],
            kept=float(part.mask.mean()),
            scores=part.scores,
        )

    def told(self, number: int, named: bool) -> dict[str, Any]:
        """Return what an `Explanation` says of the whole sound, by its fields' names.

        Args:
            number: which of the explained classes.
            named: whether it is the same class in each window.
        """
        timeline = self.timelines[number]
        heard = [moment for moment in timeline if moment.label is not None]
        decision = int(self.total.argmax())
        target = self.labels.index(str(heard[0].label)) if named else decision
        return {
            "label": self.labels[target],
            "probability": float(self.total[target] / self.heard),
            "decision": self.labels[decision],
            "scores": {name: _mean(moment.scores[name] for moment in heard) for name in heard[0].scores},
            "timeline": tuple(timeline),
        }


class Sound:
    """A sound in memory on its way through the batches.

    Args:
        request: what is wanted.
        source: the sound's name.
        waveform: (samples,).
        targets: the classes to explain.
        error: what is wrong with it, if that is known already.
    """

    def __init__(
        self,
        request: Request,
        source: str,
        waveform: Tensor,
        targets: Targets = None,
        error: EarmarkError | None = None,
    ) -> None:
        self.request, self.source, self.waveform, self.targets = request, source, waveform, targets
        self.error = error
        self.missing = 0 if error else request.windows.count(len(waveform))
        self.tally = Tally(request.classifier.labels, request.parts)
        self.masks = [_Pieces(request.windows.frame_stitcher(request.hard)) for _ in range(request.parts)]
        self.listenables = [_Pieces(request.windows.sample_stitcher()) for _ in range(request.parts)]

    @property
    def complete(self) -> bool:
        """Whether all its windows are there."""
        return self.missing == 0

    def add(self, window: Window, finding: Finding | Exception) -> None:
        """Add the next window, or what went wrong there."""
        self.missing -= 1
        if isinstance(finding, Exception):
            self.error = self.error or failed(self.request, self.source, finding)
            return
        self.error = self.error or not_finite(self.request, self.source, finding)
        if self.error:
            return
        self.tally.add(window, finding, self.request.classifier.spectrogram.sample_rate)
        for part, mask, listenable in zip(finding.parts, self.masks, self.listenables):
            mask.add(self.request.windows.first_frame(window), part.mask)
            listenable.add(window.start, part.listenable)

    def result(self) -> list[Explanation] | EarmarkError:
        """Return an explanation for each class that was asked for, or what went wrong."""
        return self.error or [self._explanation(number) for number in range(self.request.parts)]

    def _explanation(self, number: int) -> Explanation:
        request, listenable = self.request, self.listenables[number].joined()
        return Explanation(
            mask=self.masks[number].joined(),
            listenable=listenable,
            # Whatever the mask multiplies, the rest is what the kept part lacks: together they are the sound.
            remainder=self.waveform - listenable,
            waveform=self.waveform,
            spectrogram=request.classifier.spectrogram.config,
            method=request.method,
            model=request.model.name,
            source=self.source,
            threshold=request.threshold,
            area=request.area,
            **self.tally.told(number, request.named),
        )


class _Pieces:
    """A stitcher, and what it has given back so far."""

    def __init__(self, stitcher: Stitcher) -> None:
        self.stitcher = stitcher
        self.done: list[Tensor] = []

    def add(self, start: int, values: Tensor) -> None:
        self.done.append(self.stitcher.add(start, values))

    def joined(self) -> Tensor:
        return torch.cat([*self.done, self.stitcher.end()], dim=-1)


def is_finite(values: Tensor) -> bool:
    """Return whether none is NaN or infinite: one of them is in the sum, which asks for no more memory.

    >>> is_finite(torch.tensor([1.0, 2.0])), is_finite(torch.tensor([torch.inf, -torch.inf]))
    (True, False)
    """
    return bool(values.sum().isfinite())


def not_finite(request: Request, source: str, finding: Finding) -> ModelError | None:
    """Return what is wrong with a finding that has NaN or infinite numbers, None if it has none."""
    name = request.model.name
    if finding.probabilities is not None and not is_finite(finding.probabilities):
        given = f"the model {name!r} gives no finite numbers for {source}"
        return ModelError(given, fix="check its weights: train it again with a lower learning rate")
    if all(is_finite(part.mask) and is_finite(part.listenable) for part in finding.parts):
        return None
    given = f"the method {request.method!r} gives no finite mask of {source} with the model {name!r}"
    fix = "pick another method, or look for a root or a logarithm of zero in the network"
    return ModelError(given, fix=fix)


def failed(request: Request, source: str, error: Exception) -> EarmarkError:
    """Return what is told of a sound at which the network or the method failed."""
    if isinstance(error, EarmarkError):
        return type(error)(f"{source}: {error}")
    given = f"the model {request.model.name!r} fails at {source}: {type(error).__name__}: {error}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return ModelError(given, fix="free some memory, or compute on another device")
    return ModelError(given, fix="check that its network takes any sound")


def _mean(values: Iterable[float]) -> float:
    """Return the mean of those that are numbers, NaN if none is."""
    finite = [value for value in values if isfinite(value)]
    return sum(finite) / len(finite) if finite else nan
