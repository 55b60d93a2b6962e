"""How `earmark explain` goes through its inputs: short ones in batches, long ones to disk."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from earmark.audio import Waveform, duration, named
from earmark.bundled import find_model
from earmark.cli.own import is_own
from earmark.cli.terminal import STOPPED, say, say_error, say_stopped
from earmark.errors import AudioError, EarmarkError
from earmark.explaining import Request
from earmark.explanation import Explanation, save_several
from earmark.pictures import percent
from earmark.recording import explain_recording, identify, read_short
from earmark.report.labels import write_labels
from earmark.saving import distinct, safe_stem, stems_of_labels

if TYPE_CHECKING:
    from rich.progress import Progress

    from earmark.model import Model


@dataclass
class _Input:
    """One input and what is known of it: a short sound, or what came of it."""

    path: Path
    stem: str
    key: str = ""
    waveform: Waveform | None = None
    error: EarmarkError | None = None
    done: dict[str, Any] | None = None


@dataclass
class Run:
    """One call of the command.

    Args:
        request: what is wanted.
        out: where the results go.
        as_json: whether to print JSON.
        again: whether to do again what is done.
        contrast: whether classes go side by side.
        model: what tells the model from others of its name.
        display: where to show how far a long sound is.
        labels: in which formats to write labels.
        failed: how many inputs failed so far.
    """

    request: Request
    out: Path
    as_json: bool
    again: bool
    contrast: bool
    model: Sequence[object]
    display: Progress | None = None
    labels: Sequence[str] = ()
    failed: int = 0
    _waiting: list[_Input] = field(default_factory=list)

    def take(self, path: Path, stem: str) -> None:
        """Take the next input: a short one waits for others, a long one is explained at once."""
        its = _Input(path, stem)
        try:
            long = self._look_at(its)
        except EarmarkError as error:
            its.error, long = error, False
        if long:
            self.flush()
            self._explain_long(its)
            return
        self._waiting.append(its)
        if len(self._waiting) >= self.request.at_once:
            self.flush()

    def flush(self) -> None:
        """Explain all that wait, together, and tell of them in their order."""
        waiting, self._waiting = self._waiting, []
        rate = self.request.sample_rate
        sounds = [((its.waveform, rate), named(its.path)) for its in waiting if its.waveform is not None]
        found = self.request.each(sounds)
        for its in waiting:
            if its.waveform is None:
                self._tell(its, its.error or its.done or {}, already=True)
                continue
            one = next(found)
            self._tell(its, one if isinstance(one, EarmarkError) else self._save(its, one))
        # From the second batch on, a quicker copy of the classifier is worth its making.
        self.request = self.request.quick()

    def _look_at(self, its: _Input) -> bool:
        """Find out what is to be done with an input; return whether it is long."""
        if its.path.is_dir():
            name = named(its.path)
            raise AudioError(f"{name} is a folder", "sound files", f"pass {name}/*.wav")
        its.key = identify(self.request, its.path, stamps=self.model, contrast=self.contrast)
        if not self.again and (done := _finished(self.out, its.stem, its.key)):
            its.done = done
            return False
        its.waveform = read_short(its.path, self.request.sample_rate, self.request.windows.length)
        return its.waveform is None

    def _save(self, its: _Input, explanations: list[Explanation]) -> dict[str, Any] | EarmarkError:
        notes = {"request": its.key}
        try:
            if self.request.several:
                files = save_several(explanations, self.out, its.stem, self.contrast, notes)
            else:
                files = explanations[0].save(self.out, its.stem, notes)
        except EarmarkError as error:
            return error
        values: dict[str, Any] = json.loads(
            next(file for file in files if file.suffix == ".json").read_text(encoding="utf-8")
        )
        return values

    def _explain_long(self, its: _Input) -> None:
        display = self.display
        task = display.add_task(its.path.name, total=None) if display else None

        def advance(done: int, total: int | None) -> None:
            if display and task is not None:
                display.update(task, completed=done, total=total)

        try:
            self._tell(
                its,
                explain_recording(
                    self.request,
                    its.path,
                    self.out,
                    its.stem,
                    contrast=self.contrast,
                    key=its.key,
                    progress=advance,
                ).values,
            )
        except EarmarkError as error:
            self._tell(its, error)
        except KeyboardInterrupt as stop:
            say_stopped(f"the same command goes on with {its.path}")
            raise typer.Exit(STOPPED) from stop
        if display and task is not None:
            display.remove_task(task)

    def _tell(self, its: _Input, values: dict[str, Any] | EarmarkError, already: bool = False) -> None:
        """Say how it went."""
        if isinstance(values, EarmarkError):
            self.failed += 1
            say_error(str(values))
            if self.as_json:
                say(json.dumps({"input": named(its.path), "error": str(values)}))
            return
        files = files_of(self.out, its.stem, values)
        try:
            extra = write_labels(values, self.out, its.stem, self.labels)
        except EarmarkError as error:
            self._tell(its, error)
            return
        files = [*files[:-1], *extra, files[-1]]
        if self.as_json:
            say(json.dumps(values | {"files": [str(file) for file in files]}, allow_nan=False))
        elif already:
            say(f"{values['input']}: already explained → {files[0]}")
        else:
            listen = [file for file in files if file.name.endswith(".listen.wav")]
            for one, file in zip(values.get("explanations", [values]), listen):
                say(_line(one, file, self.request.named))
                if one["trust"]:
                    say(f"  {one['trust']['said']}")


def distinct_stems(paths: Sequence[Path]) -> Iterator[str]:
    """Name the results of each input so that no two of a run share a name."""
    return distinct(safe_stem(str(path)) for path in paths)


def stamps(name: str, model: Model) -> list[tuple[object, ...]]:
    """Return what changes when a model's files do, or any weights of one from a file of one's own."""
    if is_own(name):
        return [(name,), *model.fingerprints().items()]
    files = sorted(file for file in find_model(name).iterdir() if file.is_file())
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def is_long(request: Request, path: Path) -> bool:
    """Return whether a file seems to be longer than a window; False where there is no telling."""
    try:
        seconds = duration(path)
    except EarmarkError:
        return False
    return seconds is None or seconds * request.sample_rate > request.windows.length


def files_of(out: Path, stem: str, values: Mapping[str, Any]) -> list[Path]:
    """Return what was written of an input, the JSON last, from what that says."""
    several = values.get("explanations")
    parts = several or [values]
    stems = stems_of_labels(stem, [part["label"] for part in parts]) if several else [stem]
    files = []
    for part, name in zip(parts, stems):
        files += [out / f"{name}.listen.wav", out / f"{name}.rest.wav"]
        files += [] if values.get("contrast") else [out / f"{name}.png"]
        files += [out / f"{name}.timeline.csv"] if len(part["timeline"]) > 1 else []
    files += [out / f"{stem}.contrast.png"] if values.get("contrast") else []
    return [*files, out / f"{stem}.json"]


def _finished(out: Path, stem: str, key: str) -> dict[str, Any] | None:
    """Return the JSON of an input that the same request explained before, if all its files are there."""
    try:
        values: dict[str, Any] = json.loads((out / f"{stem}.json").read_text(encoding="utf-8"))
        same = values["request"] == key and "input" in values
        there = same and all(file.exists() for file in files_of(out, stem, values))
    # The file may be anyone's, or of another version.
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None
    return values if there else None


def _line(values: Mapping[str, Any], listen: Path, fixed: bool) -> str:
    """Say what was found; of several windows the figures are means."""
    label, scores, timeline = values["label"], values["scores"], values["timeline"]
    decided = "" if values["decision"] == label else f" (decided: {values['decision']})"
    start = f"{values['input']}: {label} {percent(values['probability'])}{decided}"
    each = len(timeline) > 1 and not fixed
    over = f" over {len(timeline)} windows ({_decisions(timeline)})" if each else ""
    kept = f"kept {percent(values['kept'])} of the picture"
    inside, outside = percent(scores["probability_in"]), percent(scores["probability_out"])
    if each:  # these are of as many classes as windows decided for
        whole = percent(scores["probability"])
        figures = (
            f"what each window decided for: {whole}, of the kept part alone {inside}, without it {outside}"
        )
        return f"{start}{over} · {kept} · {figures} → {listen}"
    return f"{start} · {kept}, alone: {label} {inside}, without it: {label} {outside} → {listen}"


def _decisions(timeline: Sequence[Mapping[str, Any]], most: int = 3) -> str:
    """Count what was decided, the most frequent first: "rain 12, dog 3, silent 1"."""
    counts = Counter(row["decision"] or "silent" for row in timeline).most_common()
    named = [f"{label} {count}" for label, count in counts[:most]]
    others = sum(count for _, count in counts[most:])
    return ", ".join([*named, *([f"other {others}"] if others else [])])
