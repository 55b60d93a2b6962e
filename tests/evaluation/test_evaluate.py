"""All methods on all sounds: one row each, right, and the same however often it was stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from earmark.classifiers.base import Heard
from earmark.errors import EarmarkError
from earmark.evaluation.evaluate import EvaluationRecipe, Task, evaluate
from earmark.evaluation.protocol import Material, make_sounds
from earmark.evaluation.results import FIGURES, SAME, Journal, read_rows
from earmark.evaluation.runner import ABOUT_SOURCE, hear_sounds, score_masks, score_sounds
from earmark.explainers.base import Domain, Explainer
from earmark.explainers.controls import AllOnes, ClassMean, Loudest, Random
from earmark.model import Model

NAMES = ("bark", "drip", "tick", "growl", "pour")
TONE = 1  # the only clip whose sound lies above 4 kHz
Rows = dict[tuple[str, ...], dict[str, str]]
Evaluate = Callable[..., Rows]


def clips() -> Tensor:
    """Return five clips of a second: noise below 4 kHz, and a high tone."""
    noise = torch.randn(5, 16001, generator=torch.Generator().manual_seed(0)).cumsum(1).diff()
    low = torch.nn.functional.avg_pool1d(noise[:, None], 9, 1, 4)[:, 0]
    low[TONE] = torch.sin(2 * torch.pi * 6000 / 16000 * torch.arange(16000))
    return low / low.abs().amax(1, keepdim=True)


def is_tone(stft: Tensor) -> Tensor:
    magnitude = stft.abs()
    return magnitude[:, 256:].sum((1, 2)) > magnitude[:, :256].sum((1, 2))


class Counting(Loudest):
    """The loudest bins; counts the sounds that it was asked for."""

    asked = 0

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        self.asked += len(stft)
        return super().masks(stft, target, heard)


class Raising(Loudest):
    """The loudest bins, but for the tone."""

    error: Exception = RuntimeError("no memory\nfor this")

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        if is_tone(stft).any():
            raise self.error
        return super().masks(stft, target, heard)


class Undefined(Loudest):
    """The loudest bins, but not a number for the tone."""

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        return super().masks(stft, target, heard) + torch.where(is_tone(stft), torch.nan, 0)[:, None, None]


@pytest.fixture
def task(tiny: Model) -> Callable[..., Task]:
    """Return what makes a task of methods in both domains, and of changes to the material."""

    def make(
        *kinds: type[Explainer] | str, failures: Mapping[int, str] | None = None, **changes: Any
    ) -> Task:
        classifier = tiny.classifier
        made = [tiny.explainers[kind] if isinstance(kind, str) else kind(classifier) for kind in kinds]
        domains: tuple[Domain, ...] = ("stft", "features")
        explainers = {(one.name, domain): one.on(domain) for one in made for domain in domains}
        whole = {"names": NAMES, "waveform": clips(), "labels": torch.tensor([0, 1, 2, 0, 1])} | changes
        return Task(classifier, explainers, Material(**whole), failures or {})

    return make


def run(task: Task, path: Path, **settings: Any) -> Rows:
    """Evaluate into a file and return its rows by what names them; none may be there twice."""
    settings = {"conditions": ("clean", "mixtures"), "areas": (None, 0.05), "batch_size": 3} | settings
    evaluate(task, EvaluationRecipe(**settings), Journal(path, dict.fromkeys(SAME, "1")))
    rows = list(read_rows(path))
    names = ("condition", "seed", "sound", "method", "domain", "area")
    found = {tuple(row[name] for name in names): row for row in rows}
    assert len(found) == len(rows)
    return found


def but_seconds(rows: Rows) -> Rows:
    return {key: row | {"seconds": ""} for key, row in rows.items()}


def assert_close(ours: Rows, theirs: Rows) -> None:
    """See that rows are equal but for their times and the last digits of figures."""
    assert ours.keys() == theirs.keys()
    for key, row in ours.items():
        for name, value in row.items():
            other = theirs[key][name]
            if name in FIGURES and value and other:
                assert name == "seconds" or float(value) == pytest.approx(float(other), rel=1e-4, abs=1e-4)
            elif name != "method":
                assert value == other, (key, name)


def of(rows: Rows, **wanted: str) -> Rows:
    return {
        key: row for key, row in rows.items() if all(row[name] == value for name, value in wanted.items())
    }


def test_each_sound_has_one_row(task, tmp_path: Path) -> None:
    rows = run(task("lmac", Loudest), tmp_path / "r.csv", seeds=(0, 1))
    conditions = (("clean", "mixtures"), ("0", "1"), NAMES, ("lmac", "loudest"))
    assert set(rows) == set(product(*conditions, ("stft", "features"), ("", "0.05")))
    for row in rows.values():
        assert row["clip"] == row["sound"]
        assert row["label"] == ("dog", "rain", "clock", "dog", "rain")[NAMES.index(row["clip"])]
        assert (row["interferer"] in NAMES) == (row["condition"] == "mixtures")
        assert float(row["seconds"]) > 0
        assert row["error"] == ""


@pytest.mark.parametrize("method", ["lmac", "loudest"])
@pytest.mark.parametrize("domain", ["stft", "features"])
def test_figures_are_those_of_the_one_scoring_path(task, tmp_path: Path, method: str, domain: Domain) -> None:
    made = task("lmac", Loudest)
    rows = run(made, tmp_path / "r.csv", seeds=(4,), conditions=("mixtures",))
    sounds = make_sounds("mixtures", made.material, range(5), seed=4)
    scores = score_sounds(made.explainers[method, domain], sounds, (None, 0.05))
    for area, place in product((None, 0.05), range(5)):
        row = rows["mixtures", "4", NAMES[place], method, domain, "" if area is None else "0.05"]
        assert row["interferer"] == sounds.names[place]
        for name in set(FIGURES) - {"seconds"}:
            if domain == "features" and name in ABOUT_SOURCE:
                assert row[name] == ""
            else:
                assert float(row[name]) == pytest.approx(float(scores[area][name][place]), rel=1e-4, abs=1e-4)
        assert row["target"] == made.classifier.labels[scores[area]["target"][place]]


def test_figures_by_hand(task, tmp_path: Path) -> None:
    """The corrected AD, FF and MM of the loudest 5 % of one mixture, from nothing but the classifier."""
    made = task(Loudest)
    row = run(made, tmp_path / "r.csv")["mixtures", "0", "bark", "loudest", "stft", "0.05"]
    sound = make_sounds("mixtures", made.material, [0]).mixture
    stft = made.classifier.spectrogram(sound)
    kept = stft.abs() >= stft.abs().flatten().topk(round(0.05 * stft.numel())).values[-1]
    listenable = made.classifier.spectrogram.inverse(torch.cat([stft * kept, stft * ~kept]), sound.shape[1])
    heard = made.classifier.spectrogram(listenable)
    with torch.no_grad():
        p, p_in, p_out = made.classifier.logits(made.classifier.features(torch.cat([stft, heard]))).softmax(1)
    target = int(p.argmax())
    assert row["target"] == made.classifier.labels[target]
    assert float(row["AD"]) == pytest.approx(
        100 * float((p - p_in).clamp_min(0)[target] / p[target]), abs=1e-2
    )
    assert float(row["FF"]) == pytest.approx(float((p - p_out)[target]), abs=1e-4)
    assert float(row["MM"]) == pytest.approx(0.05, abs=1e-4)


def test_where_nothing_is_added_there_is_no_source_to_find(task, tmp_path: Path) -> None:
    for row in run(task(Loudest), tmp_path / "r.csv").values():
        empty = [name for name in FIGURES if not row[name]]
        there = row["condition"] == "mixtures" and row["domain"] == "stft"
        assert empty == ([] if there else [name for name in FIGURES if name in ABOUT_SOURCE])


def test_the_paper_s_protocol(task, tmp_path: Path) -> None:
    made = task("lmac")
    made.explainers["lmac", "stft"].scale = "log1p"
    rows = run(made, tmp_path / "r.csv", protocol="paper", conditions=("white-noise",))
    drops = [float(row["AD"]) for row in rows.values()]
    assert max(drops) <= 63.3
    scene = hear_sounds(made.classifier, make_sounds("white-noise", made.material, [0], protocol="paper"))
    scores = score_masks(made.explainers["lmac", "stft"], scene, _mask(made, scene), "paper")
    row = rows["white-noise", "0", "bark", "lmac", "stft", ""]
    for name in ("AD", "FF", "p_in", "share", "SI-SDR"):
        assert float(row[name]) == pytest.approx(float(scores[name]), rel=1e-3, abs=1e-4)


def _mask(made: Task, scene: Any) -> Tensor:
    return made.explainers["lmac", "stft"].masks(scene.stft, scene.target, scene.heard)


def test_every_seed_is_the_methods_too(task, tmp_path: Path) -> None:
    made = task(Random)
    rows = run(made, tmp_path / "r.csv", seeds=(0, 1), conditions=("clean",), areas=(0.05,))
    scores = {}
    for seed in (0, 1):
        explainer = Random(made.classifier, seed)
        scores[seed] = score_sounds(explainer, make_sounds("clean", made.material, range(5)), (0.05,))[0.05]
        for place, name in enumerate(NAMES):
            row = rows["clean", str(seed), name, "random", "stft", "0.05"]
            assert float(row["p_in"]) == pytest.approx(float(scores[seed]["p_in"][place]), rel=1e-4)
    assert not torch.allclose(scores[0]["p_in"], scores[1]["p_in"], rtol=1e-3)


def test_class_mean_learns_from_the_trained_explainer(task, tmp_path: Path) -> None:
    made = task("lmac", ClassMean)
    rows = run(made, tmp_path / "r.csv")
    scene = hear_sounds(made.classifier, make_sounds("clean", made.material, range(5)))
    for domain in ("stft", "features"):
        by_hand = ClassMean(made.classifier).on(domain)
        trained = made.explainers["lmac", domain]
        by_hand.learn(trained.masks(scene.stft, scene.target, scene.heard), scene.target)
        scores = score_sounds(by_hand, make_sounds("mixtures", made.material, range(5)))[None]
        decided = set(scene.target.tolist())
        for place, name in enumerate(NAMES):
            row = rows["mixtures", "0", name, "class-mean", domain, ""]
            if int(scores["target"][place]) in decided:
                assert float(row["MM"]) == pytest.approx(float(scores["MM"][place]), rel=1e-4)
                assert float(row["p_in"]) == pytest.approx(float(scores["p_in"][place]), rel=1e-3)


def test_class_mean_without_masks_fails_and_says_so(task, tmp_path: Path) -> None:
    for row in run(task(ClassMean, Loudest), tmp_path / "r.csv").values():
        assert ("has seen no masks" in row["error"]) == (row["method"] == "class-mean")


def bad_material() -> dict[str, Any]:
    """Return clips with an unreadable one, index 5, and a silent one, index 6, among them."""
    silent = torch.zeros(2, 16000)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    return {"names": (*NAMES, "torn", "hush"), "waveform": torch.cat([clips(), silent]), "labels": labels}


def test_clips_that_cannot_be_used_cost_only_their_own_rows(task, tmp_path: Path) -> None:
    kinds = ("lmac", Loudest, ClassMean)
    with_bad = run(task(*kinds, failures={5: "torn.wav is torn"}, **bad_material()), tmp_path / "a.csv")
    without = run(task(*kinds), tmp_path / "b.csv")
    reasons = {"torn": "torn.wav is torn", "hush": "the clip is silent"}
    for sound, reason in reasons.items():
        rows = of(with_bad, sound=sound)
        assert len(rows) == 2 * 3 * 2 * 2
        for row in rows.values():
            assert row["error"] == reason
            assert not any(row[name] for name in (*FIGURES, "target"))
            assert row["label"] in ("clock", "dog")
    assert_close({key: row for key, row in with_bad.items() if row["sound"] not in reasons}, without)


def test_a_silent_interferer_is_told(task, tmp_path: Path) -> None:
    noises = {"hush": torch.zeros(500), "street": torch.randn(20000)}
    rows = run(task(Loudest, noises=noises), tmp_path / "r.csv", conditions=("in-domain",), seeds=(0, 1, 2))
    for row in rows.values():
        assert row["error"] == ("its interferer hush is silent" if row["interferer"] == "hush" else "")
        assert (row["AD"] == "") == (row["interferer"] == "hush")
    assert {row["interferer"] for row in rows.values()} == {"hush", "street"}


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        (Raising, RuntimeError("no memory\nfor this"), "RuntimeError: no memory"),
        (Raising, AssertionError(), "AssertionError"),
        (Raising, EarmarkError("it cannot", "that it can"), "it cannot; expected that it can"),
        (Undefined, None, "its mask is not finite"),
    ],
)
def test_a_method_that_fails_on_a_sound_fails_on_no_other(
    task, tmp_path: Path, kind: type[Explainer], error: Exception | None, reason: str
) -> None:
    made = task(kind)
    if error:
        for explainer in made.explainers.values():
            explainer.error = error
    found = run(made, tmp_path / "a.csv", conditions=("clean",))
    tone = of(found, sound=NAMES[TONE])
    assert {row["error"] for row in tone.values()} == {reason}
    assert not any(row[name] for row in tone.values() for name in (*FIGURES, "target"))
    well = run(task(Loudest), tmp_path / "b.csv", conditions=("clean",))
    assert len(tone) == 4
    assert_close(
        {k: row for k, row in found.items() if k not in tone}, {k: well[k] for k in well if k not in tone}
    )


def test_a_trained_explainer_that_fails_on_a_clip_still_teaches_class_means(
    task, tmp_path: Path, tiny
) -> None:
    class Picky(Raising):
        name = "lmac"

    for teacher in (Picky, type("Odd", (Undefined,), {"name": "lmac"})):
        rows = run(task(teacher, ClassMean), tmp_path / f"{teacher.__name__}.csv", conditions=("clean",))
        assert all(row["error"] == "" for row in of(rows, method="class-mean").values())
        assert sum(row["error"] != "" for row in of(rows, method="lmac").values()) == 4


def test_a_cut_file_is_completed(task, tmp_path: Path) -> None:
    path, kinds, settings = (
        tmp_path / "r.csv",
        ("lmac", Random, ClassMean),
        {"seeds": (0, 1), "areas": (0.05, 0.2)},
    )
    whole = run(task(*kinds), path, **settings)
    content = path.read_bytes()
    for cut in (1, 300, 2000, 20000):
        path.write_bytes(content[:-cut])
        again = run(task(*kinds), path, **settings)
        assert but_seconds(again) == but_seconds(whole)
        assert list(again) == list(whole)


def test_what_is_there_is_not_computed_again(task, tmp_path: Path) -> None:
    def asked(**settings: Any) -> int:
        made = task("lmac", Counting, ClassMean)
        run(made, tmp_path / "r.csv", **settings)
        return sum(one.asked for one in made.explainers.values() if isinstance(one, Counting))

    assert asked() == 2 * 2 * 5
    assert asked() == 0
    assert asked(seeds=(0, 1)) == 2 * 2 * 5
    assert asked(conditions=("white-noise", "clean")) == 2 * 5
    assert asked(areas=(0.2,)) == 2 * 2 * 5
    assert asked(clips=3) == 0


def test_masks_without_an_order_have_no_best_bins(task, tmp_path: Path) -> None:
    made = task(AllOnes, Counting)
    rows = run(made, tmp_path / "r.csv")
    assert {row["area"] for row in of(rows, method="all-ones").values()} == {""}
    assert {row["area"] for row in of(rows, method="loudest").values()} == {"", "0.05"}
    assert run(task(AllOnes), tmp_path / "r.csv") == rows


def test_methods_can_be_added(task, tmp_path: Path) -> None:
    first = run(task(Counting), tmp_path / "r.csv")
    made = task(Counting, Random)
    both = run(made, tmp_path / "r.csv")
    assert made.explainers["loudest", "stft"].asked == 0
    assert {key: both[key] for key in first} == first
    assert len(both) == 2 * len(first)


def test_fewer_clips_are_spread_over_the_set_and_scored_alike(task, tmp_path: Path) -> None:
    few = run(task(Loudest), tmp_path / "a.csv", clips=3)
    whole = run(task(Loudest), tmp_path / "b.csv")
    assert {key[2] for key in few} == {"bark", "tick", "pour"}
    assert_close(few, {key: whole[key] for key in few})


def test_progress_rises_to_its_end(task, tmp_path: Path) -> None:
    recipe = EvaluationRecipe(conditions=("clean", "mixtures"), areas=(None,), batch_size=2)
    told: list[tuple[int, int, str]] = []
    for _ in range(2):
        journal = Journal(tmp_path / "r.csv", dict.fromkeys(SAME, "1"))
        evaluate(task(Loudest), recipe, journal, lambda *step: told.append(step))
    assert told == [
        *((step, 12, f"{'clean' if step < 6 else 'mixtures'}: loudest") for step in range(12)),
        (12, 12, "done"),
        (12, 12, "done"),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"areas": (0,)},
        {"areas": (1.0,)},
        {"areas": (1.5,)},
        {"areas": (math.nan,)},
        {"areas": ("large",)},
        {"areas": ()},
        {"conditions": ("rain",)},
        {"conditions": ()},
        {"methods": ()},
        {"domains": ("time",)},
        {"domains": ()},
        {"seeds": (-1,)},
        {"seeds": (2**32,)},
        {"seeds": ()},
        {"folds": ()},
        {"clips": 0},
        {"protocol": "new"},
        {"colour": "red"},
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        EvaluationRecipe(**settings)
    assert next(iter(settings)) in str(error.value)


def test_what_is_named_twice_counts_once(task, tmp_path: Path) -> None:
    made = task(Counting)
    rows = run(made, tmp_path / "r.csv", conditions=("clean", "clean"), areas=(0.05, 0.05), seeds=(1, 1))
    assert len(rows) == 2 * 5
    assert made.explainers["loudest", "stft"].asked == 5
