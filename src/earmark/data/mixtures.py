"""Mix two sounds at a signal-to-noise ratio, and choose which sounds to mix."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from earmark.errors import DataError


def gain_for_snr(signal: Tensor, interferer: Tensor, snr_db: float | Tensor) -> Tensor:
    """Find the gain of the interferer that gives a signal-to-noise ratio over the whole clip.

    Args:
        signal: (batch, samples).
        interferer: (batch, samples).
        snr_db: 10 log10(sum signal² / sum (gain interferer)²) in dB; one number or (batch,).

    Returns:
        (batch, 1); 0 where the signal or the interferer is silent, as no gain could give the ratio.

    >>> gain_for_snr(torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 2.0]]), 20.0)
    tensor([[0.0500]])
    """
    signal_norm = torch.linalg.vector_norm(signal, dim=1, keepdim=True)
    interferer_norm = torch.linalg.vector_norm(interferer, dim=1, keepdim=True)
    snr = torch.as_tensor(snr_db, dtype=signal.dtype, device=signal.device).reshape(-1, 1)
    # Next to the smallest float the gain would be infinite, and 0 * infinity is NaN.
    gain = torch.nan_to_num(signal_norm / interferer_norm * 10 ** (-snr / 20))
    return torch.where(interferer_norm > 0, gain, 0)


def mix(signal: Tensor, interferer: Tensor, snr_db: float | Tensor) -> tuple[Tensor, Tensor]:
    """Add an interferer to a signal at a signal-to-noise ratio; the signal keeps its level.

    Args:
        signal: (batch, samples).
        interferer: (batch, samples).
        snr_db: in dB over the whole clip; one number or (batch,).

    Returns:
        mixture: (batch, samples), signal + scaled interferer; may exceed ±1.
        scaled_interferer: (batch, samples), what was added; zero where either is silent.

    >>> mixture, added = mix(torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 2.0]]), 0.0)
    >>> mixture, added
    (tensor([[2., 0.]]), tensor([[1., 1.]]))
    """
    scaled = gain_for_snr(signal, interferer, snr_db) * interferer
    return signal + scaled, scaled


def pairs_of_other_class(labels: Tensor, per_clip: int, seed: int) -> Tensor:
    """Give each clip its own interferers, all distinct and of another class.

    The draw for a clip depends on the seed, its index and the labels alone, not on other draws.

    Args:
        labels: (clips,) class indices.
        per_clip: how many interferers a clip gets.
        seed: not negative; the same seed gives the same pairs.

    Returns:
        int64 (clips * per_clip, 2): the clip's index and its interferer's; a clip's pairs lie together.

    Raises:
        DataError: a class has fewer than `per_clip` clips of other classes to mix with.

    >>> pairs_of_other_class(torch.tensor([0, 0, 1]), per_clip=1, seed=0)[:2]
    tensor([[0, 2],
            [1, 2]])
    """
    classes = labels.cpu().numpy()
    pairs = np.empty((len(classes), per_clip, 2), dtype=np.int64)
    for index, label in enumerate(classes):
        others = np.flatnonzero(classes != label)
        if len(others) < per_clip:
            given = f"class {label} has other classes' clips to mix with: {len(others)}"
            raise DataError(given, f"at least {per_clip}", "add clips of another class")
        pairs[index, :, 0] = index
        pairs[index, :, 1] = np.random.default_rng([seed, index]).choice(others, per_clip, replace=False)
    return torch.from_numpy(pairs.reshape(-1, 2))
