"""The results file: whole rows only, none twice, whatever stops it; and never over other results."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas
import pytest

from earmark.errors import DataError, OutputError, RecipeError
from earmark.evaluation import results
from earmark.evaluation.results import COLUMNS, SAME, Journal, key_of, opened, read_rows

SAME_ROWS = dict.fromkeys(SAME, "1")
SOUNDS = ("dog", 'say "hi", dog', "two\nlines", "a\rreturn", "b\udcffrk", "001")


def row(sound: str = "dog", **changes: Any) -> dict[str, Any]:
    return {
        **{
            "condition": "mixtures",
            "seed": 0,
            "sound": sound,
            "method": "lmac",
            "domain": "stft",
            "area": None,
        },
        **{
            "clip": sound,
            "interferer": sound,
            "label": "None",
            "target": "NA",
            "AD": 100 / 3,
            "p": 0.5,
            "error": "",
        },
        **changes,
    }


def journal(path: Path, **changes: str) -> Journal:
    return Journal(path, SAME_ROWS | changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.csv"


def test_rows_come_back(path: Path) -> None:
    journal(path).add([row(), row(area=0.05, error="no, it is silent", AD=None, p=None)])
    soft, failed = read_rows(path)
    assert soft["AD"] == "33.33333"
    assert (soft["area"], soft["share"], soft["error"]) == ("", "", "")
    assert (failed["area"], failed["AD"], failed["error"]) == ("0.05", "", "no, it is silent")
    assert all(soft[name] == "1" for name in SAME)
    assert path.read_text().startswith(",".join(COLUMNS) + "\n")


def test_a_row_is_written_once(path: Path) -> None:
    first = journal(path)
    first.add([row("a"), row("a")])
    first.add([row("a", AD=0.0), row("b")])
    again = journal(path)
    again.add([row("b"), row("c")])
    assert [(one["sound"], one["AD"]) for one in read_rows(path)] == [(name, "33.33333") for name in "abc"]
    assert again.done == {key_of(row(name)) for name in "abc"}


def test_names_that_differ_in_bytes_that_are_no_utf8_stay_apart(path: Path) -> None:
    names = ("b\udcffrk", "b\udcfark", "brk")
    journal(path).add([row(name) for name in names])
    assert journal(path).done == {key_of(row(name)) for name in names}
    assert len(list(read_rows(path))) == 3


def test_what_two_runs_at_once_have_doubled_is_there_once(path: Path) -> None:
    one, other = journal(path), journal(path)
    one.add([row("a")])
    other.add([row("a"), row("b")])
    assert len(list(read_rows(path))) == 3
    journal(path)
    assert [found["sound"] for found in read_rows(path)] == ["a", "b"]


def test_failures_are_known_after_a_restart(path: Path) -> None:
    first = journal(path)
    first.add([row("a"), row("b", error="it is silent")])
    for one in (first, journal(path)):
        assert one.failed == {key_of(row("b")): "it is silent"}


def test_a_file_cut_anywhere_is_repaired(path: Path) -> None:
    rows = [row(sound, error=f"{sound} cannot be read") for sound in SOUNDS]
    journal(path).add(rows)
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    assert len(ends) == 1 + len(rows)
    counts = set()
    # Everywhere in the row with quotes in it, and here and there in the others.
    for cut in {*range(ends[0], ends[-1], 23), *ends, *range(ends[1] - 1, ends[2] + 2)}:
        path.write_bytes(whole[:cut])
        taken_up = journal(path)
        kept = path.read_bytes()
        assert whole.startswith(kept)
        assert len(kept) <= cut
        counts.add(len(taken_up.done))
        taken_up.add(rows)
        assert path.read_bytes() == whole
    assert counts == {0, 1, 2, 3, 4, 5, 6}


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    path.touch()
    journal(path).add([row()])
    assert len(list(read_rows(path))) == 1


@pytest.mark.parametrize("name", SAME)
def test_results_of_another_evaluation_are_left_alone(path: Path, name: str) -> None:
    journal(path).add([row()])
    before = path.read_bytes()
    with pytest.raises(DataError, match=f"another evaluation: {name} '1' instead of '2'"):
        journal(path, **{name: "2"})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_other_recordings_are_refused_where_they_are_drawn_from(path: Path) -> None:
    Journal(path, SAME_ROWS, {"speech": "a"}).add([row(condition="speech"), row(condition="clean")])
    assert [one["recordings"] for one in read_rows(path)] == ["a", ""]
    Journal(path, SAME_ROWS, {"clean": "", "in-domain": "b"}).add([row(condition="in-domain")])
    assert [one["recordings"] for one in read_rows(path)] == ["a", "", "b"]
    with pytest.raises(DataError, match="recordings 'a' instead of 'c'"):
        Journal(path, SAME_ROWS, {"speech": "c", "in-domain": "b"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name,age\nAda,36\n", "is no results file"),
        (b"my only copy of this poem", "is no results file"),
        (b"\n", "is no results file"),
        (",".join(COLUMNS[:-1]).encode() + b"\n", "is no results file"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_that_is_no_results_is_left_alone(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        journal(path)
    assert path.read_bytes() == content
    assert "choose a new --out" in str(error.value)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_whole_rows(path: Path) -> None:
    growing = journal(path)
    growing.add([row("a")])
    before = path.read_bytes()
    with disk_of(len(before) + 100), pytest.raises(OutputError, match=r"cannot write .*free some space"):
        growing.add([row("b"), row("c")])
    assert path.read_bytes() == before
    growing.add([row("b"), row("c")])
    assert [one["sound"] for one in read_rows(path)] == ["a", "b", "c"]


def test_a_full_disk_at_the_start_leaves_the_file(path: Path) -> None:
    journal(path).add([row("a")])
    before = path.read_bytes()
    with disk_of(len(before) - 10), pytest.raises(OutputError):
        journal(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("ending", ["", ".txt", ".csv.gz", ".xlsx"])
def test_other_endings(tmp_path: Path, ending: str) -> None:
    with pytest.raises(RecipeError, match=r"ends in \.csv or \.parquet"):
        journal(tmp_path / f"results{ending}")


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_folder_is_no_file(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"results{ending}").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        journal(tmp_path / f"results{ending}")


def test_parquet_without_pyarrow_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="without pyarrow"):
        journal(tmp_path / "results.parquet")
    journal(tmp_path / "results.csv")


def test_parquet_holds_what_csv_does(tmp_path: Path, path: Path) -> None:
    rows = [row(sound, area=area, seed=7) for sound in SOUNDS for area in (None, 0.05)]
    for out in (path, tmp_path / "results.parquet"):
        with opened(out, SAME_ROWS) as growing:
            growing.add(rows)
    assert {one.name for one in tmp_path.iterdir()} == {"results.csv", "results.parquet"}
    frame = pandas.read_parquet(tmp_path / "results.parquet")
    assert list(frame.columns) == list(COLUMNS)
    assert frame["AD"].dtype == frame["share"].dtype == float
    assert frame["seed"].tolist() == [7] * 12
    assert frame["area"].isna().tolist() == [True, False] * 6
    for name, text in zip(COLUMNS, zip(*(one.values() for one in read_rows(path)))):
        values = frame[name].tolist()
        if name in ("seed", "area", *results.FIGURES):
            assert [float(one) if one else None for one in text] == [None if v != v else v for v in values]
        else:
            assert list(text) == values


def test_a_finished_parquet_file_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    with opened(path, SAME_ROWS) as first:
        first.add([row("001", area=0.05), row("b", error="it is silent")])
    with opened(path, SAME_ROWS) as again:
        assert again.done == {key_of(row("001", area=0.05)), key_of(row("b"))}
        assert again.failed == {key_of(row("b")): "it is silent"}
        again.add([row("b"), row("c")])
    frame = pandas.read_parquet(path)
    assert frame["sound"].tolist() == ["001", "b", "c"]
    assert frame["AD"].tolist() == pytest.approx([33.33333] * 3)
    with pytest.raises(DataError, match="protocol"):
        journal(path, protocol="2")
    assert list(tmp_path.iterdir()) == [path]


def test_a_stopped_parquet_run_goes_on_from_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"

    def stop() -> None:
        with opened(path, SAME_ROWS) as stopped:
            stopped.add([row("a")])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert not path.exists()
    with opened(path, SAME_ROWS) as again:
        assert again.done == {key_of(row("a"))}
        again.add([row("b")])
    assert pandas.read_parquet(path)["sound"].tolist() == ["a", "b"]


@pytest.mark.parametrize("content", [b"PAR1 no table PAR1", b""])
def test_a_damaged_parquet_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        journal(path)
    assert path.read_bytes() == content
    pandas.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(DataError, match="is no results file"):
        journal(path)
