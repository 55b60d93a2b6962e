"""What becomes of a batch of windows: a row for each, the same in one process and on a hundred machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from earmark.archive.windows import Piece
from earmark.errors import EarmarkError
from earmark.explaining import Request
from earmark.explanation import Explanation
from earmark.trust import CONTROLS, name_in, name_out

SCORES = ("AI", "AD", "AG", "FF", "Fid-In", "probability_in", "probability_out")
_CHECKED = tuple(name for control in CONTROLS for name in (name_in(control), name_out(control)))

Row = dict[str, Any]


def schema() -> Any:
    """Return the columns of a table of windows, as pyarrow has them."""
    import pyarrow as pa

    region = pa.struct([(name, pa.float32()) for name in ("start", "end", "low", "high", "share")])
    texts = ("label", "decision", "trust", "trust_said", "error")
    return pa.schema(
        [
            ("file", pa.string()),
            ("start", pa.float64()),
            ("end", pa.float64()),
            *((name, pa.string()) for name in texts),
            *((name, pa.float32()) for name in ("probability", "kept", *SCORES, *_CHECKED)),
            ("regions", pa.list_(region)),
        ]
    )


class Explaining:
    """Explains batches of windows.

    Args:
        request: the model, the method and what is wanted of it.
    """

    def __init__(self, request: Request) -> None:
        self.request = request.quick()

    def __call__(self, pieces: Sequence[Piece]) -> list[Row]:
        """Return a row for each window, in their order; what fails has its error in it."""
        rate = self.request.sample_rate
        loud = [piece for piece in pieces if piece.waveform is not None and piece.waveform.any()]
        sounds = [((piece.waveform, rate), piece.file) for piece in loud]
        found = dict(zip(map(id, loud), self.request.each(sounds)))  # type: ignore[arg-type]
        return [self._row(piece, found.get(id(piece)), rate) for piece in pieces]

    def _row(self, piece: Piece, found: list[Explanation] | EarmarkError | None, rate: int) -> Row:
        start = piece.start / rate
        length = 0 if piece.waveform is None else len(piece.waveform)
        row: Row = {"file": piece.file, "start": start, "end": start + length / rate, "error": piece.error}
        if isinstance(found, EarmarkError):
            return row | {"error": str(found)}
        if found is None:  # silence, or what could not be read
            return row
        (explanation,) = found
        said = explanation.to_dict()
        trust = said["trust"] or {}
        regions = [
            {**region, "start": region["start"] + start, "end": region["end"] + start}
            for region in said["regions"]
        ]
        scores = {name: value for name, value in said["scores"].items() if name in (*SCORES, *_CHECKED)}
        more = {"trust": trust.get("level"), "trust_said": trust.get("said"), "regions": regions}
        return (
            row | {name: said[name] for name in ("label", "decision", "probability", "kept")} | scores | more
        )
