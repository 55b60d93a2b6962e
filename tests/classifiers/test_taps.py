"""Tapped maps lie right, are on the way to the logits, and leave the network as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from earmark.classifiers.taps import Layout, Tokens, from_map, tapped, to_map
from earmark.errors import ModelError

# b, c, f, t and how each layout writes what lies at (channel, row, column).
LAYOUTS: dict[Layout, tuple[int, ...]] = {
    "bcft": (2, 5, 3, 4),
    "bctf": (2, 5, 4, 3),
    "bct": (2, 5, 4),
    "btc": (2, 4, 5),
    "bc": (2, 5),
    Tokens(3, 4, skip=2): (2, 14, 5),
    Tokens(3, 4, skip=1, time_first=True): (2, 13, 5),
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_map_holds_each_value_at_its_place_and_goes_back(layout: Layout) -> None:
    output = torch.randn(LAYOUTS[layout])
    found = to_map(output, layout)
    for channel in range(5):
        for row in range(found.shape[2]):
            for column in range(found.shape[3]):
                place = {"c": channel, "f": row, "t": column}
                if isinstance(layout, Tokens):
                    patch = column * 3 + row if layout.time_first else row * 4 + column
                    index = (layout.skip + patch, channel)
                else:
                    index = tuple(place[axis] for axis in layout[1:])
                assert torch.equal(found[:, channel, row, column], output[(slice(None), *index)])
    assert torch.equal(from_map(found, output, layout), output)


class Odd(nn.Module):
    """Overwrites what a layer gave, runs one twice, and has one that gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 4, 3, padding=1)
        self.again = nn.Conv1d(4, 4, 3, padding=1)
        self.rnn = nn.GRU(4, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, sound: Tensor) -> Tensor:
        maps = self.first(sound)
        maps.relu_()
        maps = maps + 1
        maps = self.again(self.again(maps))
        return self.head(self.rnn(maps.transpose(1, 2))[0].mean(1))


def test_what_is_done_in_place_reaches_neither_map_nor_gradient() -> None:
    torch.manual_seed(0)
    network, sound = Odd(), torch.randn(2, 1, 16)
    with tapped(network, {"rnn": "btc", "first": "bct"}) as maps:
        logits = network(sound)
    assert list(maps) == ["rnn", "first"]
    assert torch.equal(maps["first"][:, :, 0], network.first(sound))
    assert torch.equal(logits, network(sound))
    gradient = torch.autograd.grad(logits[:, 0].sum(), maps["first"])[0]

    moved = maps["first"].detach().clone()
    moved[0, 1, 0, 5] += 1e-2
    rest = network.again(network.again(moved[:, :, 0].relu() + 1))
    slope = (network.head(network.rnn(rest.transpose(1, 2))[0].mean(1)) - logits)[0, 0] / 1e-2
    assert gradient[0, 1, 0, 5].item() == pytest.approx(slope.item(), abs=2e-3)


def test_of_a_module_that_runs_twice_the_last_is_kept() -> None:
    network, sound = Odd(), torch.randn(2, 1, 16)
    with tapped(network, {"again": "bct"}) as maps:
        network(sound)
    once = network.again(network.first(sound).relu() + 1)
    assert torch.allclose(maps["again"][:, :, 0], network.again(once), atol=1e-6)


def test_no_hook_stays_even_after_an_error() -> None:
    network = Odd()
    with pytest.raises(ModelError, match=r"module 'rnn' gives \(2, 16, 4\); expected 4 axes"):  # noqa: SIM117
        with tapped(network, {"rnn": "bcft"}):
            network(torch.randn(2, 1, 16))
    assert not any(module._forward_hooks for module in network.modules())
    with pytest.raises(ModelError, match="no module 'frist'; expected a name such as 'first'"):
        tapped(network, {"frist": "bct"}).__enter__()
