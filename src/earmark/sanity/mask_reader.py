"""A small network that sees masks alone: what class can it read from them?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.training.loop import in_batches

SIDE = 32
_EPOCHS, _BATCH, _RATE = 40, 16, 2e-3


def shrink(mask: Tensor) -> Tensor:
    """Return what the network sees, (batch, 2, 32, 32): means and highest values of patches.

    A single bin that spells a class is lost in a mean, and not in a highest value.

    Args:
        mask: (batch, bins, frames).
    """
    maps = mask[:, None].float()
    return torch.cat([F.adaptive_avg_pool2d(maps, SIDE), F.adaptive_max_pool2d(maps, SIDE)], dim=1)


def read(
    train: Tensor, train_labels: Tensor, test: Tensor, classes: int, seeds: Sequence[int] = (0,)
) -> Tensor:
    """Train on some masks and read others.

    Args:
        train: (clips, 2, 32, 32), as `shrink` makes them.
        train_labels: (clips,), the classes that they explain.
        test: the same of other clips.
        classes: how many there are.
        seeds: of a network each.

    Returns:
        (seeds, clips), the classes read from the test masks.
    """
    mean = train.mean(dim=0, keepdim=True)
    # One scale for all: divided by its own spread each, a patch that spells would drown among noisy ones.
    # Where all masks are alike there is nothing to read, and nothing to divide by.
    spread = (train - mean).std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-3)
    known, asked = (train - mean) / spread, (test - mean) / spread
    return torch.stack([_read_once(known, train_labels, asked, classes, seed) for seed in seeds])


def _read_once(train: Tensor, labels: Tensor, test: Tensor, classes: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = _network(classes).to(train.device).train()
        optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=0.05)
        for _ in range(_EPOCHS):
            for index in in_batches(torch.randperm(len(train), generator=generator), _BATCH):
                loss = F.cross_entropy(network(train[index]), labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    with torch.inference_mode():
        found: Tensor = network.eval()(test)
    return found.argmax(1)


def _network(classes: int) -> nn.Sequential:
    def block(channels_in: int, channels: int) -> list[nn.Module]:
        return [nn.Conv2d(channels_in, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU()]

    return nn.Sequential(
        *block(2, 16),
        *block(16, 32),
        *block(32, 64),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64 * 16, classes),
    )
