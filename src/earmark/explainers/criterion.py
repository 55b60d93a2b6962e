"""Which epoch of a trained explainer is kept: one figure of the bench's scores on the validation clips."""

from __future__ import annotations

from earmark.training.loop import Row


def criterion(row: Row, mean_limit: float = 0.25) -> float:
    """Return the figure whose highest epoch is kept: faithful on mixtures, and about the right source.

    (AI − AD + AG) / 100 + FF + Fid-In + SI-SDR improvement / 10 dB + energy share, less ten times
    what the mean of the mask exceeds its limit, and five times the energy that is kept for classes that are
    not there, where that was scored. Masks on features cannot be heard: they go without the
    two that speak of sound. Where binary masks were scored, the mean of their first five terms is added.
    """
    audible = row.get("SI-SDRi", 0.0) / 10 + row.get("share", 0.0)
    binary = [_faithful(row, name.removeprefix("AI")) for name in row if name.startswith("AI ")]
    ranked = sum(binary) / len(binary) if binary else 0.0
    empty = 5 * row.get("absent energy", 0.0)
    return _faithful(row) + audible + ranked - 10 * max(0.0, row["MM"] - mean_limit) - empty


def _faithful(row: Row, at: str = "") -> float:
    return (row[f"AI{at}"] - row[f"AD{at}"] + row[f"AG{at}"]) / 100 + row[f"FF{at}"] + row[f"Fid-In{at}"]
