"""L2I: dictionary, network and masks, each re-derived in plain form, and a training that finds a cue."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from earmark.classifiers.training import Clips
from earmark.errors import DataError, ModelError
from earmark.explainers.base import find
from earmark.explainers.l2i.dictionary import learn_dictionary, log_spectra
from earmark.explainers.l2i.explainer import L2i
from earmark.explainers.l2i.network import L2iConfig, L2iNetwork
from earmark.explainers.l2i.training import L2iRecipe, L2iStep, fidelity_loss, train_l2i
from earmark.model import Model, load_model, save_model
from explainers.networks import RATE, Cue, cnn14, noise

SMALL = L2iConfig(components=6, channels=8)


@pytest.fixture
def classifier() -> Cue:
    torch.manual_seed(0)
    return Cue().eval()


def filled(classifier: nn.Module, config: L2iConfig = SMALL) -> L2i:
    """Make an L2I with a dictionary that was not learned."""
    torch.manual_seed(0)
    explainer = L2i(classifier, config)
    explainer.network.dictionary.copy_(torch.rand_like(explainer.network.dictionary))
    return explainer


def test_a_dictionary_rebuilds_what_it_was_learned_from() -> None:
    torch.manual_seed(0)
    truth = torch.rand(4, 30) * (torch.rand(4, 30) > 0.6)
    spectra = torch.rand(500, 4) @ truth
    found, usual = learn_dictionary(spectra, 4)
    assert found.shape == (30, 4)
    assert found.min() >= 0
    assert torch.allclose(found.amax(0), torch.ones(4))
    weights = torch.linalg.lstsq(found, spectra.T).solution
    assert ((found @ weights).T - spectra).norm() < 0.1 * spectra.norm()
    assert torch.allclose(usual, weights.mean(1), rtol=0.3)


def test_fewer_frames_with_sound_than_components_are_refused() -> None:
    spectra = torch.cat([torch.rand(3, 10), torch.zeros(20, 10)])
    with pytest.raises(DataError, match="3 frames with sound to learn 4 components"):
        learn_dictionary(spectra, 4)


def test_frames_are_log_magnitudes_in_any_order(classifier: Cue) -> None:
    sounds = noise(2)
    wanted = classifier.spectrogram(sounds).abs().log1p().transpose(1, 2).flatten(0, 1)
    found = log_spectra(classifier.spectrogram, sounds)
    assert found.shape == wanted.shape
    assert torch.allclose(found.sum(1).sort().values, wanted.sum(1).sort().values, atol=1e-4)


def test_relevance_is_pooled_activation_times_weight_over_the_largest() -> None:
    network = L2iNetwork(SMALL, [4], bins=9, classes=3)
    network.usual.copy_(torch.rand(6) + 0.5)
    activations = torch.rand(2, 6, 7)
    pooled = network.pooled(activations)
    loud = activations / network.usual[None, :, None]
    scores = network.attention(loud).detach()
    for clip in range(2):
        weights = [float(scores[clip, 0, t].exp() / scores[clip, 0].exp().sum()) for t in range(7)]
        mean = sum(weight * loud[clip, :, t] for t, weight in enumerate(weights))
        assert torch.allclose(pooled[clip], mean, atol=1e-5)
        say = [float((pooled[clip, k] * network.decide.weight[1, k]).detach()) for k in range(6)]
        largest = max(abs(value) for value in say)
        found = network.relevance(pooled, torch.tensor([1, 1]))[clip].detach()
        assert found.tolist() == pytest.approx([value / largest for value in say], abs=1e-5)


def test_the_mask_is_the_share_of_the_relevant_components(classifier: Cue) -> None:
    explainer = filled(classifier)
    stft, target = classifier.spectrogram(noise()), torch.tensor([0, 1, 1])
    parts = explainer.components(stft, target)
    mask = explainer.masks(stft, target)
    for clip, row, frame in ((0, 3, 2), (1, 40, 10), (2, 64, 0)):
        kept = every = 0.0
        for k in range(6):
            value = float(parts.dictionary[row, k] * parts.activations[clip, k, frame])
            every += value
            kept += value * bool(parts.relevance[clip, k] > 0.2)
        assert float(mask[clip, row, frame]) == pytest.approx(kept / every, abs=1e-5)


def test_all_components_together_are_the_sound(classifier: Cue) -> None:
    parts = filled(classifier).components(classifier.spectrogram(noise()), torch.tensor([0, 1, 1]))
    assert torch.allclose(parts.mask(torch.ones(3, 6)), torch.ones(()))
    one, rest = torch.zeros(3, 6), torch.ones(3, 6)
    one[:, 2], rest[:, 2] = 1, 0
    assert torch.allclose(parts.mask(one) + parts.mask(rest), torch.ones(()), atol=1e-6)


def test_a_higher_threshold_keeps_less_and_is_a_variant(classifier: Cue) -> None:
    model = Model("m", classifier, {"l2i": filled(classifier)})
    stft, target = classifier.spectrogram(noise()), torch.tensor([0, 1, 1])
    masks = [model.explainer(f"l2i@{threshold}").masks(stft, target) for threshold in ("0", "0.4", "0.8")]
    assert (masks[0] >= masks[1]).all()
    assert (masks[1] >= masks[2]).all()
    assert masks[0].mean() > masks[2].mean()
    assert model.explainer("l2i") is model.explainers["l2i"]


@pytest.mark.parametrize("text", ["", "high", "-0.1", "1", "nan"])
def test_other_variants_are_refused(classifier: Cue, text: str) -> None:
    with pytest.raises(ModelError, match="a threshold from 0 to below 1"):
        filled(classifier).variant(text)


def test_it_has_no_masks_on_features(classifier: Cue) -> None:
    with pytest.raises(ModelError, match="l2i has no masks on the features"):
        filled(classifier).on("features")


def test_silence_has_an_empty_mask(classifier: Cue) -> None:
    stft = classifier.spectrogram(torch.zeros(1, 2000))
    assert filled(classifier).masks(stft, torch.tensor([0])).max() == 0


@pytest.mark.parametrize("multi_label", [False, True])
def test_fidelity_is_a_cross_entropy_with_probabilities(classifier: Cue, multi_label: bool) -> None:
    classifier.multi_label = multi_label
    decided, logits = torch.tensor([[0.3, -1.0]]), torch.tensor([[2.0, 0.5]])
    if multi_label:
        p, q = logits.sigmoid(), decided.sigmoid()
        wanted = -(p * q.log() + (1 - p) * (1 - q).log()).mean()
    else:
        wanted = -(logits.softmax(1) * decided.softmax(1).log()).sum()
    assert float(fidelity_loss(classifier, decided, logits)) == pytest.approx(float(wanted), abs=1e-5)


def test_the_loss_is_its_weighted_parts(classifier: Cue) -> None:
    explainer, recipe = filled(classifier), L2iRecipe()
    step = L2iStep(explainer, recipe).eval()
    sound = noise()
    labels = torch.full((3, 2), -1)
    found = step(sound, torch.zeros_like(sound), labels, labels[:, 0])
    stft = classifier.spectrogram(sound)
    parts = explainer.components(stft, torch.zeros(3, dtype=torch.long))
    rebuilt = torch.einsum("bk,nkt->nbt", parts.dictionary, parts.activations)
    reconstruction = (rebuilt - stft.abs().log1p()).square().mean()
    decided = explainer.decisions(classifier.hear(stft))
    fidelity = fidelity_loss(classifier, decided, classifier.hear(stft).logits).mean()
    wanted = fidelity + 10 * reconstruction + 0.8 * parts.activations.mean()
    assert float(found["loss"].detach()) == pytest.approx(float(wanted.detach()), rel=1e-4)


def cue_clips(count: int = 40) -> Clips:
    """Make sounds of the one or the other cue of `Cue`, in faint noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    time = torch.arange(2000) / RATE
    middle = torch.tensor([sum(rows) / 2 for rows in Cue.ROWS])[labels] * RATE / 128
    tones = torch.sin(2 * torch.pi * middle[:, None] * time) * (
        0.5 + 0.5 * torch.rand(count, 1, generator=generator)
    )
    return Clips(tones + 0.05 * torch.randn(count, 2000, generator=generator), labels)


