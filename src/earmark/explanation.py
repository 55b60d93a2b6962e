"""An explanation: the part of a sound that made the decision, to hear, to see, and to save."""

from __future__ import annotations

import json
import math
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from earmark import __version__, audio
from earmark.errors import OutputError
from earmark.features.level import peak_normalise
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig
from earmark.files import write_text
from earmark.regions import Grid, Region, find_regions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_RANGE_DB = 80.0  # what a picture shows, down from the loudest bin
_LONGEST_STEM = 180  # bytes; file systems allow 255 for a name, and endings come after the stem
_SOUNDS, _MASK = "magma", "YlGnBu"
_LEFT, _RIGHT = 0.06, 0.92  # edges of a picture's panels


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a method says about one sound and one class; every method returns this.

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
            the kept part and for the rest alone; empty if they were not wanted.
        method: the explainer's name.
        model: the model's name.
        source: the file, or "sound" for an array.
        threshold: bins with at least this were kept whole and all others dropped; None if not.
        area: this share of the bins, the best, was kept whole and all others dropped; None if not.
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
            from matplotlib.figure import Figure

            figure = Figure(figsize=(9, 7.2), dpi=110)
        panels, bars = _layout(figure)
        loudest = float(self._magnitude.max())
        sound, heard = (_decibels(part, loudest) for part in (self._magnitude, self.mask * self._magnitude))
        self._panel(panels[0], sound, "the sound", _SOUNDS, (-_RANGE_DB, 0))
        decibels = self._panel(panels[1], heard, f"heard as {self.label}", _SOUNDS, (-_RANGE_DB, 0))
        kept = self._panel(panels[2], self.mask, f"the mask: {_percent(self.kept)} kept", _MASK, (0, 1))
        panels[2].set_xlabel("time in s")
        figure.colorbar(decibels, bars[0], label="dB below the loudest")
        figure.colorbar(kept, bars[1], label="kept")
        self._title(figure)
        return figure

    def _panel(
        self, axes: Axes, values: Tensor, title: str, colours: str, limits: tuple[float, float]
    ) -> AxesImage:
        grid = self._grid
        frame, height = grid.seconds_per_frame, grid.hz_per_bin / 1000
        bins, frames = values.shape
        axes.set_title(title, loc="left", fontsize=10, parse_math=False)
        image = axes.imshow(
            values.numpy(),
            origin="lower",
            aspect="auto",
            cmap=colours,
            vmin=limits[0],
            vmax=limits[1],
            extent=(-frame / 2, (frames - 0.5) * frame, -height / 2, (bins - 0.5) * height),
        )
        axes.set(xlim=(0, self.duration), ylim=(0, grid.highest / 1000), ylabel="kHz")
        axes.label_outer()
        return image

    def _title(self, figure: Figure) -> None:
        # A label is not mathematics, even with dollar signs in it.
        figure.text(
            _LEFT, 0.945, f"{self.label}  {_percent(self.probability)}", fontsize=16, parse_math=False
        )
        decided = "" if self.decision == self.label else f" · decided: {self.decision}"
        note = f"{self.method} · {self.model}{decided}"
        figure.text(_RIGHT, 0.947, note, fontsize=10, ha="right", color="0.35", parse_math=False)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``STEM.json`` holds: all but the arrays, ready for strict JSON."""
        return {
            "input": self.source,
            "model": self.model,
            "method": self.method,
            "label": self.label,
            "decision": self.decision,
            "probability": _finite(self.probability),
            "kept": _finite(self.kept),
            "threshold": self.threshold,
            "area": self.area,
            "scores": {name: _finite(value) for name, value in self.scores.items()},
            "sample_rate": self.sample_rate,
            "samples": len(self.waveform),
            "regions": [asdict(region) for region in self.regions()],
            "earmark": __version__,
        }

    def save(self, folder: str | Path, stem: str | None = None) -> list[Path]:
        """Write STEM.listen.wav, STEM.rest.wav, STEM.png and STEM.json, all of them or none.

        The sounds are 16 bit, or float where they go beyond full scale, so that the two still add up.

        Args:
            folder: made if missing; files of these names in it are replaced.
            stem: how the names begin; the source's if not given. Characters that could lead out of the
                folder or that a file system refuses become "_".

        Returns:
            the four paths.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder = Path(folder)
        stem = _harmless(stem) if stem else safe_stem(self.source)
        with _workshop(folder, stem) as temporary:
            made = self._write(temporary, stem)
            return [path.replace(folder / path.name) for path in made]

    def _write(self, folder: Path, stem: str) -> list[Path]:
        paths = [folder / f"{stem}.{ending}" for ending in ("listen.wav", "rest.wav", "png", "json")]
        highest = max(float(part.abs().max()) for part in (self.listenable, self.remainder))
        subtype = "PCM_16" if highest <= 1 else "FLOAT"
        audio.write(paths[0], self.listenable, self.sample_rate, subtype)
        audio.write(paths[1], self.remainder, self.sample_rate, subtype)
        with warnings.catch_warnings():
            # A label in a script that matplotlib's font lacks shows boxes; nothing can be done about it.
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
            self.plot().savefig(paths[2], pil_kwargs={"compress_level": 1})  # quick; noise packs badly anyway
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(paths[3], text + "\n")
        return paths


def safe_stem(source: str) -> str:
    """Return how the names of an input's results begin: its own name without the ending, made harmless.

    >>> safe_stem("field/dog 1.wav"), safe_stem("../.."), safe_stem("a:b?.wav")
    ('dog 1', 'sound', 'a_b_')
    """
    return _harmless(Path(source).stem, _LONGEST_STEM - 20)  # room for a number behind it


def _harmless(name: str, longest: int = _LONGEST_STEM) -> str:
    """Keep a name from leading out of its folder, and within what file systems take."""
    name = re.sub(r"[^\w .()+,=@-]", "_", name).strip(" .")
    return name.encode("utf-8", "ignore")[:longest].decode("utf-8", "ignore").strip(" .") or "sound"


@contextmanager
def _workshop(folder: Path, stem: str) -> Iterator[Path]:
    """Give a temporary folder in the folder, so that all files can be finished before the first appears."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".earmark-", dir=folder) as temporary:
            yield Path(temporary)
    except (OSError, OutputError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        given = f"cannot write {stem}.* in {folder}: {cause.strerror or cause}"
        fix = "check its permissions and free space, or choose another folder"
        raise OutputError(given, "a writable folder", fix) from cause


def _layout(figure: Figure) -> tuple[list[Axes], list[Axes]]:
    """Make three panels with common axes, and two colour bars: one for both sounds, one for the mask."""
    grid = figure.add_gridspec(3, 2, width_ratios=(1, 0.016), hspace=0.2, wspace=0.03)
    figure.subplots_adjust(left=_LEFT, right=_RIGHT, top=0.885, bottom=0.07)
    top = figure.add_subplot(grid[0, 0])
    others = (figure.add_subplot(grid[row, 0], sharex=top, sharey=top) for row in (1, 2))
    return [top, *others], [figure.add_subplot(grid[:2, 1]), figure.add_subplot(grid[2, 1])]


def _decibels(magnitude: Tensor, loudest: float) -> Tensor:
    quietest = loudest * 10 ** (-_RANGE_DB / 20)
    return 20 * torch.log10(magnitude.clamp_min(quietest) / loudest)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _finite(value: float) -> float | None:
    """Turn what strict JSON cannot say into null."""
    return value if math.isfinite(value) else None
