"""Clips in memory."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earmark.data.clips import Clip, load_all, load_each
from earmark.errors import DataError

RATE = 8000


def clip(folder: Path, name: str, samples: np.ndarray, label: str = "dog", rate: int = RATE) -> Clip:
    soundfile.write(folder / name, samples, rate, subtype="FLOAT")
    return Clip(folder / name, label)


def test_clips_are_cut_padded_and_normalised(tmp_path: Path) -> None:
    long = np.linspace(0.1, 0.5, 1000)
    short = np.array([0.1, -0.2, 0.05])
    clips = [
        clip(tmp_path, "l.wav", long, "rain"),
        clip(tmp_path, "s.wav", short),
        clip(tmp_path, "z.wav", 0 * long),
    ]
    waveforms, targets = load_all(clips, ["dog", "rain"], RATE, 0.05)
    assert waveforms.shape == (3, 400)
    assert waveforms.dtype == torch.float32
    assert targets.tolist() == [1, 0, 0]
    np.testing.assert_allclose(waveforms[0], long[:400] / long[399], rtol=1e-6)
    np.testing.assert_allclose(waveforms[1, :3], [0.5, -1, 0.25], rtol=1e-6)
    assert not waveforms[1, 3:].any()
    assert not waveforms[2].any()


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    samples = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    waveforms, _ = load_all([clip(tmp_path, "a.wav", samples, rate=44100)], ["dog"], RATE, 1.0)
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(waveforms[0, 500:-500], expected[500:-500], atol=1e-2)


def test_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = [clip(tmp_path, f"{i}.wav", rng.standard_normal(900)) for i in range(6)]
    one, many = (load_all(clips, ["dog"], RATE, 0.1, threads)[0] for threads in (1, 4))
    torch.testing.assert_close(one, many, rtol=0, atol=0)


def test_bad_file_is_named(tmp_path: Path) -> None:
    good = clip(tmp_path, "good.wav", np.ones(900))
    (tmp_path / "bad.wav").write_text("hello")
    with pytest.raises(DataError, match=r"labelled 'dog'.*bad\.wav cannot be read"):
        load_all([good, Clip(tmp_path / "bad.wav", "dog")], ["dog"], RATE, 0.1)


def test_bad_files_are_gone_past(tmp_path: Path) -> None:
    good = [clip(tmp_path, f"{i}.wav", np.full(900, 0.5)) for i in range(2)]
    silent = clip(tmp_path, "silent.wav", np.zeros(900), "rain")
    (tmp_path / "text.wav").write_text("hello")
    bad = [Clip(tmp_path / "text.wav", "rain"), Clip(tmp_path / "missing.wav", "dog")]
    clips = [good[0], bad[0], silent, bad[1], good[1]]
    waveforms, targets, failures = load_each(clips, ["dog", "rain"], RATE, 0.1)
    assert list(failures) == [1, 3]
    assert "text.wav cannot be read" in failures[1]
    assert "missing.wav does not exist" in failures[3]
    assert waveforms.any(dim=1).tolist() == [True, False, False, False, True]
    assert targets.tolist() == [0, 1, 1, 0, 0]
    with pytest.raises(DataError, match=r"2 of 5 clips cannot be used, the first is .*'rain'.*text\.wav"):
        load_all(clips, ["dog", "rain"], RATE, 0.1)


def test_a_clip_is_named_after_its_file_unless_its_set_names_it() -> None:
    assert Clip(Path("set/audio/1-a.b.wav"), "dog").name == "1-a.b"
    assert Clip(Path("set/dog/a.wav"), "dog", None, "dog/a").name == "dog/a"
    assert Clip(Path("a.wav"), "dog", 1) == Clip(Path("a.wav"), "dog", 1, "a")


def test_unknown_label_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.wav has the label 'cat'; expected one of dog, rain"):
        load_all([Clip(tmp_path / "a.wav", "cat")], ["dog", "rain"], RATE, 0.1)
