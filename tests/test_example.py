"""The example: its sound, and what the bundled model says about it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import earmark
from earmark.bundled import bundled
from earmark.explanation import Explanation
from earmark.features.spectrogram import Spectrogram

SCRIPT = Path(__file__).parent.parent / "examples" / "clock_in_rain.py"

needs_model = pytest.mark.skipif("esc10" not in bundled(), reason="the model esc10 is not in this checkout")


def explanation_of(scene: Any, keep_clock_only: bool) -> Explanation:
    spectrogram = Spectrogram()
    clock, rain = spectrogram(torch.tensor(np.stack(scene[:2]), dtype=torch.float32))
    mask = (clock.abs() > rain.abs()).float() if keep_clock_only else torch.ones(clock.shape)
    waveform = torch.tensor(scene.mixture, dtype=torch.float32)
    listenable = spectrogram.inverse((mask * (clock + rain))[None], len(waveform))[0]
    return Explanation(
        mask=mask,
        listenable=listenable,
        remainder=waveform - listenable,
        waveform=waveform,
        spectrogram=spectrogram.config,
        label="clock_tick",
        probability=1.0,
        decision="clock_tick",
        scores={},
        method="lmac",
        model="esc10",
    )


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_clock_is_as_much_louder_as_asked(example: ModuleType) -> None:
    scene = example.make_scene(snr_db=6, seed=1)
    ratio = np.square(scene.clock).sum() / np.square(scene.rain).sum()
    assert 10 * np.log10(ratio) == pytest.approx(6, abs=1e-6)
    assert np.abs(scene.mixture).max() == pytest.approx(0.9)
    assert scene.mixture.shape == (5 * 16_000,)


def test_a_seed_is_one_scene(example: ModuleType) -> None:
    np.testing.assert_array_equal(example.make_scene(seed=3).mixture, example.make_scene(seed=3).mixture)
    assert not np.allclose(example.make_scene(seed=3).clock, example.make_scene(seed=4).clock)


@pytest.mark.parametrize("seed", range(4))
def test_the_clock_ticks_evenly(example: ModuleType, seed: int) -> None:
    clock = np.abs(example.make_scene(seed=seed).clock).reshape(-1, 160).max(axis=1)  # one value per 10 ms
    loud = np.flatnonzero(clock > 0.25 * clock.max())
    starts = loud[np.diff(loud, prepend=-100) > 10]
    gaps = np.diff(starts) / 100
    assert 0.24 < gaps.mean() < 0.51
    assert gaps.std() < 0.02
    assert np.median(clock) < 0.05 * clock.max()


def test_the_rain_has_no_gaps(example: ModuleType) -> None:
    rain = example.make_scene(seed=0).rain.reshape(-1, 1600)  # 100 ms each
    level = np.sqrt(np.square(rain).mean(axis=1))
    assert level.min() > 0.5 * level.max()


def test_the_parts_add_up_in_the_files(example: ModuleType, tmp_path: Path) -> None:
    recording = example.write_scene(example.make_scene(), tmp_path / "new" / "folder")
    sounds = {path.stem: soundfile.read(path)[0] for path in recording.parent.iterdir()}
    assert sorted(sounds) == ["clock", "clock_in_rain", "rain"]
    np.testing.assert_allclose(sounds["clock"] + sounds["rain"], sounds["clock_in_rain"], atol=1e-4)


def test_an_unknown_model_is_told_in_one_line(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["example", "--out", str(tmp_path), "--model", "nobody"])
    with pytest.raises(SystemExit, match="error: there is no model 'nobody'"):
        example.main()


def test_keeping_all_is_as_good_as_the_recording(example: ModuleType) -> None:
    scene = example.make_scene(snr_db=3)
    kept, before, gain = example.compare(
        explanation_of(scene, keep_clock_only=False), scene.clock, scene.rain
    )
    assert kept == pytest.approx(before)
    assert gain == pytest.approx(0, abs=0.01)
    assert 0.5 < before < 0.8


def test_keeping_the_clock_s_bins_is_better(example: ModuleType) -> None:
    scene = example.make_scene(snr_db=3)
    kept, _, gain = example.compare(explanation_of(scene, keep_clock_only=True), scene.clock, scene.rain)
    assert kept == pytest.approx(1)
    assert gain > 5


@needs_model
def test_the_demo_hears_the_clock(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["example", "--out", str(tmp_path)])
    example.main()
    told = capsys.readouterr().out
    assert "The classifier heard: clock_tick" in told
    assert "where the clock is the louder part" in told
    for ending in ("listen.wav", "rest.wav", "png", "json"):
        assert (tmp_path / f"clock_in_rain.{ending}").is_file()


@needs_model
def test_what_the_demo_keeps_is_the_clock(example: ModuleType) -> None:
    scene = example.make_scene()
    explanation = earmark.explain((scene.mixture, example.RATE), scores=False)
    kept, before, gain = example.compare(explanation, scene.clock, scene.rain)
    assert kept > before
    assert gain > 0


@needs_model
def test_the_classifier_hears_clocks_of_many_seeds(example: ModuleType) -> None:
    model = earmark.load("esc10")
    scenes = [example.make_scene(seed=seed) for seed in range(1, 9)]
    heard = [earmark.explain((s.mixture, example.RATE), model, scores=False).label for s in scenes]
    assert heard.count("clock_tick") >= 7
