"""Faithfulness: the definitions re-derived clip by clip, and numbers where naive formulas break."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from earmark.metrics.faithfulness import (
    RISE,
    average_drop,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
)

CLASSES = 50
TARGET = torch.tensor([0])


def draw(scale: float = 3.0, clips: int = 200) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(2, clips, CLASSES, generator=generator, dtype=torch.float64)
    return logits[0], logits[1], logits[0].argmax(1)


def naive_softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(value) for value in logits]
    return [power / math.fsum(powers) for power in powers]


def naive_probabilities(logits: Tensor, target: Tensor, softmaxes: int = 1) -> list[float]:
    chosen = []
    for row, index in zip(logits.tolist(), target.tolist(), strict=True):
        for _ in range(softmaxes):
            row = naive_softmax(row)
        chosen.append(row[index])
    return chosen


def with_probability(p: float, classes: int = 2) -> Tensor:
    """Logits whose class 0 has probability p and whose others share the rest."""
    rest = torch.full((1, classes - 1), (1 - p) / (classes - 1), dtype=torch.float64)
    return torch.cat([torch.tensor([[p]], dtype=torch.float64), rest], 1).log()


def test_hand_worked_gain_and_drop() -> None:
    # p = 0.8 -> p_in = 0.9: no drop; gain (0.9 - 0.8) / (1 - 0.8) = 1/2.
    up = with_probability(0.8), with_probability(0.9), TARGET
    assert [f(*up).item() for f in (average_increase, average_drop, average_gain)] == pytest.approx(
        [100, 0, 50]
    )
    # p = 0.8 -> p_in = 0.2: no gain; drop (0.8 - 0.2) / 0.8 = 3/4.
    down = with_probability(0.8), with_probability(0.2), TARGET
    assert [f(*down).item() for f in (average_increase, average_drop, average_gain)] == pytest.approx(
        [0, 75, 0]
    )


def test_hand_worked_faithfulness() -> None:
    # p = 0.8 -> p_out = 0.2: 0.6; the logits are ln p here: ln 0.8 - ln 0.2 = ln 4.
    removed = with_probability(0.8), with_probability(0.2), TARGET
    assert faithfulness(*removed).item() == pytest.approx(0.6)
    assert faithfulness(*removed, of="logit").item() == pytest.approx(math.log(4))


def test_random_logits_match_the_definitions() -> None:
    logits, masked, target = draw()
    pairs = list(zip(naive_probabilities(logits, target), naive_probabilities(masked, target), strict=True))
    expected: dict[Callable[[Tensor, Tensor, Tensor], Tensor], list[float]] = {
        average_increase: [100.0 if p_in > p else 0.0 for p, p_in in pairs],
        average_drop: [100 * max(0, p - p_in) / p for p, p_in in pairs],
        average_gain: [100 * max(0, p_in - p) / (1 - p) for p, p_in in pairs],
        faithfulness: [p - p_in for p, p_in in pairs],
    }
    for metric, values in expected.items():
        assert metric(logits, masked, target).tolist() == pytest.approx(values, rel=1e-9, abs=1e-12)
    decisions = [row.index(max(row)) for row in masked.tolist()]
    same = [float(a == b) for a, b in zip(target.tolist(), decisions, strict=True)]
    assert input_fidelity(logits, masked).tolist() == same


def test_any_class_may_be_the_target() -> None:
    logits, masked, _ = draw()
    target = torch.arange(len(logits)) % CLASSES
    p, p_in = naive_probabilities(logits, target), naive_probabilities(masked, target)
    gains = [100 * max(0, b - a) / (1 - a) for a, b in zip(p, p_in, strict=True)]
    assert max(gains) > 1
    assert average_gain(logits, masked, target).tolist() == pytest.approx(gains, rel=1e-9, abs=1e-12)


def test_paper_protocol_is_a_second_softmax() -> None:
    logits, masked, target = draw()
    p, p_in = naive_probabilities(logits, target, 2), naive_probabilities(masked, target, 2)
    expected = [100 * max(0, a - b) / a for a, b in zip(p, p_in, strict=True)]
    assert average_drop(logits, masked, target, "paper").tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("classes", [2, 10, 50])
def test_paper_protocol_hides_total_destruction(classes: int) -> None:
    # Certain of the class, then certain of another: e/(e + K - 1) drops to 1/(e + K - 1), by 1 - 1/e.
    sure = 1e3 * torch.eye(classes)[:1]
    sure_of_another = 1e3 * torch.eye(classes)[1:2]
    assert average_drop(sure, sure_of_another, TARGET).item() == 100
    drop = average_drop(sure, sure_of_another, TARGET, "paper").item()
    assert drop == pytest.approx(100 * (1 - 1 / math.e), rel=1e-5)


def test_paper_protocol_never_exceeds_its_bound() -> None:
    for scale in (0.1, 3.0, 100.0):
        logits, masked, target = draw(scale, clips=1000)
        assert average_drop(logits, masked, target, "paper").max() <= 63.22


def test_keeping_everything_neither_raises_nor_drops() -> None:
    logits, _, target = draw()
    for metric in (average_increase, average_drop, average_gain, faithfulness):
        assert metric(logits, logits, target).count_nonzero() == 0
    assert input_fidelity(logits, logits).min() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e2, 1e4, 1e30])
def test_values_are_finite_and_in_range(scale: float, dtype: torch.dtype) -> None:
    logits, masked, best = draw(scale)
    for target in (best, logits.argmin(1), masked.argmax(1)):
        args = logits.to(dtype), masked.to(dtype), target
        values = [average_increase(*args), average_drop(*args), average_gain(*args)]
        values.append(average_drop(*args, protocol="paper"))
        for value in values:
            assert value.min() >= 0
            assert value.max() <= 100
        assert faithfulness(*args).abs().max() <= 1


def test_gain_is_right_where_one_minus_p_has_lost_its_digits() -> None:
    # 1 - p = e^-16 / (1 + e^-16) = 1.1e-7, two steps of float32; p_in saturates at 1, so the gain is
    # 1 - e^-32 / e^-16 = 100 %. For margins of 14 and 15 it is 1 - e^-15 (1 + e^-14) / (e^-14 (1 + e^-15)).
    near, sure = torch.tensor([[16.0, 0.0]]), torch.tensor([[32.0, 0.0]])
    assert average_gain(near, sure, TARGET).item() == pytest.approx(100, rel=1e-6)
    gain = 100 * (1 - math.exp(-1) * (1 + math.exp(-14)) / (1 + math.exp(-15)))
    before, after = torch.tensor([[14.0, 0.0]]), torch.tensor([[15.0, 0.0]])
    assert average_gain(before, after, TARGET).item() == pytest.approx(gain, rel=1e-5)


def test_certainty_cannot_gain() -> None:
    sure, surer = torch.tensor([[100.0, 0.0]]), torch.tensor([[200.0, 0.0]])
    assert average_gain(sure, surer, TARGET).item() == 0
    assert average_increase(sure, surer, TARGET).item() == 0


def test_drop_is_right_where_p_underflows() -> None:
    # p = e^-200, p_in = e^-201, both 0 in float32: a drop by 1 - 1/e.
    logits, masked = torch.tensor([[-200.0, 0.0]]), torch.tensor([[-201.0, 0.0]])
    assert average_drop(logits, masked, TARGET).item() == pytest.approx(100 * (1 - 1 / math.e), rel=1e-4)


def test_gain_never_exceeds_increase() -> None:
    logits, masked, target = draw(scale=10.0)
    assert (average_gain(logits, masked, target) <= average_increase(logits, masked, target)).all()


@pytest.mark.parametrize(("share", "counts"), [(0.9, False), (1.1, True)])
def test_what_rounding_raises_is_no_rise_where_that_is_asked_for(share: float, counts: bool) -> None:
    # p = 1/2 rises by a share of RISE, and so by twice that share of what is missing.
    pair = with_probability(0.5), with_probability(0.5 + share * RISE), TARGET
    assert average_increase(*pair, least=RISE).item() == 100 * counts
    gain = 100 * 2 * share * RISE
    assert average_gain(*pair, least=RISE).item() == pytest.approx(gain * counts, rel=1e-6)
    # By definition any rise counts.
    assert average_increase(*pair).item() == 100
    assert average_gain(*pair).item() == pytest.approx(gain, rel=1e-6)


def test_no_least_rise_changes_what_rises_by_more() -> None:
    logits, masked, _ = draw()
    target = torch.arange(len(logits)) % CLASSES
    p, p_in = (torch.tensor(naive_probabilities(each, target)) for each in (logits, masked))
    for metric in (average_increase, average_gain):
        expected = metric(logits, masked, target).where(p_in - p > 0.01, 0)
        assert torch.equal(metric(logits, masked, target, least=0.01), expected)
        assert not torch.equal(expected, metric(logits, masked, target))
