"""ESC-50's layout."""

import os
from collections import Counter
from pathlib import Path

import pytest

from earmark.data.clips import Clip
from earmark.data.esc50 import read_esc50
from earmark.errors import DataError

HEADER = "filename,fold,target,category,esc10,src_file,take\n"
ROWS = ("b.ogg,1,0,dog,True,1,A", "a.wav,2,10,rain,True,2,A", "c.wav,2,0,dog,True,3,A")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "meta").mkdir()
    (tmp_path / "audio").mkdir()
    table(tmp_path, HEADER + "\n".join(ROWS))
    for name in ("b.ogg", "a.wav", "c.wav"):
        (tmp_path / "audio" / name).touch()
    return tmp_path


def table(root: Path, text: str) -> None:
    (root / "meta" / "esc50.csv").write_text(text)


def test_rows_come_in_file_order(root: Path) -> None:
    expected = [("b.ogg", "dog", 1), ("a.wav", "rain", 2), ("c.wav", "dog", 2)]
    assert read_esc50(root) == [Clip(root / "audio" / name, label, fold) for name, label, fold in expected]


def test_folds_and_labels_filter(root: Path) -> None:
    assert [clip.path.name for clip in read_esc50(str(root), folds=[2], labels=["dog"])] == ["c.wav"]


def test_missing_file_of_another_fold_does_not_matter(root: Path) -> None:
    (root / "audio" / "b.ogg").unlink()
    assert len(read_esc50(root, folds=[2])) == 2


def test_missing_files_are_counted(root: Path) -> None:
    (root / "audio" / "a.wav").unlink()
    (root / "audio" / "c.wav").unlink()
    with pytest.raises(DataError, match=r"2 of 3 clips are missing, the first is .*a\.wav") as caught:
        read_esc50(root)
    assert "github.com/karolpiczak/ESC-50" in str(caught.value)


def test_missing_table_tells_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"esc50\.csv does not exist; expected meta/esc50\.csv and .*audio/"):
        read_esc50(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,target\nb.ogg,0\n", "lacks the columns fold, category"),
        ("", "lacks the columns filename, fold, target, category"),
        (HEADER + "b.ogg,one,0,dog,True,1,A\n", "line 2: fold is 'one'; expected an integer"),
        (HEADER + "b.ogg\n", "line 2: fold is None"),
        (HEADER, r"no clip of any kind; it has folds \[\]"),
    ],
)
def test_bad_tables_are_told(root: Path, text: str, message: str) -> None:
    table(root, text)
    with pytest.raises(DataError, match=message):
        read_esc50(root)


def test_table_that_is_no_text_is_told(root: Path) -> None:
    (root / "meta" / "esc50.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match=r"esc50\.csv cannot be read"):
        read_esc50(root)


def test_nothing_left_lists_what_there_is(root: Path) -> None:
    with pytest.raises(DataError, match=r"no clip of folds \[5\].*folds \[1, 2\] and labels dog, rain"):
        read_esc50(root, folds=[5])


def test_unknown_label_is_named(root: Path) -> None:
    with pytest.raises(DataError, match="no label 'cat'; expected some of dog, rain"):
        read_esc50(root, labels=["dog", "cat"])


@pytest.mark.skipif(
    "EARMARK_DATA" not in os.environ, reason="EARMARK_DATA names the folder of real recordings"
)
def test_esc10_has_ten_classes_of_eight_clips_in_each_fold() -> None:
    clips = read_esc50(Path(os.environ["EARMARK_DATA"]) / "esc10")
    counts = Counter((clip.label, clip.fold) for clip in clips)
    assert len(counts) == 40
    assert set(counts.values()) == {8}