def train(classifier: Cue, folder: Path, clips: Clips) -> tuple[L2i, list[dict[str, float]]]:
    settings = {"epochs": 20, "batch_size": 8, "learning_rate": 0.02}
    recipe = L2iRecipe.model_validate(
        {
            "interpreter": SMALL,
            "loop": settings,
            "scenes": {"clean": 0.3, "noise": 0.0, "mixture_db": (-3, 8)},
        }
    )
    torch.manual_seed(0)
    explainer = L2i(classifier, SMALL)
    row = {"AI": 0.0, "AD": 0.0, "AG": 0.0, "FF": 0.0, "Fid-In": 0.0, "MM": 0.0}
    return explainer, train_l2i(explainer, clips, recipe, folder, lambda: dict(row))


def test_a_trained_one_finds_the_planted_cue_and_is_kept(classifier: Cue, tmp_path: Path) -> None:
    clips = cue_clips()
    classifier.rows.data *= 20  # so that it is sure of what it decides
    explainer, log = train(classifier, tmp_path / "run", clips)
    assert log[-1]["agreement"] > 0.85
    assert log[-1]["reconstruction"] < log[0]["reconstruction"] / 2
    both = clips.waveform[:2].sum(0, keepdim=True).expand(2, -1)
    stft = classifier.spectrogram(both / classifier.level(both))
    for target, mask in enumerate(explainer.masks(stft, torch.tensor([0, 1]))):
        # The middle of the rows, where the tones are: elsewhere there is nothing to keep.
        inside, outside = (mask[sum(Cue.ROWS[row]) // 2].mean() for row in (target, 1 - target))
        assert inside > 0.5
        assert inside > 5 * outside
    save_model(Model("m", cnn14(), {"l2i": filled(cnn14())}), tmp_path / "model")
    loaded = load_model(tmp_path / "model").explainers["l2i"]
    assert torch.equal(loaded.weights.state_dict()["dictionary"], filled(cnn14()).network.dictionary)


def test_the_same_seed_learns_the_same(classifier: Cue, tmp_path: Path) -> None:
    masks: list[Tensor] = []
    clips = cue_clips(16)
    stft = classifier.spectrogram(clips.waveform[:2])
    for name in ("one", "two"):
        explainer, _ = train(classifier, tmp_path / name, clips)
        masks.append(explainer.masks(stft, torch.tensor([0, 1])))
    assert torch.equal(*masks)


def test_find_knows_it() -> None:
    assert find("l2i@0.6") is L2i
