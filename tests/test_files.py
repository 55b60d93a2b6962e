"""Whole or not at all."""

import errno
from pathlib import Path

import pytest

from earmark.errors import OutputError
from earmark.files import whole, write_text


def write_half(path: Path, failure: BaseException) -> None:
    with whole(path) as temporary:
        temporary.write_text("half")
        raise failure


def test_text_arrives_as_utf8_with_plain_line_feeds(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "größe\n")
    assert (tmp_path / "a.txt").read_bytes() == "größe\n".encode()


def test_temporary_keeps_ending_and_folder(tmp_path: Path) -> None:
    with whole(tmp_path / "a.tar.gz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".gz"
        temporary.write_bytes(b"x")
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(failure):
        write_half(tmp_path / "a.txt", failure())
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_full_disk_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left") as caught:
        write_half(tmp_path / "a.txt", OSError(errno.ENOSPC, "No space left on device"))
    assert str(tmp_path) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere is not a folder; create it"):
        write_text(tmp_path / "nowhere" / "a.txt", "x")


def test_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "x")
    with pytest.raises(OutputError, match="file is not a folder"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        write_text(tmp_path / "a.txt", "x")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_name_of_full_length_works(tmp_path: Path) -> None:
    name = "a" * 251 + ".txt"
    write_text(tmp_path / name, "x")
    assert (tmp_path / name).read_text() == "x"
