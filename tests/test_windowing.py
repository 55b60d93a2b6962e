"""Windows: where they lie, how little of the sound is held, and that stitching leaves no seam."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from earmark.windowing import Stitcher, Window, Windows

LENGTH, HOP = 16000, 186
LAYOUT = Windows.of(LENGTH, HOP)
AROUND = [1, 800, LENGTH - 1, LENGTH, LENGTH + 1, LENGTH + LAYOUT.step, LENGTH + LAYOUT.step + 1, 2 * LENGTH]
RANDOM = np.random.default_rng(0).integers(LENGTH, 8 * LENGTH, 8).tolist()


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).standard_normal(samples).astype(np.float32)


def blocks_of(sound: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (sound[start : start + size] for start in range(0, len(sound), size))


@pytest.mark.parametrize("samples", AROUND + RANDOM)
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_windows_are_whole_and_cover_the_sound(samples: int, overlap: float) -> None:
    layout, sound = Windows.of(LENGTH, HOP, overlap), noise(samples)
    windows = list(layout.cut(blocks_of(sound, 1234)))
    assert len(windows) == layout.count(samples)
    for index, window in enumerate(windows):
        assert len(window.waveform) == min(samples, LENGTH)
        assert window.start == min(index * layout.step, max(0, samples - LENGTH))
        np.testing.assert_array_equal(window.waveform, sound[window.start : window.end])
    assert windows[-1].end == samples
    assert layout.overlap >= overlap * LENGTH


@pytest.mark.parametrize("size", [1000, LENGTH, 100_000])
def test_blocks_of_any_size_give_the_same_windows(size: int) -> None:
    sound = noise(100_000)
    expected = list(LAYOUT.cut([sound]))
    for window, other in zip(LAYOUT.cut(blocks_of(sound, size)), expected, strict=True):
        assert window.start == other.start
        np.testing.assert_array_equal(window.waveform, other.waveform)


def test_an_endless_sound_is_cut_as_it_comes() -> None:
    read = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal read
        while True:
            read += 1000
            yield np.zeros(1000, np.float32)

    for window, _ in zip(LAYOUT.cut(endless()), range(50)):
        assert read - window.end < 1000
        assert window.waveform.base is None or window.waveform.base.nbytes < 4 * 2.5 * LENGTH


@pytest.mark.parametrize("samples", AROUND + RANDOM)
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_windows_stitched_are_the_sound(samples: int, overlap: float) -> None:
    layout, sound = Windows.of(LENGTH, HOP, overlap), noise(samples)
    stitcher = layout.sample_stitcher()
    parts = [stitcher.add(w.start, torch.from_numpy(w.waveform)) for w in layout.cut([sound])]
    together = torch.cat([*parts, stitcher.end()])
    torch.testing.assert_close(together, torch.from_numpy(sound), rtol=0, atol=1e-6)
    assert stitcher.position == samples


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("samples", AROUND[3:] + RANDOM)
def test_frames_of_windows_are_those_of_the_sound(samples: int, hard: bool) -> None:
    """Each frame knows its time; after stitching they must count through the sound, within a frame."""
    stitcher, frames = LAYOUT.frame_stitcher(hard), LENGTH // HOP + 1
    parts = []
    for window in LAYOUT.cut([noise(samples)]):
        times = window.start + HOP * torch.arange(frames, dtype=torch.float64)
        parts.append(stitcher.add(LAYOUT.first_frame(window), times[None]))
    together = torch.cat([*parts, stitcher.end()], dim=-1)[0]
    assert len(together) == samples // HOP + 1
    assert (together - HOP * torch.arange(len(together))).abs().max() < HOP


def test_the_change_from_window_to_window_is_a_raised_cosine() -> None:
    stitcher = LAYOUT.sample_stitcher()
    stitcher.add(0, torch.zeros(LENGTH))
    fade = stitcher.add(LAYOUT.step, torch.ones(LENGTH))[: LAYOUT.overlap]
    naive = [0.5 - 0.5 * math.cos(math.pi * (i + 0.5) / LAYOUT.overlap) for i in range(LAYOUT.overlap)]
    np.testing.assert_allclose(fade, naive, atol=1e-6)


def test_hard_masks_stay_hard() -> None:
    stitcher, frames = LAYOUT.frame_stitcher(hard=True), LENGTH // HOP + 1
    starts = [LAYOUT.first_frame(Window(start, noise(LENGTH))) for start in (0, LAYOUT.step, 2 * LAYOUT.step)]
    masks = [torch.full((2, frames), float(index % 2)) for index in range(3)]
    together = torch.cat([*(stitcher.add(s, m) for s, m in zip(starts, masks)), stitcher.end()], dim=-1)
    assert set(together.unique().tolist()) == {0.0, 1.0}
    changes = together[0].diff().nonzero().flatten() * HOP
    middles = torch.tensor([LAYOUT.step, 2 * LAYOUT.step]) + LAYOUT.overlap / 2
    assert (changes - middles).abs().max() <= HOP


def test_only_the_overlap_is_held() -> None:
    stitcher = Stitcher(torch.linspace(0, 1, 10))
    for start in range(0, 1000, 90):
        stitcher.add(start, torch.ones(3, 100))
        assert stitcher.tail is not None
        assert stitcher.tail.untyped_storage().nbytes() == 3 * 10 * 4
