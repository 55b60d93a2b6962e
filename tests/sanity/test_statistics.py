"""Intervals cover as often as they say, comparisons are made sound by sound, and gaps break nothing."""

from __future__ import annotations

import numpy as np
import pytest

from earmark.sanity.base import Row
from earmark.sanity.rows import frame_of
from earmark.sanity.statistics import by_sound, compare, interval, means, methods_of

NAN = float("nan")


def test_intervals_hold_the_truth_nearly_as_often_as_they_say() -> None:
    chance = np.random.default_rng(0)
    found = [interval(chance.exponential(size=40)) for _ in range(100)]
    covered = np.mean([one.low <= 1 <= one.high for one in found])
    assert 0.85 <= covered <= 0.99  # percentile intervals of skewed means cover a little less than 95 %


def test_interval_is_that_of_naive_resampling_and_the_same_each_time() -> None:
    values = np.random.default_rng(1).normal(3, 2, 50)
    chance = np.random.default_rng(2)
    naive = [values[chance.integers(0, 50, 50)].mean() for _ in range(4000)]
    one = interval(values)
    assert one.mean == pytest.approx(values.mean())
    assert (one.low, one.high) == pytest.approx(np.quantile(naive, [0.025, 0.975]), abs=0.1)
    assert interval(values) == one


def test_nothing_known_gives_nan() -> None:
    for nothing in ([], [NAN, NAN]):
        assert np.isnan(interval(nothing)).all()


def rows():
    """Of three sounds of very different levels: "better" gains 0.1 on each, but is missing on one."""
    levels = {"a": 0.0, "b": 5.0, "c": 90.0}
    plain = [("plain", "", Row("p", value, name, "zeros")) for name, value in levels.items()]
    better = [("better", "", Row("p", value + 0.1, name, "zeros")) for name, value in levels.items()]
    better[1] = ("better", "", Row("p", NAN, "b", "zeros"))
    other = [("plain", "", Row("p", -1.0, "a", "mean")), ("", "", Row("p", 7.0, "a", "zeros"))]
    return frame_of([*plain, *better, *other])


def test_comparisons_are_paired_and_leave_out_what_one_lacks() -> None:
    one = compare(rows(), "better", "plain", "p", variant="zeros")
    assert one == pytest.approx((0.1, 0.1, 0.1))  # unpaired, levels would swamp it
    assert all(np.isnan(compare(rows(), "better", "missing", "p")))


def test_a_sound_counts_once_however_many_rows_it_has() -> None:
    assert by_sound(rows(), "plain", "p").to_dict() == {"a": -0.5, "b": 5.0, "c": 90.0}
    assert by_sound(rows(), "missing", "p").empty


def test_means_have_a_row_per_method_and_no_more() -> None:
    frame = rows()
    assert methods_of(frame) == ["plain", "better"]
    table = means(frame, [("mean", frame[frame["variant"] == "mean"])])
    assert table.index.tolist() == ["plain", "better"]
    assert table["mean"].tolist() == pytest.approx([-1, NAN], nan_ok=True)
