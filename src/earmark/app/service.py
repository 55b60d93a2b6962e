"""What the page asks of earmark: to explain a sound that was sent, and to show a window of it."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor

from earmark import audio
from earmark.app.jobs import Job, StoppedError
from earmark.app.offer import Offer
from earmark.errors import AudioError, EarmarkError, ModelError
from earmark.explaining import Request
from earmark.explanation import Explanation, write_json
from earmark.features.spectrogram import SpectrogramConfig
from earmark.model import Model
from earmark.recording import explain_recording
from earmark.report.html import Page, mask_between
from earmark.report.labels import FORMATS, write_labels
from earmark.saving import safe_stem
from earmark.trust import judge

_LONGEST_NAME = 200  # characters
_SLACK = 1.0  # seconds; what a header promises and what is found may differ by a little


@dataclass(frozen=True)
class Limits:
    """What is taken of one sound.

    Args:
        minutes: how long it may be.
        megabytes: how large its file may be, in 10^6 bytes.
    """

    minutes: float = 10.0
    megabytes: float = 50.0

    @property
    def bytes(self) -> int:
        """How large its file may be."""
        return round(self.megabytes * 1e6)

    def check_size(self, size: int, name: str) -> None:
        """Refuse a file by its size in bytes.

        Raises:
            AudioError: it is too large.
        """
        if size > self.bytes:
            fix = "send a shorter piece, or FLAC or MP3"
            raise AudioError(f"{name} is too large", f"at most {self.megabytes:g} MB", fix)

    def check_length(self, seconds: float, name: str, whole: bool = True) -> None:
        """Refuse a sound by its length in seconds; if not ``whole``, it is at least that long.

        Raises:
            AudioError: it is too long.
        """
        if seconds > 60 * self.minutes + _SLACK:
            long = f"{seconds / 60:.1f} minutes long" if whole else "too long"
            fix = "send a piece of it, or use `earmark explain`, which takes any length"
            raise AudioError(f"{name} is {long}", f"at most {self.minutes:g} minutes", fix)


class Wish(NamedTuple):
    """What is wanted of a sound.

    Args:
        name: what the sound is called; shown, and never a path.
        request: the model, the method and the class.
    """

    name: str
    request: Request


class Service:
    """Explains what is sent.

    Args:
        models: by what they are called; the first is taken where none is named.
        limits: what is taken.
    """

    def __init__(self, *models: Model, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.offers: dict[str, Offer] = {}
        for model in models:
            alike = sum(offer.model.name == model.name for offer in self.offers.values())
            name = f"{model.name} ({alike + 1})" if alike else model.name
            self.offers[name] = Offer.of(model, name)

    def try_out(self) -> None:
        """Explain a short noise with every model, so that the first visitor need not wait.

        Raises:
            EarmarkError: a network or a method fails.
        """
        for name, offer in self.offers.items():
            rate = offer.model.classifier.spectrogram.sample_rate
            noise = np.random.default_rng(0).normal(0, 0.1, rate)
            with tempfile.TemporaryDirectory(prefix="earmark-app-") as folder:
                job = Job("noise", Path(folder), self.wish("noise", name))
                soundfile.write(job.upload, noise, rate, format="WAV")
                self.explain(job)

    def about(self) -> dict[str, Any]:
        """Return what the page is told at its start."""
        return {
            "models": [offer.about() for offer in self.offers.values()],
            "most_minutes": self.limits.minutes,
            "most_bytes": self.limits.bytes,
        }

    def wish(self, name: str, model: str = "", method: str = "", target: str = "") -> Wish:
        """Return what is wanted of a sound, checked.

        Args:
            name: what the sound is called; a path is cut to its last part.
            model: one of those offered; the first if empty.
            method: one of those that the model offers; its first if empty.
            target: a class; what is decided if empty.

        Raises:
            ModelError: there is no such model, method or class here.
        """
        offer = self.offers.get(model or next(iter(self.offers)))
        if offer is None:
            raise ModelError(f"there is no model {model!r} here", f"one of {', '.join(self.offers)}")
        return Wish(_shown(name), offer.request(method, target))

    def look_at(self, path: Path, name: str) -> None:
        """Refuse what is no sound, or says of itself that it is too long, without decoding it.

        Raises:
            AudioError: it is so.
        """
        try:
            seconds = audio.duration(path)
        except AudioError as error:
            raise AudioError(_renamed(error, path, name)) from error
        if seconds is not None:
            self.limits.check_length(seconds, name)

    def explain(self, job: Job) -> dict[str, Any]:
        """Explain what was sent, and write what `earmark explain` writes, with all labels.

        Returns:
            what STEM.json holds.

        Raises:
            EarmarkError: it cannot be explained.
        """
        wish: Wish = job.wish
        try:
            waveform = self._read_short(job.upload, wish)
            job.check()
            values = self._short(job, waveform) if waveform is not None else self._long(job)
        except StoppedError:
            raise
        except EarmarkError as error:
            raise EarmarkError(_renamed(error, job.upload, wish.name, job.folder)) from error
        write_labels(values, _files(job), safe_stem(wish.name), list(FORMATS))
        return values

    def _read_short(self, path: Path, wish: Wish) -> audio.Waveform | None:
        """Return a sound of a window or less, None for a longer one; a header's promise is not relied on."""
        rate, longest = wish.request.sample_rate, wish.request.windows.length
        blocks, length = [], 0
        for block in audio.stream(path, rate):
            length += len(block)
            self.limits.check_length(length / rate, wish.name, whole=False)
            if length <= longest:
                blocks.append(block)
        if length > longest:
            return None
        waveform = np.concatenate(blocks)
        audio.check(waveform, rate, wish.name)
        return waveform

    def _short(self, job: Job, waveform: audio.Waveform) -> dict[str, Any]:
        request, name = job.wish.request, job.wish.name
        found = request((waveform, request.sample_rate), name)
        assert isinstance(found, Explanation)  # of one class
        values = found.to_dict()
        page = Page()
        page.add_sound(name, found.waveform, _mask_of(found, request), found.spectrogram, values)
        (job.folder / "page.json").write_text(json.dumps(page.data()), encoding="utf-8")
        found.save(_files(job), safe_stem(name))
        return values

    def _long(self, job: Job) -> dict[str, Any]:
        name = job.wish.name
        stem = safe_stem(name)
        done = explain_recording(job.wish.request, job.upload, _files(job), stem, progress=job.check)
        values = {**done.values, "input": name}
        write_json(_files(job) / f"{stem}.json", values)
        return values

    def page(self, job: Job, number: int) -> str:
        """Return a window of a sound as the player takes it, in JSON.

        Raises:
            IndexError: there is no such window.
            OSError: the files are gone.
        """
        moment = job.result["timeline"][number]
        known = job.folder / "page.json"
        if known.exists():
            return known.read_text(encoding="utf-8")
        start, end = moment["start"], moment["end"]
        name = f"{job.wish.name}, {_clock(start)} to {_clock(end)}"
        page = Page()
        if moment["label"] is None:
            page.trouble(name, "there is silence in this window")
            return json.dumps(page.data())
        config = SpectrogramConfig.model_validate(job.result["spectrogram"])
        stem = _files(job) / safe_stem(job.wish.name)
        first, last = round(start * config.sample_rate), round(end * config.sample_rate)
        kept, rest = (_piece(stem, part, first, last) for part in ("listen", "rest"))
        mask = mask_between(kept + rest, kept, config)
        page.add_sound(name, kept + rest, mask, config, _said(job.result, moment))
        return json.dumps(page.data())

    def pack(self, job: Job, into: IO[bytes]) -> str:
        """Write a zip of all files of a sound; return what to call it.

        Raises:
            OSError: the files are gone, or the disk is full.
        """
        # Sounds and pictures hardly become smaller.
        with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(_files(job).iterdir()):
                archive.write(file, file.name)
        return f"{safe_stem(job.wish.name)}.zip"


