"""A mask that spells the class is caught, and one that persuades only whom it was made for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from earmark.errors import RecipeError
from earmark.evaluation.protocol import Material
from earmark.explainers.base import Explainer, find
from earmark.metrics import ideal_ratio_mask
from earmark.report.checks.leakage import draw
from earmark.sanity import leakage as module
from earmark.sanity.base import Bench
from earmark.sanity.leakage import JUDGE, READS, Leakage, LeakageSettings
from earmark.sanity.mask_reader import SIDE, read, shrink
from earmark.sanity.mixtures import ORACLE, mixed_scenes
from explainers.networks import Cue
from sanity.benches import bench, cues, material, noises, run

CHECK = Leakage(LeakageSettings(seeds=(0,), epochs=12, width=1 / 16))


class Spelling(Explainer):
    """Keeps a lone bin that stands for the class, whatever is heard."""

    def masks(self, stft, target, heard=None):
        mask = torch.zeros(stft.shape)
        mask[torch.arange(len(stft)), 2 + 30 * target, 5] = 1
        return mask


class Ideal(Explainer):
    """Knows the parts of all mixtures: for each its STFT, those of the parts, and the class of the first."""

    def masks(self, stft, target, heard=None):
        found = []
        for one, wanted in zip(stft, target.tolist()):
            source, other, label = next(known for mixture, *known in self.known if torch.equal(mixture, one))
            found.append(ideal_ratio_mask(*((source, other) if label == wanted else (other, source))))
        return torch.stack(found)


class Rows(Explainer):
    """Keeps the rows of the class that is explained, or those of the other one."""

    other = False

    def masks(self, stft, target, heard=None):
        chosen = 1 - target if self.other else target
        return self.classifier.rows[chosen].detach()[:, :, None].expand(stft.shape)


def of_noise(classifier: Cue, start: str, seed: int, clips: int = 32) -> Material:
    """Make white noises, labelled as the classifier hears them: the ideal mask tells little of it."""
    waveform = noises(clips, seed)
    with torch.no_grad():
        return material(waveform, classifier(waveform).argmax(1), start)


def noise_bench(folder: Path) -> Bench:
    classifier = Cue().eval()
    shown, train = of_noise(classifier, "shown", 1), of_noise(classifier, "train", 2)
    ideal = Ideal(classifier)
    explainers = {
        "spelling": Spelling(classifier),
        "ideal too": ideal,
        "loudest": find("loudest")(classifier),
    }
    on = bench(classifier, explainers, shown, folder, train)
    everything = (on, replace(on, material=train))
    scenes = [scene for each in everything for scene in mixed_scenes(each, CHECK.settings.snr_db)]
    ideal.known = [
        known
        for scene in scenes
        for known in zip(scene.stft, scene.source, scene.interferer, scene.sounds.labels.tolist())
    ]
    return on


@pytest.fixture(scope="module")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return run(CHECK, noise_bench(tmp_path_factory.mktemp("spelled")), READS)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    labels = torch.arange(48) % 2
    classifier = Cue()
    own, wrong = Rows(classifier), Rows(classifier)
    wrong.other = True
    train = material(cues(labels, seed=5), labels, "train")
    explainers = {"own": own, "wrong": wrong, "all-ones": find("all-ones")(classifier)}
    return run(CHECK, bench(classifier, explainers, 12, tmp_path_factory.mktemp("judged"), train), JUDGE)


def test_who_spells_the_class_is_caught_and_who_shows_the_sound_is_not(spelled: pd.DataFrame) -> None:
    read_in = spelled[spelled["figure"] == READS].groupby("method")["value"].mean()
    assert read_in["spelling"] == 1
    assert read_in["ideal too"] == read_in[ORACLE] < 0.9
    verdicts = {verdict.method: verdict for verdict in CHECK.verdicts(spelled) if "alone" in verdict.said}
    assert verdicts["spelling"].passed is False
    assert "100 %" in verdicts["spelling"].said
    assert verdicts["ideal too"].passed
    assert verdicts["loudest"].passed


def test_without_the_ideal_mask_nothing_is_said(spelled: pd.DataFrame) -> None:
    some = spelled[spelled["method"] != ORACLE]
    assert {verdict.passed for verdict in CHECK.verdicts(some)} == {None}
    assert len(CHECK.table(some)) == 3
    assert draw(some, Path()).axes


def test_another_classifier_tells_what_was_decided_for_from_the_rest(judged: pd.DataFrame) -> None:
    agreement = judged[judged["figure"] == "agreement"]
    clean = agreement[agreement["variant"] == "clean"]["value"].mean()
    soft = agreement[agreement["variant"] == "soft"].groupby("method")["value"].mean()
    assert clean == 1
    assert soft["own"] == 1
    assert soft["wrong"] == 0
    passed = {
        verdict.method: verdict.passed for verdict in CHECK.verdicts(judged) if "another" in verdict.said
    }
    assert passed == {"own": True, "wrong": False, "all-ones": True}
    assert not any("nan" in verdict.said for verdict in CHECK.verdicts(judged) if "another" in verdict.said)
    assert sorted(agreement["variant"].unique()) == ["0.05", "0.2", "clean", "soft"]


def test_the_other_classifier_learns_and_is_chosen_by_clips_to_train_on_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = torch.arange(8) % 2
    train = material(cues(labels, seed=5), labels, "train")
    seen = []
    monkeypatch.setattr(module, "train_classifier", lambda judge, *clips: seen.extend(clips[:2]))
    CHECK._judge(bench(Cue(), {}, 4, tmp_path, train))
    assert len(seen) == 2
    assert all(torch.equal(clips.waveform, train.waveform) for clips in seen)


def test_the_other_classifier_is_trained_once(tmp_path: Path) -> None:
    labels = torch.arange(8) % 2
    check = Leakage(LeakageSettings(seeds=(0,), epochs=1, width=1 / 16))
    on = bench(Cue(), {}, 4, tmp_path, material(cues(labels, seed=5), labels, "train"))
    weights = check._judge(on).state_dict()
    log = tmp_path / "leakage" / "judge" / "log.csv"
    before = log.read_text()  # with the seconds it took
    again = check._judge(on).state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert log.read_text() == before


def test_clips_to_train_on_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="clips to train on"):
        run(CHECK, bench(Cue(), {"random": find("random")(Cue())}, 4, tmp_path), READS)


def test_a_lone_bin_survives_shrinking() -> None:
    mask = torch.zeros(1, 513, 431)
    mask[0, 300, 200] = 1
    mean, highest = shrink(mask)[0]
    assert mean.shape == (SIDE, SIDE)
    assert highest.max() == 1
    assert 0 < mean.max() < 0.01


def test_what_is_not_there_cannot_be_read() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (64,), generator=generator)
    masks = shrink(0.2 * torch.rand(64, 40, 40, generator=generator))
    written = masks.clone()
    written[torch.arange(64), 1, 3, 4 + 20 * labels] = 1  # as a lone bin leaves it
    for shown, low, high in ((masks, 0.2, 0.8), (written, 0.9, 1.0), (torch.ones_like(masks), 0.2, 0.8)):
        found = read(shown[:40], labels[:40], shown[40:], 2, (0,))
        assert found.shape == (1, 24)
        assert low <= (found == labels[40:]).float().mean() <= high
