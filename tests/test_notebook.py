"""What a notebook shows of an explanation."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import earmark

RATE = 16_000


def test_it_shows_a_picture_and_plays_the_parts() -> None:
    sound = 0.2 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    explanation = earmark.explain((sound, RATE), check=True)
    shown = explanation._repr_html_()
    players = re.findall(r'src="data:audio/wav;base64,([^"]+)"', shown)
    parts = [soundfile.read(io.BytesIO(base64.b64decode(player)))[0] for player in players]
    for part, wanted in zip(parts, (explanation.listenable, explanation.remainder, sound), strict=True):
        assert np.abs(part - np.asarray(wanted)).max() < 1e-4
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', shown)
    assert picture
    assert base64.b64decode(picture[1]).startswith(b"\x89PNG")
    assert explanation.trust.said in shown.replace("&#x27;", "'")


def test_labels_are_text_and_long_sounds_have_no_players(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = 0.2 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    explanation = replace(earmark.explain((sound, RATE)), label="<b>dog</b>")
    assert "<b>" not in explanation._repr_html_()
    assert "<audio" in explanation._repr_html_()
    monkeypatch.setattr("earmark.notebook._LONGEST", 0.5)
    assert "<audio" not in explanation._repr_html_()
    assert "<img" in explanation._repr_html_()
