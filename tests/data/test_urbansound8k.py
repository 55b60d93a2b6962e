"""UrbanSound8K's layout."""

from pathlib import Path

import pytest

from earmark.data.clips import Clip
from earmark.data.urbansound8k import read_urbansound8k
from earmark.errors import DataError

HEADER = "slice_file_name,fsID,start,end,salience,fold,classID,class\n"
ROWS = (
    "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark",
    "100263-2-0-117.wav,100263,58.5,62.5,1,10,2,children_playing",
    "100648-1-0-0.wav,100648,4.823402,5.471927,2,10,1,car_horn",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "metadata").mkdir()
    table(tmp_path, HEADER + "\n".join(ROWS))
    for fold in range(1, 11):
        (tmp_path / "audio" / f"fold{fold}").mkdir(parents=True)
    (tmp_path / "audio" / "fold5" / "100032-3-0-0.wav").touch()
    for name in ("100263-2-0-117.wav", "100648-1-0-0.wav"):
        (tmp_path / "audio" / "fold10" / name).touch()
    return tmp_path


def table(root: Path, text: str) -> None:
    (root / "metadata" / "UrbanSound8K.csv").write_text(text)


def test_rows_come_in_file_order_from_the_folders_of_their_folds(root: Path) -> None:
    dog, child, horn = (root / "audio" / folder for folder in ("fold5", "fold10", "fold10"))
    assert read_urbansound8k(root) == [
        Clip(dog / "100032-3-0-0.wav", "dog_bark", 5, "fold5/100032-3-0-0"),
        Clip(child / "100263-2-0-117.wav", "children_playing", 10, "fold10/100263-2-0-117"),
        Clip(horn / "100648-1-0-0.wav", "car_horn", 10, "fold10/100648-1-0-0"),
    ]


def test_folds_and_labels_filter(root: Path) -> None:
    clips = read_urbansound8k(str(root), folds=[10], labels=["car_horn", "dog_bark"])
    assert [clip.label for clip in clips] == ["car_horn"]


def test_missing_file_is_named_unless_it_is_of_another_fold(root: Path) -> None:
    (root / "audio" / "fold5" / "100032-3-0-0.wav").rename(root / "audio" / "fold4" / "100032-3-0-0.wav")
    assert len(read_urbansound8k(root, folds=[10])) == 2
    with pytest.raises(DataError, match=r"1 of 3 clips are missing, .*fold5.100032-3-0-0\.wav.*weebly\.com"):
        read_urbansound8k(root)


def test_missing_table_tells_the_layout_and_where_to_get_the_set(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_urbansound8k(tmp_path)
    message = str(caught.value)
    assert f"{tmp_path / 'metadata' / 'UrbanSound8K.csv'} does not exist" in message
    assert "audio/fold1 … audio/fold10" in message
    assert "Salamon et al., A Dataset and Taxonomy for Urban Sound Research, ACM MM 2014" in message
    assert "urbansounddataset.weebly.com" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slice_file_name,classID\na.wav,0\n", "lacks the columns fold, class; .* UrbanSound8K's own table"),
        (HEADER + "a.wav,1,0,1,1,five,3,dog_bark\n", "line 2: fold is 'five'; expected an integer"),
        (HEADER + "a.wav,1,0,1,1,5,3,\n", "line 2: class is ''; expected a name"),
        (HEADER + "a.wav,1,0,1,1,5\n", "line 2: class is None"),
        (HEADER + ",1,0,1,1,5,3,dog_bark\n", "line 2: slice_file_name is ''"),
        (HEADER, r"no clip of any kind; it has folds \[\]"),
    ],
)
def test_bad_tables_are_told(root: Path, text: str, message: str) -> None:
    table(root, text)
    with pytest.raises(DataError, match=message):
        read_urbansound8k(root)


def test_unknown_label_and_nothing_left_are_told(root: Path) -> None:
    with pytest.raises(DataError, match="no label 'siren'; expected some of car_horn, children_playing, dog"):
        read_urbansound8k(root, labels=["siren"])
    with pytest.raises(DataError, match=r"no clip of folds \[1\].*it has folds \[5, 10\]"):
        read_urbansound8k(root, folds=[1])
