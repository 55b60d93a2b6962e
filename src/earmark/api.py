"""What `import earmark` offers: load a model, and explain what it heard in a sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

from earmark.bundled import find_model
from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.wrap import WrappedClassifier
from earmark.errors import EarmarkError, ModelError
from earmark.explainers.attribution import Attribution
from earmark.explainers.base import Explainer, Trained, find
from earmark.explaining import AudioInput, Request
from earmark.explanation import Explanation
from earmark.model import Model, load_model
from earmark.windowing import OVERLAP, Windows


def load(name_or_dir: str | Path, device: str = "cpu", classifier: AudioClassifier | None = None) -> Model:
    """Load a model: its ``.classifier``, and its trained ``.explainers`` by method.

    Args:
        name_or_dir: a folder that `earmark train` or `earmark import` wrote, or the name of a bundled model.
        device: where the weights go, as torch names it.
        classifier: for a folder that holds explainers alone, the network of your own that they explain.

    Raises:
        ModelError: no such model or device; a file is missing, corrupt, or does not fit the others.
    """
    return load_model(name_or_dir, device, classifier)


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
    *,
    top: None = ...,
    overlap: float = ...,
    check: bool = ...,
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
    *,
    top: None = ...,
    overlap: float = ...,
    check: bool = ...,
) -> list[Explanation]: ...


@overload
def explain(
    audio: AudioInput,
    model: str | Path | Model = ...,
    method: str = ...,
    *,
    target: list[str] | tuple[str, ...],
    device: str | None = ...,
    scores: bool = ...,
    check: bool = ...,
    threshold: float | None = ...,
    area: float | None = ...,
    overlap: float = ...,
) -> list[Explanation]: ...


@overload
def explain(
    audio: list[Any],
    model: str | Path | Model = ...,
    method: str = ...,
    *,
    target: list[str] | tuple[str, ...],
    device: str | None = ...,
    scores: bool = ...,
    check: bool = ...,
    threshold: float | None = ...,
    area: float | None = ...,
    overlap: float = ...,
) -> list[list[Explanation]]: ...


@overload
def explain(
    audio: AudioInput,
    model: str | Path | Model = ...,
    method: str = ...,
    *,
    top: int,
    device: str | None = ...,
    scores: bool = ...,
    check: bool = ...,
    threshold: float | None = ...,
    area: float | None = ...,
    overlap: float = ...,
) -> list[Explanation]: ...


@overload
def explain(
    audio: list[Any],
    model: str | Path | Model = ...,
    method: str = ...,
    *,
    top: int,
    device: str | None = ...,
    scores: bool = ...,
    check: bool = ...,
    threshold: float | None = ...,
    area: float | None = ...,
    overlap: float = ...,
) -> list[list[Explanation]]: ...


def explain(
    audio: AudioInput | list[Any],
    model: str | Path | Model = "esc10",
    method: str = "lmac",
    target: str | Sequence[str] | None = None,
    device: str | None = None,
    scores: bool = True,
    threshold: float | None = None,
    area: float | None = None,
    *,
    top: int | None = None,
    overlap: float = OVERLAP,
    check: bool = False,
) -> Explanation | list[Explanation] | list[list[Explanation]]:
    """Find the part of a sound that made a classifier decide as it did.

    A sound longer than the classifier's window is heard in windows and put together again, and the
    explanation's ``timeline`` tells what was decided when; see `Explanation` for what is said of the whole.
    All of it is kept in memory; `earmark.recording` writes recordings of hours to disk as it goes.

    Args:
        audio: a file; or (waveform, sample rate in Hz) with floats (samples,) or (channels, samples); or a
            list of such.
        model: the name of a bundled model, a model folder, or a loaded model.
        method: one of `earmark methods`.
        target: the class to explain, or several; the classifier's own decision (in each window) if not given.
        device: where to compute, as torch names it; "cpu", or where a loaded model is, if not given. A
            loaded model is moved there and stays there.
        scores: whether to measure the explanation, which takes two more passes through the classifier.
        threshold: make the mask hard: keep the bins with at least this, in [0, 1].
        area: make the mask hard: keep the best bins up to this share of all, in (0, 1].
        top: explain so many classes, those of the highest (mean) probability.
        overlap: the share of a window that the next one hears again, in [0, 0.5].
        check: also compare with masks of the same size that explain nothing, which takes four passes more;
            the explanation's ``trust`` then says how far it can be trusted.

    Returns:
        an explanation, or a list of them for several classes; a list of either for a list of sounds.

    Raises:
        AudioError: a sound that cannot be used, see `earmark.audio.read`; `explain_each` goes on after it.
        ModelError: no such model, method, class or device, or an impossible threshold, area, top or overlap.
    """
    request = prepare(
        model, method, target, device, scores, threshold, area, top=top, overlap=overlap, check=check
    )
    if not isinstance(audio, list):
        return request(audio)
    found = []
    for one in request.each(_numbered(audio)):
        if isinstance(one, EarmarkError):
            raise one
        found.append(one)
    return found if request.several else [explanation for (explanation,) in found]


def explain_each(
    sounds: Iterable[AudioInput], model: str | Path | Model = "esc10", method: str = "lmac", **options: Any
) -> Iterator[list[Explanation] | EarmarkError]:
    """Explain many sounds one after the other, batched, without holding them all.

    Args:
        sounds: as in `explain`, a generator for instance; they are read as they are needed.
        model: as in `explain`.
        method: as in `explain`.
        options: all others of `explain`.

    Returns:
        for each sound, in order, a list of explanations, one for each class that is explained; or the error,
        if it cannot be used.

    Raises:
        ModelError: as in `explain`, at once.
    """
    return prepare(model, method, **options).each(_numbered(sounds))


def prepare(
    model: str | Path | Model = "esc10",
    method: str = "lmac",
    target: str | Sequence[str] | None = None,
    device: str | None = None,
    scores: bool = True,
    threshold: float | None = None,
    area: float | None = None,
    *,
    top: int | None = None,
    overlap: float = OVERLAP,
    check: bool = False,
) -> Request:
    """Check everything about an explanation but the sound; arguments and errors are those of `explain`.

    Returns:
        a function of one sound and, for an array, its name, that explains it; its ``each`` takes many.
    """
    if not isinstance(model, Model):
        model = _cached(model, device or "cpu", method)
    elif device is not None:
        model = model.to(device)
    explainer, classifier = model.explainer(method), model.classifier
    _check_choices(explainer, method, threshold, area)
    if isinstance(explainer, Attribution) and isinstance(classifier, WrappedClassifier):
        explainer.check_gradients()  # at once, and not at every sound
    names = [target] if isinstance(target, str) else target
    _check_classes(names, top, len(classifier.labels))
    if check and not scores:
        raise ModelError("check is wanted without scores", "both", "drop scores=False")
    if not 0 <= overlap <= 0.5:
        raise ModelError(f"overlap is {overlap}", "a share of a window in [0, 0.5]")
    spectrogram = classifier.spectrogram
    length = round(classifier.seconds * spectrogram.sample_rate)
    return Request(
        model=model,
        explainer=explainer,
        method=method,
        windows=Windows.of(length, spectrogram.config.hop_length, overlap),
        targets=None if names is None else tuple(map(classifier.label_index, names)),
        top=top,
        several=top is not None or not isinstance(target, str | None),
        scores=scores,
        check=check,
        threshold=threshold,
        area=area,
    )


def _numbered(sounds: Iterable[AudioInput]) -> Iterator[tuple[AudioInput, str]]:
    return ((one, f"sound-{number}") for number, one in enumerate(sounds, start=1))


def _cached(name_or_dir: str | Path, device: str, method: str) -> Model:
    """Load a model once, with what a method needs of it."""
    name = method.partition("@")[0]
    needed = (name,) if issubclass(find(name), Trained) else ()
    folder = find_model(name_or_dir).resolve()
    # A model that was trained anew in the same folder is another one.
    return _load_once(folder, device, needed, tuple(_stamp(file) for file in sorted(folder.iterdir())))


def _stamp(file: Path) -> tuple[str, int]:
    return file.name, file.stat().st_mtime_ns if file.exists() else 0


@lru_cache(maxsize=4)
def _load_once(
    folder: Path, device: str, methods: tuple[str, ...], stamps: tuple[tuple[str, int], ...]
) -> Model:
    return load_model(folder, device, methods=methods)


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


def _check_classes(names: Sequence[str] | None, top: int | None, classes: int) -> None:
    if names is not None and top is not None:
        raise ModelError(f"both target {', '.join(names)} and top {top} are given", "one of them", "drop one")
    if names is not None and (not names or len(set(names)) < len(names)):
        raise ModelError(f"targets are {', '.join(names) or 'none'}", "different classes, at least one")
    if top is not None and not 1 <= top <= classes:
        raise ModelError(f"top is {top}", f"a number of classes, 1 to {classes}")
