"""Planted cues: where they are, and who finds them in networks whose only way to the label is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from earmark.errors import RecipeError
from earmark.explainers.base import Explainer, find
from earmark.report.checks.planted import draw
from earmark.sanity.cues import KINDS, BandEdge, Click, Hum, Tone, region, widened
from earmark.sanity.planted import CueSettings, PlantedCheck, PlantedSettings, loudest_piece
from explainers.networks import RATE, Cue
from sanity.benches import SAMPLES, bench, cues, material, noises, run

HIGH = 1375.0  # Hz, amid what `Cue` takes for its second class, "with"
TONE = PlantedSettings(cues={"tone": CueSettings(kind="tone", snr_db=-15, place=HIGH)}, seconds=0.5)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cue_is_all_that_differs_and_has_its_level(kind: str) -> None:
    cue = KINDS[kind](snr_db=6.0, place=0.1 if kind == "click" else 500.0)
    sounds = cue.add(noises(3), RATE, generator())
    torch.testing.assert_close(sounds.absent + sounds.cue, sounds.present)
    ratio = sounds.absent.square().sum(1) / sounds.cue.square().sum(1)
    torch.testing.assert_close(10 * ratio.log10(), torch.full((3,), 6.0), atol=1e-3, rtol=0)


def test_cues_are_where_they_are_said_to_be() -> None:
    frequency = torch.fft.rfftfreq(SAMPLES, 1 / RATE)
    tone = Tone(0, 1000).make(noises(1), RATE, generator())
    assert float(frequency[torch.fft.rfft(tone)[0].abs().argmax()]) == pytest.approx(1000, abs=8)
    hum = torch.fft.rfft(Hum(0, 50).make(noises(1), RATE, generator()))[0].abs()
    assert sorted(frequency[hum.topk(8).indices].tolist()) == [50.0 * n for n in range(1, 9)]
    sounds = BandEdge(0, 1000).add(noises(1), RATE, generator())
    above = frequency > 1000 + 0.005 * RATE
    assert torch.fft.rfft(sounds.absent)[0, above].abs().max() < 1e-3
    assert torch.fft.rfft(sounds.cue)[0, frequency < 1000 - 1].abs().max() < 1e-2
    click = Click(0, 0.25).make(noises(1), RATE, generator())[0]
    assert click.nonzero().aminmax() == (RATE // 4, RATE // 4 + round(Click.seconds * RATE) - 1)


def test_the_region_is_the_cue_alone() -> None:
    spectrogram = Cue().spectrogram
    rate, hop = spectrogram.sample_rate, spectrogram.config.hop_length
    where = region(spectrogram, Click(0, 0.25).make(noises(1), RATE, generator()))
    assert where.any(1)[0].nonzero()[:, 0].tolist() == [15, 16]  # 0.25 s is sample 1000, of hops of 64
    assert abs(15.5 * hop / rate - 0.25) < hop / rate
    assert not region(spectrogram, torch.zeros(1, SAMPLES)).any()
    assert widened(where, 0, 1).any(1)[0].nonzero()[:, 0].tolist() == [14, 15, 16, 17]


class Blind(Explainer):
    """Shows what lies in the other class's rows."""

    def masks(self, stft: Tensor, target: Tensor, heard: object = None) -> Tensor:
        mask = torch.zeros(stft.shape)
        mask[:, slice(*Cue.ROWS[0])] = 1
        return mask


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return the figures of methods, for a network that hears a band with the tone in it and nothing else."""
    monkeypatch.setattr(PlantedCheck, "_network", lambda self, bench, name: Cue().eval())
    blind = Blind(Cue())
    plain = PlantedCheck._explainer
    monkeypatch.setattr(
        PlantedCheck,
        "_explainer",
        lambda self, on, method, name: blind if method == "blind" else plain(self, on, method, name),
    )
    shown = material(cues(torch.zeros(12, dtype=torch.long)), torch.arange(12) % 2)
    methods = {"input-x-gradient": find("input-x-gradient")(Cue()), "blind": blind}
    return run(PlantedCheck(TONE), bench(Cue(), methods, shown, tmp_path, train=shown))


def test_a_right_explanation_passes_and_others_do_not(rows, tmp_path: Path) -> None:
    check = PlantedCheck(TONE)
    passed = {verdict.method: verdict.passed for verdict in check.verdicts(rows)}
    # The tone is the loudest there is: what is right there is no better than loudness.
    assert passed["input-x-gradient"] is False
    passed = {one.method: one.passed for one in check.verdicts(rows[rows["method"] != "loudest"])}
    assert passed == {"input-x-gradient": True, "blind": False, "random": False}
    table = check.table(rows)
    assert table.loc["input-x-gradient", "hits"] == 100
    assert table.loc["blind", "hits"] == 0
    assert table.loc["random", "hits"] == pytest.approx(table.loc["random", "chance"], abs=5)
    assert draw(rows, tmp_path).axes[0].get_title() == "tone (learned: 100 %)"


def test_a_cue_that_was_not_learned_is_void(rows) -> None:
    rows.loc[rows["figure"] == "accuracy", "value"] = 0.9
    assert {verdict.passed for verdict in PlantedCheck(TONE).verdicts(rows)} == {None}
    assert len(PlantedCheck(TONE).table(rows)) == 0


def test_a_network_learns_a_cue_and_is_taken_up_again(tmp_path: Path) -> None:
    settings = TONE.model_copy(update={"n_mels": 32, "epochs": 8, "batch_size": 6})
    train = material(noises(24, seed=1), torch.arange(24) % 2)
    on = bench(Cue(), {}, material(noises(8), torch.arange(8) % 2), tmp_path, train)
    network = PlantedCheck(settings)._network(on, "tone")
    log = (tmp_path / "planted" / "tone" / "classifier" / "log.csv").read_text()
    again = PlantedCheck(settings)._network(on, "tone")
    assert (tmp_path / "planted" / "tone" / "classifier" / "log.csv").read_text() == log
    torch.testing.assert_close(network.head.weight, again.head.weight)
    [row] = PlantedCheck(settings).run(on, PlantedCheck(settings).steps(on)[0])
    assert row.value >= 0.95


def test_the_loudest_piece_is_found() -> None:
    sounds = noises(2)
    sounds[0, 300:340] *= 10
    naive = max(
        range(SAMPLES - 40 + 1), key=lambda start: float(sounds[0, start : start + 40].square().sum())
    )
    torch.testing.assert_close(loudest_piece(sounds, 40)[0], sounds[0, naive : naive + 40])
    assert loudest_piece(sounds, 2 * SAMPLES).shape == sounds.shape


def test_an_unknown_cue_is_named() -> None:
    with pytest.raises(RecipeError, match="tone, hum, band edge, click"):
        CueSettings(kind="smell", snr_db=0, place=0).make()
    assert math.isclose(TONE.cues["tone"].make().place, HIGH)
