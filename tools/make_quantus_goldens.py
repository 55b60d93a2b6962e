"""Write what Quantus 0.6 says of a handful of maps to tests/metrics/quantus_goldens.json.

Run it in an environment of its own, from the repository root (Quantus is no dependency of earmark):

    python -m venv /tmp/quantus && /tmp/quantus/bin/pip install quantus==0.6.0 torch==2.13.0
    /tmp/quantus/bin/python tools/make_quantus_goldens.py

The test makes the same maps by calling `maps` here.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).parents[1] / "tests" / "metrics" / "quantus_goldens.json"


def scattered(*shape: int) -> np.ndarray:
    """Values in [0, 1] by integer arithmetic, the same on every machine and under every numpy."""
    index = np.arange(np.prod(shape), dtype=np.int64)
    return ((index * 7919 + 13) % 10007 / 10006).reshape(shape)


def maps() -> dict[str, np.ndarray]:
    """Make the maps by name, each (bins, frames) in [0, 1]."""
    base = scattered(33, 20)
    one_bin = np.zeros((33, 20))
    one_bin[5, 7] = 0.3
    return {
        "scattered": base,
        "peaked": base**8,
        "binary": (base > 0.9).astype(float),
        "one bin": one_bin,
        "hardly anything": 1e-6 * base,
        "nearly constant": 0.5 + 1e-3 * base,
        "two bins": scattered(1, 2),
        "five seconds": scattered(513, 431) ** 4,
        "all ones": np.ones((33, 20)),
        "empty": np.zeros((33, 20)),
    }


def quantus_scores(mask: np.ndarray) -> dict[str, float | None]:
    """Ask Quantus; None where it answers NaN."""
    import quantus

    batch = mask[None, None]
    if len(set(mask.flat)) == 1:
        # Quantus refuses a constant map alone; company that is no larger leaves it as it is.
        batch = np.concatenate([batch, scattered(1, 1, *mask.shape)])
    scores = {
        name: float(
            metric(disable_warnings=True)(
                model=None,
                x_batch=batch,
                y_batch=np.zeros(len(batch), int),
                a_batch=batch,
                channel_first=True,
            )[0]
        )
        for name, metric in {"SPS": quantus.Sparseness, "COMP": quantus.Complexity}.items()
    }
    return {name: None if np.isnan(value) else value for name, value in scores.items()}


def main() -> None:
    """Write the goldens."""
    goldens = {
        "quantus": version("quantus"),
        "scores": {name: quantus_scores(mask) for name, mask in maps().items()},
    }
    GOLDENS.write_text(json.dumps(goldens, indent=2) + "\n")


if __name__ == "__main__":
    main()
