"""PIQ: its quantiser against plain loops, its losses against plain sums, and a toy whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.training import Clips
from earmark.errors import ModelError
from earmark.explainers.attribution import AT_ONCE
from earmark.explainers.piq.explainer import Piq
from earmark.explainers.piq.network import Adapter, Decoder, PiqConfig
from earmark.explainers.piq.quantiser import Quantiser, perplexity
from earmark.explainers.piq.training import PiqObjective, PiqRecipe, PiqStep, loud_bins, train_piq
from earmark.explainers.scenes import draw_scenes
from earmark.training.recipe import load_recipe
from explainers.networks import RATE, Cue, cnn14, wrapped

SMALL = PiqConfig(codes=6, channels=8, patch=4, decoder=(16, 8))
SAMPLES = RATE // 2


def filled(classes: int = 3, codes: int = 5, channels: int = 4) -> Quantiser:
    """Make a quantiser whose codes and words say something and are all alive."""
    torch.manual_seed(0)
    quantiser = Quantiser(classes, codes, channels)
    quantiser.codes.normal_()
    quantiser.uses.fill_(1 / codes)
    quantiser.words.data.normal_()
    return quantiser


def vectors_of(maps: Tensor, clip: int) -> list[Tensor]:
    """Return the vectors of a clip, row by row."""
    return [maps[clip, :, y, x] for y in range(maps.shape[2]) for x in range(maps.shape[3])]


def nearest_by_loops(quantiser: Quantiser, maps: Tensor, target: Tensor) -> list[list[int]]:
    return [
        [
            min(
                range(quantiser.codes.shape[1]),
                key=lambda code: float((vector - quantiser.codes[target[clip], code]).square().sum()),
            )
            for vector in vectors_of(maps, clip)
        ]
        for clip in range(len(maps))
    ]


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(4, 4, 3, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def target() -> Tensor:
    return torch.tensor([0, 2, 2, 0])


def test_vectors_become_the_nearest_code_of_their_class_and_its_word(maps: Tensor, target: Tensor) -> None:
    quantiser = filled().eval()
    told, chosen, commitment = quantiser(maps, target)
    expected = nearest_by_loops(quantiser, maps, target)
    assert chosen.shape == (4, 3, 2)
    assert chosen.flatten(1).tolist() == expected
    for clip, codes in enumerate(expected):
        own, words = quantiser.codes[target[clip]], quantiser.words[target[clip]]
        vectors = vectors_of(maps, clip)
        distance = sum(float((v - own[k]).square().sum()) for v, k in zip(vectors, codes))
        assert commitment[clip].item() == pytest.approx(distance / maps[clip].numel(), rel=1e-5)
        for vector, code in zip(vectors_of(told, clip), codes):
            assert torch.allclose(vector, own[code] + words[code])


def test_only_the_classes_own_codes_matter(maps: Tensor, target: Tensor) -> None:
    quantiser = filled().eval()
    before = quantiser(maps, target)
    quantiser.codes[1].copy_(maps[0, :, 0, 0])  # a perfect code, of a class that is not asked for
    quantiser.words.data[1] = 100
    after = quantiser(maps, target)
    assert torch.equal(before.maps, after.maps)
    assert torch.equal(before.chosen, after.chosen)
    assert not torch.equal(before.maps, quantiser(maps, torch.ones_like(target)).maps)


def test_gradients_go_straight_through_and_to_the_words(maps: Tensor, target: Tensor) -> None:
    quantiser = filled().eval()
    maps = maps.requires_grad_()
    quantised = quantiser(maps, target)
    upstream = torch.randn(maps.shape, generator=torch.Generator().manual_seed(2))
    through, words = torch.autograd.grad(
        (quantised.maps * upstream).sum(), [maps, quantiser.words], retain_graph=True
    )
    assert torch.equal(through, upstream)
    expected = torch.zeros_like(quantiser.words)
    for clip, codes in enumerate(quantised.chosen.flatten(1).tolist()):
        for vector, code in zip(vectors_of(upstream, clip), codes):
            expected[target[clip], code] += vector
    assert torch.allclose(words, expected, atol=1e-6)
    (pull,) = torch.autograd.grad(quantised.commitment.sum(), maps)
    own = (quantised.maps - torch.zeros_like(maps)).detach()
    for clip, codes in enumerate(quantised.chosen.flatten(1).tolist()):
        for place, code in enumerate(codes):
            own[clip, :, place // 2, place % 2] = quantiser.codes[target[clip], code]
    assert torch.allclose(pull, 2 * (maps - own) / maps[0].numel(), atol=1e-6)


def test_codes_follow_the_mean_of_what_chose_them(maps: Tensor, target: Tensor) -> None:
    quantiser = filled().train()
    codes, uses = quantiser.codes.clone(), quantiser.uses.clone()
    expected = nearest_by_loops(quantiser, maps, target)
    quantiser(maps, target)
    for klass in range(3):
        pairs = [
            (vector, code)
            for clip in range(4)
            if target[clip] == klass
            for vector, code in zip(vectors_of(maps, clip), expected[clip])
        ]
        for code in range(5):
            if not pairs:
                assert torch.equal(quantiser.codes[klass], codes[klass])
                continue
            chose = [vector for vector, other in pairs if other == code]
            share = len(chose) / len(pairs)
            weight = 0.95 * uses[klass, code] + 0.05 * share
            total = 0.95 * uses[klass, code] * codes[klass, code]
            total = total + 0.05 * sum(chose, torch.zeros(4)) / len(pairs)
            assert quantiser.uses[klass, code].item() == pytest.approx(weight.item(), rel=1e-5)
            assert torch.allclose(quantiser.codes[klass, code], total / weight, atol=1e-5)


def test_dead_codes_go_to_vectors_of_their_class(maps: Tensor, target: Tensor) -> None:
    quantiser = filled().train()
    quantiser.codes[0, 3] = 50
    quantiser.uses[0, 3] = 1e-3
    quantiser.uses[1] = 0
    absent, alive = quantiser.codes[1].clone(), quantiser.codes[0, :3].clone()
    said = quantiser.words[0].detach().clone()
    quantiser._revive(maps.flatten(2).transpose(1, 2), target)
    own = [vector for clip in (0, 3) for vector in vectors_of(maps, clip)]
    assert any(torch.equal(quantiser.codes[0, 3], vector) for vector in own)
    assert quantiser.uses[0, 3].item() == pytest.approx(1 / 5)
    assert torch.allclose(quantiser.words[0, 3], said.mean(0))
    assert torch.equal(quantiser.words[0, :3], said[:3])
    assert torch.equal(quantiser.codes[0, :3], alive)
    assert torch.equal(quantiser.codes[1], absent)


def test_many_codes_are_used_on_clusters_and_few_without_revival() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(8, 4, generator=generator)
    found = {}
    for dead in (0.05, 0.0):
        torch.manual_seed(0)
        quantiser = Quantiser(1, 8, 4, decay=0.8, dead=dead).train()
        if not dead:
            quantiser.codes += torch.tensor([20.0, 0, 0, 0])  # far away, so that one takes all
            quantiser.codes[0, 0] = 0
        for _ in range(60):
            which = torch.randint(8, (4, 9), generator=generator)
            vectors = centres[which] + 0.05 * torch.randn(4, 9, 4, generator=generator)
            quantiser(vectors.transpose(1, 2).unflatten(2, (3, 3)), torch.zeros(4, dtype=torch.long))
        found[dead] = perplexity(quantiser.uses).item()
    assert found[0.05] > 5
    assert found[0.0] < 2


def test_evaluation_moves_no_code_and_draws_nothing(maps: Tensor, target: Tensor) -> None:
    quantiser = Quantiser(3, 5, 4).eval()
    before, chance = quantiser.codes.clone(), torch.get_rng_state()
    quantiser(maps, target)
    assert torch.equal(quantiser.codes, before)
    assert torch.equal(torch.get_rng_state(), chance)
    assert perplexity(quantiser.uses).tolist() == [1, 1, 1]


def test_perplexity_is_e_to_the_entropy() -> None:
    share = [0.5, 0.3, 0.2]
    expected = math.exp(-sum(each * math.log(each) for each in share))
    assert perplexity(torch.tensor([share])).item() == pytest.approx(expected, rel=1e-5)


def test_the_adapter_works_at_the_finest_map_that_is_allowed() -> None:
    adapter = Adapter((4, 6), 8)
    maps = [torch.randn(2, 4, 12, 40), torch.randn(2, 6, 3, 10)]
    assert adapter(maps, (20, 50)).shape == (2, 8, 12, 40)
    fewer = adapter(maps, (6, 50))
    assert fewer.shape == (2, 8, 6, 40)
    assert fewer.var((0, 2, 3), unbiased=False).tolist() == pytest.approx([1] * 8, abs=1e-3)


def test_the_decoder_tells_bands_apart_where_maps_have_none() -> None:
    torch.manual_seed(0)
    decoder = Decoder(8, (16, 8), rows=20).eval()
    logits = decoder(torch.randn(1, 8, 1, 10), (80, 80))
    assert logits.shape == (1, 80, 80)
    assert logits[:, 30:50].std(1).mean() > 0.01  # so far from the edges, no padding tells them apart


@pytest.mark.parametrize("samples", [SAMPLES // 3, SAMPLES, 3 * SAMPLES])
def test_any_length(samples: int) -> None:
    explainer = Piq(cnn14().eval(), SMALL)
    stft = explainer.classifier.spectrogram(torch.randn(2, samples))
    mask = explainer.masks(stft, torch.tensor([0, 1]))
    assert mask.shape == stft.shape
    assert explainer.codes(stft, torch.tensor([0, 1])).shape[0] == 2


def test_the_bundled_classifiers_piq_is_small() -> None:
    from earmark import load

    network = Piq(load("esc10").classifier).network
    assert sum(4 * value.numel() for value in network.state_dict().values()) < 3e6


def test_silence_is_masked_and_memory_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    cue, sizes = Cue().eval(), []
    through = cue.representations

    def spy(features: Tensor) -> tuple[Tensor, list[Tensor]]:
        sizes.append(len(features))
        return through(features)

    monkeypatch.setattr(cue, "representations", spy)
    explainer = Piq(cue, SMALL)
    sizes.clear()
    waveform = torch.randn(2 * AT_ONCE + 3, SAMPLES)
    waveform[1] = 0
    mask = explainer.masks(cue.spectrogram(waveform), torch.zeros(len(waveform), dtype=torch.long))
    assert sizes == [AT_ONCE, AT_ONCE, 3]
    assert not mask[1].any()
    assert mask[0].min() > 0


def test_features_are_masked_by_the_same_picture_without_the_warp() -> None:
    explainer = Piq(cnn14().eval(), SMALL)
    stft, target = explainer.classifier.spectrogram(torch.randn(2, SAMPLES)), torch.tensor([0, 2])
    on_bins, on_features = (
        torch.logit(explainer.on(domain).masks(stft, target).double()) for domain in ("stft", "features")
    )
    rows = explainer.classifier.bands_to_bins().double()
    assert torch.allclose(rows @ on_features, on_bins, atol=1e-4)


def test_a_classifier_without_maps_is_refused() -> None:
    class Bare(Cue):
        def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
            return super().representations(features)[0], []

    with pytest.raises(ModelError, match="piq needs a feature map, and the classifier has none"):
        Piq(Bare().eval())


def clips_of_cue() -> Clips:
    """Return noises, half of them in the rows of one class and half in those of the other."""
    cue = Cue()
    generator = torch.Generator().manual_seed(0)
    stft = cue.spectrogram(torch.randn(16, SAMPLES, generator=generator))
    labels = torch.arange(16) // 8
    alone = cue.spectrogram.inverse(stft * cue.rows.detach()[labels][:, :, None], SAMPLES)
    return Clips(alone / alone.abs().amax(1, keepdim=True), labels, [])


def recipe(**changes: object) -> PiqRecipe:
    settings = {
        "piq": SMALL,
        "scenes": {"noise": 0.0, "clean": 0.2, "passes": 12, "mixture_db": (-3.0, 3.0), "other_class": 0.5},
        "loop": {"epochs": 5, "batch_size": 8, "learning_rate": 0.01},
    }
    return PiqRecipe.model_validate(settings | changes)


def train(
    settings: PiqRecipe, folder: Path, make: Callable[[], AudioClassifier] = Cue
) -> tuple[Piq, list[dict[str, float]]]:
    torch.manual_seed(0)
    explainer = Piq(make().eval(), settings.piq)
    row = dict.fromkeys(("AI", "AD", "AG", "FF", "Fid-In", "SI-SDRi", "share", "MM"), 0.0)
    epochs = iter(range(100))
    log = train_piq(explainer, clips_of_cue(), settings, folder, lambda: row | {"AI": float(next(epochs))})
    return explainer, log


class Heads(nn.Module):
    """Two filters of the waveform, one for the rows of each class of `Cue`; its maps have no height."""

    def __init__(self) -> None:
        super().__init__()
        time = torch.arange(-32, 33) / RATE
        centres = torch.tensor([12, 44]) * RATE / 128
        waves = torch.cos(2 * math.pi * centres[:, None] * time) * torch.hann_window(65, periodic=False)
        self.filters = nn.Conv1d(1, 2, 65, padding=32, bias=False)
        self.filters.weight = nn.Parameter(waves[:, None] / 8)
        self.rectifier = nn.ReLU()
        self.pool = nn.AvgPool1d(64)
        self.head = nn.Linear(2, 3)
        self.head.weight = nn.Parameter(20 * torch.eye(3, 2))
        self.head.bias = nn.Parameter(torch.tensor([0.0, 0.0, -50.0]))

    def forward(self, sound: Tensor) -> Tensor:
        return self.head(self.pool(self.rectifier(self.filters(sound))).mean(2))


def heads() -> AudioClassifier:
    return wrapped(Heads(), layout="b1t", spectrogram=Cue().spectrogram.config)


@pytest.mark.parametrize("make", [Cue, heads], ids=["bands", "waveform"])
def test_a_short_training_finds_the_planted_cue(tmp_path: Path, make: Callable[[], AudioClassifier]) -> None:
    explainer, log = train(recipe(), tmp_path, make)
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert log[-1]["codes"] > 2
    clips = clips_of_cue()
    stft = explainer.classifier.spectrogram(clips.waveform[:4] + clips.waveform[8:12])
    for target in (0, 1):
        mask = explainer.masks(stft, torch.full((4,), target))
        inside, outside = (mask[:, slice(*Cue.ROWS[row])].mean().item() for row in (target, 1 - target))
        assert inside > 0.3
        assert inside > 5 * outside


def test_a_training_comes_from_its_seed_and_leaves_the_classifier_alone(tmp_path: Path) -> None:
    short = recipe(loop={"epochs": 1, "batch_size": 8}, scenes={"noise": 0.0, "passes": 2})
    explainer, log = train(short, tmp_path / "a")
    again, log_again = train(short, tmp_path / "b")
    other, _ = train(
        recipe(loop={"epochs": 1, "batch_size": 8, "seed": 5}, scenes={"passes": 2}), tmp_path / "c"
    )
    states = [each.network.state_dict() for each in (explainer, again, other)]
    assert log[0]["loss"] == log_again[0]["loss"]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["quantiser.codes"], states[2]["quantiser.codes"])
    cue = explainer.classifier
    assert torch.equal(cue.rows, Cue().rows)
    assert cue.rows.requires_grad
    saved = torch.load(tmp_path / "a" / "resume.pt", weights_only=True)["step"]
    assert "network.quantiser.codes" in saved
    assert "network.quantiser.uses" in saved
    assert not any("classifier" in name for name in saved)


def test_a_stopped_training_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    settings = recipe(loop={"epochs": 2, "batch_size": 8}, scenes={"noise": 0.0, "passes": 1})
    whole, _ = train(settings, tmp_path / "whole")
    stop = iter((False, True))
    torch.manual_seed(0)
    broken = Piq(Cue().eval(), settings.piq)
    row = dict.fromkeys(("AI", "AD", "AG", "FF", "Fid-In", "MM"), 0.0)

    def validate() -> dict[str, float]:
        if next(stop, False):
            raise KeyboardInterrupt
        return row

    with pytest.raises(KeyboardInterrupt):
        train_piq(broken, clips_of_cue(), settings, tmp_path / "broken", validate)
    epochs = iter((1.0, 2.0))
    train_piq(broken, clips_of_cue(), settings, tmp_path / "broken", lambda: row | {"AI": next(epochs)})
    state = whole.network.state_dict()
    for name, value in broken.network.state_dict().items():
        assert torch.allclose(value, state[name], atol=1e-6), name


def test_loud_bins_are_loud_and_of_the_louder_part() -> None:
    generator = torch.Generator().manual_seed(0)
    wanted, rest = (torch.randn(2, 3, 4, dtype=torch.cfloat, generator=generator) for _ in "ab")
    found = loud_bins(wanted, rest, 0.4)
    for clip in range(2):
        most = max(abs(complex(value)) for value in wanted[clip].flatten())
        for y in range(3):
            for x in range(4):
                size, other = abs(complex(wanted[clip, y, x])), abs(complex(rest[clip, y, x]))
                assert found[clip, y, x].item() == (size >= 0.4 * most and size > other)


@pytest.mark.parametrize("asked", [0, 1, -1])
def test_losses_are_what_they_say(asked: int) -> None:
    torch.manual_seed(0)
    explainer, clips = Piq(Cue().eval(), SMALL), clips_of_cue()
    explainer.network.quantiser.codes.normal_()
    objective = PiqObjective(mask_in=2, guide=3, loudness=0.1, commitment=0.5, sparsity=4)
    step = PiqStep(explainer, objective).eval()
    source, interferer = clips.waveform[:1], 0.5 * clips.waveform[8:9]
    losses = step(source, interferer, torch.tensor([[0, 1]]), torch.tensor([asked]))
    cue = explainer.classifier
    parts = [cue.spectrogram(sound) for sound in (source, interferer)]
    stft = parts[0] + parts[1]
    target = 1 if asked == 1 else 0
    mask = explainer.masks(stft, torch.tensor([target]))
    wanted, rest = (part.abs() for part in (parts[target], parts[1 - target]))
    loud = (wanted >= 0.1 * wanted.max()) & (wanted > rest)
    guide = -torch.where(loud, mask.log(), (1 - mask).log()).mean().item()
    inside = -torch.log_softmax(cue.logits(cue.features(mask * stft)), 1)[0, target].item()
    adapted = explainer.network.adapter(cue.representations(stft.abs())[1], (17, 8))
    own = explainer.network.quantiser.codes[target]
    distance = torch.cdist(adapted[0].flatten(1).T, own).min(1).values.square().sum().item() / adapted.numel()
    for name, expected in {"in": inside, "guide": guide, "commitment": distance}.items():
        assert losses[name].item() == pytest.approx(expected, rel=1e-3), name
    expected = 2 * inside + 3 * guide + 0.5 * distance + 4 * mask.mean().item()
    assert losses["loss"].item() == pytest.approx(expected, rel=1e-3)


def test_a_class_that_is_in_neither_part_is_not_guided() -> None:
    step = PiqStep(Piq(Cue().eval(), SMALL), PiqObjective()).eval()
    source = clips_of_cue().waveform[:1]
    losses = step(source, torch.zeros_like(source), torch.tensor([[1, -1]]), torch.tensor([-1]))
    assert losses["guide"] == 0


def test_losses_do_not_depend_on_the_batch_size() -> None:
    step = PiqStep(Piq(Cue().eval(), SMALL), PiqObjective()).eval()
    batch = next(draw_scenes(clips_of_cue(), recipe().scenes, 8, torch.Generator().manual_seed(0)))
    whole = step(*batch)
    halves = [step(*(part[half] for part in batch)) for half in (slice(0, 4), slice(4, 8))]
    for name, value in whole.items():
        mean = (halves[0][name] + halves[1][name]).item() / 2
        assert value.item() == pytest.approx(mean, rel=1e-4, abs=1e-6)


def test_a_classifier_without_gradients_needs_guidance_alone(tmp_path: Path) -> None:
    class Cut(Cue):
        def features(self, stft: Tensor) -> Tensor:
            return super().features(stft).detach()

    with pytest.raises(ModelError, match="trained by gradients, and the classifier lets none through"):
        train(recipe(), tmp_path, Cut)
    guided = recipe(objective={"mask_in": 0.0}, loop={"epochs": 1}, scenes={"noise": 0.0, "passes": 1})
    assert "in" not in train(guided, tmp_path, Cut)[1][0]


def test_recipes_refuse_unknown_settings_and_ours_is_known() -> None:
    with pytest.raises(ValueError, match="extra"):
        PiqObjective.model_validate({"mask_inn": 1})
    file = Path(__file__).parents[2] / "recipes" / "esc10" / "piq.yaml"
    assert load_recipe(PiqRecipe, file).train_folds == (1, 2, 3)
