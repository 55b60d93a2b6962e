"""SLIME, audioLIME and RISE: each re-derived in plain form, and cues that each must find."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.classifiers.base import AudioClassifier
from earmark.errors import ModelError
from earmark.explainers import rise
from earmark.explainers.attribution import AT_ONCE, Canvas, Picture
from earmark.explainers.audiolime import (
    AudioLime,
    component_weights,
    factorise,
    harmonic_percussive,
    in_pieces,
    shares_of,
)
from earmark.explainers.base import Domain, find
from earmark.explainers.slime import Segments, grid
from explainers.networks import NETWORKS, Cue, cnn14, noise

NAMES = ("audiolime", "audiolime-hpss", "rise", "slime", "slime-frequency", "slime-time")
LOW, HIGH = (slice(*rows) for rows in Cue.ROWS)
TARGET = torch.tensor([0])


@pytest.fixture
def cue() -> AudioClassifier:
    return Cue().eval()


def painted(low: Tensor, high: Tensor, elsewhere: float = 0.0) -> Tensor:
    """Make a spectrum, (1, 65, 32), of what is heard over time in both cues' rows, and elsewhere."""
    stft = torch.full((1, 65, 32), elsewhere)
    stft[:, LOW], stft[:, HIGH] = low, high
    return stft.to(torch.complex64)


def pulses(*frames: slice) -> Tensor:
    """Make what is heard over time, (32,)."""
    heard = torch.zeros(32)
    for part in frames:
        heard[part] = 1
    return heard


def picture_of(classifier: AudioClassifier) -> tuple[Canvas, Picture]:
    features = classifier.features(classifier.spectrogram(noise(1))).detach()
    return Canvas(classifier, "features", "magnitude"), Picture(features, (torch.ones(1, 1, 1),))


def ridge(kept: Tensor, logits: Tensor, weights: Tensor) -> Tensor:
    """Fit a plane by weighted least squares, with a penalty of 1 on its slope, by its normal equations."""
    ones = torch.cat([kept, torch.ones(len(kept), 1)], dim=1).double()
    penalty = torch.eye(ones.shape[1], dtype=torch.double)
    penalty[-1, -1] = 0
    weighted = ones.T * weights.double()
    return torch.linalg.solve(weighted @ ones + penalty, weighted @ logits.double())[:-1]


def drawn(passes: int, parts: int) -> Tensor:
    """Draw which parts are there in each pass, (passes, parts), as the methods do."""
    torch.manual_seed(0)
    return torch.cat([torch.bernoulli(torch.full((1, parts), 0.5)) for _ in range(passes)])


def lime_kernel(kept: Tensor) -> Tensor:
    distance = 1 - F.cosine_similarity(kept, torch.ones_like(kept))
    return torch.exp(-(distance**2) / (2 * 0.25**2))


