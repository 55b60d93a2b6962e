"""Archives: a row for every window, none lost and none doubled, whatever is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

import earmark
from earmark.api import prepare
from earmark.archive.local import DyingError, explain_here
from earmark.archive.manifest import read_manifest
from earmark.archive.parts import Parts
from earmark.archive.rows import Explaining
from earmark.archive.windows import pieces_of
from earmark.cli.main import app
from earmark.errors import DataError

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'earmark[parquet]'")
RATE = 16_000


def write(path: Path, seconds: float, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(300, 2000) * np.arange(round(seconds * RATE)) / RATE)
    soundfile.write(path, tone + 0.05 * rng.standard_normal(len(tone)), RATE)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for number, seconds in enumerate((5.0, 5.001, 12.0, 2.0, 5.0, 9.0)):
        write(folder / f"ä {number}.wav", seconds, number)
    soundfile.write(folder / "quiet.wav", np.zeros(5 * RATE), RATE)
    (folder / "letter.wav").write_text("no sound")
    names = [*(f"ä {number}.wav" for number in range(6)), "quiet.wav", "letter.wav", "none.wav", "ä 0.wav"]
    (folder / "files.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return folder


def table_of(out: Path) -> pd.DataFrame:
    table = pd.read_parquet(out / "windows")
    return table.sort_values(["file", "start"]).reset_index(drop=True)


def run(archive: Path, out: Path, *more: str) -> str:
    command = ["explain", "--manifest", str(archive / "files.txt"), "--out", str(out), *more]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1, done.output  # two files cannot be read
    return done.output


@pytest.fixture(scope="module")
def whole(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    out = tmp_path_factory.mktemp("whole")
    said = run(archive, out, "--workers", "0", "--check")
    assert "1 rows of" in said
    assert "2 of 9 recordings have errors" in said
    return table_of(out)


def test_a_row_for_every_window_as_explain_says_it(archive: Path, whole: pd.DataFrame) -> None:
    counts = whole.groupby("file").size()
    expected = [1, 1, 3, 1, 1, 2]  # a millisecond too long is no window more
    assert [counts[str(archive / f"ä {number}.wav")] for number in range(6)] == expected
    row = whole[whole["file"] == str(archive / "ä 4.wav")].iloc[0]
    same = earmark.explain(archive / "ä 4.wav", check=True)
    assert isinstance(same, earmark.Explanation)
    assert (row["label"], row["decision"]) == (same.label, same.decision)
    assert row["probability"] == pytest.approx(same.probability, abs=1e-4)
    assert row["FF"] == pytest.approx(same.scores["FF"], abs=1e-3)
    assert row["trust"] == same.trust.level
    assert len(row["regions"]) == len(same.regions())
    assert row["regions"][0]["high"] == pytest.approx(same.regions()[0].high, rel=1e-4)


def test_later_windows_tell_their_own_time(archive: Path, whole: pd.DataFrame) -> None:
    rows = whole[whole["file"] == str(archive / "ä 2.wav")]
    assert rows["end"].iloc[-1] == pytest.approx(12)
    for row in rows.itertuples():
        for region in row.regions:
            assert row.start - 0.1 <= region["start"] < region["end"] <= row.end + 0.1


def test_what_fails_is_a_row_with_its_error(archive: Path, whole: pd.DataFrame) -> None:
    by_file = whole.set_index("file")
    assert "letter.wav cannot be read" in by_file.loc[str(archive / "letter.wav"), "error"]
    assert "does not exist" in by_file.loc[str(archive / "none.wav"), "error"]
    quiet = by_file.loc[str(archive / "quiet.wav")]
    assert quiet["error"] == ""
    assert pd.isna(quiet["label"])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_readers_beside_give_the_same_table(
    archive: Path, whole: pd.DataFrame, tmp_path: Path, workers: str
) -> None:
    run(archive, tmp_path, "--workers", workers, "--check")
    found = table_of(tmp_path)
    pd.testing.assert_frame_equal(found.drop(columns="regions"), whole.drop(columns="regions"), rtol=1e-3)


def test_a_killed_reader_loses_nothing(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{number:02d}.wav", 1, number) for number in range(80)]
    parts, killed, told = Parts(tmp_path / "out", {}), [], []

    def report(name: str, windows: int, broken: bool) -> None:
        if not killed:
            (reader,) = multiprocessing.active_children()
            assert reader.pid
            killed.append(reader.pid)
            os.kill(reader.pid, signal.SIGKILL)

    explain_here(Explaining(prepare(scores=False)), files, parts, 1, report, told.append)
    assert len(killed) == len(told) == 1
    assert str(killed[0]) in told[0]
    table = table_of(tmp_path / "out")
    assert len(table) == table["file"].nunique() == 80


def test_readers_that_die_again_and_again_are_told(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr("earmark.archive.local._explain", die)
    files, _ = read_manifest(archive / "files.txt")
    told: list[str] = []
    with pytest.raises(DyingError, match="11 readers have died"):
        explain_here(Explaining(prepare()), files, Parts(tmp_path, {}), 1, died=told.append)
    assert len(told) == 10


def test_a_killed_run_goes_on_and_no_row_is_lost_or_doubled(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / f"{number:02d}.wav", 5, number)
    (tmp_path / "files.csv").write_text("file\n" + "".join(f"{number:02d}.wav\n" for number in range(40)))
    out = tmp_path / "out"
    # A part after each ten rows, so that there is something to go on from.
    program = "import earmark.archive.local as local; local._ROWS_A_PART = 10;"
    program += "from earmark.__main__ import main; main()"
    command = [sys.executable, "-c", program, "explain", "--manifest", str(tmp_path / "files.csv")]
    command += ["--out", str(out), "--workers", "1"]
    first = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 90
    while not list(out.glob("windows/part-*.parquet")):
        assert time.monotonic() < end
        assert first.poll() is None
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = len(table_of(out))
    assert 0 < before < 40
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{before} of 40 recordings are in the table already" in again.stdout
    table = table_of(out)
    assert len(table) == table["file"].nunique() == 40
    assert not list(out.glob("windows/.earmark-*"))


def test_the_best_of_each_class_can_be_heard(archive: Path, tmp_path: Path) -> None:
    run(archive, tmp_path, "--workers", "0", "--top-sounds", "1")
    table = table_of(tmp_path).dropna(subset=["label"])
    sounds = sorted((tmp_path / "best").glob("*/*.listen.wav"))
    assert {path.parent.name for path in sounds} == set(table["label"])
    best = table.sort_values("probability").iloc[-1]
    (found,) = (tmp_path / "best" / best["label"]).glob("*.json")
    assert pd.read_json(found, typ="series")["probability"] == pytest.approx(best["probability"], abs=1e-3)
    before = {path: path.stat().st_mtime_ns for path in sounds}
    run_again = ["explain", "--manifest", str(archive / "files.txt"), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*run_again, "--workers", "0", "--top-sounds", "1"])
    assert done.exit_code == 0, done.output
    assert {path: path.stat().st_mtime_ns for path in sounds} == before


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_are_manifests_too(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"list.{ending}"
    table = pd.DataFrame({"file": ["a.wav", "b/ü.wav", "a.wav", ""], "more": [1, 2, 3, 4]})
    table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path)
    assert read_manifest(path) == ([tmp_path / "a.wav", tmp_path / "b" / "ü.wav"], 1)


def test_bad_manifests_and_other_wishes_are_told(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,n\na.wav,1\n")
    (tmp_path / "empty.txt").write_text("\n")
    for name, said in (
        ("a.csv", "one named 'file'"),
        ("empty.txt", "names no file"),
        ("x.txt", "cannot be read"),
    ):
        with pytest.raises(DataError, match=said):
            read_manifest(tmp_path / name)
    Parts(tmp_path, {"method": "lmac"})
    with pytest.raises(DataError, match="heard with another method"):
        Parts(tmp_path, {"method": "gradcam"})
    for more, said in (
        (["--backend", "dask"], "no backend 'dask'"),
        (["--top", "2"], "goes with neither"),
        (["--method", "nope"], "nope"),
    ):
        command = ["explain", "--manifest", str(archive / "files.txt"), "--out", str(tmp_path / "o"), *more]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2, done.output
        assert said in done.output


def test_a_recording_that_breaks_off_keeps_what_was_read(archive: Path, tmp_path: Path) -> None:
    from earmark.errors import AudioError
    from earmark.windowing import Windows

    def stream(path: Path, rate: int):  # type: ignore[no-untyped-def]
        yield np.ones(130_000, np.float32)
        raise AudioError("it breaks off")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("earmark.archive.windows.audio.stream", stream)
        found = list(pieces_of(archive / "ä 0.wav", RATE, Windows.of(80_000, 186)))
    assert [(piece.start, piece.error, piece.last) for piece in found] == [
        (0, "", False),
        (0, "it breaks off", True),
    ]


@pytest.mark.slow
def test_ray_gives_the_same_table(archive: Path, whole: pd.DataFrame, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'earmark[ray]'")
    command = ["explain", "--manifest", str(archive / "files.txt"), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*command, "--backend", "ray", "--workers", "1", "--check"])
    assert done.exit_code == 1, done.output
    assert "2 of 9 recordings have errors" in done.output
    found = table_of(tmp_path)
    columns = ["file", "start", "end", "label", "probability", "trust"]
    pd.testing.assert_frame_equal(found[columns], whole[columns], rtol=1e-3)


@pytest.mark.slow
def test_a_killed_ray_actor_loses_nothing(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'earmark[ray]'")
    from earmark.archive.on_ray import explain_on_ray

    files = [write(tmp_path / f"{number:02d}.wav", 1, number) for number in range(80)]
    killed: list[int] = []

    def report(name: str, windows: int, broken: bool) -> None:
        if not killed:
            listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
            (actor,) = (line for line in listed.stdout.splitlines() if " ray::MapWorker" in line)
            killed.append(int(actor.split()[0]))
            os.kill(killed[0], signal.SIGKILL)
            assert len(list((tmp_path / "out").glob("windows/*.parquet"))) < 5  # it was in the midst of them

    try:
        explain_on_ray(partial(prepare, scores=False), files, tmp_path / "out", {}, 1, report)
    finally:
        ray.shutdown()
    assert killed
    table = table_of(tmp_path / "out")
    assert len(table) == table["file"].nunique() == 80
    assert not table["error"].any()
