"""What `import earmark` offers: load a model, and explain what it heard in a sound."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, overload

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earmark import audio as sound
from earmark.bundled import find_model
from earmark.classifiers.base import AudioClassifier, Heard
from earmark.errors import AudioError, ModelError
from earmark.explainers.base import Explainer
from earmark.explanation import Explanation
from earmark.features.level import peak_normalise, peak_of
from earmark.features.masking import apply_mask, largest_bins
from earmark.metrics import score
from earmark.model import Model, load_model

AudioInput: TypeAlias = "str | os.PathLike[str] | tuple[NDArray[Any] | Tensor, int]"
"""A sound file, or a waveform as `earmark.audio.to_mono_rate` takes it and its sample rate in Hz."""


def load(name_or_dir: str | Path, device: str = "cpu") -> Model:
    """Load a model: its ``.classifier``, and its trained ``.explainers`` by method.

    Args:
        name_or_dir: a folder that `earmark train` wrote, or the name of a bundled model.
        device: where the weights go, as torch names it.

    Raises:
        ModelError: no such model or device; a file is missing, corrupt, or does not fit the others.
    """
    return load_model(name_or_dir, device)


@overload
def explain(
    audio: AudioInput,
    model: str | Path | Model = ...,
    method: str = ...,
    target: str | None = ...,
    device: str | None = ...,
    scores: bool = ...,
    threshold: float | None = ...,
    area: float | None = ...,
) -> Explanation: ...


@overload
def explain(
    audio: list[Any],
    model: str | Path | Model = ...,
    method: str = ...,
    target: str | None = ...,
    device: str | None = ...,
    scores: bool = ...,
    threshold: float | None = ...,
    area: float | None = ...,
) -> list[Explanation]: ...


def explain(
    audio: AudioInput | list[Any],
    model: str | Path | Model = "esc10",
    method: str = "lmac",
    target: str | None = None,
    device: str | None = None,
    scores: bool = True,
    threshold: float | None = None,
    area: float | None = None,
) -> Explanation | list[Explanation]:
    """Find the part of a sound that made a classifier decide as it did.

    Args:
        audio: a file; or (waveform, sample rate in Hz) with floats (samples,) or (channels, samples); or a
            list of such.
        model: the name of a bundled model, a model folder, or a loaded model.
        method: one of `earmark methods`.
        target: the class to explain; the classifier's own decision if not given.
        device: where to compute, as torch names it; "cpu", or where a loaded model is, if not given. A
            loaded model is moved there and stays there.
        scores: whether to measure the explanation, which takes two more passes through the classifier.
        threshold: make the mask hard: keep the bins with at least this, in [0, 1].
        area: make the mask hard: keep the best bins up to this share of all, in (0, 1].

    Returns:
        an explanation, or a list of them for a list.

    Raises:
        AudioError: a sound that cannot be used, see `earmark.audio.read`.
        ModelError: no such model, method, class or device, or an impossible threshold or area.
    """
    explain_one = prepare(model, method, target, device, scores, threshold, area)
    if not isinstance(audio, list):
        return explain_one(audio)
    return [explain_one(one, f"sound-{number}") for number, one in enumerate(audio, start=1)]


def prepare(
    model: str | Path | Model = "esc10",
    method: str = "lmac",
    target: str | None = None,
    device: str | None = None,
    scores: bool = True,
    threshold: float | None = None,
    area: float | None = None,
) -> Callable[..., Explanation]:
    """Check everything about an explanation but the sound; arguments and errors are those of `explain`.

    Returns:
        a function of one sound and, for an array, its name, that explains it.
    """
    if not isinstance(model, Model):
        model = _cached(model, device or "cpu")
    elif device is not None:
        model = model.to(device)
    explainer = model.explainer(method)
    _check_choices(explainer, method, threshold, area)
    index = None if target is None else model.classifier.label_index(target)
    return _Request(model, explainer, method, index, scores, threshold, area)


@dataclass(frozen=True)
class _Request:
    """All about an explanation but the sound, checked."""

    model: Model
    explainer: Explainer
    method: str
    target: int | None
    scores: bool
    threshold: float | None
    area: float | None

    def __call__(self, audio: AudioInput, name: str = "sound") -> Explanation:
        """Explain one sound, each step once."""
        classifier = self.model.classifier
        source, waveform = _read(audio, name, classifier.spectrogram.sample_rate)
        with torch.no_grad():
            padded = _padded(waveform, classifier).to(self.model.device)
            stft = classifier.spectrogram(peak_normalise(padded))
            heard = classifier.hear(stft)
        _check_finite(heard.logits, self.model.name, source)
        probabilities = classifier.probabilities(heard.logits)[0].cpu()
        decision = int(probabilities.argmax())
        target = decision if self.target is None else self.target
        mask = self._mask(stft, heard, target, classifier.spectrogram.frames(len(waveform)))
        with torch.no_grad():
            masked = apply_mask(stft, _stretched(mask, stft.shape[-1]), self.explainer.scale)
            listenable = classifier.spectrogram.inverse(masked, padded.shape[1]) * peak_of(padded)
            scores = self._scores(stft, masked, heard, mask, target) if self.scores else {}
        decided = (classifier.labels[target], float(probabilities[target]), classifier.labels[decision])
        return self._told(
            source, waveform, listenable[0, : len(waveform)].cpu(), mask[0].cpu(), decided, scores
        )

    def _told(
        self,
        source: str,
        waveform: Tensor,
        listenable: Tensor,
        mask: Tensor,
        decided: tuple[str, float, str],
        scores: dict[str, float],
    ) -> Explanation:
        label, probability, decision = decided
        return Explanation(
            mask=mask,
            listenable=listenable,
            # Whatever the mask multiplies, the rest is what the kept part lacks: together they are the sound.
            remainder=waveform - listenable,
            waveform=waveform,
            spectrogram=self.model.classifier.spectrogram.config,
            label=label,
            probability=probability,
            decision=decision,
            scores=scores,
            method=self.method,
            model=self.model.name,
            source=source,
            threshold=self.threshold,
            area=self.area,
        )

    def _mask(self, stft: Tensor, heard: Heard, target: int, frames: int) -> Tensor:
        """Return (1, bins, frames), for the sound without the silence after it, hard if wanted."""
        mask = self.explainer.masks(stft, torch.tensor([target], device=stft.device), heard).detach()
        mask = mask[..., :frames].float()
        if self.threshold is not None:
            return (mask >= self.threshold).float()
        return mask if self.area is None else largest_bins(mask, self.area)

    def _scores(
        self, stft: Tensor, masked: Tensor, heard: Heard, mask: Tensor, target: int
    ) -> dict[str, float]:
        classifier = self.model.classifier
        inside = classifier.logits(classifier.features(masked))
        outside = classifier.logits(classifier.features(stft - masked))
        classes = torch.tensor([target], device=stft.device)
        asked = [classifier.question(logits, classes) for logits in (heard.logits, inside, outside)]
        (whole, index), (kept, _), (rest, _) = asked
        figures = score(whole, kept, rest, mask, index)
        probabilities = [classifier.probabilities(logits) for logits in (heard.logits, inside, outside)]
        names = ("probability", "probability_in", "probability_out")
        return {name: float(value) for name, value in figures.items()} | {
            name: float(value[0, target]) for name, value in zip(names, probabilities)
        }


def _cached(name_or_dir: str | Path, device: str) -> Model:
    folder = find_model(name_or_dir).resolve()
    # A model that was trained anew in the same folder is another one.
    return _load_once(folder, device, tuple(_stamp(file) for file in sorted(folder.iterdir())))


def _stamp(file: Path) -> tuple[str, int]:
    return file.name, file.stat().st_mtime_ns if file.exists() else 0


@lru_cache(maxsize=2)
def _load_once(folder: Path, device: str, stamps: tuple[tuple[str, int], ...]) -> Model:
    return load_model(folder, device)


def _check_choices(explainer: Explainer, method: str, threshold: float | None, area: float | None) -> None:
    if explainer.needs_examples:
        given = f"{method!r} must have seen masks of other sounds"
        raise ModelError(given, "a method that explains one sound", "use it by `earmark evaluate`")
    if explainer.domain != "stft":
        given = f"the masks of {method!r} live on the classifier's features, which cannot be listened to"
        raise ModelError(given, "a method with masks on the STFT", "pick one of `earmark methods`")
    if threshold is not None and area is not None:
        raise ModelError(f"both threshold {threshold} and area {area} are given", "one of them", "drop one")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ModelError(f"threshold is {threshold}", "a number in [0, 1]")
    if area is not None and not 0 < area <= 1:
        raise ModelError(f"area is {area}", "a share of all bins in (0, 1]")


def _read(audio: AudioInput, name: str, sample_rate: int) -> tuple[str, Tensor]:
    """Return the source's name and the waveform (samples,) at the wanted rate."""
    if isinstance(audio, str | os.PathLike):
        # A file's name may hold bytes that are no text; what is written about it must be.
        source = os.fsencode(audio).decode("utf-8", "replace")
        return source, torch.from_numpy(sound.read(Path(audio), sample_rate)[0])
    if not (isinstance(audio, tuple) and len(audio) == 2):
        given = f"audio is {type(audio).__name__}"
        raise AudioError(given, "a file, or (waveform, sample_rate)", "pass an array with its rate")
    waveform = sound.to_mono_rate(*audio, sample_rate)
    sound.check(waveform, sample_rate, name)
    return name, torch.from_numpy(waveform)


def _padded(waveform: Tensor, classifier: AudioClassifier) -> Tensor:
    """Return (1, samples), with silence after a sound shorter than those of the classifier's training."""
    wanted = round(classifier.seconds * classifier.spectrogram.sample_rate)
    return F.pad(waveform, (0, max(0, wanted - len(waveform))))[None]


def _stretched(mask: Tensor, frames: int) -> Tensor:
    """Go on with the last frame over the silence after the sound, into which the last window reaches."""
    return F.pad(mask, (0, frames - mask.shape[-1]), mode="replicate")


def _check_finite(logits: Tensor, model: str, source: str) -> None:
    if not logits.isfinite().all():
        given = f"the model {model!r} gives no finite numbers for {source}"
        raise ModelError(given, fix="check its weights: train it again with a lower learning rate")
