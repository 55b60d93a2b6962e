"""LMAC-TD: filters that return every sample, what the separator listens to, its losses, its training."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.training import Clips
from earmark.errors import ModelError
from earmark.explainers.attribution import AT_ONCE
from earmark.explainers.lmac_td.explainer import LmacTd, nearest_mask
from earmark.explainers.lmac_td.network import Filterbank, LmacTdConfig, fourier_filters
from earmark.explainers.lmac_td.training import (
    LmacTdObjective,
    LmacTdRecipe,
    LmacTdStep,
    kept_loss,
    relative_size,
    rest_loss,
    sdr,
    train_lmac_td,
)
from earmark.explainers.scenes import draw_scenes
from explainers.networks import NETWORKS, RATE, Cue, many_labels, noise

SMALL = {"window": 64, "hop": 32, "channels": 16, "hidden": 16, "kernel": 3, "dilations": (1, 2)}


def explainer_of(classifier: AudioClassifier, **changes: object) -> LmacTd:
    torch.manual_seed(0)
    return LmacTd(classifier.eval(), LmacTdConfig.model_validate(SMALL | changes))


def tones(hertz: tuple[float, float], count: int, seed: int = 0) -> Tensor:
    """Make tones at a peak of 1 between two frequencies, (count, samples)."""
    generator = torch.Generator().manual_seed(seed)
    low, high = hertz
    frequency = low + (high - low) * torch.rand(count, 1, generator=generator)
    phase = 2 * torch.pi * torch.rand(count, 1, generator=generator)
    return torch.sin(2 * torch.pi * frequency * torch.arange(RATE // 2) / RATE + phase)


# Where the rows of Cue lie: 31 Hz a bin.
LOW, HIGH = (300.0, 450.0), (1300.0, 1450.0)


@pytest.fixture
def clips() -> Clips:
    return Clips(torch.cat([tones(LOW, 8), tones(HIGH, 8, 1)]), torch.arange(16) // 8, [0.1 * noise(1)[0]])


def recipe(**changes: object) -> LmacTdRecipe:
    settings = {
        "network": SMALL,
        "scenes": {"passes": 10, "mixture_db": (0.0, 6.0)},
        "loop": {"epochs": 4, "batch_size": 8, "learning_rate": 0.01},
    }
    return LmacTdRecipe.model_validate(settings | changes)


def train(classifier: AudioClassifier, clips: Clips, settings: LmacTdRecipe, folder: Path) -> LmacTd:
    torch.manual_seed(0)
    explainer = LmacTd(classifier.eval(), settings.network)
    scores = dict.fromkeys(("AI", "AD", "AG", "FF", "Fid-In", "SI-SDRi", "share", "MM"), 0.0)
    counter: Iterator[int] = iter(range(100))
    train_lmac_td(explainer, clips, settings, folder, lambda: scores | {"AI": float(next(counter))})
    return explainer


@pytest.mark.parametrize(("window", "hop"), [(64, 32), (64, 16), (6, 3), (256, 128)])
@pytest.mark.parametrize("samples", [1, 31, 64, 257, 1000])
def test_filters_begin_by_returning_every_sample(window: int, hop: int, samples: int) -> None:
    filterbank = Filterbank(window, hop)
    waveform = torch.randn(2, samples, generator=torch.Generator().manual_seed(0))
    latent = filterbank(waveform)
    assert latent.shape == (2, 2 * filterbank.filters, filterbank.frames(samples))
    assert torch.allclose(filterbank.inverse(latent, samples), waveform, atol=1e-5)


def test_a_pair_of_filters_is_one_bin_of_a_short_fourier_transform() -> None:
    analysis, _ = fourier_filters(16)
    frame = torch.randn(16, generator=torch.Generator().manual_seed(0))
    first, second = (analysis @ frame).chunk(2)
    window = torch.hann_window(16).sqrt()
    assert torch.allclose(torch.complex(first, -second), torch.fft.rfft(frame * window), atol=1e-5)


@pytest.mark.parametrize("samples", [1999, 2000, 2001, 2047, None])
def test_sounds_are_as_long_as_asked_for(samples: int | None) -> None:
    explainer = explainer_of(Cue())
    stft = explainer.classifier.spectrogram(noise(2)[:, :samples])
    found = explainer.sounds(stft, torch.tensor([0, 1]), samples=samples)
    assert found.shape == (2, samples or 31 * 64)
    assert not found.requires_grad


def test_a_separator_that_lets_all_through_returns_the_sound() -> None:
    explainer = explainer_of(Cue())
    with torch.no_grad():
        explainer.network.head.weight.zero_()
        explainer.network.head.bias.fill_(30)
    waveform, target = noise(2), torch.tensor([0, 1])
    stft = explainer.classifier.spectrogram(waveform)
    assert torch.allclose(explainer.sounds(stft, target, samples=waveform.shape[1]), waveform, atol=1e-5)
    power = stft.abs().square()
    loud = power / (power + 0.01 * power.mean(dim=(1, 2), keepdim=True))
    # The last samples lie beyond the last frame's middle, which is where the masks' sounds end.
    assert torch.allclose(explainer.masks(stft, target)[..., :-1], loud[..., :-1], atol=1e-3)


@pytest.mark.parametrize("kind", ["cnn14", "raw"])
def test_alpha_says_who_is_listened_to(kind: str) -> None:
    classifier, target = NETWORKS[kind]().eval(), torch.tensor([0, 1])
    one, other = noise(4).split(2)
    heard, else_heard = (
        classifier.hear(classifier.spectrogram(each)).representations for each in (one, other)
    )

    def mask(alpha: float, waveform: Tensor, inside: list[Tensor]) -> Tensor:
        return explainer_of(classifier, alpha=alpha).network(waveform, inside, target)[1]

    assert torch.equal(mask(0, one, heard), mask(0, one, else_heard))
    assert not torch.allclose(mask(0, one, heard), mask(0, other, heard), atol=1e-3)
    assert torch.equal(mask(1, one, heard), mask(1, other, heard))
    assert not torch.allclose(mask(1, one, heard), mask(1, one, else_heard), atol=1e-3)
    for alpha, beyond in ((0.5, (other, heard)), (0.5, (one, else_heard))):
        assert not torch.allclose(mask(alpha, one, heard), mask(alpha, *beyond), atol=1e-3)


def test_the_class_is_heeded() -> None:
    explainer = explainer_of(NETWORKS["cnn14"]())
    stft = explainer.classifier.spectrogram(noise(1).expand(3, -1))
    a, b, _ = explainer.sounds(stft, torch.tensor([0, 1, 2]))
    assert (a - b).abs().max() > 1e-3


def test_the_level_of_a_sound_changes_its_explanation_by_that_alone() -> None:
    explainer = explainer_of(Cue())
    latent = explainer.network.filterbank(noise(2))
    inside, target = [torch.zeros(2, 2, 65, 32)], torch.tensor([0, 1])
    loud, quiet = (explainer.network.mask(factor * latent, inside, target) for factor in (1, 1e-3))
    assert torch.allclose(loud, quiet, atol=1e-4)


def test_maps_of_bands_are_told_by_their_height_and_others_are_not() -> None:
    for kind, heeded in (("cnn14", True), ("recurrent", False)):
        classifier = NETWORKS[kind]().eval()
        explainer = explainer_of(classifier)
        latent = explainer.network.filterbank(noise(1))
        maps = classifier.hear(classifier.spectrogram(noise(1))).representations
        if not heeded:
            maps = [torch.cat([inner, 2 * inner], 2) for inner in maps]
        upside_down = [inner.flip(2) for inner in maps]
        masks = [explainer.network.mask(latent, inside, torch.tensor([0])) for inside in (maps, upside_down)]
        assert torch.allclose(*masks, atol=1e-5) is not heeded


@pytest.mark.parametrize("price", [0.0, 0.3])
def test_the_mask_is_the_best_of_all_in_each_bin(price: float) -> None:
    generator = torch.Generator().manual_seed(0)
    whole, part = (torch.randn(1, 5, 6, dtype=torch.complex64, generator=generator) for _ in "ab")
    grid = torch.linspace(0, 1, 1001)
    kept = grid[:, None, None]
    cost = (kept * whole - part).abs().square() + price * whole.abs().square().mean() * kept.square()
    assert torch.allclose(nearest_mask(part, whole, price)[0], grid[cost.argmin(0)], atol=1e-3)


def test_the_masked_sound_is_near_the_explanation() -> None:
    explainer = explainer_of(Cue())
    waveform, target = noise(2), torch.tensor([0, 1])
    spectrogram = explainer.classifier.spectrogram
    stft = spectrogram(waveform)
    samples = (stft.shape[2] - 1) * 64
    explained = explainer.sounds(stft, target)
    masked = spectrogram.inverse(stft * explainer.masks(stft, target), samples)
    assert (masked - explained).square().sum() < 0.2 * explained.square().sum()


def test_silence_has_an_empty_mask() -> None:
    explainer = explainer_of(Cue())
    stft = explainer.classifier.spectrogram(torch.cat([torch.zeros(1, 2000), noise(1)]))
    target = torch.tensor([0, 0])
    assert not explainer.masks(stft, target)[0].any()
    assert not explainer.sounds(stft, target)[0].any()
    assert torch.allclose(explainer.masks(stft, target)[1], explainer.masks(stft[1:], target[1:])[0])


def test_no_more_sounds_are_heard_together_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, sizes = explainer_of(Cue()), []
    through = explainer.classifier.representations

    def spy(features: Tensor) -> tuple[Tensor, list[Tensor]]:
        sizes.append(len(features))
        return through(features)

    stft, target = explainer.classifier.spectrogram(noise(40)), torch.arange(40) % 2
    heard = explainer.classifier.hear(stft)
    monkeypatch.setattr(explainer.classifier, "representations", spy)
    found = explainer.masks(stft, target)
    assert max(sizes) <= AT_ONCE
    assert torch.allclose(found, explainer.masks(stft, target, heard), atol=1e-5)
    assert sum(sizes) == 40


def test_features_have_no_masks() -> None:
    with pytest.raises(ModelError, match="lmac-td has no masks on the features"):
        explainer_of(Cue()).on("features")


@pytest.mark.parametrize("changes", [{"window": 65}, {"hop": 48}, {"hop": 64}, {"kernel": 4}, {"alpha": 1.5}])
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"window|kernel|alpha"):
        LmacTdConfig.model_validate(SMALL | changes)


def test_losses_are_what_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = 3 * torch.randn(4, 3, generator=generator), torch.tensor([0, 1, 2, 0])
    one, several = NETWORKS["cnn14"](), many_labels()
    chosen = logits.softmax(1)[torch.arange(4), target]
    assert torch.allclose(kept_loss(one, logits, target), -chosen.log(), atol=1e-5)
    assert torch.allclose(rest_loss(one, logits, target), -(1 - chosen).log(), atol=1e-5)
    yes = logits.sigmoid()[torch.arange(4), target]
    assert torch.allclose(kept_loss(several, logits, target), -yes.log(), atol=1e-5)
    assert torch.allclose(rest_loss(several, logits, target), -(1 - yes).log(), atol=1e-5)
    sure = torch.tensor([[90.0, 0.0, 0.0]])
    assert rest_loss(one, sure, torch.tensor([0])).item() == pytest.approx(90 - 0.6931, rel=1e-4)


def test_distortion_is_that_of_the_definition() -> None:
    wanted, other = noise(2)
    mixed = (wanted + 0.5 * other)[None]
    ratio = 10 * torch.log10(wanted.square().sum() / (0.5 * other).square().sum())
    assert sdr(mixed, wanted[None], ceiling_db=60).item() == pytest.approx(ratio.item(), abs=1e-3)
    assert sdr(0.1 * wanted[None], wanted[None]) < 1
    assert relative_size(-0.25 * mixed, mixed).item() == pytest.approx(0.25)


def test_the_loss_is_the_weighted_sum_of_what_the_classifier_hears_and_the_sources() -> None:
    weights = {"kept": 2.0, "rest": 0.3, "size": 0.7, "sparsity": 5.0, "guide": 1.5}
    explainer = explainer_of(Cue())
    step = LmacTdStep(explainer, LmacTdObjective(**weights)).eval()
    source, interferer = tones(LOW, 1), 0.5 * tones(HIGH, 1)
    # The second class is asked for, so that the interferer is what should be found.
    losses = step(source, interferer, torch.tensor([[0, 1]]), torch.tensor([1]))

    classifier, mixture = explainer.classifier, source + interferer
    inside = classifier.hear(classifier.spectrogram(mixture)).representations
    explained, mask = explainer.network(mixture, inside, torch.tensor([1]))
    p, p_rest = (
        classifier.logits(classifier.features(classifier.spectrogram(part))).softmax(1)[0, 1]
        for part in (explained, mixture - explained)
    )
    distortion = (explained - interferer).square().sum() / interferer.square().sum()
    expected = {
        "kept": -p.log(),
        "rest": -(1 - p_rest).log(),
        "size": explained.abs().sum() / mixture.abs().sum(),
        "sparsity": mask.mean(),
        "guide": torch.log10(distortion + 0.01),
    }
    assert losses.keys() == {"loss", *expected}
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-3), name
    whole = sum(weights[name] * value.item() for name, value in expected.items())
    assert losses["loss"].item() == pytest.approx(whole, rel=1e-3)


def test_losses_do_not_depend_on_the_batch_size(clips: Clips) -> None:
    step = LmacTdStep(explainer_of(Cue()), LmacTdObjective()).eval()
    batch = next(iter(draw_scenes(clips, recipe().scenes, 8, torch.Generator().manual_seed(0))))
    whole = step(*batch)
    halves = [step(*(part[half] for part in batch)) for half in (slice(0, 4), slice(4, 8))]
    for name, value in whole.items():
        assert value.item() == pytest.approx((halves[0][name] + halves[1][name]).item() / 2, rel=1e-3)


def test_only_a_share_of_the_clips_is_judged(clips: Clips) -> None:
    batch = next(iter(draw_scenes(clips, recipe().scenes, 8, torch.Generator().manual_seed(0))))
    part = LmacTdStep(explainer_of(Cue()), LmacTdObjective(judged=0.3)).eval()(*batch)
    all_of_first = LmacTdStep(explainer_of(Cue()), LmacTdObjective()).eval()(*(each[:3] for each in batch))
    for name in ("kept", "rest"):
        assert part[name].item() == pytest.approx(all_of_first[name].item(), rel=1e-3)


def test_what_has_no_known_source_is_not_guided() -> None:
    step = LmacTdStep(explainer_of(Cue()), LmacTdObjective()).eval()
    source = tones(LOW, 2)
    labels = torch.tensor([[0, -1], [1, -1]])
    asked = torch.tensor([0, 0])
    guided = step(source, 0 * source, labels, asked)["guide"]
    first = step(source[:1], 0 * source[:1], labels[:1], asked[:1])["guide"]
    assert guided.item() == pytest.approx(first.item() / 2, rel=1e-4)


def share_of(explainer: LmacTd, waveform: Tensor, target: int, hertz: tuple[float, float]) -> Tensor:
    """Return how much of an explanation's energy lies between two frequencies, (batch,)."""
    stft = explainer.classifier.spectrogram(waveform)
    sounds = explainer.sounds(stft, torch.full((len(waveform),), target), samples=waveform.shape[1])
    power = torch.fft.rfft(sounds).abs().square()
    frequency = torch.fft.rfftfreq(waveform.shape[1], 1 / RATE)
    inside = (frequency > hertz[0] - 60) & (frequency < hertz[1] + 60)
    return power[:, inside].sum(1) / power.sum(1)


