"""Results as they are read; means, intervals and differences on data whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from earmark.errors import DataError, RecipeError
from earmark.evaluation.tables import (
    BETTER,
    FEWEST_CLIPS,
    at_area,
    read_results,
    select,
    summarise,
)

FIGURES = [name for name in BETTER if name != "accuracy"]


def rows(method: str, values: Sequence[float], **columns: object) -> pd.DataFrame:
    """Return results of one method, a clip per value, every figure being that value."""
    names = [f"clip {number}" for number in range(len(values))]
    fixed: dict[str, object] = {
        "protocol": "corrected",
        "domain": "stft",
        "area": np.nan,
        "condition": "clean",
    }
    fixed |= {"seed": 0, "sound": names, "clip": names, "label": "dog", "target": "dog", "error": ""}
    figures = {name: np.asarray(values, float) for name in FIGURES}
    return pd.DataFrame(fixed | {"method": method} | figures | columns)


def results(**methods: Sequence[float]) -> pd.DataFrame:
    return pd.concat([rows(name, values) for name, values in methods.items()], ignore_index=True)


def figure(summary: pd.DataFrame, method: str, metric: str) -> pd.Series:
    row = summary[(summary["method"] == method) & (summary["metric"] == metric)]
    assert len(row) == 1
    return row.iloc[0]


NORMAL = np.random.default_rng(1).normal


# Reading


def test_csv_and_parquet_are_read_alike(tmp_path: Path) -> None:
    table = pd.concat([results(lmac=[1, 2]), rows("lmac", [3, 4], area=0.05)], ignore_index=True)
    table["interferer"] = ""
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    from_csv, from_parquet = (read_results(tmp_path / f"a.{ending}") for ending in ("csv", "parquet"))
    assert from_csv["area"].tolist() == pytest.approx([np.nan, np.nan, 0.05, 0.05], nan_ok=True)
    assert from_csv["error"].tolist() == [""] * 4
    pd.testing.assert_frame_equal(from_csv, from_parquet, check_dtype=False)
    pd.testing.assert_frame_equal(summarise(from_csv), summarise(from_parquet))


def test_names_that_look_like_missing_values_are_names(tmp_path: Path) -> None:
    results(lmac=[1]).assign(label="None", target="NA").to_csv(tmp_path / "a.csv", index=False)
    assert read_results(tmp_path / "a.csv")[["label", "target"]].values.tolist() == [["None", "NA"]]


def test_figures_that_a_file_does_not_have_are_missing(tmp_path: Path) -> None:
    table = results(lmac=[1, 2]).drop(columns=["share", "share mixture", "SI-SDR", "SI-SDRi", "seconds"])
    table.to_csv(tmp_path / "a.csv", index=False)
    metrics = set(summarise(read_results(tmp_path / "a.csv"))["metric"])
    assert metrics == {*BETTER} - {"share", "share mixture", "SI-SDR", "SI-SDRi", "seconds"}


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_line_that_was_not_finished_is_left_out(tmp_path: Path, cut: int) -> None:
    text = results(lmac=[1, 2, 3]).to_csv(index=False, lineterminator="\n")
    (tmp_path / "a.csv").write_text(text[:-cut])
    assert read_results(tmp_path / "a.csv")["AI"].tolist() == [1, 2]


def _csv(**columns: object) -> bytes:
    return results(lmac=[1, 2, 3]).assign(**columns).to_csv(index=False).encode()


UNREADABLE = {
    "empty": (b"", "is empty"),
    "header": (_csv().splitlines(keepends=True)[0], "no finished row"),
    "picture": (b"\x89PNG\r\n\x1a\n\x00", "cannot be read"),
    "other": (b"name,age\nAda,36\n", "is no results file: it lacks the columns .*AI"),
    "text": (_csv(AD=["1", "2", "low"]), "row 3: AD is 'low'; expected a number"),
    "seedless": (_csv(seed=[0, "", 0]), "row 2: seed is "),
    "nameless": (_csv(clip=["a", "", "b"]), "row 2: clip is ''; expected a name"),
    "twice": (_csv(sound=["a", "b", "a"]), "row 3: sound is 'a' again"),
    "joined": (_csv() + _csv(), "row 4: seed is 'seed'"),
    "ragged": (_csv() + b"1," * 60 + b"\n", "cannot be read: .*fields in line 5"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_results_file_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    content, message = UNREADABLE[name]
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_results(tmp_path / "a.csv")
    assert "a.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_folders_and_broken_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no more")
    for name, message in (("no.csv", "does not exist"), ("", "is a folder"), ("a.parquet", "cannot be read")):
        with pytest.raises(DataError, match=message):
            read_results(tmp_path / name)


# Choosing


def test_selection_keeps_what_was_named_and_lists_what_there_is() -> None:
    table = pd.concat(
        [rows("lmac", [1], domain=d, condition=c) for d in ("stft", "features") for c in ("clean", "speech")]
    )
    chosen = select(table, ["speech"], domain="stft")
    assert chosen[["domain", "condition"]].values.tolist() == [["stft", "speech"]]
    assert len(select(table)) == 4
    with pytest.raises(RecipeError, match="no condition 'rain'; expected one of clean, speech"):
        select(table, ["clean", "rain"])
    with pytest.raises(RecipeError, match="no protocol 'paper'"):
        select(table, protocol="paper")


def test_areas_are_chosen_and_listed() -> None:
    table = pd.concat([rows("lmac", [1], area=area) for area in (np.nan, 0.05, 0.2)], ignore_index=True)
    assert at_area(table)["area"].isna().tolist() == [True]
    assert at_area(table, 0.2)["area"].tolist() == [0.2]
    with pytest.raises(RecipeError, match=r"no area 0.1; expected one of soft, 0.05, 0.2"):
        at_area(table, 0.1)
    with pytest.raises(RecipeError, match=r"no soft masks; expected one of 0.05, 0.2"):
        at_area(table[1:])


# Means and counts


def test_means_are_over_sounds_and_seeds() -> None:
    table = pd.concat([rows("lmac", [1, 2, 6]), rows("lmac", [3], seed=1)])
    row = figure(summarise(table), "lmac", "AD")
    assert (row["mean"], row["n"], row["clips"], row["failed"]) == (3, 4, 3, 0)


def test_blocks_are_kept_apart_and_in_their_order() -> None:
    parts = [
        rows("lmac", [value], condition=condition, area=area)
        for value, (condition, area) in enumerate(
            [("speech", np.nan), ("clean", np.nan), ("speech", 0.1), ("clean", 0.1)]
        )
    ]
    summary = summarise(pd.concat(parts))
    assert summary[summary["metric"] == "FF"]["mean"].tolist() == [0, 1, 2, 3]


def test_failed_rows_are_counted_and_not_averaged() -> None:
    table = results(lmac=[1, 2, 3, 4], saliency=[10, 20, 30, 40])
    failed = (table["method"] == "saliency") & (table["clip"] == "clip 3")
    table.loc[failed, "error"] = "out of memory"  # its figures are still there, and must not count
    summary = summarise(table)
    saliency, lmac = (figure(summary, method, "AI") for method in ("saliency", "lmac"))
    assert (saliency["mean"], saliency["n"], saliency["failed"]) == (20, 3, 1)
    assert (lmac["mean"], lmac["n"], lmac["failed"]) == (2.5, 4, 0)
    assert (saliency["difference"], saliency["compared"]) == (20 - 2, 3)


def test_a_method_that_always_failed_is_still_there() -> None:
    summary = summarise(pd.concat([rows("lmac", [1, 2]), rows("rise", [np.nan, np.nan], error="no memory")]))
    row = figure(summary, "rise", "AI")
    assert (row["n"], row["failed"], row["significant"]) == (0, 2, False)
    assert np.isnan(row["mean"])


def test_what_speaks_of_the_source_counts_where_its_class_was_decided() -> None:
    summary = summarise(rows("lmac", [1, 2, 6]).assign(target=["dog", "cat", "dog"]))
    share, drop, accuracy = (figure(summary, "lmac", name) for name in ("share", "AD", "accuracy"))
    assert (share["mean"], share["n"]) == (3.5, 2)
    assert (drop["mean"], drop["n"]) == (3, 3)
    assert accuracy["mean"] == pytest.approx(2 / 3)


def test_infinite_figures_do_not_spoil_the_others() -> None:
    row = figure(summarise(results(lmac=[1, 2, np.inf])), "lmac", "AD")
    assert (row["mean"], row["n"]) == (1.5, 2)


# Intervals


def test_intervals_are_those_of_scipy() -> None:
    values = NORMAL(size=50) ** 2
    row = figure(summarise(results(lmac=values), resamples=20000), "lmac", "FF")
    ours = (row["lo"], row["hi"])
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.03 * (theirs.high - theirs.low))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    summary = summarise(results(**{f"m{number}": NORMAL(5, 1, 40) for number in range(400)}))
    own = summary[summary["metric"] == "FF"]
    assert 0.91 < ((own["lo"] < 5) & (own["hi"] > 5)).mean() < 0.97


def test_the_clip_is_what_is_drawn() -> None:
    values = NORMAL(size=30)
    once = summarise(results(lmac=values))
    mixtures = [rows("lmac", values).assign(sound=[f"{n}-{k}" for n in range(30)]) for k in range(5)]
    seeds = [rows("lmac", values, seed=seed) for seed in range(5)]
    for many in (mixtures, seeds):
        again = summarise(pd.concat(many))
        assert again["n"].tolist() == (5 * once["n"]).tolist()
        assert again["clips"].tolist() == once["clips"].tolist()
        assert again[["mean", "lo", "hi"]].values == pytest.approx(once[["mean", "lo", "hi"]].values)


def test_sounds_of_one_clip_that_differ_are_drawn_together() -> None:
    # A clip's mean weighs as its number of sounds: here one clip has 21 of 50, so that the interval is wide.
    few, many = (
        rows("lmac", [0] * 29 + [1]),
        [rows("lmac", [0] * 29 + [1], seed=s)[29:] for s in range(1, 21)],
    )
    row = figure(summarise(pd.concat([few, *many])), "lmac", "FF")
    assert row["mean"] == pytest.approx(21 / 50)
    assert row["lo"] == 0  # the clip is missing from one sample in three
    assert row["hi"] > 0.6


def test_too_few_clips_get_no_interval() -> None:
    for clips in (FEWEST_CLIPS - 1, FEWEST_CLIPS):
        summary = summarise(results(lmac=range(clips), other=range(1, clips + 1)))
        other = figure(summary, "other", "FF")
        assert other["difference"] == 1
        assert other[["lo", "hi", "diff_lo", "diff_hi"]].notna().all() == (clips == FEWEST_CLIPS)
        assert other["significant"] == (clips == FEWEST_CLIPS)


def test_the_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    table = results(lmac=NORMAL(size=20), other=NORMAL(size=20))
    shuffled = table.sample(frac=1, random_state=0)
    by = ["method", "metric"]
    first, again = (summarise(each).sort_values(by, ignore_index=True) for each in (table, shuffled))
    pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first["lo"], summarise(table, seed=1).sort_values(by)["lo"])


# Differences


def test_identical_methods_never_differ() -> None:
    values = NORMAL(size=40)
    own = summarise(results(lmac=values, same=values)).query("method == 'same'")
    assert (own[["difference", "diff_lo", "diff_hi"]] == 0).all(axis=None)
    assert not own["significant"].any()


@pytest.mark.parametrize("shift", [-0.01, 0.01])
def test_a_constant_shift_always_differs(shift: float) -> None:
    values = NORMAL(size=40)
    row = figure(summarise(results(lmac=values, shifted=values + shift)), "shifted", "FF")
    assert row["significant"]
    assert row[["difference", "diff_lo", "diff_hi"]].tolist() == pytest.approx([shift] * 3)


def test_pairing_narrows_the_interval_of_what_varies_together() -> None:
    clips = NORMAL(size=60)
    table = results(lmac=clips + NORMAL(0, 0.1, 60), other=clips + 0.2 + NORMAL(0, 0.1, 60))
    summary = summarise(table)
    width = {name: figure(summary, name, "FF")[["lo", "hi"]].diff().iloc[1] for name in ("lmac", "other")}
    row = figure(summary, "other", "FF")
    assert row["diff_hi"] - row["diff_lo"] < 0.3 * np.hypot(width["lmac"], width["other"])
    assert row["significant"]


def test_chance_alone_differs_about_as_often_as_it_should() -> None:
    noise: Mapping[str, Sequence[float]] = {f"m{number}": NORMAL(size=40) for number in range(400)}
    table = results(lmac=[0.0] * 40, **noise)
    own = summarise(table).query("metric == 'FF' and method != 'lmac'")
    assert 0.02 < own["significant"].mean() < 0.1


def test_the_reference_can_be_chosen_and_may_be_missing() -> None:
    table = results(saliency=[1.0] * 9, gradcam=[3.0] * 9)
    row = figure(summarise(table, reference="gradcam"), "saliency", "FF")
    assert (row["difference"], row["significant"]) == (-2, True)
    alone = summarise(table)
    assert alone["difference"].isna().all()
    assert not alone["significant"].any()
    assert (alone["compared"] == 0).all()
