"""How an explanation shows itself in a notebook."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

import soundfile
from torch import Tensor

from earmark.pictures import percent

if TYPE_CHECKING:
    from earmark.explanation import Explanation

_LONGEST = 60.0
"""Seconds of sound that are shown as players; longer ones would make notebooks of many megabytes."""


def show(explanation: Explanation) -> str:
    """Return HTML: what was decided, the picture, and players, all within it."""
    said = (
        f"{explanation.label} {percent(explanation.probability)}, {explanation.method} on {explanation.model}"
    )
    if explanation.trust:
        said += f". {explanation.trust.said}"
    parts = [f"<p>{html.escape(said)}</p>", _picture(explanation)]
    if explanation.duration <= _LONGEST:
        sounds = {
            "what was heard": explanation.listenable,
            "the rest": explanation.remainder,
            "the whole sound": explanation.waveform,
        }
        parts += [_player(name, sound, explanation.sample_rate) for name, sound in sounds.items()]
    return f"<div>{''.join(parts)}</div>"


def _picture(explanation: Explanation) -> str:
    content = io.BytesIO()
    explanation.plot().savefig(content, format="png")
    alt = html.escape(f"spectrogram and mask, {explanation.label}", quote=True)
    return f'<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{_base64(content)}">'


def _player(name: str, sound: Tensor, rate: int) -> str:
    content = io.BytesIO()
    soundfile.write(content, sound.clamp(-1, 1).numpy(), rate, format="WAV", subtype="PCM_16")
    source = f'src="data:audio/wav;base64,{_base64(content)}"'
    caption = f"<figcaption>{name}</figcaption>"
    return f'<figure style="margin:0.5em 0">{caption}<audio controls {source}></audio></figure>'


def _base64(content: io.BytesIO) -> str:
    return base64.b64encode(content.getvalue()).decode()
