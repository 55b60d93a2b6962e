"""Ours beside plain Captum, Quantus, and the paper's own decoder: latency, training step, memory, metrics.

    python bench/peers.py [--repeats 9] [--into README.md docs/performance.md]

All in one run on one machine with two threads, so that the ratios mean something. *Latency*: masks of 5 s of
sound for the bundled classifier, after the pass that decides; Captum is called by hand, with our settings
(`bench/methods.py` has every method). *Training step*: L-MAC with our decoder and with the paper's shape,
on a CNN14 of a quarter's width, batches of 8. *Metrics*: sparseness and complexity of 8 masks of 513 by 431
bins.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from methods import captum_calls, quantus_seconds
from speed import alternate, model, training_step
from tables import emit

import earmark
from earmark.memory import keep_freed_memory

METHODS = ("lmac", "saliency", "gradcam", "smoothgrad", "integrated-gradients", "occlusion")
Kind = Literal["compact", "paper"]
KINDS: tuple[Kind, ...] = ("compact", "paper")


def latencies(repeats: int) -> list[tuple[str, ...]]:
    """Time masks on the features by ours and by plain Captum, after the pass that decides."""
    bundled = earmark.load("esc10")
    classifier = bundled.classifier.frozen()
    stft = classifier.spectrogram(0.1 * torch.randn(1, 80_000))
    with torch.no_grad():
        heard = classifier.hear(stft)
    target = heard.logits.argmax(1)
    calls = captum_calls(classifier, heard.features, target)
    rows: list[tuple[str, ...]] = []
    for name in METHODS:
        ours = bundled.explainer(name).of(classifier).on("features" if name in calls else "stft")
        found = alternate(repeats, partial(ours.masks, stft, target, heard), calls.get(name, lambda: None))
        beside = (f"{1e3 * found[1]:.0f} ms", f"{found[0] / found[1]:.2f}") if name in calls else ("", "")
        rows.append((f"a mask for 5 s by {name}", f"{1e3 * found[0]:.0f} ms", *beside))
    return rows


def peak_memory(kind: Kind) -> float:
    """Return the peak resident memory in MB of a fresh process that makes two steps."""
    child = [sys.executable, __file__, "--step-only", kind]
    return float(subprocess.run(child, check=True, capture_output=True, text=True).stdout.split()[-1])


def step_only(kind: Kind) -> None:
    """Make two steps, and print this process's peak memory in MB."""
    train = training_step(model(0.25, kind))
    train()
    train()
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    print(int(line.split()[1]) / 1024)


def metrics(repeats: int) -> tuple[str, ...]:
    """Time sparseness and complexity of masks, by ours and by Quantus."""
    found = quantus_seconds(repeats)
    if found is None:
        return "SPS and COMP of 8 masks", "", "Quantus is not installed", ""
    theirs, ours = found
    return (
        "SPS and COMP of 8 masks",
        f"{1e3 * ours:.0f} ms",
        f"{1e3 * theirs:.0f} ms",
        f"{ours / theirs:.2f}",
    )


def main() -> None:
    """Measure everything, and write one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--into", type=Path, nargs="*", default=[])
    parser.add_argument("--step-only", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(2)
    keep_freed_memory()  # as the command line does
    torch.manual_seed(0)
    if given.step_only:
        step_only(given.step_only)
        return
    rows = latencies(given.repeats)
    ours, papers = alternate(
        max(3, given.repeats // 3), *(training_step(model(0.25, kind)) for kind in KINDS)
    )
    rows.append(("training step of 8 clips", f"{ours:.2f} s", f"{papers:.2f} s", f"{ours / papers:.2f}"))
    few, many = map(peak_memory, KINDS)
    rows.append(("peak memory of it", f"{few:.0f} MB", f"{many:.0f} MB", f"{few / many:.2f}"))
    rows.append(metrics(max(3, given.repeats // 3)))
    header = ("", "ours", "Captum / the paper's decoder / Quantus", "ours over theirs")
    emit("peers", header, rows, given.into)


if __name__ == "__main__":
    main()
