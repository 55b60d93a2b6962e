"""A study from recordings to Table 3: stimuli of one loudness, ratings read as they are, scores by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from scipy import stats
from typer.testing import CliRunner

from earmark.cli.main import app
from earmark.errors import DataError
from earmark.study.build import Builder, Recording, webmushra
from earmark.study.plan import INSTRUCTIONS, Study, read_study
from earmark.study.ratings import read_ratings
from earmark.study.scores import holm, opinion, paired, table_3
from earmark.study.stimuli import CEILING, loudness, match_levels
from earmark.study.store import Store, stored

RATE = 16_000
NASTY = "<script>alert('x')</script> \"dög\""


def noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def make_study(folder: Path, **more: object) -> Study:
    plan = Study(id="study-1", title=NASTY, conditions={"C1": "lmac", "C2": "l2i"}, trials=[], **more)
    builder = Builder(folder, plan)
    for number, group in enumerate(("website", "website", "mixtures")):
        whole = noise(2, 0.1, number)
        parts = {"lmac": 0.5 * whole, "l2i": 0.01 * whole}
        builder.add(Recording(f"{number}.wav", group, NASTY, RATE, whole, parts, random=0.1 * whole))
    return builder.finish()


# --- stimuli ------------------------------------------------------------------------------------------------


def test_parts_become_as_loud_as_the_sound_and_nothing_clips() -> None:
    whole = noise(3, 0.2)
    click = np.zeros_like(whole)
    click[8000:8400] = 0.02 * whole[8000:8400]
    parts = {"soft": 0.05 * whole, "click": click, "loud": 4 * whole, "silent": np.zeros_like(whole)}
    reference, louder, gains = match_levels(whole, parts, RATE)
    level = loudness(reference, RATE)
    assert loudness(louder["soft"], RATE) == pytest.approx(level, abs=0.1)
    assert loudness(louder["loud"], RATE) == pytest.approx(level, abs=0.1)
    assert gains["soft"] == pytest.approx(-20 * np.log10(0.05), abs=0.1)
    assert gains["click"] == 30  # what is that soft is all but silence
    assert not louder["silent"].any()
    assert max(np.abs(one).max() for one in (reference, *louder.values())) <= CEILING + 1e-6


def test_quiet_recordings_are_matched_too() -> None:
    """The standard's gate takes what is below -70 LUFS for silence."""
    whole = noise(3, 0.0004)
    _, louder, gains = match_levels(whole, {"half": 0.5 * whole}, RATE)
    assert gains["half"] == pytest.approx(6.02, abs=0.1)
    np.testing.assert_allclose(louder["half"], whole, rtol=0.02)


