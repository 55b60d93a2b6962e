"""How many clips a second `earmark explain --manifest` explains, over the classifier's own passes.

    python bench/archive.py [--clips 96] [--into docs/scale.md]

5 s of noise with a tone each, as FLAC at 44.1 kHz, explained with scores by the bundled L-MAC. *Floor*: the
classifier's forward pass of the same windows in batches of 8, and nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from tables import emit

from earmark.api import prepare
from earmark.archive.local import BATCH, explain_here
from earmark.archive.parts import Parts
from earmark.archive.rows import Explaining
from earmark.memory import keep_freed_memory

RATE, SECONDS = 44_100, 5


def write_clips(folder: Path, count: int) -> list[Path]:
    """Write clips of a tone in noise."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:04d}.flac" for number in range(count)]
    for path in paths:
        tone = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 4000) * np.arange(SECONDS * RATE) / RATE)
        soundfile.write(path, tone + 0.05 * rng.standard_normal(len(tone)), RATE)
    return paths


def floor(count: int) -> float:
    """Return the classifier's windows a second."""
    classifier = prepare().quick().classifier
    waveform = 0.1 * torch.randn(BATCH, SECONDS * classifier.spectrogram.sample_rate)
    with torch.inference_mode():
        classifier(waveform)
        started = time.perf_counter()
        for _ in range(count // BATCH):
            classifier(waveform)
    return count / (time.perf_counter() - started)


def main() -> None:
    """Explain the same clips with no, one and two readers, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--into", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    torch.set_num_threads(2)
    keep_freed_memory()  # as the command line does
    own = floor(given.clips)
    rows = [("the classifier alone", f"{own:.1f}", "1.00")]
    with tempfile.TemporaryDirectory() as folder:
        paths = write_clips(Path(folder), given.clips)
        for workers in (0, 1, 2):
            explaining = Explaining(prepare())
            parts = Parts(Path(folder) / f"out{workers}", {})
            started = time.perf_counter()
            explain_here(explaining, paths, parts, workers)
            speed = given.clips / (time.perf_counter() - started)
            rows.append((f"{workers} workers", f"{speed:.1f}", f"{speed / own:.2f}"))
    emit("archive", ("", "clips a second", "of the floor"), rows, given.into)


if __name__ == "__main__":
    main()
