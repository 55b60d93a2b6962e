"""Recordings on disk: the same as in memory, the same after a stop, and in little memory."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.figure import Figure

import earmark
from earmark import audio, recording, tape
from earmark.api import prepare
from earmark.errors import AudioError, ModelError, OutputError
from earmark.explaining import Request
from earmark.model import Model
from earmark.recording import explain_recording, identify, read_short

RATE = 16000
SoundFile = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, figure: Figure) -> Path:
        path.touch()
        return path

    monkeypatch.setattr(recording, "write_figure", write)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def names(stem: str) -> set[str]:
    return {f"{stem}.{end}" for end in ("listen.wav", "rest.wav", "png", "json", "timeline.csv")}


@pytest.mark.parametrize("options", [{}, {"threshold": 0.5}, {"target": "rain"}])
@pytest.mark.parametrize("rate", [RATE, 44100])
def test_what_is_streamed_is_what_memory_gives(
    options: dict[str, object], rate: int, tiny: Model, sound_file: SoundFile, tmp_path: Path
) -> None:
    path = sound_file("night.flac", seconds=4.321, rate=rate, channels=2)
    request = prepare(tiny, **options)  # type: ignore[arg-type]
    recorded = explain_recording(request, path, tmp_path / "out")
    whole = earmark.explain(path, tiny, **options)  # type: ignore[call-overload]
    assert {file.name for file in recorded.files} == set(contents(tmp_path / "out")) == names("night")
    for part, ending in ((whole.listenable, "listen"), (whole.remainder, "rest")):
        written, written_rate = soundfile.read(tmp_path / "out" / f"night.{ending}.wav")
        assert written_rate == RATE
        np.testing.assert_allclose(written, part, atol=2**-14)
    values, expected = recorded.values, whole.to_dict()
    assert set(expected) | {"request"} == set(values)
    for name in set(expected) - {"regions", "timeline", "scores", "kept", "probability"}:
        assert values[name] == expected[name]
    for name in ("scores", "kept", "probability"):
        assert values[name] == pytest.approx(expected[name], abs=2e-2, rel=1e-3)
    for moment, other in zip(values["timeline"], expected["timeline"], strict=True):
        assert moment["label"] == other["label"]
        assert moment["start"] == other["start"]
        assert moment["kept"] == pytest.approx(other["kept"], abs=1e-3)
    assert json.loads((tmp_path / "out" / "night.json").read_text()) == values


def test_the_timeline_as_a_table(tiny: Model, sound_file: SoundFile, tmp_path: Path) -> None:
    recorded = explain_recording(prepare(tiny), sound_file("a.wav", seconds=3.0), tmp_path / "out")
    with (tmp_path / "out" / "a.timeline.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["start", "end", "label", "probability", "kept"]
    for row, moment in zip(rows, recorded.values["timeline"], strict=True):
        assert float(row["start"]) == moment["start"]
        assert float(row["probability"]) == moment["probability"]
        assert float(row["probability_out"]) == moment["scores"]["probability_out"]


def test_regions_lie_where_the_sound_is(tiny: Model, tmp_path: Path) -> None:
    time = np.arange(10 * RATE) / RATE
    soundfile.write(tmp_path / "a.wav", 0.4 * np.sin(6283 * time) * ((time > 6.2) & (time < 6.6)), RATE)
    values = explain_recording(prepare(tiny, "loudest", threshold=0.1), tmp_path / "a.wav", tmp_path).values
    assert sum(region["share"] for region in values["regions"]) == pytest.approx(1, abs=0.05)
    for region in values["regions"]:
        assert 6.1 < region["start"] < region["end"] < 6.7
        assert 850 < region["low"] < region["high"] < 1150
    silent = [moment for moment in values["timeline"] if moment["label"] is None]
    assert len(silent) > 5


@pytest.mark.parametrize("seconds", [2.0, 9.0])
def test_regions_are_those_of_memory(seconds: float, tiny: Model, tmp_path: Path) -> None:
    time = np.arange(10 * RATE) / RATE
    long = 0.4 * np.sin(6283 * time) * (time > 1) * (time < 1 + seconds)
    short = 0.2 * np.sin(4 * 6283 * time) * (time > 9.3)
    soundfile.write(tmp_path / "a.wav", long + short, RATE)
    request = prepare(tiny, "loudest", threshold=0.1, scores=False)
    found = explain_recording(request, tmp_path / "a.wav", tmp_path / "out").values["regions"]
    whole = request(tmp_path / "a.wav")
    expected = whole.to_dict()["regions"]  # type: ignore[union-attr]
    assert len(expected) == 2
    for one, other in zip(found, expected, strict=True):
        assert [one[end] for end in ("start", "end")] == pytest.approx(
            [other[end] for end in ("start", "end")], abs=0.03
        )
        assert [one[end] for end in ("low", "high")] == pytest.approx(
            [other[end] for end in ("low", "high")], abs=50
        )
        assert one["share"] == pytest.approx(other["share"], abs=0.01)


class StoppedError(Exception):
    """As a kill, between two batches or within one."""


def stop_after(monkeypatch: pytest.MonkeyPatch, windows: int) -> None:
    """Let a run stop once when so many windows are added; batches have two."""
    add, steps = recording.Tape.add, []

    def stopping(self: recording.Tape, *arguments: object) -> None:
        steps.append(1)
        add(self, *arguments)  # type: ignore[arg-type]
        if len(steps) == windows:
            raise StoppedError

    monkeypatch.setattr("earmark.explaining.AT_ONCE", 2)
    monkeypatch.setattr(recording.Tape, "add", stopping)


@pytest.mark.parametrize("after", [1, 4, 7, 9])  # of nine windows in batches of two
@pytest.mark.parametrize("options", [{}, {"top": 2}])
def test_a_stopped_run_goes_on_and_ends_as_an_unbroken_one(
    after: int,
    options: dict[str, int],
    tiny: Model,
    sound_file: SoundFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, request = sound_file("a.flac", seconds=7.1, rate=22050), prepare(tiny, **options)  # type: ignore[arg-type]
    stop_after(monkeypatch, windows=0)
    whole = explain_recording(request, path, tmp_path / "unbroken").values
    assert len(whole.get("explanations", [whole])[0]["timeline"]) == 9
    stop_after(monkeypatch, after)
    with pytest.raises(StoppedError):
        explain_recording(request, path, tmp_path / "out")
    (left,) = (tmp_path / "out").iterdir()
    assert re.fullmatch(r"\.a\.[0-9a-f]{16}\.part", left.name)
    done: list[int] = []
    explain_recording(request, path, tmp_path / "out", progress=lambda number, _: done.append(number))
    assert done == [number for number in (2, 4, 6, 8, 9) if number > (after - 1) // 2 * 2]
    assert contents(tmp_path / "out") == contents(tmp_path / "unbroken")


def test_another_request_does_not_go_on_with_what_was_left(
    tiny: Model, sound_file: SoundFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, request = sound_file("a.wav", seconds=3.3), prepare(tiny, target="clock")
    stop_after(monkeypatch, windows=3)
    with pytest.raises(StoppedError):
        explain_recording(prepare(tiny), path, tmp_path / "out")
    for folder in ("out", "anew"):
        explain_recording(request, path, tmp_path / folder)
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")


def test_memory_does_not_grow_with_the_sound(
    tiny: Model, sound_file: SoundFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest: dict[str, int] = {}

    def spy(owner: type, name: str, size: Callable[..., int]) -> None:
        method = getattr(owner, name)

        def spied(*arguments: object) -> object:
            value = method(*arguments)
            largest[name] = max(largest.get(name, 0), size(arguments, value))
            return value

        monkeypatch.setattr(owner, name, spied)

    spy(recording.Tape, "add", lambda a, _: a[1].waveform.base.nbytes)
    spy(Request, "findings", lambda _, value: sum(f.magnitude.nbytes for f in value))
    spy(recording.Tape, "commit", lambda a, _: sum(t.samples.tail.nbytes for t in a[0].tracks))
    found = []
    for seconds in (10, 40):
        largest.clear()
        path = sound_file(f"{seconds}.wav", seconds=seconds)
        explain_recording(prepare(tiny, scores=False), path, tmp_path / "out")
        found.append(dict(largest))
    for name in found[0]:
        assert found[1][name] <= 1.3 * found[0][name]


def test_a_picture_has_no_more_columns_than_it_shows(
    tiny: Model, sound_file: SoundFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    picture = recording.Track.picture
    monkeypatch.setattr(
        recording.Track, "picture", lambda *a: shown.append((it := picture(*a)).mask.shape[1]) or it
    )
    monkeypatch.setattr(tape, "COLUMNS", 50)
    for known in (True, False):
        if not known:
            monkeypatch.setattr(audio, "duration", lambda _: None)
        explain_recording(prepare(tiny, scores=False), sound_file("a.wav", seconds=8.0), tmp_path / "out")
    assert shown == [50, 50]


def test_sounds_beyond_full_scale_still_add_up(tiny: Model, tmp_path: Path) -> None:
    loud = 3 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "loud.wav", loud, RATE, subtype="FLOAT")
    explain_recording(prepare(tiny), tmp_path / "loud.wav", tmp_path / "out")
    parts = [soundfile.read(tmp_path / "out" / f"loud.{end}.wav")[0] for end in ("listen", "rest")]
    np.testing.assert_allclose(sum(parts), loud, atol=1e-5)


def test_beyond_4_gb_there_are_64_bit_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio.writing, "_WAV_HOLDS", 1000)
    audio.write_blocks(tmp_path / "a.wav", [np.full(400, 0.25, np.float32)] * 2, RATE, 800, "PCM_16")
    assert soundfile.info(tmp_path / "a.wav").format == "RF64"
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav")[0], 0.25, atol=1e-4)
    with pytest.raises(OutputError, match=r"a\.wav: only 400 of 800 samples fit"):
        audio.write_blocks(tmp_path / "a.wav", [np.zeros(400, np.float32)], RATE, 800, "PCM_16")


def test_several_classes_have_files_of_their_own(tiny: Model, sound_file: SoundFile, tmp_path: Path) -> None:
    path, request = sound_file("a.wav", seconds=3.0), prepare(tiny, target=["clock", "dog"])
    recorded = explain_recording(request, path, tmp_path / "out", contrast=True)
    sounds = {f"a.{label}.{end}" for label in ("clock", "dog") for end in ("listen.wav", "rest.wav")}
    tables = {"a.clock.timeline.csv", "a.dog.timeline.csv"}
    assert set(contents(tmp_path / "out")) == sounds | tables | {"a.contrast.png", "a.json"}
    assert [one["label"] for one in recorded.values["explanations"]] == ["clock", "dog"]


@pytest.mark.parametrize(("share", "message"), [(0.7, "is truncated"), (1.0, "is silent: all 80000 samples")])
def test_a_bad_recording_leaves_nothing(share: float, message: str, tiny: Model, tmp_path: Path) -> None:
    path = tmp_path / "bad.wav"
    soundfile.write(path, np.zeros(5 * RATE), RATE)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(AudioError, match=message):
        explain_recording(prepare(tiny), path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_model_that_says_nan_leaves_nothing(
    make_tiny: Callable[[], Model], sound_file: SoundFile, tmp_path: Path
) -> None:
    model = make_tiny()
    model.classifier.head.bias.fill_(torch.nan)  # type: ignore[union-attr, operator]
    with pytest.raises(ModelError, match="no finite numbers"):
        explain_recording(prepare(model), sound_file(seconds=3.0), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_is_told_and_what_is_done_is_kept(
    tiny: Model, sound_file: SoundFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = sound_file("a.wav", seconds=3.0)
    with monkeypatch.context() as patch:
        patch.setattr(recording.Track, "end", full)
        with pytest.raises(OutputError, match=r"cannot write a\.\*.*No space left"):
            explain_recording(prepare(tiny), path, tmp_path / "out")
    assert set(contents_of_hidden(tmp_path / "out")) >= {"state.safetensors", "journal.jsonl"}
    explain_recording(prepare(tiny), path, tmp_path / "out")
    assert set(contents(tmp_path / "out")) == names("a")


def test_what_cannot_be_read_now_may_be_read_later(
    tiny: Model, sound_file: SoundFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, request = sound_file("a.wav", seconds=3.3), prepare(tiny, scores=False)
    stream, done = audio.stream, []

    def breaking(*arguments: object) -> Iterator[np.ndarray]:
        for block in stream(*arguments):  # type: ignore[arg-type]
            if done:
                raise AudioError("the disk is gone")
            yield block

    monkeypatch.setattr("earmark.explaining.AT_ONCE", 2)
    with monkeypatch.context() as patch:
        patch.setattr(audio, "stream", breaking)
        with pytest.raises(AudioError, match="the disk is gone"):
            explain_recording(request, path, tmp_path / "out", progress=lambda *now: done.append(now))
    explain_recording(request, path, tmp_path / "out", progress=lambda *now: done.append(now))
    assert [number for number, _ in done] == [2, 4]


def test_another_recording_of_the_same_name_deletes_no_work(
    tiny: Model, sound_file: SoundFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, request = [sound_file(f"{name}/a.wav", 3.3) for name in "xy"], prepare(tiny, scores=False)

    def stop(*_: object) -> None:
        raise StoppedError

    monkeypatch.setattr("earmark.explaining.AT_ONCE", 2)
    for path in paths:
        with pytest.raises(StoppedError):
            explain_recording(request, path, tmp_path / "out", progress=stop)
    done: list[int] = []
    for path in paths:
        explain_recording(request, path, tmp_path / "out", progress=lambda number, _: done.append(number))
    assert done == [4, 4]


def test_two_runs_do_not_write_the_same_files(tiny: Model, sound_file: SoundFile, tmp_path: Path) -> None:
    path, request = sound_file("a.wav", seconds=3.3), prepare(tiny, scores=False)
    said: list[str] = []

    def again(*_: object) -> None:
        with pytest.raises(OutputError, match=r"another run is at work on a\.\*") as caught:
            explain_recording(request, path, tmp_path / "out")
        said.append(str(caught.value))

    explain_recording(request, path, tmp_path / "out", progress=again)
    assert said
    assert set(contents(tmp_path / "out")) == names("a")


def test_quiet_sounds_are_written_as_they_are(tiny: Model, tmp_path: Path) -> None:
    quiet = 1e-5 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "quiet.wav", quiet, RATE, subtype="FLOAT")
    request = prepare(tiny, scores=False)
    explain_recording(request, tmp_path / "quiet.wav", tmp_path / "long")
    request((quiet[:RATE], RATE)).save(tmp_path / "short", "quiet")  # type: ignore[union-attr]
    for folder, sound in (("long", quiet), ("short", quiet[:RATE])):
        parts = [soundfile.read(tmp_path / folder / f"quiet.{end}.wav")[0] for end in ("listen", "rest")]
        np.testing.assert_allclose(sum(parts), sound, atol=1e-9)
        assert all(len(np.unique(part)) > len(part) // 2 for part in parts)


def test_a_recording_at_which_the_network_fails_is_named(
    make_tiny: Callable[[], Model], sound_file: SoundFile, tmp_path: Path
) -> None:
    def boom(*_: object) -> None:
        raise RuntimeError("boom")

    model = make_tiny()
    model.classifier.head.register_forward_hook(boom)  # type: ignore[union-attr, operator]
    path = sound_file(seconds=3.0)
    for options in ({}, {"top": 2}):
        with pytest.raises(ModelError, match=f"fails at {path}: RuntimeError: boom"):
            explain_recording(prepare(model, **options), path, tmp_path / "out")  # type: ignore[arg-type]
        assert not list((tmp_path / "out").iterdir())


def contents_of_hidden(folder: Path) -> list[str]:
    (hidden,) = folder.iterdir()
    return [path.name for path in hidden.iterdir()]


def test_a_key_changes_with_what_it_stands_for(tiny: Model, sound_file: SoundFile) -> None:
    first, second = sound_file("a.wav"), sound_file("b.wav")
    requests = [prepare(tiny, **options) for options in ({}, {"top": 1}, {"target": "dog"}, {"overlap": 0.3})]
    keys = [identify(request, path) for request in requests for path in (first, second)]
    assert len(set(keys)) == 8
    assert identify(requests[0], first) == keys[0] != identify(requests[0], first, more=1)
    sound_file("a.wav", seconds=1.1)
    assert identify(requests[0], first) != keys[0]


def test_short_sounds_are_read_and_long_ones_are_not(sound_file: SoundFile) -> None:
    path = sound_file("a.wav", seconds=2.0, rate=44100)
    np.testing.assert_array_equal(read_short(path, RATE, 2 * RATE), audio.read(path, RATE)[0])
    assert read_short(path, RATE, 2 * RATE - 1) is None
