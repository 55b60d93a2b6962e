"""One page of explanations: pictures and sounds in a single file, which needs no network."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from earmark.audio import decode
from earmark.errors import AudioError, DataError, EarmarkError
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig
from earmark.saving import stems_of_labels

LONGEST = 60.0
"""Seconds of sound that go into a page; of what is longer there are the figures alone."""

_ROUNDING = 4 / 32768  # a step of 16 bits for each part of two sounds

_SAID = ("label", "decision", "probability", "kept", "method", "model", "scores", "trust")


@dataclass
class Page:
    """What a page holds, each sound and mask once.

    Args:
        sounds: FLAC by name.
        masks: grey PNG by name, frames wide and bins high, the lowest bin at the bottom.
        list: what is said of each sound, in the order of the page.
    """

    sounds: dict[str, bytes] = field(default_factory=dict)
    masks: dict[str, bytes] = field(default_factory=dict)
    list: list[dict[str, Any]] = field(default_factory=list)
    _wholes: dict[str, Tensor] = field(default_factory=dict)

    def add(self, folder: Path, stem: str, values: Mapping[str, Any]) -> None:
        """Add what `earmark explain` wrote of one sound; one that is there already gets more explanations.

        Args:
            folder: where the files are.
            stem: how their names begin.
            values: what STEM.json holds.

        Raises:
            AudioError: a sound is missing or damaged.
            DataError: the JSON does not describe an explanation.
        """
        several = values.get("explanations")
        each = several or [values]
        stems = stems_of_labels(stem, [one["label"] for one in each]) if several else [stem]
        for one, name in zip(each, stems):
            self._add_one(folder, name, values["input"], one)

    def _add_one(self, folder: Path, stem: str, source: str, one: Mapping[str, Any]) -> None:
        rate, samples = int(one["sample_rate"]), int(one["samples"])
        entry: dict[str, Any] = {"name": Path(source).name, "rate": rate, "samples": samples}
        if samples > LONGEST * rate:
            entry |= {"trouble": f"{samples / rate:.0f} s are too long to be played here, see {stem}.png"}
            self._place(entry | {"audio": f"{samples} samples"}, {name: one[name] for name in _SAID})
            return
        config = SpectrogramConfig.model_validate(one.get("spectrogram") or SpectrogramConfig.at(rate))
        kept, rest = (_read(folder / f"{stem}.{part}.wav", rate) for part in ("listen", "rest"))
        if len(kept) != len(rest):
            given = f"{stem}.listen.wav has {len(kept)} samples, {stem}.rest.wav {len(rest)}"
            raise AudioError(given, "as many", "explain it again")
        self.add_sound(entry["name"], kept + rest, mask_between(kept + rest, kept, config), config, one)

    def add_sound(
        self, name: str, whole: Tensor, mask: Tensor, config: SpectrogramConfig, said: Mapping[str, Any]
    ) -> None:
        """Add a sound with an explanation of it; a sound that is there already gets one more explanation.

        Args:
            name: what stands above it.
            whole: (samples,).
            mask: (bins, frames) in [0, 1], 1 = kept.
            config: the transform that the mask lives on.
            said: label, decision, probability and so on, as STEM.json has them.
        """
        picture = _png(mask)
        variant = {key: said[key] for key in _SAID} | {"mask": _name(picture)}
        self.masks[variant["mask"]] = picture
        entry = {"name": name, "rate": config.sample_rate, "samples": len(whole)}
        sound = self._sound(whole, config.sample_rate)
        self._place(entry | {"audio": sound, "spectrogram": config.model_dump()}, variant)

    def _sound(self, whole: Tensor, rate: int) -> str:
        """Return the name of a sound; two that differ by the rounding of their parts are one."""
        for name, known in self._wholes.items():
            if len(known) == len(whole) and float((known - whole).abs().max()) < _ROUNDING:
                return name
        name = _name(whole.numpy().tobytes())
        self._wholes[name], self.sounds[name] = whole, _flac(whole, rate)
        return name

    def _place(self, entry: dict[str, Any], variant: dict[str, Any]) -> None:
        for known in self.list:
            if (known["name"], known["audio"]) == (entry["name"], entry["audio"]):
                known["variants"].append(variant)
                return
        self.list.append(entry | {"variants": [variant]})

    def trouble(self, name: str, why: str) -> None:
        """Add what cannot be shown, and say why."""
        nothing: dict[str, Any] = dict.fromkeys(_SAID)
        variant = nothing | {"label": "", "method": "", "model": "", "decision": "", "scores": {}}
        entry = {"name": name, "rate": 1, "samples": 0, "audio": name, "trouble": why, "variants": [variant]}
        self.list.append(entry)

    def data(self) -> dict[str, Any]:
        """Return what the player on a page reads, ready for strict JSON: files are in base64."""
        return {
            "list": self.list,
            "sounds": {name: base64.b64encode(data).decode() for name, data in self.sounds.items()},
            "masks": {name: base64.b64encode(data).decode() for name, data in self.masks.items()},
        }

    def render(self, title: str, about: str) -> str:
        """Return the page; whatever comes from files is text in it, and never markup."""
        templates = files("earmark.report") / "templates"
        style, sound, player, script, frame = (
            (templates / name).read_text(encoding="utf-8")
            for name in ("report.css", "sound.js", "player.js", "report.js", "report.html")
        )
        return Template(frame).substitute(
            title=html.escape(title),
            about=html.escape(about),
            style=style,
            script=sound + player + script,
            data=as_json(self.data()),
        )


def as_json(values: Any) -> str:
    """Return JSON that can stand within a script element: nothing in it ends the element or begins another.

    >>> as_json({"label": "</script><!--"})
    '{"label": "\\\\u003c/script\\\\u003e\\\\u003c!--"}'
    """
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def explanations_in(folder: Path) -> Iterator[tuple[Path, dict[str, Any] | EarmarkError]]:
    """Yield each JSON file of a folder that `earmark explain` wrote, in order, or what is wrong with it.

    JSON files of other kinds are passed over.

    Raises:
        DataError: there is no such folder, or no explanation in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder", "one that `earmark explain --out` wrote")
    count = 0
    for path in sorted(folder.glob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            count += 1
            yield path, DataError(f"{path.name} cannot be read as JSON: {error}", fix="explain it again")
            continue
        if (
            isinstance(values, dict)
            and "input" in values
            and ("timeline" in values or "explanations" in values)
        ):
            count += 1
            yield path, values
    if not count:
        raise DataError(f"{folder} holds no explanations", "STEM.json files", "run `earmark explain` first")


def make_page(folders: Iterable[Path]) -> tuple[Page, list[str]]:
    """Gather the explanations of folders; of one that is broken the page says why.

    Args:
        folders: what `earmark explain --out` wrote; the same sound in several is one on the page, with its
            explanations side by side.

    Returns:
        the page, and a line for each that cannot be shown.

    Raises:
        DataError: a folder is missing or has no explanations.
    """
    page, problems = Page(), []
    for folder in folders:
        for path, values in explanations_in(folder):
            try:
                if isinstance(values, EarmarkError):
                    raise values
                json.dumps(values, allow_nan=False)
                page.add(folder, path.name.removesuffix(".json"), values)
            except (EarmarkError, KeyError, TypeError, ValueError) as error:
                known = isinstance(error, EarmarkError)
                why = str(error) if known else f"{path.name} does not describe an explanation ({error!r})"
                problems.append(why)
                page.trouble(path.name, why)
    return page, problems


@torch.no_grad()
def mask_between(whole: Tensor, kept: Tensor, config: SpectrogramConfig) -> Tensor:
    """Return by what mask a kept part comes of a sound, (bins, frames) in [0, 1].

    Args:
        whole: (samples,).
        kept: (samples,).
        config: the transform that the mask lives on.
    """
    spectrogram = Spectrogram(config)
    sound, part = spectrogram(torch.stack([whole, kept])).abs()
    # What is 100 dB below the loudest bin is rounding, of which no share can be told.
    audible = sound > 1e-5 * sound.max()
    return torch.where(audible, part / sound.clamp_min(torch.finfo(sound.dtype).tiny), 0).clamp(0, 1)


def _read(path: Path, rate: int) -> Tensor:
    waveform, found = decode(path)
    if found != rate:
        raise AudioError(f"{path.name} has {found} Hz", f"{rate} Hz, as its JSON says", "explain it again")
    return torch.from_numpy(waveform)


def _flac(waveform: Tensor, rate: int) -> bytes:
    content = io.BytesIO()
    loudest = float(waveform.abs().max())
    # Beyond full scale 16 bits would clip; the page is for listening, and says nothing of levels.
    soundfile.write(content, (waveform / max(1.0, loudest)).numpy(), rate, format="FLAC", subtype="PCM_16")
    return content.getvalue()


def _png(mask: Tensor) -> bytes:
    content = io.BytesIO()
    grey = (mask.flip(0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(np.ascontiguousarray(grey)).save(content, "PNG", optimize=True)
    return content.getvalue()


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