@pytest.mark.parametrize("guided", [False, True])
def test_it_learns_which_sound_each_class_is(clips: Clips, tmp_path: Path, guided: bool) -> None:
    heard = {"kept": 0.0, "rest": 0.0, "guide": 1.0} if guided else {"kept": 1.0, "rest": 1.0, "guide": 0.0}

    class Loud(Cue):
        """Cue, and sure of what it hears."""

        def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
            logits, maps = super().representations(features)
            return 10 * logits, maps

    classifier = Loud()
    explainer = train(classifier, clips, recipe(objective=heard), tmp_path)
    mixture = tones(LOW, 4, 7) + 0.7 * tones(HIGH, 4, 8)
    found = share_of(explainer, mixture, 0, LOW), share_of(explainer, mixture, 1, HIGH)
    before = share_of(explainer_of(Loud()), mixture, 0, LOW), share_of(explainer_of(Loud()), mixture, 1, HIGH)
    for after, untrained in zip(found, before):
        assert (after > untrained).all()
        assert after.min() > 0.8
    stft = classifier.spectrogram(mixture)
    kept = (explainer.masks(stft, torch.tensor([0, 0, 1, 1])) * stft.abs()).square().sum(2)
    low, high = (kept[:, slice(*rows)].sum(1) / kept.sum(1) for rows in Cue.ROWS)
    assert torch.cat([low[:2], high[2:]]).min() > 0.8


