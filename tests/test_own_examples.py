"""The examples of one's own networks: their sounds, their measure, and what they come to."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

EXAMPLES = Path(__file__).parent.parent / "examples"
# The methods of each, and which of them find the louder sound for sure.
METHODS = {
    "own_1d_cnn": (("integrated-gradients", "occlusion"), "integrated-gradients"),
    "own_recurrent": (("integrated-gradients", "occlusion"), "integrated-gradients"),
    "own_front_end": (("integrated-gradients", "occlusion", "gradcam"), "gradcam"),
    "own_lmac": (("lmac",), "lmac"),
}


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], ModuleType]]:
    """Return what imports an example as it imports its neighbours, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module


@pytest.fixture
def toy(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("toy_sounds")


def in_band(sound: Tensor, low: float, high: float) -> float:
    """Return the share of the energy between two frequencies in Hz at 8 kHz."""
    power = torch.fft.rfft(sound).abs().square()
    frequency = torch.fft.rfftfreq(len(sound), 1 / 8000)
    return float(power[(frequency >= low) & (frequency <= high)].sum() / power.sum())


@pytest.mark.parametrize("seed", range(3))
def test_the_sounds_are_where_they_are_said_to_be(toy: ModuleType, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    bird, engine, clicks = (toy.make_sound(label, chance) for label in toy.LABELS)
    assert in_band(bird, 1950, 3050) > 0.99
    assert in_band(engine, 0, 1000) > 0.99
    assert max(in_band(clicks, low, low + 1000) for low in range(0, 4000, 1000)) < 0.5
    energy = clicks.reshape(-1, 80).square().sum(1).sort(descending=True).values  # of 10 ms each
    assert energy[:25].sum() > 0.9 * energy.sum()


def test_mixtures_are_as_loud_as_they_are_said_to_be(toy: ModuleType) -> None:
    mixtures = toy.make_mixtures()
    assert [mixture.label for mixture in mixtures] == [label for label in toy.LABELS for _ in "12"]
    for mixture in mixtures:
        ratio = mixture.cue.square().sum() / (mixture.rest.square().sum() - 8000 * 0.01**2)
        assert 10 * torch.log10(ratio).item() == pytest.approx(5, abs=0.3)


@pytest.mark.parametrize("name", METHODS)
def test_an_example_trains_wraps_and_explains(
    load: Callable[[str], ModuleType],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", [name, "--out", str(tmp_path)])
    example, (methods, finds) = load(name), METHODS[name]
    returned = {}
    monkeypatch.setattr(example, "run", lambda out, run=example.run: returned.update(run(out)))
    example.main()
    assert set(returned) == {*methods, "whole sound"}
    assert returned[finds] > returned["whole sound"] + 0.03
    told = capsys.readouterr().out
    for method in methods:
        assert f"{returned[method]:4.0%}  {method}, to be heard in" in told
        assert (tmp_path / f"bird.{method}.listen.wav").is_file()
