"""The conditions: what is added to a clip, how loud, and that it depends on its name and the seed alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from earmark.errors import DataError
from earmark.evaluation.protocol import CONDITIONS, Material, Sounds, make_sounds

SAMPLES = 2000
NAMES = ("bark", "drip", "tick", "growl", "pour", "tock")
ADDING = [name for name in CONDITIONS if name != "clean"]
RATIOS = {
    ("in-domain", "corrected"): 0.0,
    ("mixtures", "corrected"): 3.0,
    ("white-noise", "corrected"): 3.0,
    ("speech", "corrected"): 3.0,
    ("in-domain", "paper"): 0.0,
    ("mixtures", "paper"): 12.0412,
    ("white-noise", "paper"): 6.0206,
    ("speech", "paper"): 12.0412,
}


def recording(seed: int, samples: int) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def material_of(names: tuple[str, ...] = NAMES, **changes: object) -> Material:
    """Return clips by name, so that those of any choice or order are the same; three classes."""
    waveform = torch.stack([recording(NAMES.index(name), SAMPLES) for name in names])
    labels = torch.tensor([NAMES.index(name) % 3 for name in names])
    noises = {"street": recording(10, 5000), "door": recording(11, 300), "room": recording(12, SAMPLES)}
    speech = {"LJ001": recording(13, 7000), "LJ002": recording(14, 900)}
    return Material(
        names, **{"waveform": waveform, "labels": labels, "noises": noises, "speech": speech} | changes
    )


def ratio(sounds: Sounds) -> Tensor:
    return 10 * torch.log10(sounds.source.square().sum(1) / sounds.interferer.square().sum(1))


@pytest.mark.parametrize(("condition", "protocol"), RATIOS)
def test_the_parts_have_the_ratio(condition: str, protocol) -> None:
    sounds = make_sounds(condition, material_of(), range(6), protocol=protocol)
    assert ratio(sounds).tolist() == pytest.approx([RATIOS[condition, protocol]] * 6, abs=1e-3)
    assert sounds.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert sounds.clips.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_source_is_the_clip_at_its_own_level(condition: str) -> None:
    material = material_of()
    assert torch.equal(make_sounds(condition, material, [4, 1]).source, material.waveform[[4, 1]])


def test_clean_adds_nothing() -> None:
    sounds = make_sounds("clean", material_of(), range(6))
    assert not sounds.interferer.any()
    assert sounds.names == ("",) * 6


@pytest.mark.parametrize("condition", ADDING)
def test_order_and_choice_of_the_clips_change_nothing(condition: str) -> None:
    whole = make_sounds(condition, material_of(), range(6), seed=3)
    part = make_sounds(condition, material_of(), [5, 2], seed=3)
    turned = make_sounds(condition, material_of(NAMES[::-1]), range(6), seed=3)
    assert part.names == (whole.names[5], whole.names[2])
    assert torch.equal(part.interferer, whole.interferer[[5, 2]])
    assert turned.names == whole.names[::-1]
    assert torch.equal(turned.interferer, whole.interferer.flip(0))


@pytest.mark.parametrize("condition", [name for name in ADDING if name != "mixtures"])
def test_other_clips_change_nothing(condition: str) -> None:
    """Mixtures draw from the clips themselves, all others do not."""
    whole = make_sounds(condition, material_of(), [3])
    alone = make_sounds(condition, material_of(("growl",)), [0])
    assert alone.names == whole.names
    assert torch.equal(alone.interferer, whole.interferer)


@pytest.mark.parametrize("condition", ADDING)
def test_another_seed_adds_something_else(condition: str) -> None:
    first, again, other = (make_sounds(condition, material_of(), range(6), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.interferer, again.interferer)
    assert not torch.equal(first.interferer, other.interferer)


def test_clips_get_different_pieces() -> None:
    white = make_sounds("white-noise", material_of(), range(6)).interferer
    assert len({round(float(one[0] / one.norm()), 6) for one in white}) == 6


def test_mixtures_add_another_clip_of_another_class() -> None:
    material = material_of()
    added: set[str] = set()
    for seed in range(20):
        sounds = make_sounds("mixtures", material, [0], seed)
        other = material.names.index(sounds.names[0])
        clip, heard = material.waveform[other], sounds.interferer[0]
        assert torch.allclose(heard / heard.norm(), clip / clip.norm(), atol=1e-6)
        added |= set(sounds.names)
    assert added == {"drip", "tick", "pour", "tock"}


def test_a_long_recording_is_cut_and_a_short_one_looped() -> None:
    ramp = torch.arange(1, 9001).float()
    long, short = (
        make_sounds("speech", material_of(speech={"one": voice}), range(6)).interferer
        for voice in (ramp, ramp[:300])
    )
    steps = long.diff() / long.diff()[:, :1]
    assert torch.allclose(steps, torch.ones_like(steps), atol=0.02)
    starts = (long[:, 0] / long.diff().mean(1)).round()
    assert len(starts.unique()) == 6
    assert torch.equal(short[:, 300:], short[:, :-300])
    assert not torch.equal(short[:, 299:], short[:, :-299])


def test_every_recording_is_drawn_sooner_or_later() -> None:
    material = material_of()
    drawn = {make_sounds("in-domain", material, [0], seed).names[0] for seed in range(20)}
    assert drawn == {"street", "door", "room"}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_silent_clip_stays_silent(condition: str) -> None:
    material = material_of()
    material.waveform[2] = 0
    sounds = make_sounds(condition, material, [2, 3])
    assert not sounds.source[0].any()
    assert not sounds.interferer[0].any()
    assert sounds.mixture[1].any()
    assert sounds.mixture.isfinite().all()


def test_a_silent_recording_adds_nothing() -> None:
    material = material_of(noises={"hush": torch.zeros(50)})
    sounds = make_sounds("in-domain", material, range(6))
    assert not sounds.interferer.any()
    assert torch.equal(sounds.source, material.waveform)
    assert sounds.names == ("hush",) * 6


def test_silent_clips_are_not_mixed_in() -> None:
    material = material_of()
    material.waveform[[1, 2, 4]] = 0
    assert {make_sounds("mixtures", material, [0], seed).names for seed in range(10)} == {("tock",)}


def test_names_that_are_no_utf8() -> None:
    names = ("b\udcffrk", *NAMES[1:])
    assert torch.equal(
        make_sounds("white-noise", Material(names, *_clips()), [0]).interferer,
        make_sounds("white-noise", Material(names[:1], *_clips(1)), [0]).interferer,
    )


def _clips(most: int = 6) -> tuple[Tensor, Tensor]:
    material = material_of()
    return material.waveform[:most], material.labels[:most]


@pytest.mark.parametrize(
    ("condition", "changes", "message"),
    [
        ("rain", {}, "no condition 'rain'; expected one of clean, in-domain, mixtures, white-noise, speech"),
        ("in-domain", {"noises": {}}, "no recording to add"),
        ("speech", {"speech": {}}, "no recording to add"),
        (
            "mixtures",
            {"labels": torch.zeros(6, dtype=torch.long)},
            "no clip of another class to mix bark with",
        ),
    ],
)
def test_what_cannot_be_made(condition: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_sounds(condition, material_of(**changes), [0])