def test_a_seed_trains_the_same_again_and_leaves_the_classifier_alone(clips: Clips, tmp_path: Path) -> None:
    short = recipe(loop={"epochs": 1, "batch_size": 8, "seed": 3})
    classifier = Cue()
    one, other = (train(classifier, clips, short, tmp_path / name) for name in "ab")
    for value, again in zip(one.network.state_dict().values(), other.network.state_dict().values()):
        assert torch.equal(value, again)
    another = recipe(loop={"epochs": 1, "batch_size": 8, "seed": 4})
    different = train(classifier, clips, another, tmp_path / "c")
    assert not torch.equal(one.network.head.weight, different.network.head.weight)
    assert torch.equal(classifier.rows, Cue().rows)
    assert classifier.rows.requires_grad
    step = torch.load(tmp_path / "a" / "resume.pt", weights_only=True)["step"]
    assert step.keys() == {f"network.{name}" for name in one.network.state_dict()}


def test_a_classifier_without_gradients_can_only_be_guided(clips: Clips, tmp_path: Path) -> None:
    class Cut(Cue):
        def features(self, stft: Tensor) -> Tensor:
            return super().features(stft).detach()

    short = {"epochs": 1, "batch_size": 8}
    with pytest.raises(ModelError, match="trained by gradients, and the classifier lets none through"):
        train(Cut(), clips, recipe(loop=short), tmp_path)
    train(Cut(), clips, recipe(loop=short, objective={"kept": 0, "rest": 0}), tmp_path)
