"""The page of a report: what is in it, and that nothing of a file's name or label can become markup."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from typer.testing import CliRunner

import earmark
from earmark.cli.main import app
from earmark.errors import DataError
from earmark.features.masking import apply_mask
from earmark.features.spectrogram import Spectrogram
from earmark.report.html import explanations_in, make_page, mask_between

RATE = 16_000


@pytest.fixture(scope="session")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Explain two sounds by two methods each."""
    folder = tmp_path_factory.mktemp("explained")
    time = np.arange(RATE) / RATE
    for name, pitch in (("a b", 300), ("ünder", 900)):
        sound = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.05 * np.random.default_rng(0).standard_normal(RATE)
        soundfile.write(folder / f"{name}.wav", sound, RATE)
    sounds = [folder / "a b.wav", folder / "ünder.wav"]
    for method in ("lmac", "gradcam"):
        for sound in sounds:
            earmark.explain(sound, method=method, check=method == "lmac").save(folder / method)
    return folder


def data_of(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_mask_between_a_sound_and_its_part_is_the_mask() -> None:
    spectrogram = Spectrogram()
    sound = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    stft = spectrogram(sound)
    mask = torch.linspace(0, 1, stft.shape[1])[None, :, None].expand_as(stft)
    part = spectrogram.inverse(apply_mask(stft, mask), 8000)
    found = mask_between(sound[0], part[0], spectrogram.config)
    # A masked spectrum is that of no sound: what is between neighbours' masks is near, not equal.
    assert (found - mask[0]).abs().median() < 0.02
    assert mask_between(sound[0], sound[0], spectrogram.config).min() > 0.999
    assert mask_between(sound[0], torch.zeros(8000), spectrogram.config).max() == 0
    assert mask_between(torch.zeros(8000), torch.zeros(8000), spectrogram.config).max() == 0


def test_a_sound_is_once_on_the_page_with_all_its_explanations(explained: Path) -> None:
    page, problems = make_page([explained / "lmac", explained / "gradcam"])
    assert problems == []
    assert [entry["name"] for entry in page.list] == ["a b.wav", "ünder.wav"]
    for entry in page.list:
        assert [one["method"] for one in entry["variants"]] == ["lmac", "gradcam"]
        assert [one["trust"] is None for one in entry["variants"]] == [False, True]
    assert (len(page.sounds), len(page.masks)) == (2, 4)


def test_sounds_and_masks_are_in_the_page(explained: Path) -> None:
    page, _ = make_page([explained / "lmac"])
    text = page.render("A title", "about")
    data = data_of(text)
    entry = data["list"][0]
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(data["sounds"][entry["audio"]])))
    original, _ = soundfile.read(explained / "a b.wav")
    assert rate == RATE
    assert np.abs(sound - original).max() < 3e-4
    picture = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(data["masks"][entry["variants"][0]["mask"]])))
    )
    explanation = earmark.explain(explained / "a b.wav")
    assert picture.shape == tuple(explanation.mask.shape)
    loud = earmark.explain(explained / "a b.wav").spectrogram.n_fft * 300 // RATE
    found = picture[::-1][loud] / 255
    assert np.abs(found - explanation.mask[loud].numpy()).mean() < 0.05
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text


def test_names_and_labels_are_text_and_never_markup(explained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nasty"
    shutil.copytree(explained / "lmac", folder)
    nasty = '</script><script>alert("1")</script><img src=x onerror=alert(2)>\u2028'
    path = folder / "a b.json"
    values = json.loads(path.read_text(encoding="utf-8")) | {"input": nasty, "label": nasty}
    path.write_text(json.dumps(values), encoding="utf-8")
    page, _ = make_page([folder])
    text = page.render(nasty, nasty)
    assert text.count("<script") == 2
    assert "<img" not in text
    assert data_of(text)["list"][0]["variants"][0]["label"] == nasty


def test_what_is_broken_is_named_among_good_ones(explained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(explained / "lmac", folder)
    (folder / "ünder.listen.wav").write_bytes(b"no sound")
    (folder / "zero.json").write_text("{")
    values = json.loads((folder / "a b.json").read_text(encoding="utf-8"))
    (folder / "nan.json").write_text(json.dumps(values | {"probability": float("nan")}))
    (folder / "short.json").write_text(json.dumps(values))
    for part, samples in (("listen", 3000), ("rest", 2000)):
        soundfile.write(folder / f"short.{part}.wav", np.zeros(samples), RATE)
    (folder / "other.json").write_text('{"what": "something else"}')
    (folder / "odd.json").write_text('{"input": "x", "timeline": []}')
    result = CliRunner().invoke(app, ["report", str(folder), "--out", str(tmp_path / "r.html")])
    assert result.exit_code == 1
    assert "1 sounds →" in result.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 5
    for part, line in zip(
        (
            "nan.json does not describe",
            "odd.json does not describe",
            "short.listen.wav has 3000 samples",
            "zero.json cannot be read",
            "ünder.listen.wav",
        ),
        sorted(lines),
    ):
        assert part in " ".join(lines), line
    troubles = [
        entry for entry in data_of((tmp_path / "r.html").read_text("utf-8"))["list"] if "trouble" in entry
    ]
    assert len(troubles) == 5


def test_an_empty_or_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no explanations"):
        list(explanations_in(tmp_path))
    with pytest.raises(DataError, match="is no folder"):
        list(explanations_in(tmp_path / "none"))


def test_what_is_too_long_has_its_figures(
    explained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.report.html.LONGEST", 0.5)
    page, problems = make_page([explained / "lmac"])
    assert problems == []
    assert "too long to be played here" in page.list[0]["trouble"]
    assert (page.sounds, page.masks) == ({}, {})
