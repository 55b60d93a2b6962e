"""L-MAC's training on a toy whose right answer is known, and its batches."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.training import Clips
from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError
from earmark.explainers.lmac.decoder import DecoderConfig
from earmark.explainers.lmac.explainer import Lmac, LmacConfig
from earmark.explainers.lmac.guidance import GuidanceConfig
from earmark.explainers.lmac.objective import ObjectiveConfig
from earmark.explainers.lmac.training import (
    LmacRecipe,
    LmacScenes,
    LmacStep,
    criterion,
    make_scenes,
    train_lmac,
)
from earmark.features.bands import bands_to_bins
from earmark.features.mel import mel_filterbank, mel_position
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig

RATE = 1600
SAMPLES = RATE // 2


class Bands(AudioClassifier):
    """Says "low" for sound below 400 Hz and "high" for sound above, and hears nothing else."""

    def __init__(self) -> None:
        config = SpectrogramConfig(sample_rate=RATE, n_fft=64, win_length=64, hop_length=32)
        super().__init__(Spectrogram(config), ("low", "high"), seconds=0.5)
        self.register_buffer("mel", mel_filterbank(RATE, 64, 16, scale="htk"))
        self.weight = torch.nn.Parameter(torch.ones(1))

    def features(self, stft: Tensor) -> Tensor:
        return torch.log1p(self.mel @ stft.abs())

    def bands_to_bins(self) -> Tensor:
        position = mel_position(self.spectrogram.frequencies(), 16, 0, RATE / 2)
        return bands_to_bins(position, 16)

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        low, high = features[:, :8], features[:, 8:]
        logits = self.weight * torch.stack([low.mean((1, 2)), high.mean((1, 2))], 1) * 8
        pooled = torch.nn.functional.avg_pool2d(features[:, None], 2)
        return logits, [pooled]


class Filters(nn.Module):
    """The same by two filters of the waveform."""

    def __init__(self) -> None:
        super().__init__()
        place = torch.arange(-32, 33)
        low = torch.sinc(0.5 * place) * torch.hann_window(65, periodic=False)
        filters = torch.stack([low / low.sum(), (place == 0).float() - low / low.sum()])
        self.filters = nn.Conv1d(1, 2, 65, padding=32, bias=False)
        self.filters.weight = nn.Parameter(filters[:, None].float())
        self.rectifier = nn.ReLU()
        self.pool = nn.AvgPool1d(32)

    def forward(self, sound: Tensor) -> Tensor:
        return 20 * self.pool(self.rectifier(self.filters(sound))).mean(2)


def filters() -> AudioClassifier:
    config = SpectrogramConfig(sample_rate=RATE, n_fft=64, win_length=64, hop_length=32)
    labels = ("low", "high")
    return wrap(Filters(), sample_rate=RATE, labels=labels, seconds=0.5, layout="b1t", spectrogram=config)


@pytest.fixture
def clips() -> Clips:
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(SAMPLES) / RATE
    frequency = torch.cat([torch.full((8,), 150.0), torch.full((8,), 650.0)])
    frequency = frequency + 60 * torch.randn(16, generator=generator).clamp(-1, 1)
    tones = torch.sin(2 * torch.pi * frequency[:, None] * time)
    return Clips(tones, torch.arange(16) // 8, [0.1 * torch.randn(2000, generator=generator)])


def recipe(**changes: object) -> LmacRecipe:
    settings = {
        "decoder": {"channels": (8, 8)},
        "objective": {"mask_in": 1.0, "mask_out": 1.0, "out_loss": "bounded", "sparsity": 1.0},
        "scenes": {"passes": 12, "mixture_db": (0.0, 6.0)},
        "loop": {"epochs": 4, "batch_size": 8, "learning_rate": 0.02},
    }
    return LmacRecipe.model_validate(settings | changes)


def train(
    clips: Clips, settings: LmacRecipe, folder: Path, make: Callable[[], AudioClassifier] = Bands
) -> Lmac:
    torch.manual_seed(0)
    explainer = Lmac(make().eval(), LmacConfig(decoder=settings.decoder))
    scores = dict.fromkeys(("AI", "AD", "AG", "FF", "Fid-In", "SI-SDRi", "share", "MM"), 0.0)
    counter: Iterator[int] = iter(range(100))
    train_lmac(explainer, clips, settings, folder, lambda: scores | {"AI": float(next(counter))})
    return explainer


def toy_recipe(guided: bool, domain: str) -> LmacRecipe:
    guidance = {"kind": "sdr", "weight": 1.0} if guided else {"kind": "none"}
    return recipe(guidance=guidance, decoder={"channels": (8, 8), "domain": domain})


@pytest.mark.parametrize(("guided", "make"), [(False, Bands), (True, Bands), (False, filters)])
def test_it_finds_the_band_that_decided(
    clips: Clips, tmp_path: Path, guided: bool, make: Callable[[], AudioClassifier]
) -> None:
    explainer = train(clips, toy_recipe(guided, "stft"), tmp_path, make)
    mixture = clips.waveform[:4] + 0.7 * clips.waveform[8:12]
    stft = explainer.classifier.spectrogram(mixture)
    target = explainer.classifier.hear(stft).logits.argmax(1)
    assert target.tolist() == [0, 0, 0, 0]
    kept = explainer.masks(stft, target) * stft.abs()
    low = explainer.classifier.spectrogram.frequencies() < 400
    share = kept[:, low].sum((1, 2)) / kept.sum((1, 2))
    before = stft.abs()[:, low].sum((1, 2)) / stft.abs().sum((1, 2))
    assert share.mean() > 0.8
    assert (share > before).all()


@pytest.mark.parametrize("guided", [False, True])
def test_it_finds_the_features_that_decided(clips: Clips, tmp_path: Path, guided: bool) -> None:
    explainer = train(clips, toy_recipe(guided, "features"), tmp_path)
    stft = explainer.classifier.spectrogram(clips.waveform[:4] + 0.7 * clips.waveform[8:12])
    features = explainer.classifier.features(stft)
    kept = explainer.masks(stft, torch.zeros(4, dtype=torch.long)) * features
    assert kept[:, :8].sum() / kept.sum() > 0.8 > features[:, :8].sum() / features.sum()


def test_the_classifier_is_left_as_it_was(clips: Clips, tmp_path: Path) -> None:
    explainer = train(clips, recipe(loop={"epochs": 1, "batch_size": 8}), tmp_path)
    assert explainer.classifier.weight.item() == 1
    assert explainer.classifier.weight.requires_grad
    assert not any(
        "classifier" in name for name in torch.load(tmp_path / "resume.pt", weights_only=True)["step"]
    )


def test_a_classifier_without_gradients_is_refused_at_once(clips: Clips, tmp_path: Path) -> None:
    class Cut(Bands):
        def features(self, stft: Tensor) -> Tensor:
            return super().features(stft).detach()

    with pytest.raises(ModelError, match="trained by gradients, and the classifier lets none through"):
        train(clips, recipe(), tmp_path, Cut)


def test_losses_do_not_depend_on_the_batch_size(clips: Clips) -> None:
    explainer = Lmac(Bands().eval(), LmacConfig(decoder=DecoderConfig(channels=(4, 8))))
    step = LmacStep(explainer, ObjectiveConfig(), GuidanceConfig(kind="paper")).eval()
    source, interferer = clips.waveform[:8], 0.5 * clips.waveform[8:]
    labels = torch.stack([clips.labels[:8], clips.labels[8:]], 1)
    asked, area = torch.full((8,), -1), torch.zeros(8)
    whole = step(source, interferer, labels, asked, area)
    halves = [
        step(*(part[half] for part in (source, interferer, labels, asked, area)))
        for half in (slice(0, 4), slice(4, 8))
    ]
    for name, value in whole.items():
        assert value.item() == pytest.approx((halves[0][name] + halves[1][name]).item() / 2, rel=1e-4)


def test_loss_is_the_weighted_sum_of_equation_2(clips: Clips) -> None:
    explainer = Lmac(Bands().eval(), LmacConfig(decoder=DecoderConfig(channels=(4, 8))))
    step = LmacStep(explainer, ObjectiveConfig(mask_in=4, mask_out=0.2, sparsity=6.4)).eval()
    source = clips.waveform[:1]
    labels = torch.tensor([[0, -1]])
    losses = step(source, torch.zeros_like(source), labels, torch.tensor([-1]), torch.zeros(1))
    stft = explainer.classifier.spectrogram(source)
    mask = explainer.masks(stft, torch.tensor([0]))
    logits = [explainer.classifier.logits(explainer.classifier.features(m * stft)) for m in (mask, 1 - mask)]
    inside, outside = (-torch.log_softmax(part, 1)[0, 0].item() for part in logits)
    expected = 4 * inside - 0.2 * outside + 6.4 * mask.mean().item()
    assert losses["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_guidance_below_the_threshold_is_left_out(clips: Clips) -> None:
    explainer, before = (
        Lmac(Bands().eval(), LmacConfig(decoder=DecoderConfig(channels=(4, 8)))) for _ in "ab"
    )
    batch = next(iter(make_scenes(clips, recipe(), torch.Generator().manual_seed(0))))
    guided, never = (
        LmacStep(explainer, ObjectiveConfig(), GuidanceConfig(kind="recipe", threshold=threshold), before)
        for threshold in (0.0, 1.0)
    )
    assert guided(*batch)["guide"] > 0
    assert never(*batch)["guide"] == 0


def test_batches_hold_what_was_asked_for(clips: Clips) -> None:
    settings = recipe(scenes={"clean": 0.3, "noise": 0.3, "passes": 20, "mixture_db": (2.0, 3.0)})
    batches = [
        torch.cat(parts) for parts in zip(*make_scenes(clips, settings, torch.Generator().manual_seed(0)))
    ]
    source, interferer, labels, asked, _ = batches
    assert len(source) == 20 * 16
    alone = interferer.abs().amax(1) == 0
    mixed = labels[:, 1] >= 0
    assert alone.float().mean().item() == pytest.approx(0.3, abs=0.08)
    assert mixed.float().mean().item() == pytest.approx(0.4, abs=0.08)
    assert (labels[mixed, 0] != labels[mixed, 1]).all()
    assert not ((asked >= 0) & ~mixed).any()
    assert ((asked == labels[:, 1]) | (asked == -1))[mixed].all()
    ratio = 10 * torch.log10(source.square().sum(1) / interferer.square().sum(1))[mixed]
    assert 2 - 1e-3 <= ratio.min() <= ratio.max() <= 3 + 1e-3
    assert (source + interferer).abs().amax() <= 1 + 1e-5


def test_classes_that_are_not_there_are_asked_for_and_their_masks_emptied(clips: Clips) -> None:
    three = Clips(clips.waveform, torch.arange(16) % 3, [])
    settings = recipe(scenes={"noise": 0.0, "other_class": 0.0, "absent": 0.4, "passes": 20})
    batches = make_scenes(three, settings, torch.Generator().manual_seed(0))
    _, _, labels, asked, area = (torch.cat(parts) for parts in zip(*batches))
    missing = asked >= 0
    assert missing.float().mean().item() == pytest.approx(0.4, abs=0.08)
    assert not (labels == asked[:, None])[missing].any()
    assert not area[missing].any()

    explainer = Lmac(Bands().eval(), LmacConfig(decoder=DecoderConfig(channels=(4, 8))))
    step = LmacStep(explainer, ObjectiveConfig(absent=3.0)).eval()
    source = clips.waveform[:1]
    stft = explainer.classifier.spectrogram(source)
    batch = source, torch.zeros_like(source), torch.tensor([[0, -1]]), torch.tensor([1]), torch.zeros(1)
    losses = step(*batch)
    mask = explainer.masks(stft, torch.tensor([1]))
    energy = (mask * stft.abs()).square().sum() / stft.abs().square().sum() + mask.mean()
    assert losses["in"] == losses["out"] == 0
    assert losses["absent"].item() == pytest.approx(energy.item(), rel=1e-4)
    assert losses["loss"].item() == pytest.approx((6.4 * mask.mean() + 3 * energy).item(), rel=1e-4)


def test_hiss_is_white_and_as_frequent_as_asked_for() -> None:
    clips = Clips(torch.randn(16, SAMPLES), torch.arange(16) // 8, [torch.ones(2000)])
    settings = recipe(scenes={"clean": 0.0, "noise": 1.0, "hiss": 0.3, "passes": 20})
    batches = make_scenes(clips, settings, torch.Generator().manual_seed(0))
    interferer = torch.cat([batch[1] for batch in batches])
    white = interferer.std(1) > 0.5 * interferer.abs().mean(1)  # the recorded noise is constant
    assert white.float().mean().item() == pytest.approx(0.3, abs=0.08)
    spectrum = torch.fft.rfft(interferer[white]).abs().square().mean(0)
    assert spectrum[1:200].mean().item() == pytest.approx(spectrum[200:].mean().item(), rel=0.1)


def test_binary_masks_help_to_choose_the_epoch() -> None:
    row = dict.fromkeys(("AI", "AD", "AG", "FF", "Fid-In", "MM"), 0.0)
    assert criterion(row) == 0
    ranked = {f"{name} {area}": 0.0 for name in ("AI", "AD", "AG", "FF", "Fid-In") for area in ("5%", "20%")}
    assert criterion(row | ranked) == 0
    assert criterion(row | ranked | {"AI 5%": 100.0}) == pytest.approx(0.5)
    assert criterion(row | ranked | {"AD 5%": 50.0, "FF 20%": 0.5}) == pytest.approx(0)


def test_scenes_refuse_unknown_settings() -> None:
    with pytest.raises(ValueError, match="extra"):
        LmacScenes.model_validate({"cleann": 0.1})
