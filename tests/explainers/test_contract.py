"""What every explainer must hold, by registry: one added today is tested today."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from earmark.classifiers.base import AudioClassifier
from earmark.errors import ModelError
from earmark.explainers.attribution import AT_ONCE
from earmark.explainers.base import Domain, Explainer, find, names
from earmark.explainers.controls import ClassMean, Control
from explainers.networks import NETWORKS, TRANSFORMERS, Cue, noise

DOMAINS: tuple[Domain, ...] = ("stft", "features")
TARGET = torch.tensor([0, 1, 1])
EVERY = [(name, domain) for name in names() for domain in DOMAINS]
# What hooks ReLUs has nothing to do with networks that have none, or functions in place of modules.
HOOKING = ("deeplift-shap", "guided-backprop", "guided-gradcam")
UNHOOKABLE = ("complex spectra", "own front end", "patches", "recurrent", *TRANSFORMERS)
CASES = [
    (kind, *which) for kind in NETWORKS for which in EVERY if not (kind in UNHOOKABLE and which[0] in HOOKING)
]
EXPLAIN = [which for which in EVERY if not issubclass(find(which[0]), Control) and which[0] != "lmac"]


def make(name: str, domain: Domain, classifier: AudioClassifier, seed: int = 0) -> Explainer:
    """Make an explainer, with what it must have learned."""
    explainer = find(name)(classifier)
    explainer.seed = seed
    explainer = explainer.on(domain)
    if isinstance(explainer, ClassMean):
        stft = classifier.spectrogram(noise(4))
        shape = stft.shape if domain == "stft" else classifier.features(stft).shape
        explainer.learn(
            torch.rand(shape, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 1])
        )
    return explainer


def masks(explainer: Explainer, clips: slice = slice(None)) -> Tensor:
    stft = explainer.classifier.spectrogram(noise())[clips]
    return explainer.masks(stft, TARGET[clips])


@cache
def network_of(kind: str) -> AudioClassifier:
    torch.manual_seed(0)
    return NETWORKS[kind]().eval()


@pytest.mark.parametrize(("kind", "name", "domain"), CASES)
def test_masks_have_their_shape_and_range_and_are_the_same_again(
    kind: str, name: str, domain: Domain
) -> None:
    network = network_of(kind)
    explainer = make(name, domain, network)
    stft = network.spectrogram(noise())
    found = masks(explainer)
    assert found.shape == (stft.shape if domain == "stft" else network.features(stft).shape)
    assert found.isfinite().all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert not found.requires_grad
    assert torch.equal(found, masks(explainer))


@pytest.mark.parametrize(("kind", "name", "domain"), CASES)
def test_a_batch_is_its_clips_one_by_one(kind: str, name: str, domain: Domain) -> None:
    network = network_of(kind)
    explainer = make(name, domain, network)
    together = masks(explainer)
    for clip in range(3):
        assert torch.allclose(together[clip], masks(explainer, slice(clip, clip + 1))[0], atol=2e-3)


@pytest.mark.parametrize(("kind", "name", "domain"), CASES)
def test_what_was_heard_already_changes_nothing(kind: str, name: str, domain: Domain) -> None:
    network = network_of(kind)
    explainer = make(name, domain, network)
    stft = network.spectrogram(noise())
    with torch.no_grad():
        given = explainer.masks(stft, TARGET, network.hear(stft))
    assert torch.allclose(given, masks(explainer), atol=1e-5)


@pytest.mark.parametrize(("kind", "name", "domain"), CASES)
def test_classifier_and_chance_are_left_as_they_were(kind: str, name: str, domain: Domain) -> None:
    network = network_of(kind)
    explainer = make(name, domain, network)
    modules = list(network.modules())
    next(module for module in reversed(modules)).training = True

    def state() -> list[object]:
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules]
        flags = [(p.requires_grad, p.grad is None) for p in network.parameters()]
        weights = [float(value.abs().double().sum()) for value in network.state_dict().values()]
        chance = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # noqa: NPY002
        return [[m.training for m in modules], hooks, flags, weights, chance]

    before = state()
    masks(explainer)
    assert state() == before
    network.eval()


@pytest.mark.parametrize("kind", UNHOOKABLE)
@pytest.mark.parametrize("name", HOOKING)
def test_what_cannot_be_hooked_is_refused(kind: str, name: str) -> None:
    with pytest.raises(ModelError, match=rf"{name} can hook \d+ of the \d+ ReLUs"):
        masks(make(name, "stft", network_of(kind)))


@pytest.mark.parametrize(("name", "domain"), EXPLAIN)
def test_a_planted_cue_is_found_for_its_class(name: str, domain: Domain) -> None:
    found = masks(make(name, domain, Cue().eval()))
    for mask, target in zip(found, TARGET.tolist()):
        inside, outside = (mask[slice(*Cue.ROWS[row])].mean() for row in (target, 1 - target))
        # A patch of occlusion is wider than the cue.
        assert inside > 0.1
        assert inside > 5 * outside


def test_a_control_finds_no_cue() -> None:
    found = masks(make("random", "stft", Cue().eval()))
    rows = [found[0, slice(*rows)].mean() for rows in Cue.ROWS]
    assert rows[0] < 1.2 * rows[1]
    assert rows[1] < 1.2 * rows[0]


@pytest.mark.parametrize(("name", "domain"), EXPLAIN)
def test_memory_does_not_grow_with_steps_or_clips(
    name: str, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    cue, sizes = Cue().eval(), []
    through = cue.representations

    def spy(features: Tensor) -> tuple[Tensor, list[Tensor]]:
        sizes.append(len(features))
        return through(features)

    monkeypatch.setattr(cue, "representations", spy)
    stft = cue.spectrogram(noise(40))
    make(name, domain, cue).masks(stft, torch.zeros(40, dtype=torch.long))
    assert max(sizes) <= AT_ONCE + 1


@pytest.mark.parametrize("name", ["smoothgrad", "gradient-shap", "deeplift-shap", "random"])
def test_another_seed_draws_anew(name: str) -> None:
    classifier = NETWORKS["cnn14"]().eval()
    one, other = (masks(make(name, "stft", classifier, seed)) for seed in (0, 1))
    assert not torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("name", names())
def test_every_method_says_what_it_is(name: str) -> None:
    kind = find(name)
    assert kind.name == name
    assert 10 < len(kind.summary) < 90
