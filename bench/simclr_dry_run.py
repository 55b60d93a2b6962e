"""One step of SimCLR at full size: how much it computes, and how much memory it needs.

    python bench/simclr_dry_run.py [--config recipes/simclr.yaml] [--sounds 8 24] [--into docs/scale.md]

The step is made with few sounds, at two sizes; both figures grow in proportion to the sounds beyond what the
network itself takes, which tells what a device with its share of the recipe's batch needs. FLOPs are those of
convolutions and matrix products, counted by torch, forward and backward. Memory is the process's peak beyond
what it had before, each size in a process of its own. *Drawing*: sounds a second, two views of each, from
files of 10 s; a device that trains on fewer waits for none.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from tables import emit
from torch.utils.flop_counter import FlopCounterMode

from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.classifiers.simclr.training import SimclrRecipe, SimclrStep
from earmark.classifiers.simclr.views import draw_views
from earmark.data.segments import OnDisk
from earmark.training.recipe import load_recipe

DEVICES = 8


def one_step(recipe: SimclrRecipe, sounds: int) -> tuple[float, float, float, int]:
    """Return TFLOPs, GB, seconds and parameters of a step of AdamW."""
    torch.manual_seed(0)
    form = recipe.model_dump(include={"width", "n_mels", "mel_scale", "spectrogram", "dropout"})
    network = Cnn14(Cnn14Config(labels=("none", "other"), seconds=recipe.views.seconds, **form))
    step = SimclrStep(network, recipe)
    optimizer = torch.optim.AdamW([p for p in step.parameters() if p.requires_grad])
    samples = round(recipe.views.seconds * network.spectrogram.sample_rate)
    views = 0.1 * torch.randn(2, sounds, samples)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    with FlopCounterMode(display=False) as counter:
        step(views[0], views[1])["loss"].backward()
    optimizer.step()
    seconds = time.perf_counter() - started
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
    return counter.get_total_flops() / 1e12, more, seconds, sum(p.numel() for p in step.parameters())


def drawing(recipe: SimclrRecipe, ending: str, own_rate: int, sounds: int = 64) -> list[str]:
    """Return how many sounds a second one and two threads draw two views of, from files of 10 s."""
    rng = np.random.default_rng(0)
    rate = recipe.spectrogram.sample_rate
    samples, found = round(recipe.views.seconds * rate), []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number:03d}.{ending}" for number in range(sounds)]
        for path in paths:
            soundfile.write(path, 0.1 * rng.standard_normal(10 * own_rate), own_rate)
        recordings, index = OnDisk(paths, rate), torch.arange(sounds)
        for count in (1, 2):
            with ThreadPoolExecutor(count) as threads:
                draw = partial(draw_views, recordings, index, index, [], recipe.views, samples, threads)
                draw()
                started = time.perf_counter()
                draw()
            found.append(f"{sounds / (time.perf_counter() - started):.0f}")
    return found


def main() -> None:
    """Make a step at two sizes, and write what a device needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("recipes/simclr.yaml"))
    parser.add_argument("--sounds", type=int, nargs=2, default=(8, 24))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    recipe = load_recipe(SimclrRecipe, given.config)
    if given.one:
        print(*one_step(recipe, given.one))
        return
    found = []
    for sounds in given.sounds:
        command = [sys.executable, __file__, "--config", str(given.config), "--one", str(sounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append([float(value) for value in done.stdout.split()])
    few, many = given.sounds
    share = recipe.loop.batch_size // DEVICES

    def at(column: int, sounds: int) -> float:
        slope = (found[1][column] - found[0][column]) / (many - few)
        return found[0][column] + slope * (sounds - few)

    columns = (few, many, share)
    header = ("", *(f"{sounds} sounds" for sounds in columns[:2]), f"{share} sounds, a device's share of 8")
    rows = [
        ("TFLOPs a step", *(f"{at(0, sounds):.2f}" for sounds in columns)),
        ("GB, in single precision", *(f"{at(1, sounds):.1f}" for sounds in columns)),
        ("seconds on this CPU", *(f"{at(2, sounds):.1f}" for sounds in columns[:2]), "-"),
        ("million parameters", *(f"{found[0][3] / 1e6:.1f}" for _ in columns)),
    ]
    emit("dry-run", header, rows, given.into)
    kinds = {"FLAC, 44.1 kHz": ("flac", 44_100), "WAV, 16 kHz": ("wav", 16_000)}
    drawn = [(name, *drawing(recipe, *kind)) for name, kind in kinds.items()]
    emit("drawing", ("sounds a second", "1 thread", "2 threads"), drawn, given.into)


if __name__ == "__main__":
    main()
