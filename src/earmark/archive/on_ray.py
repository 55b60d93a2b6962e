"""On many machines: Ray Data hands recordings to actors that hold the model, and each writes its parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from earmark.archive.local import BATCH
from earmark.archive.parts import Parts
from earmark.archive.rows import Explaining, Row
from earmark.archive.windows import pieces_of
from earmark.explaining import Request, batched
from earmark.memory import keep_freed_memory

_FILES_A_PART = 16


class Actor:
    """Holds a model, and explains batches of recordings.

    Args:
        make: makes the request, on the actor's own machine.
        folder: of the archive's results, which all machines see.
        wish: see `Parts`.
    """

    def __init__(self, make: Callable[[], Request], folder: str, wish: dict[str, object]) -> None:
        keep_freed_memory()
        self.explaining = Explaining(make())
        self.parts = Parts(Path(folder), wish)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Explain recordings, write their part, and say how many windows each has."""
        files = [Path(str(name)) for name in batch["file"]]
        rows = [row for file in files for row in rows_of(self.explaining, file)]
        # By what is in it: a batch that is tried again after an actor's death replaces its own part.
        name = hashlib.sha256("\n".join(map(str, files)).encode()).hexdigest()[:16]
        self.parts.add(rows, name)
        own = [[row for row in rows if row["file"] == str(file)] for file in files]
        broken = [any(row["error"] for row in its) for its in own]
        return {"file": batch["file"], "windows": list(map(len, own)), "broken": broken}


def rows_of(explaining: Explaining, file: Path) -> list[Row]:
    """Return the rows of a recording."""
    request = explaining.request
    pieces = pieces_of(file, request.sample_rate, request.windows)
    return [row for batch in batched(pieces, BATCH) for row in explaining(batch)]


def explain_on_ray(
    make: Callable[[], Request],
    files: Sequence[Path],
    folder: Path,
    wish: dict[str, object],
    workers: int,
    report: Callable[[str, int, bool], None] | None = None,
) -> None:
    """Explain recordings with Ray Data; what is done already must not be among them.

    Args:
        make: makes the request; it is called once in each actor.
        files: the recordings, which all machines see under these names.
        folder: of the results, likewise.
        wish: see `Parts`.
        workers: actors.
        report: called after each recording.
    """
    import ray

    table = ray.data.from_items([{"file": str(file.resolve())} for file in files])
    done = table.repartition(max(1, -(-len(files) // _FILES_A_PART))).map_batches(
        Actor,
        fn_constructor_args=(make, str(folder.resolve()), wish),
        batch_size=_FILES_A_PART,
        concurrency=max(1, workers),
    )
    for row in done.iter_rows():
        if report:
            report(str(row["file"]), int(row["windows"]), bool(row["broken"]))
