"""The audit: shortcuts in sounds, and networks that are known to lean on them, or not to."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from earmark.evaluation.protocol import Material
from earmark.explainers.base import find
from earmark.sanity.audit import Audit, Hall, audit, kept_sounds
from earmark.sanity.cues import Hum, low_pass
from earmark.sanity.suspects import BandEdge, ClipEnd, ClipStart, Silence
from earmark.sanity.suspects import Hum as HumSuspect
from explainers.networks import RATE, Cue
from sanity.benches import BANDS, material

SAMPLES = 2 * RATE
HALF = torch.arange(16) % 2
LINE = 1375.0  # Hz, amid the rows of the class "high"


def noise(clips: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(clips, SAMPLES, generator=torch.Generator().manual_seed(seed))


def in_band(sounds: Tensor, low: float, high: float) -> Tensor:
    """Raise a band without an edge."""
    spectrum = torch.fft.rfft(sounds)
    away = (torch.fft.rfftfreq(SAMPLES, 1 / RATE) - (low + high) / 2) / (high - low)
    return torch.fft.irfft(spectrum * (0.1 + torch.exp(-(away**2))), SAMPLES)


def burst(sounds: Tensor) -> Tensor:
    """Swell and fade, so that nothing sounds all along."""
    return sounds * torch.sin(torch.linspace(0, 3 * math.pi, SAMPLES)) ** 4


def line(sounds: Tensor, place: float = LINE) -> Tensor:
    cue = Hum(0, place)
    cue.harmonics = 1
    return sounds + 0.5 * cue.make(sounds, RATE, torch.Generator().manual_seed(1))


def low_and_high(shortcut: bool) -> Material:
    """Make noises in the low band, and of half of them "high": by a line in its rows, or by its own noise."""
    low = burst(in_band(noise(16), *BANDS[0])) + 0.02 * noise(16, seed=1)
    loud = line(low) if shortcut else low + 2 * burst(in_band(noise(16, seed=2), *BANDS[1]))
    return material(torch.where((HALF == 1)[:, None], loud, low), HALF)


def audited(network: Cue, sounds: Material, method: str = "saliency") -> Audit:
    return audit(network.eval(), find(method)(network), sounds)


def test_a_line_that_decides_is_found_and_named() -> None:
    sounds = low_and_high(shortcut=True)
    found = audited(Cue(), sounds, "input-x-gradient")
    assert found.clips == {"low": 8, "high": 8}
    [finding] = found.findings
    assert (finding.label, finding.suspect) == ("high", "hum")
    assert finding.where == "a line at 1375 Hz"
    assert finding.evidence.clips == 8
    assert (finding.evidence.taken, finding.evidence.given) == (1.0, 1.0)
    assert finding.evidence.shown > 10 * finding.evidence.area
    assert set(finding.clips) <= {name for name, half in zip(sounds.names, HALF) if half}
    assert "high: leans on hum (a line at 1375 Hz), in 8 of 8 clips" in finding.said


def test_a_line_that_decides_nothing_is_no_finding() -> None:
    sounds = low_and_high(shortcut=False)
    waveform = torch.where((HALF == 1)[:, None], line(sounds.waveform, 700), sounds.waveform)
    assert audited(Cue(), material(waveform, HALF)).findings == ()


def test_clean_sounds_are_no_finding() -> None:
    found = audited(Cue(), low_and_high(shortcut=False))
    assert found.findings == ()
    assert found.was_asked("low")
    assert found.was_asked("high")


def test_too_few_sounds_are_not_asked() -> None:
    sounds = low_and_high(shortcut=True)
    few = audited(Cue(), material(sounds.waveform[:8], HALF[:8]))
    assert few.findings == ()
    assert not few.was_asked("high")


class Start(Cue):
    """Hears the first 80 ms alone."""

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = self.relu(features[:, None] * self.rows[None, :, :, None])
        return maps[..., :4].mean((2, 3)), [maps]


def test_a_click_at_the_start_that_decides_is_found() -> None:
    sounds = in_band(noise(16), *BANDS[0])
    click = torch.sin(2 * math.pi * LINE / RATE * torch.arange(40))
    sounds[HALF == 1, 20:60] += 5 * click
    [finding] = [one for one in audited(Start(), material(sounds, HALF)).findings if one.label == "high"]
    assert finding.suspect == "clip start"
    assert finding.evidence.given > 0.8 > 0.5 > finding.evidence.sham


def test_an_edge_is_found_moved_and_filled() -> None:
    own, others = low_pass(noise(), 900 / RATE), noise(seed=1)
    case = BandEdge().look(own, others, RATE)
    assert case is not None
    place = float(case.where.split()[-2])
    assert case.where.startswith("nothing above")
    assert place == pytest.approx(900, abs=80)
    frequency = torch.fft.rfftfreq(SAMPLES, 1 / RATE)
    above, below = frequency > place + 0.005 * RATE, frequency < place - 1
    spectrum = torch.fft.rfft(case.given(others, own)).abs()
    assert spectrum[:, above].max() < 1e-3
    torch.testing.assert_close(
        spectrum[:, below], torch.fft.rfft(others).abs()[:, below], rtol=1e-3, atol=1e-2
    )
    filled = torch.fft.rfft(case.without(own, others)).abs()
    assert filled[:, above].mean() == pytest.approx(
        float(torch.fft.rfft(others).abs()[:, above].mean()), rel=0.1
    )
    # The other way round the class has what others lack.
    other_way = BandEdge().look(others, own, RATE)
    assert other_way is not None
    assert other_way.where.startswith("what others lack above")
    assert torch.fft.rfft(other_way.without(others, own)).abs()[:, above].max() < 1e-3
    assert BandEdge().look(noise(), others, RATE) is None


def test_lines_are_found_taken_and_given() -> None:
    plain, others = noise(), noise(seed=1)
    cue = Hum(-3, 50).add(plain, RATE, torch.Generator().manual_seed(0))
    case = HumSuspect().look(cue.present, others, RATE)
    assert case is not None
    assert case.where.startswith("mains hum of 50 Hz, at ")
    assert case.has.all()
    error = case.without(cue.present, others) - plain
    assert error.square().sum() < 0.3 * cue.cue.square().sum()
    given = case.given(others, cue.present) - others
    assert torch.cosine_similarity(given, cue.cue).min() > 0.8
    assert HumSuspect().look(plain, others, RATE) is None


def test_silence_is_found_filled_and_given() -> None:
    own, others = noise(), noise(seed=1)
    own[:, -RATE // 2 :] = 0
    case = Silence().look(own, others, RATE)
    assert case is not None
    assert case.where == "digital silence, 25 % of these clips"
    filled = case.without(own, others)
    torch.testing.assert_close(filled[:, : -RATE // 2], own[:, : -RATE // 2])
    assert filled[:, -RATE // 2 :].std() == pytest.approx(1, rel=0.1)
    silenced = case.given(others, own)
    assert not silenced[:, -RATE // 2 :].any()
    torch.testing.assert_close(silenced[:, : -RATE // 2], others[:, : -RATE // 2])
    assert Silence().look(0.5 * others, noise(), RATE) is None


@pytest.mark.parametrize("suspect", [ClipStart(), ClipEnd()])
def test_ends_are_swapped_and_nothing_else(suspect: ClipStart) -> None:
    own, others = noise(), noise(seed=1)
    case = suspect.look(own, others, RATE)
    assert case is not None
    length = round(0.08 * RATE)
    end, rest = slice(0, length), slice(length, None)
    if not suspect.first:
        end, rest = slice(-length, None), slice(0, -length)
    for changed, sounds in ((case.given(others, own), others), (case.without(own, others), own)):
        torch.testing.assert_close(changed[:, rest], sounds[:, rest])
        assert not torch.isclose(changed[:, end], sounds[:, end]).all(1).any()
    torch.testing.assert_close(case.given(others, own)[:, end], own[:, end])


def test_what_is_kept_has_the_level_of_the_clip() -> None:
    sounds = low_and_high(shortcut=True)
    quiet = Material(sounds.names, 0.1 * sounds.waveform, sounds.labels)
    network = Cue().eval()
    explainer = find("all-ones")(network)
    [finding] = audit(network, explainer, quiet).findings
    kept = kept_sounds(explainer, quiet, finding)
    places = [quiet.names.index(name) for name in finding.clips]
    torch.testing.assert_close(kept, quiet.waveform[places], atol=1e-5, rtol=0)


def test_the_clips_that_depend_most_come_first() -> None:
    sounds = low_and_high(shortcut=True)
    network = Cue().eval()
    explainer = find("saliency")(network)
    finding = audit(network, explainer, sounds).findings[0]
    looked = next(iter(Hall(network, explainer, sounds, 16, 0).look((HumSuspect(),), lambda *_: None)))
    falls = {sounds.names[clip]: fall for clip, fall in zip(looked.own.tolist(), looked.falls.tolist())}
    assert len(set(falls.values())) == len(falls)
    assert list(finding.clips) == sorted(falls, key=lambda name: -falls[name])[:5]


def test_lines_that_flutter_are_no_hum() -> None:
    # As those of a rotor or an engine: as loud as a hum on the whole, and never even.
    plain = noise()
    steady = Hum(-3, 50).add(plain, RATE, torch.Generator().manual_seed(0)).cue
    time = torch.arange(SAMPLES) / RATE
    fluttering = steady * (1 + 0.9 * torch.sin(2 * math.pi * 2.3 * time))
    assert HumSuspect().look(plain + steady, noise(seed=1), RATE) is not None
    assert HumSuspect().look(plain + fluttering, noise(seed=1), RATE) is None
