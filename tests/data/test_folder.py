"""A folder per class."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.data.clips import Clip, load_all
from earmark.data.folder import read_folder
from earmark.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folders_are_labels_and_names_say_where_a_clip_lies(tmp_path: Path) -> None:
    touch(tmp_path, "rain/a.wav", "dog/b.wav", "dog/a.flac", "dog/loud/2.1/a.ogg")
    assert read_folder(str(tmp_path)) == [
        Clip(tmp_path / "dog" / "a.flac", "dog", None, "dog/a"),
        Clip(tmp_path / "dog" / "b.wav", "dog", None, "dog/b"),
        Clip(tmp_path / "dog" / "loud" / "2.1" / "a.ogg", "dog", None, "dog/loud/2.1/a"),
        Clip(tmp_path / "rain" / "a.wav", "rain", None, "rain/a"),
    ]


def test_what_is_hidden_or_no_sound_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.wav", "dog/._a.wav", "dog/.old/b.wav", "dog/notes.txt", "dog/c.mp4", "dog/wav")
    touch(tmp_path, "beside.wav", ".git/d.wav", "papers/paper.pdf")
    (tmp_path / "dog" / "folder.wav").mkdir()
    assert [clip.name for clip in read_folder(tmp_path)] == ["dog/a"]


def test_a_set_may_lie_in_a_hidden_folder(tmp_path: Path) -> None:
    touch(tmp_path / ".cache" / "set", "dog/a.wav")
    assert len(read_folder(tmp_path / ".cache" / "set")) == 1


def test_every_sound_that_is_listed_can_be_loaded(tmp_path: Path) -> None:
    names = ["a.wav", "b.flac", "c.OGG", "d.mp3", "e.aiff", "f.AIF", "g.au", "h.w64", "i.caf", "j.rf64"]
    formats = {"aif": "AIFF"}
    (tmp_path / "dog").mkdir()
    for name in names:
        ending = name[2:].lower()
        samples = np.sin(np.arange(4000))
        soundfile.write(tmp_path / "dog" / name, samples, 8000, format=formats.get(ending, ending.upper()))
    clips = read_folder(tmp_path)
    assert [clip.path.name for clip in clips] == names
    waveforms, _ = load_all(clips, ["dog"], 8000, 0.5)
    assert waveforms.any(dim=1).all()


def test_labels_filter(tmp_path: Path) -> None:
    touch(tmp_path, "rain/a.wav", "dog/b.wav", "clock/c.wav")
    assert [clip.label for clip in read_folder(tmp_path, labels=["rain", "clock"])] == ["clock", "rain"]
    with pytest.raises(DataError, match="no label 'cat'; expected some of clock, dog, rain"):
        read_folder(tmp_path, labels=["cat"])


def test_no_folder_and_no_sound_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        read_folder(tmp_path / "nowhere")
    touch(tmp_path, "loose.wav", "papers/paper.pdf")
    with pytest.raises(DataError, match="no folder with a sound file in it; expected a folder per class"):
        read_folder(tmp_path)


def test_two_clips_of_one_name_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.wav", "dog/a.ogg", "rain/a.wav")
    with pytest.raises(DataError, match=r"a\.ogg and .*a\.wav are both named 'dog/a'"):
        read_folder(tmp_path)


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"cannot be read: .*Permission denied"):
        read_folder(tmp_path)
