"""An explanation on its own: regions, pictures, and files that appear all or not at all."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.figure import Figure

from earmark.errors import OutputError
from earmark.explanation import Explanation, safe_stem
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig
from earmark.regions import Region

RATE, SECONDS = 16000, 1.0
HOP, BIN = 186 / RATE, RATE / 1024  # seconds, Hz


def explanation(
    boxes: list[tuple[float, float, float, float]], level: float = 0.25, **changes: Any
) -> Explanation:
    """Explain two beeps, at 1 kHz in 0.2 … 0.4 s and, half as strong, at 3 kHz in 0.6 … 0.8 s, by boxes."""
    time = torch.arange(round(SECONDS * RATE)) / RATE
    first = torch.sin(2 * math.pi * 1000 * time) * ((time >= 0.2) & (time < 0.4))
    second = 0.5 * torch.sin(2 * math.pi * 3000 * time) * ((time >= 0.6) & (time < 0.8))
    waveform = level * (first + second)
    spectrogram = Spectrogram()
    stft = spectrogram(waveform[None])
    mask = torch.zeros(stft.shape[1:])
    for start, end, low, high in boxes:
        mask[round(low / BIN) : round(high / BIN), round(start / HOP) : round(end / HOP)] = 1
    listenable = spectrogram.inverse(mask * stft, len(waveform))[0]
    values: dict[str, Any] = {
        "mask": mask,
        "listenable": listenable,
        "remainder": waveform - listenable,
        "waveform": waveform,
        "spectrogram": SpectrogramConfig(),
        "label": "beep",
        "probability": 0.97,
        "decision": "beep",
        "scores": {"AI": 100.0, "FF": math.nan},
        "method": "boxes",
        "model": "none",
        "source": "field/two beeps.wav",
    }
    return Explanation(**{**values, **changes})


BOTH = [(0.15, 0.45, 800, 1200), (0.55, 0.85, 2800, 3200)]


def test_regions_are_the_boxes_of_the_mask_the_strongest_first() -> None:
    first, second = explanation(BOTH[::-1]).regions()
    for region, (start, end, low, high) in zip((first, second), BOTH, strict=True):
        assert (region.start, region.end) == pytest.approx((start, end), abs=HOP)
        assert (region.low, region.high) == pytest.approx((low, high), abs=BIN)
    # Twice the amplitude is four times the energy.
    assert (first.share, second.share) == pytest.approx((0.8, 0.2), abs=0.01)


def test_a_region_over_everything_is_the_sound() -> None:
    whole = explanation([(0, 2, 0, 9000)]).regions()
    assert whole == [Region(start=0.0, end=SECONDS, low=0.0, high=RATE / 2, share=1.0)]


def test_specks_and_weak_bins_are_left_out() -> None:
    speck = (0.01, 0.02, 6000, 6100)
    assert len(explanation([*BOTH, speck]).regions()) == 2
    soft = explanation(BOTH)
    assert replace(soft, mask=0.4 * soft.mask).regions() == []
    assert len(replace(soft, mask=0.4 * soft.mask).regions(threshold=0.3)) == 2
    assert explanation([]).regions() == []


def test_parts_that_touch_at_a_corner_are_one() -> None:
    assert len(explanation([(0.2, 0.3, 800, 1000), (0.3, 0.4, 1000, 1200)]).regions()) == 1


def test_saving_writes_four_files_that_hold_it(tmp_path: Path) -> None:
    saved = explanation(BOTH[:1])
    paths = saved.save(tmp_path / "new" / "folder")
    names = [f"two beeps.{ending}" for ending in ("listen.wav", "rest.wav", "png", "json")]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(names)
    (listen, rate), (rest, _) = (soundfile.read(path) for path in paths[:2])
    assert rate == RATE
    np.testing.assert_allclose(listen, saved.listenable, atol=2**-15)
    np.testing.assert_allclose(listen + rest, saved.waveform, atol=2**-14)
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_the_json_is_strict_and_complete(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    path = explanation(BOTH, decision="hum", area=0.1).save(tmp_path)[3]
    values = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert values["input"] == "field/two beeps.wav"
    assert (values["label"], values["decision"], values["probability"]) == ("beep", "hum", 0.97)
    assert values["scores"] == {"AI": 100.0, "FF": None}
    assert (values["sample_rate"], values["samples"], values["area"]) == (RATE, 16000, 0.1)
    assert set(values["regions"][0]) == {"start", "end", "low", "high", "share"}


def test_sounds_beyond_full_scale_still_add_up(tmp_path: Path) -> None:
    loud = explanation(BOTH[:1], level=1.6)
    listen, rest = (soundfile.read(path)[0] for path in loud.save(tmp_path)[:2])
    assert np.abs(listen).max() > 1
    np.testing.assert_allclose(listen + rest, loud.waveform, atol=1e-5)


@pytest.mark.parametrize("stem", ["../up", "/etc/passwd", "..", "a\\b:c*?", "x" * 300, ".hidden", " "])
def test_no_stem_leads_out_of_the_folder(stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Explanation, "plot", lambda self: Figure(figsize=(1, 1)))
    folder = tmp_path / "out"
    for path in explanation(BOTH).save(folder, stem):
        assert path.parent == folder
        assert path.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_stem_with_dots_is_kept(tmp_path: Path) -> None:
    assert explanation(BOTH).save(tmp_path, "site.3")[0].name == "site.3.listen.wav"
    assert safe_stem("site.3.wav") == "site.3"


@pytest.mark.parametrize("failing", ["plot", "to_dict"])
def test_all_files_or_none(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Explanation) -> None:
        raise OSError(28, "No space left on device")

    whole = explanation(BOTH)
    whole.save(tmp_path, "old")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(Explanation, failing, full)
    for stem in ("old", "new"):
        with pytest.raises(OutputError, match=rf"cannot write {stem}\.\* in .*No space left"):
            whole.save(tmp_path, stem)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_disk_that_fills_up_while_sounds_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=rf"cannot write two beeps\.\* in {tmp_path}: No space left"):
        explanation(BOTH).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="expected a writable folder"):
        explanation(BOTH).save(tmp_path / "out")


def test_the_picture_has_three_panels_on_common_axes() -> None:
    figure = explanation(BOTH).plot()
    panels = [axes for axes in figure.axes if axes.get_images()]
    assert len(panels) == 3
    for axes in panels:
        assert axes.get_xlim() == (0, SECONDS)
        assert axes.get_ylim() == (0, RATE / 2000)
    shown = [axes.get_images()[0].get_array() for axes in panels]
    assert all(part.shape == (513, 87) for part in shown)
    assert shown[0].max() == pytest.approx(0, abs=1e-4)
    assert shown[1].min() == pytest.approx(-80, abs=1e-4)


def test_the_picture_can_go_into_ones_own_figure() -> None:
    figure = Figure()
    assert explanation(BOTH).plot(figure) is figure


@pytest.mark.parametrize("label", ["$\\frac{", "a_b^c", "鳥のさえずり", ""])
def test_labels_are_no_mathematics(label: str, tmp_path: Path) -> None:
    assert explanation(BOTH, label=label, decision="other").save(tmp_path)[2].is_file()


def test_very_quiet_sounds_have_regions_and_pictures() -> None:
    quiet = explanation(BOTH, level=1e-30)
    assert len(quiet.regions()) == 2
    assert np.isfinite(quiet.plot().axes[0].get_images()[0].get_array()).all()


def test_its_representation_is_short() -> None:
    assert len(repr(explanation(BOTH))) < 400
