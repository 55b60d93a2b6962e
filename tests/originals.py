"""Checkpoints as the original networks save them, and what the originals say of one sound."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from torch import Tensor

_HERE = Path(__file__).parent
_TOOL = runpy.run_path(str(_HERE.parent / "tools" / "make_checkpoint_goldens.py"))
GOLDENS: dict[str, Any] = json.loads((_HERE / "classifiers" / "checkpoint_goldens.json").read_text())
LABELS = tuple(f"class {index}" for index in range(50))

weights: Callable[[Mapping[str, list[int]]], dict[str, Tensor]] = _TOOL["weights"]
sound: Callable[[int, float], Tensor] = _TOOL["sound"]
_probes: Callable[[Tensor, int], list[float]] = _TOOL["probes"]


def assert_equal(ours: Tensor, golden: list[float], atol: float = 1e-4) -> None:
    """See that a tensor, laid out as the original's, has the golden values."""
    found = torch.tensor(_probes(ours, len(golden)))
    torch.testing.assert_close(found, torch.tensor(golden), rtol=1e-4, atol=atol)


def panns_state(name: str) -> dict[str, Tensor]:
    """Return the weights of one of PANNs, its front end built by hand."""
    golden = GOLDENS["panns"][name]
    shapes = golden["shapes"]
    state = weights({key: shape for key, shape in shapes.items() if "extractor" not in key})
    bins, _, window = shapes["spectrogram_extractor.stft.conv_real.weight"]
    angle = 2 * np.pi * np.outer(np.arange(bins), np.arange(window)) / window
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    bank = librosa.filters.mel(
        sr=golden["rate"], n_fft=window, n_mels=64, fmin=50, fmax={1024: 14000, 512: 8000}[window]
    )
    front = {"conv_real": np.cos(angle) * hann, "conv_imag": -np.sin(angle) * hann}
    for part, kernel in front.items():
        state[f"spectrogram_extractor.stft.{part}.weight"] = torch.from_numpy(kernel[:, None]).float()
    state["logmel_extractor.melW"] = torch.from_numpy(bank.T.copy())
    return state


def write_panns(path: Path, name: str = "cnn6", **changes: Any) -> Path:
    """Write one of PANNs as its authors do; changes replace weights, None removes one."""
    state = panns_state(name) | changes
    kept = {key: value for key, value in state.items() if value is not None}
    torch.save({"iteration": np.int64(7), "model": kept, "sampler": {"indexes": np.arange(3)}}, path)
    return path


def write_recipe(folder: Path, size: str = "speechbrain", labels: tuple[str, ...] = LABELS) -> Path:
    """Write the files of the recipe's training."""
    for name, shapes in GOLDENS[size]["shapes"].items():
        torch.save(weights(shapes), folder / name)
    lines = [f"{label!r} => {index}" for index, label in enumerate(labels)]
    (folder / "label_encoder.txt").write_text("\n".join([*lines, "=" * 16, "'starting_index' => 0\n"]))
    return folder
