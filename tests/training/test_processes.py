"""Two processes come to what one comes to: the same losses, every clip once, whole checkpoints."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

PROGRAM = Path(__file__).with_name("several.py")


def run(
    what: str, folder: Path, devices: int, launcher: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(PROGRAM), what, str(folder), str(devices)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def log_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    found = {}
    for devices in (1, 2):
        folder = tmp_path_factory.mktemp(f"curves{devices}")
        done = run("curves", folder, devices)
        assert done.returncode == 0, done.stderr[-3000:]
        found[devices] = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.parametrize("trainer", ["classifier", "lmac", "l2i", "piq", "simclr"])
def test_two_processes_have_the_loss_curve_of_one(curves: dict[int, dict[str, Any]], trainer: str) -> None:
    """Of 20 steps of 13 clips, so that shares are uneven; with dropout, SpecAugment, batch normalisation."""
    one, two = (np.array(curves[devices]["losses"][trainer]) for devices in (1, 2))
    assert len(one) == 20
    assert np.ptp(one) > 0.01 * np.abs(one).max()  # it learns, or draws, something
    np.testing.assert_allclose(two, one, rtol=1e-4)


def test_batch_normalisation_goes_over_all_processes(curves: dict[int, dict[str, Any]]) -> None:
    one, two = (curves[devices]["state"] for devices in (1, 2))
    running = [name for name in one if "running" in name]
    assert running
    for name in running:
        np.testing.assert_allclose(two[name], one[name], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("launcher", [(), ("-m", "torch.distributed.run", "--nproc-per-node", "2")])
def test_every_clip_is_seen_once_an_epoch(tmp_path: Path, launcher: tuple[str, ...]) -> None:
    done = run("1", tmp_path, 1 if launcher else 2, launcher)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"seen{rank}.json").read_text()) for rank in (0, 1))
    assert len(first) == len(second) == 5
    for mine, theirs in zip(first, second):
        assert 0 <= len(mine) - len(theirs) <= 1
    assert sorted(clip for part in (*first, *second) for clip in part) == list(range(25))
    (row,) = log_of(tmp_path)
    # 0 + 2 + … + 12 of seven rows, shared four and three; and one row, of which each process has all.
    assert (float(row["sum"]), float(row["rows"])) == (42, 8)


def test_where_one_dies_the_other_stops_and_what_is_whole_is_taken_up_on_one(tmp_path: Path) -> None:
    done = run("dying", tmp_path / "broken", 2)
    assert done.returncode != 0
    assert "another process of this training has ended, and process 0 cannot go on alone" in done.stderr
    state = torch.load(tmp_path / "broken" / "resume.pt", weights_only=True)
    assert len(state["log"]) == len(log_of(tmp_path / "broken")) == 2
    assert not [name for name in state["step"] if name.startswith("module.")]
    assert not list((tmp_path / "broken").glob(".earmark*"))
    for folder in ("broken", "whole"):
        again = run("6", tmp_path / folder, 1)
        assert again.returncode == 0, again.stderr[-2000:]
    broken, whole = ([float(row["loss"]) for row in log_of(tmp_path / name)] for name in ("broken", "whole"))
    assert len(whole) == 6
    np.testing.assert_allclose(broken, whole, rtol=1e-5)


def test_more_processes_than_clips_are_told(tmp_path: Path) -> None:
    done = run("few", tmp_path, 2)
    assert done.returncode != 0
    assert "2 processes share batches of 1 clips" in done.stderr
