"""CNN14: shapes, size, what it hears."""

import pytest
import torch
from torch import nn

from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.errors import ModelError


def small(**settings: object) -> Cnn14:
    torch.manual_seed(0)
    return Cnn14(Cnn14Config(labels=("dog", "rain", "wind"), width=1 / 16, **settings)).eval()


def test_full_width_has_the_size_of_the_papers() -> None:
    network = Cnn14(Cnn14Config(labels=tuple(map(str, range(50)))))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(75.5e6, rel=0.01)


def test_forward_is_the_line_of_its_parts() -> None:
    network = small()
    waveform = torch.randn(2, 20000)
    stft = network.spectrogram(waveform / waveform.abs().amax(1, keepdim=True))
    features = network.features(stft)
    by_hand = torch.log1p(network.mel @ stft.abs())
    assert torch.allclose(features, by_hand)
    logits, maps = network.representations(features)
    assert torch.equal(network(waveform), logits)
    assert [m.shape[1] for m in maps] == [4, 8, 16, 32, 64, 128]
    assert [tuple(m.shape[2:]) for m in maps] == [(40, 54), (20, 27), (10, 13), (5, 6), (2, 3), (2, 3)]


@pytest.mark.parametrize("samples", [1, 800, 5951, 48000])
def test_any_length(samples: int) -> None:
    assert small()(torch.randn(1, samples)).shape == (1, 3)


@pytest.mark.parametrize("n_mels", [32, 64, 128])
def test_any_number_of_mels(n_mels: int) -> None:
    assert small(n_mels=n_mels)(torch.randn(1, 16000)).shape == (1, 3)


def test_level_does_not_matter() -> None:
    waveform = torch.randn(1, 16000)
    assert torch.allclose(small()(waveform), small()(waveform * 1e-3), atol=1e-4)


def test_hooks_find_every_relu_once() -> None:
    network, calls = small(), []
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda *_: calls.append(1))
    network(torch.randn(1, 16000))
    assert len(calls) == 12


def test_gradients_reach_the_spectrum() -> None:
    network = small()
    stft = network.spectrogram(torch.randn(1, 16000)).requires_grad_()
    network.logits(network.features(stft))[0, 0].backward()
    assert torch.isfinite(torch.view_as_real(stft.grad)).all()
    assert stft.grad.abs().sum() > 0


def test_unknown_label_lists_the_known() -> None:
    with pytest.raises(ModelError, match=r"'cat'.*dog, rain, wind"):
        small().label_index("cat")


def test_a_frozen_copy_says_the_same_and_leaves_the_original_alone() -> None:
    network = small().train()
    for _ in range(3):
        network(torch.randn(4, 16000))  # moves the batch statistics away from where they begin
    before = {name: value.clone() for name, value in network.state_dict().items()}
    frozen = network.frozen()
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    assert not any(p.requires_grad for p in frozen.parameters())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    waveform = torch.randn(2, 16000)
    assert torch.allclose(frozen(waveform), network.eval()(waveform), atol=1e-4)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
