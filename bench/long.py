"""Long recordings: how many times faster than real time, and how much memory, at 1 min, 10 min and 1 h.

    python bench/long.py [--minutes 1 10 60] [--threads 2] [--into docs/long-recordings.md]

The sounds are noise with a tone now and then, as FLAC at 44.1 kHz, explained by the bundled model; each in a
process of its own. Memory is the peak beyond what the process has with the model loaded. The floor is the
classifier's forward pass over each window once, batched in the same way and measured in the same process;
an explanation with its scores takes three such passes. Reading is decoding, mixing and resampling alone.
Both are compared by the processors' time, which others on the machine change less than the clock's.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import torch
from tables import emit

from earmark import audio
from earmark.api import prepare
from earmark.explaining import batched
from earmark.memory import keep_freed_memory
from earmark.recording import explain_recording
from earmark.windowing import Window

RATE = 44100
FLOOR_WINDOWS = 64


def write_sound(path: Path, minutes: float) -> None:
    """Write noise with a tone for five of every twenty seconds, a second at a time."""
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for second in range(round(60 * minutes)):
            time_of = second + np.arange(RATE) / RATE
            tone = 0.2 * np.sin(2 * np.pi * 1500 * time_of) * (second % 20 >= 15)
            file.write(0.03 * generator.standard_normal(RATE) + tone)


def memory(kind: str) -> float:
    """Return this process's resident memory ("VmRSS"), or the most it was ("VmHWM"), in MB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(rf"{kind}:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


def floor(windows: list[Window]) -> float:
    """Return the CPU seconds of the classifier's forward pass for a window, in batches of 8."""
    classifier = prepare().classifier
    batches = [torch.from_numpy(np.stack([window.waveform for window in b])) for b in batched(windows, 8)]
    with torch.inference_mode():
        classifier(batches[0])
        started = time.process_time()
        for batch in batches:
            classifier(batch)
    return (time.process_time() - started) / len(windows)


def child(path: Path, threads: int) -> None:
    """Explain a file, and print the figures as JSON."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as the command line does
    request = prepare()
    rate, before = request.sample_rate, memory("VmRSS")
    # From here on the peak counts anew.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        started, working = time.perf_counter(), time.process_time()
        recorded = explain_recording(request, path, folder)
        seconds, working = time.perf_counter() - started, time.process_time() - working
    peak = memory("VmHWM") - before
    started = time.process_time()
    read = sum(len(block) for block in audio.stream(path, rate))
    reading = time.process_time() - started
    windows = list(islice(request.windows.cut(audio.stream(path, rate)), FLOOR_WINDOWS))
    count = len(recorded.values["timeline"])
    print(
        json.dumps(
            {
                "sound": read / rate,
                "windows": count,
                "seconds": seconds,
                "working": working,
                "peak": peak,
                "reading": reading,
                "floor": floor(windows) * count,
            }
        )
    )


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, nargs="*", default=[1, 10, 60])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--into", type=Path, nargs="*", default=[], help="documents that quote the table")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.threads)
        return
    rows = []
    for minutes in arguments.minutes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "noise.flac"
            write_sound(path, minutes)
            threads = str(arguments.threads)
            command = [sys.executable, __file__, "--child", str(path), "--threads", threads]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        it = json.loads(done.stdout)
        rows.append(
            (
                f"{minutes:g} min",
                f"{it['windows']}",
                f"{it['seconds']:.1f} s",
                f"{it['sound'] / it['seconds']:.0f}",
                f"{it['working']:.1f} s",
                f"{it['peak']:.0f} MB",
                f"{it['working'] / it['floor']:.1f}",
                f"{it['reading'] / it['working']:.0%}",
            )
        )
    header = [
        "sound",
        "windows",
        "time",
        "times real time",
        "CPU time",
        "peak memory",
        "CPU / floor",
        "reading",
    ]
    emit("long", header, rows, arguments.into)


if __name__ == "__main__":
    main()
