"""Attention: caught as networks compute it, multiplied by loops, and laid out where its tokens lie."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.taps import Layout, Tokens
from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError
from earmark.explainers.attention import AttentionWeights, who_looks
from earmark.explainers.attention_rollout import rollout
from earmark.explainers.base import find
from earmark.explainers.gradient_x_attention import relevance
from explainers.networks import CONFIG, RATE, TRANSFORMERS, Cue, noise, patches

METHODS = ("attention-rollout", "gradient-x-attention")


def weights(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).softmax(-1)


class Looks(nn.Module):
    """One layer of attention that is given: a head for each of two classes, which looks at one patch."""

    def __init__(self, way: str, seen: tuple[int, int] = (3, 8)) -> None:
        super().__init__()
        self.way = way
        self.patch = nn.Conv2d(1, 4, 8, 8)
        self.tokens = nn.Identity()
        scores = torch.full((2, 13, 13), -20.0)
        for head, place in enumerate(seen):
            scores[head, :, 1 + place] = 0
        self.scores = nn.Parameter(scores)

    def forward(self, picture: Tensor) -> Tensor:
        tokens = self.tokens(F.pad(self.patch(picture[:, :, :24]).flatten(2).transpose(1, 2), (0, 0, 1, 0)))
        value = 1 + 0.1 * tokens.tanh()[:, None].expand(-1, 2, -1, -1)
        scores = self.scores.expand(len(tokens), -1, -1, -1)
        if self.way == "function":
            zeros = torch.zeros_like(value)
            mixed = F.scaled_dot_product_attention(zeros, zeros, value, attn_mask=scores)
        else:
            mixed = scores.softmax(-1) @ value
        heads = mixed[:, :, 0].sum(-1)  # what the class token saw
        return torch.cat([heads, -heads.sum(1, keepdim=True)], 1)


def looking(way: str, layers: Mapping[str, Layout]) -> AudioClassifier:
    settings = {"takes": "magnitude", "layout": "b1ft", "spectrogram": CONFIG, "seconds": 0.5}
    return wrap(Looks(way).eval(), sample_rate=RATE, labels=("a", "b", "c"), layers=layers, **settings)


@pytest.mark.parametrize(
    ("causal", "mask"), [(False, None), (True, None), (False, torch.bool), (False, torch.float)]
)
def test_functional_attention_gives_the_same_and_is_caught(causal: bool, mask: torch.dtype | None) -> None:
    query, key, value = torch.randn(3, 2, 4, 6, 8, generator=torch.Generator().manual_seed(0)).unbind()
    hidden = None if mask is None else (torch.eye(6) + torch.rand(6, 6)).round().to(mask)
    wanted = F.scaled_dot_product_attention(query, key, value, hidden, is_causal=causal, scale=0.3)
    with AttentionWeights() as attention:
        found = F.scaled_dot_product_attention(query, key, value, hidden, is_causal=causal, scale=0.3)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.allclose(attention.caught[0] @ value, wanted, atol=1e-5)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_a_layer_of_torchs_own_gives_the_same_and_is_caught(batch_first: bool, gradients: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first).eval()
    tokens = torch.randn(3, 3, 8)  # as many clips as tokens
    with torch.set_grad_enabled(gradients):
        wanted = layer(tokens)
        with AttentionWeights() as attention:
            found = layer(tokens)
    assert torch.allclose(found, wanted, atol=1e-5)
    direct = layer.self_attn(tokens, tokens, tokens, average_attn_weights=False)[1]
    assert len(attention.caught) == 1
    assert torch.allclose(attention.caught[0], direct, atol=1e-5)


@pytest.mark.skipif(not TRANSFORMERS, reason="transformers is not installed")
@pytest.mark.parametrize("kind", ["AST", "wav2vec2"])
def test_hugging_faces_attention_is_what_it_gives_itself(kind: str) -> None:
    classifier = TRANSFORMERS[kind]().eval()
    features = classifier.features(classifier.spectrogram(noise(2)))
    logits = classifier.logits(features)
    with AttentionWeights() as attention:
        again = classifier.logits(features)
    assert torch.allclose(logits, again, atol=1e-5)
    classifier.network.set_attn_implementation("eager")
    entering = classifier.extractor.entering(features)
    wanted = classifier.network(entering, output_attentions=True).attentions
    assert len(wanted) == len(attention.caught) == 2
    for one, other in zip(attention.caught, wanted):
        assert torch.allclose(one, other, atol=1e-5)
    with AttentionWeights() as eager:
        classifier.logits(features)
    assert [torch.allclose(one, other, atol=1e-5) for one, other in zip(eager.caught, wanted)] == [True, True]


def test_rollout_by_loops() -> None:
    layers = [weights(1, 3, 3, seed=seed) for seed in range(3)]
    found = rollout(layers)
    wanted = torch.eye(3)
    for layer in layers:
        before, wanted = wanted, torch.zeros(3, 3)
        for row in range(3):
            for column in range(3):
                for between in range(3):
                    share = (layer[0, row, between] + (row == between)) / 2
                    wanted[row, column] += share * before[between, column]
    assert torch.allclose(found[0], wanted, atol=1e-6)
    assert torch.allclose(found.sum(-1), torch.ones(1, 3), atol=1e-6)


def test_relevance_by_loops() -> None:
    layers = [(weights(1, 2, 3, 3, seed=seed), torch.randn(1, 2, 3, 3)) for seed in range(2)]
    wanted = torch.eye(3)
    for attention, slope in layers:
        before = wanted.clone()
        for row in range(3):
            for between in range(3):
                products = [
                    float(attention[0, head, row, between] * slope[0, head, row, between]) for head in (0, 1)
                ]
                share = sum(max(product, 0) for product in products) / 2
                wanted[row] += share * before[between]
    assert torch.allclose(relevance(layers)[0], wanted - torch.eye(3), atol=1e-5)


def test_who_looks() -> None:
    tokens = weights(1, 4, 4)
    assert torch.equal(who_looks(tokens, 1), tokens[:, 0])
    assert torch.equal(who_looks(tokens, 0), tokens.mean(1))


@pytest.mark.parametrize("way", ["function", "softmax"])
@pytest.mark.parametrize("time_first", [False, True])
def test_the_patches_that_are_looked_at_are_found(way: str, time_first: bool) -> None:
    classifier = looking(way, {"tokens": Tokens(3, 4, skip=1, time_first=time_first)})
    stft = classifier.spectrogram(noise(2))
    target = torch.tensor([0, 1])
    by_class = find("gradient-x-attention")(classifier).on("features").masks(stft, target)
    anyway = find("attention-rollout")(classifier).on("features").masks(stft, target)
    # Patch 3 is the last of the first row, patch 8 the first of the last; by columns, 0 and 2 of 1 and 2.
    places = [(0, 1), (2, 2)] if time_first else [(0, 3), (2, 0)]
    centres = [(round(65 * (row + 0.5) / 3), round(32 * (column + 0.5) / 4)) for row, column in places]
    for clip in (0, 1):
        own, other = (by_class[(clip, *centres[place])].item() for place in (clip, 1 - clip))
        assert own > 0.9
        assert other < 0.1
        assert all(anyway[(clip, *centre)] > 0.8 for centre in centres)
        assert anyway[clip].mean() < 0.3


@pytest.mark.parametrize("name", METHODS)
def test_tokens_without_a_place_are_refused(name: str) -> None:
    classifier = looking("softmax", {"patch": "bcft"})
    with pytest.raises(ModelError, match=f"{name} finds no place on the picture for the 13 tokens of Looks"):
        find(name)(classifier).masks(classifier.spectrogram(noise(1)), torch.tensor([0]))


@pytest.mark.parametrize("name", METHODS)
def test_a_network_without_attention_is_refused(name: str) -> None:
    cue = Cue().eval()
    with pytest.raises(ModelError, match=f"{name} needs attention, and Cue has none; expected a transformer"):
        find(name)(cue).masks(cue.spectrogram(noise(1)), torch.tensor([0]))


def test_only_the_gradient_depends_on_the_class() -> None:
    classifier = patches().eval()
    stft = classifier.spectrogram(noise(1))
    of = {
        name: [find(name)(classifier).masks(stft, target) for target in torch.arange(2).split(1)]
        for name in METHODS
    }
    assert torch.equal(*of["attention-rollout"])
    assert not torch.allclose(*of["gradient-x-attention"], atol=0.05)


@pytest.mark.parametrize("name", METHODS)
def test_silence_looks_at_nothing(name: str) -> None:
    classifier = patches().eval()
    found = find(name)(classifier).masks(classifier.spectrogram(torch.zeros(1, RATE // 2)), torch.tensor([0]))
    assert not found.any()
