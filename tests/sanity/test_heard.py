"""The written sound is scored as it lies on disk; scores of what nobody hears are caught."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from earmark.evaluation.runner import score_masks
from earmark.explainers.base import Explainer, find
from earmark.report.checks.heard import draw
from earmark.sanity import heard as module
from earmark.sanity.base import Bench, Row
from earmark.sanity.heard import BOUNDS, HeardCheck, score_heard, through_wav
from earmark.sanity.rows import frame_of
from explainers.networks import RATE, Cue
from sanity.benches import bench, run


class Combs(Explainer):
    """Keeps every other frame: no sound has gaps that short."""

    def masks(self, stft, target, heard=None):
        mask = torch.zeros(stft.shape)
        mask[:, :, ::2] = 1
        return mask


class Steep(Cue):
    """Is sure of what it decides, so that small differences of the sound show."""

    def representations(self, features):
        logits, maps = super().representations(features)
        return 3 * logits, maps


def make_bench() -> Bench:
    classifier = Steep()
    explainers = {"combs": Combs(classifier)} | {
        name: find(name)(classifier) for name in ("all-ones", "random")
    }
    return bench(classifier, explainers, clips=4)


def test_what_is_scored_is_what_is_heard() -> None:
    rows = run(HeardCheck(), make_bench())
    assert {verdict.method: verdict.passed for verdict in HeardCheck().verdicts(rows)} == {
        "combs": True,
        "all-ones": True,
        "random": True,
    }
    assert sorted(rows[rows["method"] == "random"]["variant"].unique()) == ["0.05", "0.2", "soft"]
    # All of a sound has no best bins.
    assert rows[rows["method"] == "all-ones"]["variant"].unique().tolist() == ["soft"]
    assert len(draw(rows, Path()).axes) == len(BOUNDS)


def test_scores_of_spectra_that_are_of_no_sound_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "score_masks", partial(score_masks, protocol="paper"))
    rows = run(HeardCheck(), make_bench())
    verdicts = {verdict.method: verdict for verdict in HeardCheck().verdicts(rows)}
    assert not verdicts["combs"].passed
    assert verdicts["all-ones"].passed


def test_the_wav_is_scored_at_its_own_level_and_at_a_peak_of_one() -> None:
    on = make_bench()
    (scene,) = on.scenes("mixtures")
    mask = torch.full(scene.stft.shape, 0.5)
    found = score_heard(on.explainers["combs"], scene, mask)
    whole = scene.classifier.probabilities(scene.heard.logits).gather(1, scene.target[:, None])[:, 0]
    for start, gain in (("heard ", 0.5), ("file ", 1.0)):
        # Half of the mixture, as 16 bit leave it; as a file its peak is 1 again.
        steps = np.round(0.5 * scene.sounds.mixture.numpy() * 32768) / 32768
        stft = scene.classifier.spectrogram(torch.from_numpy(steps)) * gain / 0.5
        logits = scene.classifier.logits(scene.classifier.features(stft))
        kept = scene.classifier.probabilities(logits).gather(1, scene.target[:, None])[:, 0]
        torch.testing.assert_close(found[f"{start}FF"], whole - kept, rtol=0, atol=2e-3)
    assert (found["heard FF"] - found["file FF"]).abs().max() > 0.02


def test_sounds_have_sixteen_bits_unless_these_would_clip() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = torch.rand((2, 2, 100), generator=generator) - 0.5
    parts[1] *= 4
    written = through_wav(parts, RATE)
    steps = written[0] * 32768
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    torch.testing.assert_close(written[0], parts[0], rtol=0, atol=1 / 32768)
    assert not torch.equal(written[0], parts[0])
    assert torch.equal(written[1], parts[1])


def test_the_parts_are_those_that_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, np.ndarray]] = []

    def write(path, part, rate, subtype):
        soundfile.write(path, np.asarray(part), rate, subtype)
        written.append((subtype, np.asarray(part)))

    monkeypatch.setattr(module.audio, "write", write)
    on = make_bench()
    (scene,) = on.scenes("mixtures")
    mask = on.explainers["random"].masks(scene.stft, scene.target)
    score_heard(on.explainers["random"], scene, mask)
    assert len(written) == 8
    for number, mixture in enumerate(scene.sounds.mixture):
        (_, listenable), (_, remainder) = written[2 * number : 2 * number + 2]
        np.testing.assert_allclose(listenable + remainder, mixture, atol=1e-5)
        expected = scene.classifier.spectrogram.inverse(scene.stft * mask, mixture.shape[0])[number]
        np.testing.assert_allclose(listenable, expected, atol=1e-5)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("variant", ["soft", "0.2"])
def test_any_metric_out_of_bounds_fails(name: str, variant: str) -> None:
    for share, passes in ((0.9, True), (1.1, False), (-1.1, False)):
        rows = frame_of([*_rows(name, variant, share * BOUNDS[name])])
        (verdict,) = HeardCheck().verdicts(rows)
        assert verdict.passed is passes
        assert name in verdict.said
        table = HeardCheck().table(rows)
        assert table.loc["m", f"{name} {variant}"] == pytest.approx(share * BOUNDS[name])


def _rows(name: str, variant: str, difference: float) -> list[tuple[str, str, Row]]:
    """Lay out figures of two sounds, alike but for one metric's mean."""
    found = []
    for sound, weight in (("a", 2.0), ("b", 0.0)):
        for each in BOUNDS:
            for kind in ("soft", "0.2"):
                more = weight * difference if (each, kind) == (name, variant) else 0.0
                found.append(("m", "", Row(each, 1.0, sound, kind)))
                found.append(("m", "", Row(f"heard {each}", 1.0 + more, sound, kind)))
    return found


def test_nothing_is_said_of_methods_without_rows() -> None:
    empty = pd.DataFrame(columns=["method", "part", "figure", "value", "sound", "variant", "level", "seed"])
    assert HeardCheck().verdicts(empty) == []
    assert HeardCheck().table(empty).empty