def test_a_clip_of_a_few_clicks_is_as_loud_as_it_sounds() -> None:
    """By its mean power a part that is silent half of the time would be made 3 dB louder than it is heard."""
    whole = noise(4, 0.1)
    half = whole.copy()
    half[len(half) // 2 :] = 0
    _, _, gains = match_levels(whole, {"half": half}, RATE)
    assert gains["half"] < 1


# --- webMUSHRA ----------------------------------------------------------------------------------------------


def test_the_configuration_is_what_webmushra_documents(tmp_path: Path) -> None:
    study = make_study(tmp_path, anchor="random", hidden_reference=True)
    text = (tmp_path / "webmushra" / "configs" / "study-1.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    assert config["testId"] == "study-1"
    assert config["remoteService"] == "service/write.php"
    welcome, trials, finish = config["pages"]
    assert (welcome["type"], finish["type"], finish["writeResults"]) == ("generic", "finish", True)
    assert trials[0] == "random"
    assert all(line in welcome["content"] for line in INSTRUCTIONS)
    for page in trials[1:]:
        assert page["type"] == "mushra"
        assert page["randomize"] is True
        assert page["showConditionNames"] is False
        assert list(page["stimuli"]) == ["C1", "C2", "anchor"]
        files = [page["reference"], *page["stimuli"].values()]
        found = [soundfile.info(tmp_path / "webmushra" / file) for file in files]
        # webMUSHRA refuses sounds of different lengths, rates or channels.
        assert len({(one.frames, one.samplerate, one.channels) for one in found}) == 1
        assert "lmac" not in str(page)
    assert "<script" not in text
    assert "&lt;script&gt;" in trials[1]["content"]
    assert study == read_study(tmp_path)


def test_a_long_sound_makes_the_test_lenient() -> None:
    study = Study(id="a", title="A", conditions={"C1": "x"}, trials=[])
    assert "strict: false" not in webmushra(study)
    assert yaml.safe_load(webmushra(study, strict=False))["pages"][1] == ["random"]


def test_a_study_is_not_overwritten_and_must_compare_something(tmp_path: Path) -> None:
    make_study(tmp_path)
    with pytest.raises(DataError, match="whose ratings would be lost"):
        make_study(tmp_path)
    many = {f"C{number}": str(number) for number in range(12)}
    with pytest.raises(DataError, match="1 to 11"):
        Builder(tmp_path / "b", Study(id="a", title="A", conditions=many, trials=[]))
    with pytest.raises(DataError, match="no recording could be used"):
        Builder(tmp_path / "c", Study(id="a", title="A", conditions={"C1": "x"}, trials=[])).finish()


def test_a_damaged_plan_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="build the study first"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text('{"id": "a b"}')
    with pytest.raises(DataError, match="id: String should match"):
        read_study(tmp_path)


# --- ratings ------------------------------------------------------------------------------------------------

HEADERS = {
    "2015": ["session_test_id", "email", "age", "gender", "trial_id", "rating_stimulus", "rating_score"],
    "2017": ["session_test_id", "age", "session_uuid", "trial_id", "rating_stimulus", "rating_score"],
    "bare": ["session_test_id", "trial_id", "rating_stimulus", "rating_score"],
}
PEOPLE = {
    "2015": [["study-1", "ann@example.org", "31", "f"], ["study-1", "bob@example.org", "44", "m"]],
    "2017": [["study-1", "31", "uuid-ann"], ["study-1", "31", "uuid-bob"]],
    "bare": [["study-1"], ["study-1"]],
}


def as_csv(rows: list[list[object]]) -> str:
    return "".join(",".join(f'"{cell}"' for cell in row) + "\r\n" for row in rows)


def written(version: str, scores: list[list[object]]) -> str:
    """Return what webMUSHRA's PHP writes for listeners who rate two recordings of two conditions."""
    rows: list[list[object]] = [[*HEADERS[version], "rating_time", "rating_comment"]]
    for person, own in zip(PEOPLE[version], scores):
        pages = [("rec01", "C1"), ("rec01", "C2"), ("rec03", "C1"), ("rec03", "C2")]
        rows += [[*person, *page, score, 5000, 'a, ""comment""'] for page, score in zip(pages, own)]
    return as_csv(rows)


@pytest.mark.parametrize("version", list(HEADERS))
def test_every_header_that_webmushra_has_had_is_read(version: str, tmp_path: Path) -> None:
    file = tmp_path / "mushra.csv"
    file.write_text("\ufeff" + written(version, [[10, 20, 30, 40], [50, 60, 70, 80]]), encoding="utf-8")
    found = read_ratings([file])
    expected = [
        (listener, trial, condition, 40.0 * (listener - 1) + 10 + place * 10)
        for listener in (1, 2)
        for place, (trial, condition) in enumerate(
            [("rec01", "C1"), ("rec01", "C2"), ("rec03", "C1"), ("rec03", "C2")]
        )
    ]
    assert list(found.table.itertuples(index=False, name=None)) == expected
    assert (found.broken, found.missing, found.repeated) == ([], 0, 0)


def test_missing_broken_repeated_and_untouched(tmp_path: Path) -> None:
    text = written("2017", [[10, "", 100, 100], [50, "NULL", 70, "101"]])
    text += as_csv(
        [
            ["study-1", "31", "uuid-ann", "rec01", "C1", 15, 1, ""],  # once more: the last counts
            ["study-1", "31", "uuid-ann", "rec09", "C1", 15, 1, ""],
            ["study-1", "31", "uuid-ann", "rec01", "C7", 15, 1, ""],
            ["study-1", "31", "uuid-ann", "rec01", "C1", "much", 1, ""],
            ["study-1", "31"],
            ["study-1", "31", "uuid-ann", "", "C1", 15, 1, ""],
        ]
    )
    file = tmp_path / "mushra.csv"
    file.write_text(text)
    study = make_study(tmp_path / "study")
    found = read_ratings([file], study)
    assert found.missing == 2
    assert found.repeated == 1
    assert found.untouched == 1
    assert [line.split(": ", 1)[-1] for line in found.broken] == [
        "2 cells, 8 are named",
        "the score is 101, not within 0 and 100",
        "the score is 'much', no number",
        "no trial or no stimulus is named",
        "trial 'rec09' is not in the study (1 rows)",
        "condition 'C7' is not in the study (1 rows)",
    ]
    assert "line 9" in found.broken[1]
    kept = {tuple(row[:3]): row[3] for row in found.table.itertuples(index=False, name=None)}
    assert kept[1, "rec01", "C1"] == 15
    without = read_ratings([file], study, drop_untouched=True)
    assert len(found.table) - len(without.table) == 2


def test_ratings_of_another_study_are_none_of_this_one(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    path = tmp_path / "ratings.db"
    store = Store(path, "study-2")
    store.rate(store.begin(), "rec01", "C1", 50)
    with pytest.raises(DataError, match="holds ratings of 'study-2'; expected those of 'study-1'"):
        read_ratings([path], study)
    file = tmp_path / "mushra.csv"
    file.write_text(written("2017", [[10, 20, 30, 40]]).replace("study-1", "study-2"))
    with pytest.raises(DataError, match="no rating that can be used"):
        read_ratings([file], study)
    file.write_text(written("2017", [[10, 20, 30, 40]]) + 'study-1,31,u,rec01,anchor,5,1,""\r\n')
    assert "'anchor' is not in the study" in read_ratings([file], study).broken[0]


def test_a_comment_as_php_writes_it_swallows_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mushra.csv"
    lines = written("2017", [[10, 20, 30, 40], [50, 60, 70, 80]]).splitlines(keepends=True)
    lines[2] = lines[2].replace('"a, ""comment"""', r'"hm \""')
    assert "hm" in lines[2]
    file.write_text("".join(lines))
    assert len(read_ratings([file]).table) == 8


def test_listeners_without_a_session_are_told_apart(tmp_path: Path) -> None:
    pages = [("rec01", "C1"), ("rec01", "C2")]
    file = tmp_path / "a.csv"
    # Two people of one age and gender, one after the other.
    rows: list[list[object]] = [["age", "gender", "trial_id", "rating_stimulus", "rating_score"]]
    rows += [[31, "f", *page, 10 * person] for person in range(4) for page in pages]
    file.write_text(as_csv(rows))
    found = read_ratings([file])
    assert (found.table["listener"].nunique(), found.repeated) == (4, 0)
    # A column that numbers rows is no person.
    rows = [["n", "trial_id", "rating_stimulus", "rating_score"]]
    rows += [[2 * person + k, *page, 50] for person in range(4) for k, page in enumerate(pages)]
    file.write_text(as_csv(rows))
    assert read_ratings([file]).table["listener"].nunique() == 4


def test_excluding_everybody_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mushra.csv"
    file.write_text(written("2015", [[10, 20, 30, 40], [50, 60, 70, 80]]))
    with pytest.raises(DataError, match="leave out all 2 sessions"):
        read_ratings([file], exclude=["*@example.org"])
    # What the test itself is called tells nothing of a session.
    assert read_ratings([file], exclude=["study*"]).excluded == 0


def test_test_sessions_are_excluded_by_what_is_said_of_them(tmp_path: Path) -> None:
    file = tmp_path / "mushra.csv"
    file.write_text(written("2015", [[10, 20, 30, 40], [50, 60, 70, 80]]))
    found = read_ratings([file], exclude=["BOB@*"])
    assert found.excluded == 1
    assert set(found.table["score"]) == {10, 20, 30, 40}
    # What is rated, or how, is nothing that one is excluded by.
    assert read_ratings([file], exclude=["rec01", "5000"]).excluded == 0


def test_files_put_together_and_those_that_are_none(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text(written("2017", [[10, 20, 30, 40]]) + written("bare", [[1, 2, 3, 4]]))
    second.write_text(written("bare", [[5, 6, 7, 8]]))
    assert read_ratings([first, second]).table["listener"].nunique() == 3
    first.write_text(written("bare", [[10, 20, 30, 40]]) + written("bare", [[1, 2, 3, 4]]))
    found = read_ratings([first])
    assert (found.table["listener"].nunique(), found.repeated) == (2, 0)
    second.write_text("name,mail\nann,ann@example.org\n")
    with pytest.raises(DataError, match="columns for trial, stimulus and score"):
        read_ratings([second])
    with pytest.raises(DataError, match="cannot be read"):
        read_ratings([tmp_path / "none.csv"])
    second.write_text(written("2017", []))
    with pytest.raises(DataError, match="no rating that can be used"):
        read_ratings([second])


# --- scores -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ratings() -> pd.DataFrame:
    """Fifteen listeners, nine recordings in two sets, and a method that is ten points better."""
    rng = np.random.default_rng(0)
    rows = [
        (listener, f"rec{trial:02d}", "website" if trial <= 4 else "mixtures", method, score)
        for listener in range(1, 16)
        for taste in [rng.normal(0, 10)]
        for trial in range(1, 10)
        for method, mean in (("lmac", 60), ("l2i", 50), ("same", 50))
        for score in [float(np.clip(mean + taste + rng.normal(0, 8), 0, 100))]
    ]
    return pd.DataFrame(rows, columns=["listener", "trial", "set", "condition", "score"])


def test_opinion_is_a_t_interval_over_listeners(ratings: pd.DataFrame) -> None:
    found = opinion(ratings).set_index("condition").loc["lmac"]
    means = ratings[ratings["condition"] == "lmac"].groupby("listener")["score"].mean()
    low, high = stats.t.interval(0.95, 14, loc=means.mean(), scale=stats.sem(means))
    assert found["mos"] == pytest.approx(ratings[ratings["condition"] == "lmac"]["score"].mean())
    assert (found["mos"] - found["half"], found["mos"] + found["half"]) == pytest.approx((low, high))
    assert (found["listeners"], found["ratings"]) == (15, 135)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Counting every rating as independent, 95 % intervals would hold the truth in far fewer studies."""
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(300):
        rows = [
            (listener, f"r{trial}", "x", 50 + taste + rng.normal(0, 5))
            for listener in range(12)
            for taste in [rng.normal(0, 10)]
            for trial in range(8)
        ]
        frame = pd.DataFrame(rows, columns=["listener", "trial", "condition", "score"])
        row = opinion(frame).iloc[0]
        inside.append(abs(row["mos"] - 50) <= row["half"])
    assert 0.91 < np.mean(inside) < 0.99


def test_pairs_are_found_to_differ_where_they_do(ratings: pd.DataFrame) -> None:
    found = paired(ratings, ["lmac", "l2i", "same"]).set_index(["first", "second"])
    better, equal = found.loc[("lmac", "l2i")], found.loc[("l2i", "same")]
    means = ratings.pivot_table(index="listener", columns="condition", values="score")
    assert better["difference"] == pytest.approx((means["lmac"] - means["l2i"]).mean())
    assert better["p"] == stats.wilcoxon(means["lmac"], means["l2i"]).pvalue
    assert better["holm"] < 0.01 < 0.05 < equal["p"]


def test_only_what_a_listener_rated_in_both_is_paired(ratings: pd.DataFrame) -> None:
    one = ratings[(ratings["listener"] == 1) & (ratings["trial"] == "rec01")]
    holes = ratings.drop(one[one["condition"] == "l2i"].index)
    holes.loc[one[one["condition"] == "lmac"].index, "score"] = 0  # has no counterpart
    without = ratings.drop(one.index)
    columns = ["difference", "p"]
    pd.testing.assert_frame_equal(
        paired(holes, ["lmac", "l2i"])[columns], paired(without, ["lmac", "l2i"])[columns]
    )


def test_holm_is_what_r_gives() -> None:
    """``p.adjust(c(.01, .02, .03, .005), "holm")``, and nan as R's NA."""
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([0.5, np.nan, 0.9])[[0, 2]] == pytest.approx([1, 1])
    assert np.isnan(holm([np.nan])[0])


def test_table_3_has_a_column_a_set(ratings: pd.DataFrame) -> None:
    table = table_3(ratings, ["l2i", "lmac"])
    assert list(table.columns) == ["website", "mixtures"]
    assert list(table.index) == ["l2i", "lmac"]
    mean, half = table.loc["lmac", "website"].split(" ± ")
    assert 50 < float(mean) < 70
    assert 0 < float(half) < 20


# --- the store ----------------------------------------------------------------------------------------------


def test_ratings_are_stored_once_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "ratings.db"
    store = Store(path, "study-1")
    ann, bob = store.begin(), store.begin()
    for score in (10, 20, 20):  # a double submit, and a change of mind
        store.rate(ann, "rec01", "C1", score)
    store.rate(bob, "rec01", "C1", 70)
    assert store.ratings(ann) == {("rec01", "C1"): 20}
    assert sorted(row[1:] for row in stored(path)) == [("rec01", "C1", 20), ("rec01", "C1", 70)]
    found = read_ratings([path])
    assert sorted(found.table["score"]) == [20, 70]
    assert ann not in found.table.to_csv()
    assert Store(path, "study-1").ratings(bob) == {("rec01", "C1"): 70}
    with pytest.raises(DataError, match="holds ratings of 'study-1'"):
        Store(path, "study-2")
    (tmp_path / "text.db").write_text("no database, but long enough to be looked at" * 10)
    with pytest.raises(DataError, match="is no database"):
        Store(tmp_path / "text.db", "study-1")


# --- the commands -------------------------------------------------------------------------------------------


def test_score_writes_tables_and_nobody_s_data(tmp_path: Path) -> None:
    study = tmp_path / "study"
    make_study(study)
    file = tmp_path / "mushra.csv"
    file.write_text(
        written("2015", [[10, 20, 30, 40], [50, 60, 70, 80]])
        + as_csv([["study-1", "eve@example.org", 5, "x", "rec01", "C1", "loud", 1, ""]])
    )
    out = tmp_path / "scores"
    result = CliRunner().invoke(app, ["study", "score", str(file), "--study", str(study), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {"table3.md", "mos.csv", "pairs.csv", "figure2.png"}
    text = (out / "table3.md").read_text()
    assert "| website |" in text.replace("  ", " ") or "website" in text.splitlines()[0]
    assert "30.0 ±" in text  # lmac on the website: 10 and 50
    mos = pd.read_csv(out / "mos.csv")
    assert set(mos["trial"]) == {"rec01", "rec03"}
    everything = result.output + "".join(path.read_text() for path in out.glob("*.[cm]*"))
    for secret in ("example.org", "ann", "bob", "uuid"):
        assert secret not in everything
    assert "line 10: the score is 'loud', no number" in result.output


def test_build_makes_a_study_of_good_recordings_and_names_bad_ones(tmp_path: Path) -> None:
    (tmp_path / "mix ü").mkdir()
    soundfile.write(tmp_path / "mix ü" / "a b.wav", noise(1, 0.1), RATE)
    (tmp_path / "letter.wav").write_text("no sound")
    (tmp_path / "theirs").mkdir()
    soundfile.write(tmp_path / "theirs" / "a b.wav", noise(0.5, 0.1), RATE)
    out = tmp_path / "study"
    command = ["study", "build", str(tmp_path / "mix ü" / "a b.wav"), str(tmp_path / "letter.wav")]
    command += ["--methods", "lmac,gradcam", "--anchor", "random", "--out", str(out)]
    result = CliRunner().invoke(app, [*command, "--also", f"other tool={tmp_path / 'theirs'}"])
    assert result.exit_code == 1
    assert "letter.wav" in result.output
    study = read_study(out)
    assert list(study.conditions.values()) == ["lmac", "gradcam", "other tool"]
    (trial,) = study.trials
    assert (trial.name, trial.set) == ("a b.wav", "mix ü")
    lengths = {soundfile.info(file).frames for file in study.audio(out).iterdir()}
    assert lengths == {RATE}
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1
    assert "whose ratings would be lost" in again.output


def test_sets_of_one_name_are_told_apart_and_ids_differ(tmp_path: Path) -> None:
    paths = []
    for above in ("one", "two"):
        (tmp_path / above / "mix").mkdir(parents=True)
        paths.append(tmp_path / above / "mix" / "a.wav")
        soundfile.write(paths[-1], noise(1, 0.1), RATE)
    ids = []
    for number, more in enumerate(([], ["--target", "dog"])):
        out = tmp_path / f"study{number}"
        command = ["study", "build", *map(str, paths), "--methods", "lmac", "--out", str(out), *more]
        assert CliRunner().invoke(app, command).exit_code == 0
        study = read_study(out)
        assert [trial.set for trial in study.trials] == ["one/mix", "two/mix"]
        ids.append(study.id)
    assert ids[0] != ids[1]


def test_what_cannot_be_built_is_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(1, 0.1), RATE)
    for more, said in (
        (["--anchor", "bad"], "there is no anchor 'bad'"),
        (["--also", "x=nowhere"], "NAME=DIR with a folder of sounds"),
        (["--methods", "lmac,lmac"], "two conditions have one name"),
        (["--methods", "nope"], "nope"),
        (["--methods", ""], "no method is named"),
        (["--also", f"x={tmp_path}", "--also", f"x={tmp_path}"], "two conditions have one name"),
        (["--target", "unicorn"], "unicorn"),
    ):
        command = ["study", "build", str(tmp_path / "a.wav"), "--out", str(tmp_path / "out"), *more]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2, result.output
        assert said in result.output
