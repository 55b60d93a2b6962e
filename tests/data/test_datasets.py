"""The layout of a data set is found out."""

import os
from pathlib import Path

import pytest

from earmark.data.clips import load_each
from earmark.data.datasets import read_clips
from earmark.data.ljspeech import read_ljspeech
from earmark.data.noise import read_noise_named
from earmark.errors import DataError

LAYOUTS = ("ESC-50's layout (meta/esc50.csv", "UrbanSound8K's layout (metadata/Urban", "a folder per class")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder whose sounds all three layouts have: two clips in folders of audio/."""
    for name in ("audio/fold1/a.wav", "audio/fold2/b.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    return tmp_path


def write(root: Path, name: str, *lines: str) -> None:
    (root / name).parent.mkdir()
    (root / name).write_text("\n".join(lines))


def read(root: Path, *more: list) -> list[tuple[str, str, int | None]]:
    return [(clip.name, clip.label, clip.fold) for clip in read_clips(root, *more)]


def test_esc50_is_known_by_its_table(root: Path) -> None:
    write(
        root, "meta/esc50.csv", "filename,fold,target,category", "fold2/b.wav,1,0,dog", "fold1/a.wav,3,1,hen"
    )
    assert read(root) == [("fold2/b", "dog", 1), ("fold1/a", "hen", 3)]
    assert read(root, [3]) == [("fold1/a", "hen", 3)]
    assert read(root, [1, 3], ["dog"]) == [("fold2/b", "dog", 1)]


def test_urbansound8k_is_known_by_its_table(root: Path) -> None:
    write(
        root, "metadata/UrbanSound8K.csv", "slice_file_name,fold,class", "b.wav,2,siren", "a.wav,1,drilling"
    )
    assert read(root) == [("fold2/b", "siren", 2), ("fold1/a", "drilling", 1)]
    assert read(root, [1], ["drilling"]) == [("fold1/a", "drilling", 1)]


def test_what_has_no_table_has_a_folder_per_class(root: Path) -> None:
    assert read(root / "audio") == [("fold1/a", "fold1", None), ("fold2/b", "fold2", None)]
    assert [clip.label for clip in read_clips(str(root / "audio"), labels=["fold2"])] == ["fold2"]


@pytest.mark.parametrize(
    ("folder", "origin"),
    [("meta", "github.com/karolpiczak/ESC-50"), ("metadata", "urbansounddataset.weebly.com")],
)
def test_a_set_that_lost_its_table_is_not_one_of_a_class_named_audio(
    root: Path, folder: str, origin: str
) -> None:
    (root / folder).mkdir()
    with pytest.raises(DataError, match=rf"csv does not exist; .*{origin}"):
        read_clips(root)


def test_folds_of_a_set_without_folds_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"no folds to take \[1, 2\] from; .*training needs folds"):
        read_clips(root / "audio", folds={2, 1})


@pytest.mark.parametrize("folds", [None, [1]])
def test_what_is_no_data_set_is_told_the_three_layouts(root: Path, folds: list[int] | None) -> None:
    with pytest.raises(DataError) as caught:
        read_clips(root / "audio" / "fold1", folds)  # sounds, but not in a class's folder
    message = str(caught.value)
    assert message.startswith(f"{root / 'audio' / 'fold1'} holds no data set")
    assert all(layout in message for layout in LAYOUTS)


@pytest.mark.parametrize("name", ["nowhere", "audio/fold1/a.wav"])
def test_a_root_that_is_no_folder_is_told(root: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        read_clips(root / name)
    message = str(caught.value)
    assert message.startswith(f"there is no folder {root / name}: ")
    assert all(layout in message for layout in LAYOUTS)


def test_a_root_that_cannot_be_searched_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(DataError, match=r"cannot be read: .*Permission denied"):
        read_clips(root)


@pytest.mark.skipif(
    "EARMARK_DATA" not in os.environ, reason="EARMARK_DATA names the folder of real recordings"
)
def test_real_sets_are_read() -> None:
    data = Path(os.environ["EARMARK_DATA"])
    clips = read_clips(data / "esc10", folds=[4])
    labels = sorted({clip.label for clip in clips})
    waveforms, targets, failures = load_each(clips, labels, 8000, 5.0)
    assert len({clip.name for clip in clips}) == len(clips) == 80
    assert targets.bincount().tolist() == [8] * 10
    assert failures == {}
    assert waveforms.any(dim=1).all()
    speech = read_ljspeech(data / "ljspeech", 8000)
    assert list(speech) == [f"LJ001-{number:04}" for number in range(1, 25)]
    noises = read_noise_named(data / "ambient", "tt", 8000)
    assert list(noises) == ["noise4", "noise5", "street_b"]
    for waveform in (*speech.values(), *noises.values()):
        assert waveform.isfinite().all()
        assert waveform.any()
