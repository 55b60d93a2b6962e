"""Training a classifier: it learns, and each change of the sounds does what it says."""

from pathlib import Path

import pytest
import torch

from earmark.classifiers.augment import mixup, random_filter, random_gain, spec_augment, time_shift
from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.classifiers.training import ClassifierRecipe, Clips, evaluate, train_classifier
from earmark.training.loop import in_batches


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_it_tells_tones_from_noise(tmp_path: Path) -> None:
    time = torch.arange(8000) / 16000
    tones = torch.sin(2 * torch.pi * torch.linspace(300, 3000, 8)[:, None] * time)
    noise = torch.randn(8, 8000, generator=generator())
    clips = Clips(torch.cat([tones, noise]), torch.arange(16) // 8)
    torch.manual_seed(0)
    network = Cnn14(Cnn14Config(labels=("tone", "noise"), width=1 / 16, n_mels=32, seconds=0.5))
    recipe = ClassifierRecipe.model_validate(
        {
            "augmentation": {"mixup": 0.0, "bands": 0, "gain_db": 0},
            "loop": {"epochs": 20, "batch_size": 8, "learning_rate": 3e-3},
        }
    )
    log = train_classifier(network, clips, clips, recipe, tmp_path)
    assert evaluate(network, clips)["accuracy"] >= 0.9
    assert max(row["accuracy"] for row in log) == pytest.approx(evaluate(network, clips)["accuracy"])


def test_shift_keeps_every_sample() -> None:
    waveform = torch.randn(3, 100)
    shifted = time_shift(waveform, generator())
    assert torch.equal(shifted.sort(1).values, waveform.sort(1).values)
    assert not torch.equal(shifted, waveform)


def test_gain_only_lowers_and_not_too_far() -> None:
    gains = random_gain(torch.ones(500, 1), -12, generator())
    assert 10 ** (-12 / 20) <= gains.min() < 0.3
    assert 0.9 < gains.max() <= 1


def test_mixup_labels_are_the_amplitudes_shares() -> None:
    waveform, labels = torch.eye(2), torch.eye(2)
    mixed, mixed_labels = mixup(waveform.repeat(50, 1), labels.repeat(50, 1), 12, 1.0, generator())
    assert torch.allclose(mixed_labels, mixed / mixed.sum(1, keepdim=True), atol=1e-5)
    assert torch.allclose(mixed_labels.sum(1), torch.ones(100))


def test_mixup_of_none_changes_nothing() -> None:
    waveform, labels = torch.randn(4, 10), torch.eye(4)
    assert all(map(torch.equal, mixup(waveform, labels, 12, 0.0, generator()), (waveform, labels)))


def test_filter_stays_within_its_spread_and_is_smooth() -> None:
    torch.manual_seed(0)
    stft = torch.ones(50, 513, 2, dtype=torch.complex64)
    level = 20 * torch.log10(random_filter(stft, 6.0).abs())
    assert 5 < level.abs().max() <= 6 + 1e-4
    assert level.diff(dim=1).abs().max() <= 12 / (512 / 5) + 1e-3
    assert torch.equal(random_filter(stft, 0.0), stft)


def test_spec_augment_silences_bands_and_gaps_no_wider_than_asked() -> None:
    torch.manual_seed(0)
    kept = spec_augment(torch.ones(200, 40, 60), bands=1, widest_band=5, widest_gap=7)
    bands, gaps = (kept.sum(2) == 0).sum(1), (kept.sum(1) == 0).sum(1)
    assert (bands.max(), gaps.max()) == (5, 7)
    assert bands.min() == gaps.min() == 0


def test_batches_are_of_about_one_size() -> None:
    # A rest of one clip would leave batch normalisation nothing to average over.
    order = torch.arange(33)
    parts = in_batches(order, 16)
    assert torch.equal(torch.cat(list(parts)), order)
    assert [len(part) for part in parts] == [11, 11, 11]
