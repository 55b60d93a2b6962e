"""An explanation: the part of a sound that made the decision, to hear, to see, and to save."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from earmark import __version__, audio
from earmark.features.level import peak_normalise
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig
from earmark.files import write_text
from earmark.pictures import Caption, Columns, Span, draw, draw_contrast
from earmark.regions import Grid, Region, find_regions
from earmark.saving import finite, finite_all, harmless, publish, safe_stem, stems_of_labels, workshop
from earmark.trust import Trust, judge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Explanation", "Moment", "safe_stem", "save_several"]


# In the order of the JSON.
_SAID = (
    *("input", "model", "method", "label", "decision", "probability", "kept", "threshold", "area"),
    *("scores", "sample_rate", "samples", "regions", "timeline"),
)


@dataclass(frozen=True)
class Moment:
    """What was decided in one window of a sound.

    Args:
        start: of the window, in seconds.
        end: of the window, in seconds; the next window may begin before.
        label: the class that is explained; None where all is silent, as is ``decision``.
        probability: the classifier's for that class, 0 … 1.
        decision: the class that the classifier chose.
        kept: share of the window's picture that the mask keeps, 0 … 1.
        scores: metrics by name, as in `Explanation`.
    """

    start: float
    end: float
    label: str | None
    probability: float
    decision: str | None
    kept: float
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for strict JSON."""
        numbers = {"probability": finite(self.probability), "kept": finite(self.kept)}
        return {**asdict(self), **numbers, "scores": finite_all(self.scores)}


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a method says about one sound and one class; every method returns this.

    A sound longer than the classifier's window is explained window by window, each for its own decision
    unless a class was named, and put together without a seam. What is said of the whole is then a mean over
    the windows that are not silent: ``decision`` is the class with the highest mean probability, ``label``
    that or the named one, ``probability`` its mean, and ``scores`` are the means of the windows' own.

    Args:
        mask: (bins, frames) in [0, 1], 1 = kept; one frame per hop of the sound.
        listenable: (samples,), the kept part of the sound, eq. 3; as loud as it is in the sound.
        remainder: (samples,), the rest: ``listenable + remainder = waveform`` to 1e-5.
        waveform: (samples,), the sound as the classifier got it: mono, at its rate, at the given level.
        spectrogram: the STFT that the mask lives on.
        label: the class that is explained.
        probability: the classifier's for that class, 0 … 1.
        decision: the class that the classifier chose.
        scores: metrics by name, and "probability_in" and "probability_out", the class's probability for
            the kept part and for the rest alone; empty if they were not wanted. If they were to be
            compared, also the same for as many random bins and the loudest bins: "random_in", "random_out",
            "loudest_in", "loudest_out".
        method: the explainer's name.
        model: the model's name.
        source: the file, or "sound" for an array.
        threshold: bins with at least this were kept whole and all others dropped; None if not.
        area: this share of the bins (of each window), the best, was kept whole and all others dropped;
            None if not.
        timeline: what was decided when, window by window.
    """

    mask: Tensor = field(repr=False)
    listenable: Tensor = field(repr=False)
    remainder: Tensor = field(repr=False)
    waveform: Tensor = field(repr=False)
    spectrogram: SpectrogramConfig = field(repr=False)
    label: str
    probability: float
    decision: str
    scores: dict[str, float]
    method: str
    model: str
    source: str = "sound"
    threshold: float | None = None
    area: float | None = None
    timeline: tuple[Moment, ...] = field(default=(), repr=False)

    @property
    def sample_rate(self) -> int:
        """In Hz, of all three waveforms."""
        return self.spectrogram.sample_rate

    @property
    def duration(self) -> float:
        """In seconds."""
        return len(self.waveform) / self.sample_rate

    @property
    def kept(self) -> float:
        """Share of the picture that the mask keeps, its mean, 0 … 1."""
        return float(self.mask.mean())

    @cached_property
    def _magnitude(self) -> Tensor:
        # At a peak of 1, as the squares of a very quiet sound would vanish.
        return Spectrogram(self.spectrogram)(peak_normalise(self.waveform)[None])[0].abs()

    @property
    def _grid(self) -> Grid:
        settings = self.spectrogram
        return Grid(
            seconds_per_frame=settings.hop_length / settings.sample_rate,
            hz_per_bin=settings.sample_rate / settings.n_fft,
            duration=self.duration,
            highest=settings.sample_rate / 2,
        )

    @property
    def trust(self) -> Trust | None:
        """How far this one explanation can be trusted, in plain words; None where that was not checked."""
        return judge(_name(self.label, self.timeline), self.scores)

    def regions(self, threshold: float = 0.5) -> list[Region]:
        """Box the connected parts of the mask in time (s) and frequency (Hz), most energy first.

        Parts with less than 1 % of the kept energy are left out.

        Args:
            threshold: a bin belongs to a part if its mask is at least this.
        """
        energy = (self.mask * self._magnitude) ** 2
        return find_regions(self.mask.numpy(), energy.numpy(), self._grid, threshold)

    def plot(self, figure: Figure | None = None) -> Figure:
        """Draw the sound, what was kept of it (both in dB below the sound's loudest bin) and the mask.

        Args:
            figure: where to draw; a new one if not given.

        Returns:
            the figure; its ``savefig`` writes it, and it needs no display.
        """
        if figure is None:
            figure = new_figure()
        spans = spans_of([(moment.start, moment.end, moment.decision) for moment in self.timeline])
        draw(figure, self._columns, self._caption, self.duration, self.sample_rate / 2, spans)
        return figure

    def _repr_html_(self) -> str:
        """Show itself in a notebook: a line, the picture, and players of the parts and of the whole."""
        from earmark.notebook import show

        return show(self)

    @property
    def _columns(self) -> Columns:
        return Columns.of(self._magnitude, self.mask, self._grid.seconds_per_frame)

    @property
    def _caption(self) -> Caption:
        note = caption_note(self.method, self.model, self.label, self.decision)
        mixed = is_mixed([moment.label for moment in self.timeline])
        return Caption(self.label, self.probability, self.kept, note, mixed)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``STEM.json`` holds: all but the arrays, ready for strict JSON."""
        more = {
            "input": self.source,
            "kept": self.kept,
            "sample_rate": self.sample_rate,
            "samples": len(self.waveform),
            "regions": self.regions(),
        }
        return values_to_dict(vars(self) | more)

    def save(
        self, folder: str | Path, stem: str | None = None, notes: Mapping[str, Any] | None = None
    ) -> list[Path]:
        """Write STEM.listen.wav, STEM.rest.wav, STEM.png and STEM.json, all of them or none.

        The sounds are 16 bit, or float where they go beyond full scale or are very quiet, so that the two
        add up, to 1e-4 in 16 bit.

        Args:
            folder: made if missing; files of these names in it are replaced.
            stem: how the names begin; the source's if not given. Characters that could lead out of the
                folder or that a file system refuses become "_".
            notes: what else the JSON says.

        Returns:
            the four paths.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder = Path(folder)
        stem = harmless(stem) if stem else safe_stem(self.source)
        with workshop(folder, stem) as temporary:
            made = [
                *self._write_sounds(temporary, stem),
                temporary / f"{stem}.png",
                temporary / f"{stem}.json",
            ]
            write_figure(made[2], self.plot())
            write_json(made[3], {**self.to_dict(), **(notes or {})})
            return publish(made, folder)

    def _write_sounds(self, folder: Path, stem: str) -> list[Path]:
        paths = [folder / f"{stem}.{ending}" for ending in ("listen.wav", "rest.wav")]
        parts = (self.listenable, self.remainder)
        subtype = audio.subtype_for(float(part.abs().max()) for part in parts)
        for path, part in zip(paths, parts):
            audio.write(path, part, self.sample_rate, subtype)
        return paths


def save_several(
    explanations: Sequence[Explanation],
    folder: str | Path,
    stem: str,
    contrast: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write the explanations of several classes of one sound, all of them or none.

    For each class these are STEM.LABEL.listen.wav and STEM.LABEL.rest.wav, and one STEM.json for all;
    and STEM.LABEL.png for each, or STEM.contrast.png with all side by side.

    Args:
        explanations: of one sound.
        folder: made if missing; files of these names in it are replaced.
        stem: how the names begin.
        contrast: whether to draw one picture.
        notes: what else the JSON says.

    Returns:
        all paths, the JSON's last.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder, stem = Path(folder), harmless(stem)
    stems = stems_of_labels(stem, [one.label for one in explanations])
    with workshop(folder, stem) as temporary:
        made = []
        for one, name in zip(explanations, stems):
            made += one._write_sounds(temporary, name)
            if not contrast:
                made.append(write_figure(temporary / f"{name}.png", one.plot()))
        if contrast:
            figure, first = new_figure(wide=len(explanations) > 1), explanations[0]
            sides = [(one._columns, one._caption) for one in explanations]
            draw_contrast(figure, sides, first.duration, first.sample_rate / 2)
            made.append(write_figure(temporary / f"{stem}.contrast.png", figure))
        values = several_to_dict([one.to_dict() for one in explanations], contrast)
        made.append(write_json(temporary / f"{stem}.json", {**values, **(notes or {})}))
        return publish(made, folder)


def several_to_dict(explanations: Sequence[Mapping[str, Any]], contrast: bool) -> dict[str, Any]:
    """Return what STEM.json holds of the explanations of several classes of one sound."""
    return {"input": explanations[0]["input"], "contrast": contrast, "explanations": list(explanations)}


def values_to_dict(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what STEM.json holds of one class, ready for strict JSON, from all that is to be said of it."""
    trust = judge(_name(values["label"], values["timeline"]), values["scores"])
    return {
        **{name: values[name] for name in _SAID},
        "probability": finite(values["probability"]),
        "kept": finite(values["kept"]),
        "scores": finite_all(values["scores"]),
        "trust": trust and trust._asdict(),
        "regions": [asdict(region) for region in values["regions"]],
        "timeline": [moment.to_dict() for moment in values["timeline"]],
        "spectrogram": values["spectrogram"].model_dump(),
        "earmark": __version__,
    }


def spans_of(timeline: Sequence[tuple[float, float, str | None]]) -> list[Span]:
    """Return stretches without overlaps: a window ends in the middle of what it shares with the next.

    Args:
        timeline: start, end and decision of each window.

    >>> spans_of([(0.0, 5.0, "dog"), (4.0, 9.0, None)])
    [Span(start=0.0, end=4.5, label='dog'), Span(start=4.5, end=9.0, label=None)]
    """
    middles = [(end + start) / 2 for (_, end, _), (start, _, _) in pairwise(timeline)]
    starts, ends = [0.0, *middles], [*middles, *(end for _, end, _ in timeline[-1:])]
    return [Span(start, end, label) for start, end, (_, _, label) in zip(starts, ends, timeline)]


def is_mixed(labels: Sequence[str | None]) -> bool:
    """Return whether the windows of a timeline are explained for different classes."""
    return len({label for label in labels if label is not None}) > 1


def _name(label: str, timeline: Sequence[Moment]) -> str:
    """Name what scores speak of, which is not one class if windows are explained for several."""
    return "what was decided" if is_mixed([moment.label for moment in timeline]) else label


def caption_note(method: str, model: str, label: str, decision: str) -> str:
    """Return what a picture says in small."""
    return f"{method} · {model}" + ("" if decision == label else f" · decided: {decision}")


def new_figure(wide: bool = False) -> Figure:
    """Return an empty picture that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(14 if wide else 9, 7.2), dpi=110)


def write_figure(path: Path, figure: Figure) -> Path:
    """Write a picture as PNG."""
    with warnings.catch_warnings():
        # A label in a script that matplotlib's font lacks shows boxes; nothing can be done about it.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(path, pil_kwargs={"compress_level": 1})  # quick; noise packs badly anyway
    return path


def write_json(path: Path, values: Mapping[str, Any]) -> Path:
    """Write strict JSON."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return path