@pytest.mark.parametrize("name", ["slime", "slime-time", "slime-frequency"])
def test_slime_by_normal_equations(name: str) -> None:
    network = cnn14().eval()
    method = find(name)(network).on("features")
    assert isinstance(method, Segments)
    canvas, picture = picture_of(network)
    down, along = method.pieces
    rows = [round(part.shape[0]) for part in torch.arange(32).tensor_split(down)]
    kept = drawn(method.passes, down * along)
    whole = kept.view(-1, down, along).repeat_interleave(torch.tensor(rows), dim=1)
    number = torch.tensor([frame * along // 32 for frame in range(32)])
    with torch.no_grad():
        logits = network.logits(picture.inputs * whole[:, :, number])[:, 2]
    wanted = ridge(kept, logits, lime_kernel(kept)).view(down, along)
    torch.manual_seed(0)
    found = method.attribute(canvas, picture, torch.tensor([2]))[0]
    wanted = wanted.repeat_interleave(torch.tensor(rows), dim=0)[:, number].float()
    assert wanted.max() > 0 > wanted.min()
    assert torch.allclose(found, wanted.relu(), atol=1e-4 * wanted.abs().max())


def test_segments_are_as_many_as_asked_for_and_of_one_size() -> None:
    for rows, frames, pieces in ((513, 431, (8, 8)), (65, 32, (1, 10)), (3, 5, (8, 8)), (1, 2000, (8, 8))):
        sizes = grid(rows, frames, pieces).flatten().bincount()
        down, along = min(rows, pieces[0]), min(frames, pieces[1])
        assert len(sizes) == down * along
        assert sizes.max() <= math.ceil(rows / down) * math.ceil(frames / along)
        assert sizes.min() >= (rows // down) * (frames // along)


def test_slime_in_time_finds_when(cue: AudioClassifier) -> None:
    found = find("slime-time")(cue).masks(painted(pulses(slice(13, 16)), torch.ones(32), 0.5), TARGET)[0]
    assert torch.equal(found, found[:1].expand_as(found))
    assert found[0, 13:16].min() > 0.99
    assert found[0, :12].max() < 0.05
    assert found[0, 17:].max() < 0.05


class Against(Cue):
    """The sound in the rows of the other class speaks against a class as much as its own speaks for it."""

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits, maps = super().representations(features)
        return logits - logits.flip(1), maps


@pytest.mark.parametrize("name", ["slime", "slime-frequency", "rise"])
def test_what_speaks_against_the_class_is_not_kept(name: str) -> None:
    against = Against().eval()
    found = find(name)(against).masks(against.spectrogram(noise(1)), TARGET)[0]
    assert found[LOW].mean() > 0.5
    assert found[41:47].max() < 0.05


def test_components_that_speak_against_the_class_are_not_kept() -> None:
    found = AudioLime(Against().eval(), components=by_cue).masks(
        painted(torch.ones(32), torch.ones(32)), TARGET
    )
    assert found[0, LOW].min() > 0.99
    assert found[0, HIGH].max() == 0


def by_cue(magnitude: Tensor) -> Tensor:
    """Take a sound apart into the rows of both cues and the rest."""
    parts = magnitude.new_zeros(3, *magnitude.shape)
    parts[0, LOW], parts[1, HIGH] = magnitude[LOW], magnitude[HIGH]
    parts[2] = magnitude - parts.sum(0)
    return parts


@pytest.mark.parametrize("domain", ["stft", "features"])
def test_audiolime_by_normal_equations(domain: Domain) -> None:
    network = cnn14().eval()
    stft = network.spectrogram(noise(1))
    base = network.features(stft) if domain == "features" else stft
    shares = torch.rand(4, *base.shape[1:], generator=torch.Generator().manual_seed(0)) ** 4
    shares /= shares.sum(0)
    kept = drawn(96, 4)
    mixed = base * torch.einsum("np,prt->nrt", kept, shares)
    with torch.no_grad():
        logits = network.logits(mixed if domain == "features" else network.features(mixed))
    wanted = ridge(kept, logits[:, 0], lime_kernel(kept)).float()
    assert wanted.max() > 0
    mask = torch.einsum("p,prt->rt", wanted.relu(), shares)
    method = AudioLime(network, components=lambda magnitude: 2 * shares * magnitude).on(domain)
    assert torch.allclose(method.masks(stft, TARGET)[0], mask / mask.max(), atol=1e-3)


def test_weights_of_components_are_limes_by_normal_equations() -> None:
    network = cnn14().eval()
    canvas, picture = picture_of(network)
    shares = torch.rand(4, 32, 32, generator=torch.Generator().manual_seed(0)) ** 4
    shares /= shares.sum(0)
    kept = drawn(96, 4)
    with torch.no_grad():
        logits = network.logits(picture.inputs * torch.einsum("np,prt->nrt", kept, shares))[:, 0]
    wanted = ridge(kept, logits, lime_kernel(kept)).float()
    torch.manual_seed(0)
    found = component_weights(canvas, picture, TARGET, shares)
    assert torch.allclose(found, wanted, atol=1e-3 * wanted.abs().max())


def test_audiolime_finds_the_component_that_is_the_cue(cue: AudioClassifier) -> None:
    low, high = pulses(slice(2, 8), slice(20, 24)), pulses(slice(10, 16), slice(26, 30))
    stft = painted(low, high)
    for target, inside, outside in ((0, LOW, HIGH), (1, HIGH, LOW)):
        found = find("audiolime")(cue).masks(stft, torch.tensor([target]))[0] * stft[0].abs()
        assert found[inside].sum() > 0.9 * stft[0, inside].abs().sum()
        assert found[outside].sum() < 0.05 * stft[0, outside].abs().sum()


def test_audiolime_tells_what_lasts_from_clicks_in_the_same_rows(cue: AudioClassifier) -> None:
    stft = painted(torch.zeros(32), torch.zeros(32))
    stft[:, 12] = 1  # a tone in the rows of the class
    stft[:, 20:, 5::8] = 1  # and clicks outside of them
    found = find("audiolime-hpss")(cue).masks(stft, TARGET)[0]
    assert found[12].mean() > 0.8
    assert found[20:, 5::8].max() < 0.1


@pytest.mark.parametrize("size", [(65, 32), (65, 3), (2, 32)])
def test_factors_sum_to_nearly_the_sound(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    spectra, times = torch.rand(size[0], 2, generator=generator), torch.rand(2, size[1], generator=generator)
    parts = factorise(spectra @ times, 8)
    assert parts.shape == (min(8, *size), *size)
    assert parts.min() >= 0
    assert torch.linalg.matrix_rank(parts, atol=1e-4).max() == 1
    assert (parts.sum(0) - spectra @ times).norm() < 0.05 * (spectra @ times).norm()


def test_harmonic_and_percussive_parts_and_their_pieces_sum_to_the_sound() -> None:
    magnitude = torch.rand(65, 32, generator=torch.Generator().manual_seed(0))
    parts = harmonic_percussive(magnitude)
    assert torch.allclose(parts.sum(0), magnitude, atol=1e-6)
    pieces = in_pieces(parts, 5)
    assert pieces.shape == (10, 65, 32)
    assert torch.equal(pieces.view(2, 5, 65, 32).sum(1), parts)
    assert (pieces > 0).any(1).sum(1).max() == 7


def test_components_are_shared_out_by_medians_by_loops() -> None:
    magnitude = torch.rand(65, 70, generator=torch.Generator().manual_seed(0))
    row, frame = 30, 40
    along = magnitude[row, frame - 15 : frame + 16].median() ** 2
    across = magnitude[row - 15 : row + 16, frame].median() ** 2
    found = harmonic_percussive(magnitude)[0, row, frame]
    assert found.item() == pytest.approx((magnitude[row, frame] * along / (along + across)).item(), rel=1e-5)


def test_fewer_frames_than_components_are_taken_apart_into_as_many(cue: AudioClassifier) -> None:
    stft = cue.spectrogram(noise(1))[:, :, :3]
    for name in ("audiolime", "audiolime-hpss"):
        found = find(name)(cue).masks(stft, TARGET)
        assert found.shape == stft.shape
        assert found.max() == 1


def test_components_stay_with_copies_of_the_method(cue: AudioClassifier) -> None:
    stft = cue.spectrogram(noise(1))
    method = AudioLime(cue, components=by_cue)
    for copy in (method.on("features"), method.of(Cue().eval())):
        assert torch.allclose(copy.masks(stft, TARGET), method.masks(stft, TARGET), atol=1e-5)


@pytest.mark.parametrize("shape", [(65, 32), (2, 65, 31), (0, 65, 32)])
def test_components_of_another_size_are_refused(cue: AudioClassifier, shape: tuple[int, ...]) -> None:
    method = AudioLime(cue, components=lambda _: torch.ones(shape))
    with pytest.raises(ModelError, match=r"components of a picture of \(65, 32\) are \(.*mend the function"):
        method.masks(cue.spectrogram(noise(1)), TARGET)


def test_shares_sum_to_one() -> None:
    shares = shares_of(torch.rand(4, 5, 6) * (torch.rand(5, 6) > 0.5), torch.zeros(5, 6))
    assert torch.allclose(shares.sum(0), torch.ones(5, 6))


@pytest.mark.parametrize("name", ["audiolime", "audiolime-hpss", "slime-frequency"])
@pytest.mark.parametrize("kind", ["raw", "1-D CNN", "own front end"])
def test_a_single_row_cannot_be_cut_in_bands_or_taken_apart(kind: str, name: str) -> None:
    network = NETWORKS[kind]().eval()
    with pytest.raises(ModelError, match=f"{name} .* picture of 1 .*explain on the stft"):
        find(name)(network).on("features").masks(network.spectrogram(noise(1)), TARGET)


def test_rise_by_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rise, "MASKS", 40)  # two chunks and a half
    network = cnn14().eval()
    stft = network.spectrogram(noise(2))
    features, target = network.features(stft).detach(), [0, 2]
    masks = torch.cat(list(rise.draw_masks(features, 0)))
    assert len(masks) == 40
    found = find("rise")(network).on("features").masks(stft, torch.tensor(target))
    for clip, label in enumerate(target):
        heard = [
            network.logits(features[clip : clip + 1] * mask).softmax(1)[0, label].item() for mask in masks
        ]
        mean = sum(p * mask.double() for p, mask in zip(heard, masks)) / masks.double().sum(0)
        wanted = (mean - sum(heard) / 40).relu()
        assert torch.allclose(found[clip], (wanted / wanted.max()).float(), atol=2e-3)


@pytest.mark.parametrize("size", [(65, 32), (1, 2000), (513, 431), (3, 5)])
def test_random_masks_are_half_on_average_everywhere(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.cat([rise.smooth_masks(100, *size, generator) for _ in range(4)])
    assert masks.shape == (400, *size)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert masks.mean().item() == pytest.approx(0.5, abs=0.03)
    assert masks.mean(0).sub(0.5).abs().max() < 0.15
    assert (masks[0] - masks[1]).abs().max() > 0.5


def test_masks_are_enlarged_bilinearly() -> None:
    grids = torch.rand(1, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    tents = [rise.tents(size, cells, torch.zeros(1)) for size, cells in ((20, 2), (12, 3))]
    found = tents[0] @ grids[0] @ tents[1].transpose(1, 2)
    wanted = F.interpolate(grids, (31, 17), mode="bilinear", align_corners=True)[0, :, :20, :12]
    assert torch.allclose(found, wanted, atol=1e-5)


def test_masks_are_shifted_by_up_to_a_cell() -> None:
    plain, shifted = (rise.tents(20, 2, torch.tensor([shift])) for shift in (0.0, 0.3))
    assert torch.allclose(shifted[:, :17], plain[:, 3:], atol=1e-6)


def sizes_heard(cue: AudioClassifier, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    through, sizes = cue.representations, []

    def spy(features: Tensor) -> tuple[Tensor, list[Tensor]]:
        sizes.append(len(features))
        return through(features)

    monkeypatch.setattr(cue, "representations", spy)
    return sizes


@pytest.mark.parametrize("name", NAMES)
def test_passes_are_as_many_as_said_and_bounded(
    name: str, cue: AudioClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = sizes_heard(cue, monkeypatch)
    find(name)(cue).masks(cue.spectrogram(noise(2)), TARGET.repeat(2))
    assert max(sizes) == AT_ONCE
    assert find(name).costly == (sum(sizes) >= 2 * 100)


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_draws_anew(name: str) -> None:
    network = cnn14().eval()
    stft = network.spectrogram(noise(1))
    one, again, other = (find(name)(network, seed=seed).masks(stft, TARGET) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("domain", ["stft", "features"])
@pytest.mark.parametrize("name", NAMES)
def test_silence_is_explained_by_nothing(name: str, domain: Domain) -> None:
    network = cnn14().eval()
    sounds = torch.cat([torch.zeros(1, 2000), noise(1)])
    found = find(name)(network).on(domain).masks(network.spectrogram(sounds), torch.tensor([2, 2]))
    assert found[0].max() == 0
    assert found[1].max() == 1


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rise"])
def test_silence_is_not_asked_about(name: str, cue: AudioClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = sizes_heard(cue, monkeypatch)
    find(name)(cue).masks(cue.spectrogram(torch.zeros(1, 2000)), TARGET)
    assert sizes == []


def test_the_seed_is_that_of_nmf_too(cue: AudioClassifier) -> None:
    magnitude = cue.spectrogram(noise(1))[0].abs()
    one, again, other = (AudioLime(cue, seed=seed).decompose(magnitude) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=1e-3)


class Opaque(Cue):
    """Lets no gradient through."""

    def features(self, stft: Tensor) -> Tensor:
        return torch.from_numpy(stft.abs().detach().numpy())


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_is_needed(name: str, cue: AudioClassifier) -> None:
    stft = cue.spectrogram(noise(1))
    found = find(name)(Opaque().eval()).masks(stft, TARGET)
    assert torch.equal(found, find(name)(cue).masks(stft, TARGET))