def _files(job: Job) -> Path:
    return job.folder / "files"


def _mask_of(found: Explanation, request: Request) -> Tensor:
    """Return by what the player is to multiply magnitudes; a mask of another scale is none for it."""
    if request.explainer.scale == "magnitude":
        return found.mask
    return mask_between(found.waveform, found.listenable, found.spectrogram)


def _piece(stem: Path, part: str, first: int, last: int) -> Tensor:
    try:
        samples, _ = soundfile.read(f"{stem}.{part}.wav", start=first, stop=last, dtype="float32")
    except RuntimeError as error:  # soundfile's errors are RuntimeErrors
        raise FileNotFoundError(str(error)) from error
    return torch.from_numpy(samples)


def _said(values: Mapping[str, Any], moment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be said of one window, as STEM.json says it of a sound."""
    trust = judge(moment["label"], moment["scores"])
    return {**values, **moment, "trust": trust and trust._asdict()}


def _shown(name: str) -> str:
    """Return the last part of a name, without what a line cannot hold.

    >>> _shown("../../etc/pass\\nwd"), _shown("C:\\\\owl.wav"), _shown("")
    ('passwd', 'owl.wav', 'sound')
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:_LONGEST_NAME].strip() or "sound"


def _renamed(error: EarmarkError, path: Path, name: str, folder: Path | None = None) -> str:
    """Say an error of what was sent by its own name, and nothing of where it lies here."""
    said = str(error).replace(str(path), name)
    return said.replace(str(folder), "the page's folder") if folder else said


def _clock(seconds: float) -> str:
    """Write a place in a sound.

    >>> _clock(64.04), _clock(3.5)
    ('1:04.0', '0:03.5')
    """
    minutes, tenths = divmod(round(10 * seconds), 600)
    return f"{minutes}:{tenths // 10:02d}.{tenths % 10}"
