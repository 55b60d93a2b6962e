"""How `earmark study build` makes a study out of recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from earmark.cli.own import find
from earmark.cli.terminal import progress, say, say_error
from earmark.errors import AudioError, DataError, ModelError

if TYPE_CHECKING:
    from earmark.audio import Waveform
    from earmark.explaining import Request
    from earmark.explanation import Explanation
    from earmark.model import Model
    from earmark.study.build import Recording

_LEAST_AREA = 1e-4
_ENDINGS = (".listen.wav", ".wav", ".flac", ".ogg", ".mp3")


@dataclass
class Plan:
    """What a study compares.

    Args:
        methods: by name.
        models: as commands name them.
        also: NAME=DIR, sounds made elsewhere.
        target: the class to explain; the first model's decision if None.
        anchor: "random", "lowpass" or None.
        hidden_reference: whether the whole sound is rated, too.
        device: where the weights go.
    """

    methods: tuple[str, ...]
    models: tuple[str, ...]
    also: tuple[str, ...]
    target: str | None
    anchor: str | None
    hidden_reference: bool
    device: str

    def build(self, audio: Sequence[Path], out: Path, title: str) -> int:
        """Write the study; return how many recordings failed.

        Raises:
            EarmarkError: nothing could be built.
        """
        from earmark.study.build import Builder
        from earmark.study.plan import Anchor, Study

        if self.anchor not in (None, *get_args(Anchor)):
            raise ModelError(f"there is no anchor {self.anchor!r}", " or ".join(get_args(Anchor)))
        models = [find(name, self.device) for name in self.models]
        if not self.methods:
            raise ModelError("no method is named", "one of `earmark methods` at least", "see --methods")
        others = [_split(text) for text in self.also]
        folders = dict(others)
        names = [*(name for name, _, _ in self._conditions(models)), *(name for name, _ in others)]
        if len(set(names)) < len(names):
            raise ModelError(f"two conditions have one name: {', '.join(names)}", fix="name each once")
        codes = {f"C{number}": name for number, name in enumerate(names, start=1)}
        study = Study(
            id=_identify(self, title, audio),
            title=title,
            conditions=codes,
            trials=[],
            hidden_reference=self.hidden_reference,
            anchor=self.anchor,
        )
        builder, failed, sets = Builder(out, study), 0, _sets(audio)
        with progress(len(audio) > 1) as display:
            task = display.add_task("explaining", total=len(audio)) if display else None
            for path in audio:
                try:
                    builder.add(self._recording(path, models, folders, sets[path.resolve().parent]))
                except (AudioError, DataError) as error:
                    failed += 1
                    say_error(str(error))
                if display and task is not None:
                    display.advance(task)
        builder.finish()
        say(f"{len(study.trials)} recordings with {len(study.rated)} sounds to rate each → {out}")
        return failed

    def _conditions(self, models: Sequence[Model]) -> list[tuple[str, Model, str]]:
        several = len(models) > 1
        return [
            (f"{method} ({model.name})" if several else method, model, method)
            for model in models
            for method in self.methods
        ]

    def _recording(self, path: Path, models: Sequence[Model], folders: dict[str, Path], of: str) -> Recording:
        from earmark.study.build import Recording

        first = self._explain(path, models[0], self.methods[0], self.target)
        parts: dict[str, Waveform] = {}
        for name, model, method in self._conditions(models):
            parts[name] = self._explain(path, model, method, first.label).listenable.numpy()
        rate, samples = first.sample_rate, len(first.waveform)
        for name, folder in folders.items():
            parts[name] = _elsewhere(folder, path, rate, samples)
        others = {len(part) for part in parts.values()} - {samples}
        if others:
            raise DataError(
                f"{path.name}: models make sounds of {others.pop()} and {samples} samples", "one rate"
            )
        return Recording(
            name=path.name,
            set=of,
            label=first.label,
            rate=rate,
            whole=first.waveform.numpy(),
            parts=parts,
            random=self._random(path, models[0], first) if self.anchor == "random" else None,
        )

    def _explain(self, path: Path, model: Model, method: str, target: str | None) -> Explanation:
        from earmark.api import prepare
        from earmark.explanation import Explanation

        request: Request = prepare(model, method, target, scores=False)
        found = request(path)
        assert isinstance(found, Explanation)  # of one class
        return found

    def _random(self, path: Path, model: Model, like: Explanation) -> Waveform:
        """Return as many bins at random as an explanation keeps."""
        from earmark.api import explain

        area = max(_LEAST_AREA, float(like.mask.mean()))
        return explain(path, model, "random", like.label, area=area, scores=False).listenable.numpy()


def _split(text: str) -> tuple[str, Path]:
    name, sign, folder = text.partition("=")
    if not (sign and name.strip() and Path(folder).is_dir()):
        raise ModelError(f"--also is {text!r}", "NAME=DIR with a folder of sounds")
    return name.strip(), Path(folder)


def _elsewhere(folder: Path, path: Path, rate: int, samples: int) -> Waveform:
    """Return another's sound for a recording, as long as the recording."""
    from earmark import audio

    file = next((one for end in _ENDINGS if (one := folder / f"{path.stem}{end}").exists()), None)
    if file is None:
        expected = f"{path.stem}.listen.wav or {path.stem}.wav"
        raise DataError(f"{folder} has no sound for {path.name}", expected)
    waveform, _ = audio.decode(file, rate)  # silence is an explanation, too
    found = waveform[:samples]
    return np.concatenate([found, np.zeros(samples - len(found), dtype=np.float32)])


def _identify(plan: Plan, title: str, audio: Sequence[Path]) -> str:
    """Return an id that other studies do not have, as results of several lie side by side."""
    content = "\n".join([title, repr(plan), *(str(path.resolve()) for path in audio)])
    return f"study-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def _sets(audio: Sequence[Path]) -> dict[Path, str]:
    """Return what the set of each folder is called: its name, with as many above it as tell it apart."""
    folders = list(dict.fromkeys(path.resolve().parent for path in audio))
    depth = 1
    while len({_last(folder, depth) for folder in folders}) < len(folders):
        depth += 1
    return {folder: _last(folder, depth) for folder in folders}


def _last(folder: Path, depth: int) -> str:
    return "/".join(folder.parts[-depth:])
