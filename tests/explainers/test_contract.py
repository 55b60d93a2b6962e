"""What every explainer must hold, by registry: one added today is tested today."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from earmark.classifiers.base import AudioClassifier
from earmark.errors import ModelError
from earmark.explainers import audiolime, opti_cam, optimised_mask, rise, slime
from earmark.explainers.attribution import AT_ONCE
from earmark.explainers.base import Domain, Explainer, Trained, find, names
from earmark.explainers.controls import ClassMean, Control
from explainers.networks import NETWORKS, TRANSFORMERS, Cue, noise
from explainers.zennit_alone import import_zennit

TARGET = torch.tensor([0, 1, 1])
EVERY = [(name, domain) for name in names() for domain in find(name).domains]
# What hooks ReLUs has nothing to do with networks that have none, or functions in place of modules.
HOOKING = ("deeplift-shap", "guided-backprop", "guided-gradcam")
UNHOOKABLE = ("complex spectra", "own front end", "patches", "recurrent", *TRANSFORMERS)
# What lays out attention has nothing to do with networks that have none.
ATTENTIVE = ("attention-rollout", "gradient-x-attention")
# By method, the networks that lack what it needs, and what it says then.
REFUSED = {name: (UNHOOKABLE, rf"{name} can hook \d+ of the \d+ ReLUs") for name in HOOKING}
REFUSED["lrp"] = UNHOOKABLE, "lrp has no rule for"
INATTENTIVE = tuple(kind for kind in NETWORKS if kind not in ("patches", *TRANSFORMERS))
REFUSED |= {name: (INATTENTIVE, f"{name} needs attention") for name in ATTENTIVE}
# Features of one row, such as a waveform, have no bands, and no parts to be taken into.
ONE_ROW = ("raw", "1-D CNN", "own front end", "wav2vec2")
IN_ROWS = ("audiolime", "audiolime-hpss", "slime-frequency")
CASES = [
    (kind, *which)
    for kind in NETWORKS
    for which in EVERY
    if kind not in REFUSED.get(which[0], ((), ""))[0]
    and not (kind in ONE_ROW and which[0] in IN_ROWS and which[1] == "features")
]
# What is not trained yet finds nothing.
EXPLAIN = [
    which
    for which in EVERY
    if not issubclass(find(which[0]), (Control, Trained)) and which[0] not in ATTENTIVE
]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What holds after few steps of what is sought or drawn holds after many."""
    for method in (opti_cam, optimised_mask):
        monkeypatch.setattr(method, "STEPS", 20)
    if "kind" in request.fixturenames:  # but to find a cue takes all that is drawn
        for method in (opti_cam, optimised_mask):
            monkeypatch.setattr(method, "STEPS", 4)
        monkeypatch.setattr(rise, "MASKS", 40)
        monkeypatch.setattr(audiolime, "PASSES", 40)
        for kind in (slime.Slime, slime.SlimeTime, slime.SlimeFrequency):
            monkeypatch.setattr(kind, "passes", 40)


def make(name: str, domain: Domain, classifier: AudioClassifier, seed: int = 0) -> Explainer:
    """Make an explainer, with what it must have learned."""
    if name == "lrp":
        import_zennit()
    with torch.random.fork_rng():
        torch.manual_seed(0)  # of the first weights of what is not trained
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


@cache
def masks_of(kind: str, name: str, domain: Domain) -> Tensor:
    """Make the masks of a case once for all tests that ask for them."""
    return masks(make(name, domain, network_of(kind)))


@pytest.mark.parametrize(("kind", "name", "domain"), CASES)
def test_masks_have_their_shape_and_range_and_are_the_same_again(
    kind: str, name: str, domain: Domain
) -> None:
    network = network_of(kind)
    explainer = make(name, domain, network)
    stft = network.spectrogram(noise())
    found = masks_of(kind, name, domain)
    assert found.shape == (stft.shape if domain == "stft" else network.features(stft).shape)
    assert found.isfinite().all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert not found.requires_grad
    assert torch.equal(found, masks(explainer))


@pytest.mark.parametrize(("kind", "name", "domain"), CASES)
def test_a_batch_is_its_clips_one_by_one(kind: str, name: str, domain: Domain) -> None:
    explainer = make(name, domain, network_of(kind))
    together = masks_of(kind, name, domain)
    for clip in range(3):
        assert torch.allclose(together[clip], masks(explainer, slice(clip, clip + 1))[0], atol=2e-3)


@pytest.mark.parametrize(("kind", "name", "domain"), CASES)
def test_what_was_heard_already_changes_nothing(kind: str, name: str, domain: Domain) -> None:
    network = network_of(kind)
    explainer = make(name, domain, network)
    stft = network.spectrogram(noise())
    with torch.no_grad():
        given = explainer.masks(stft, TARGET, network.hear(stft))
    assert torch.allclose(given, masks_of(kind, name, domain), atol=1e-5)


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


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in REFUSED for kind in REFUSED[name][0]])
def test_a_network_that_lacks_what_is_needed_is_refused(name: str, kind: str) -> None:
    with pytest.raises(ModelError, match=REFUSED[name][1]):
        masks(make(name, "stft", network_of(kind)))


# Rows of one noise are told apart neither in time nor by what the noise is made of: test_perturbation.py.
BLIND_TO_ROWS = ("audiolime", "audiolime-hpss", "slime-time")


@pytest.mark.parametrize(("name", "domain"), [which for which in EXPLAIN if which[0] not in BLIND_TO_ROWS])
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
