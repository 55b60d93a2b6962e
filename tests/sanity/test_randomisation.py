"""Layers go in the network's order, each with its norms; explanations that ignore the network fail."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pandas import DataFrame
from torch import Tensor, nn

from earmark.classifiers.base import AudioClassifier
from earmark.evaluation.protocol import Material
from earmark.explainers.base import Explainer
from earmark.explainers.base import find as find_method
from earmark.explainers.lmac.explainer import Lmac
from earmark.report.checks.randomisation import draw
from earmark.sanity.base import Bench, Row, Step, Verdict
from earmark.sanity.randomisation import OTHERS, Randomisation, RandomisationSettings
from earmark.sanity.reinitialise import Layer, layers_of, reinitialise
from earmark.sanity.rows import frame_of
from explainers import networks
from explainers.networks import Cue, cnn14, noise


class Told(AudioClassifier):
    """Marks in its feature map what its weights choose, and nothing else."""

    hears_phase = False

    def __init__(self) -> None:
        super().__init__(Cue().spectrogram, ("a", "b"), seconds=0.5)
        self.choice = nn.Linear(1, self.spectrogram.bins, bias=False)

    def features(self, stft: Tensor) -> Tensor:
        return stft.abs()

    def bands_to_bins(self) -> Tensor:
        return torch.eye(self.spectrogram.bins)

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = (features * self.choice(features.new_ones(1)).sigmoid()[None, :, None])[:, None]
        return torch.stack([maps.mean((1, 2, 3)), -maps.mean((1, 2, 3))], 1), [maps]


class Weights(Explainer):
    """Explains by the network's own weights: the truth of `Told`."""

    name = "weights"

    def masks(self, stft, target, heard=None):
        return self.classifier.choice.weight.sigmoid()[None].expand(stft.shape)


def make_bench(classifier: AudioClassifier, explainers: dict[str, Explainer], folder: Path) -> Bench:
    material = Material(("a", "b", "c", "d"), noise(4), torch.tensor([0, 1, 0, 1]))
    return Bench(classifier, classifier, explainers, material, (0, 1, 2, 3), None, folder, batch_size=3)


def check(bench: Bench, **settings: object) -> tuple[DataFrame, Randomisation]:
    one = Randomisation(RandomisationSettings(**settings))
    rows: list[tuple[str, str, Row]] = [
        (step.method, step.part, row) for step in one.steps(bench) for row in one.run(bench, step)
    ]
    return frame_of(rows), one


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: dict[str, Tensor], after: nn.Module) -> set[str]:
    return {name for name, value in after.state_dict().items() if not torch.equal(value, before[name])}


def named(classifier: AudioClassifier) -> list[Layer]:
    return layers_of(classifier, classifier.spectrogram(noise(1)))


def worn(classifier: AudioClassifier) -> AudioClassifier:
    """Give batch-norms what training would have: statistics, scales and shifts."""
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                values.uniform_(0.5, 2)
    return classifier.eval()


def test_layers_of_cnn14_run_from_the_logits_to_the_first_convolution() -> None:
    layers = named(cnn14().eval())
    assert layers[0].name.rpartition(".")[0] != layers[1].name.rpartition(".")[0]
    convolutions = [layer for layer in layers if len(layer.modules) == 2]
    assert len(convolutions) == 12
    assert layers[-1].modules[0].endswith("0.conv1")
    assert layers[-1].modules[1].endswith("0.bn1")


@pytest.mark.parametrize("make", [networks.recurrent, networks.own_front_end, networks.patches])
def test_every_weight_of_anyones_network_is_in_one_layer(make) -> None:
    classifier = make().eval()
    modules = [name for layer in named(classifier) for name in layer.modules]
    own = {name for name, one in classifier.named_modules() if list(one.parameters(recurse=False))}
    assert len(modules) == len(set(modules))
    assert set(modules) == own
    assert named(classifier)[0].name.endswith("head")


def test_a_layer_alone_is_drawn_anew_with_its_norm_or_without() -> None:
    classifier = worn(cnn14())
    layer = named(classifier)[-1]
    convolution, norm = layer.modules
    both, paper = copy.deepcopy(classifier), copy.deepcopy(classifier)
    before = state(classifier)
    reinitialise(both, layer, norms=True, seed=1)
    reinitialise(paper, layer, norms=False, seed=1)
    statistics = {f"{norm}.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    assert changed(before, both) == {f"{convolution}.weight"} | statistics
    assert changed(before, paper) == {f"{convolution}.weight"}
    assert torch.equal(both.get_submodule(convolution).weight, paper.get_submodule(convolution).weight)


def test_weights_are_drawn_from_the_seed_and_no_other_chance_is_touched() -> None:
    one, two, other = (cnn14() for _ in range(3))
    layer = named(one.eval())[0]
    chance = torch.get_rng_state()
    for network, seed in ((one, 1), (two, 1), (other, 2)):
        reinitialise(network, layer, seed=seed)
    assert torch.equal(chance, torch.get_rng_state())
    assert not changed(state(one), two)
    assert changed(state(one), other)


def test_weights_that_nobody_knows_how_to_begin_come_in_another_order() -> None:
    cue = Cue()
    before = cue.rows.detach().clone()
    reinitialise(cue, Layer("", ("",)))
    assert not torch.equal(cue.rows, before)
    assert torch.equal(cue.rows.flatten().sort().values, before.flatten().sort().values)


def verdicts(rows: DataFrame, one: Randomisation) -> dict[str, Verdict]:
    return {verdict.method: verdict for verdict in one.verdicts(rows)}


def test_what_ignores_the_network_fails_and_what_is_made_of_its_weights_passes(tmp_path: Path) -> None:
    told = Told().eval()
    controls = {name: find_method(name)(told) for name in ("random", "loudest", "all-ones", "all-zeros")}
    before = state(told)
    rows, one = check(make_bench(told, {"weights": Weights(told), **controls}, tmp_path))
    assert not changed(before, told)
    found = verdicts(rows, one)
    assert {name: verdict.passed for name, verdict in found.items()} == {
        "weights": True,
        **dict.fromkeys(controls, False),
    }
    last = rows[(rows["figure"] == "rank") & (rows["variant"] != OTHERS)]
    assert last[last["method"] != "weights"]["value"].to_numpy() == pytest.approx(1)
    assert "1.00 once all layers are" in found["loudest"].said


class Late(Explainer):
    """Shows the weights of one layer."""

    name = "late"
    layer = ""

    def masks(self, stft, target, heard=None):
        weight = self.classifier.get_submodule(self.layer).weight.detach().flatten()
        line = weight.sigmoid().repeat(1 + stft.shape[1] // len(weight))[: stft.shape[1]]
        return line[None, :, None].expand(stft.shape)


def test_the_cascade_comes_to_each_layer_in_its_turn_and_stays(tmp_path: Path) -> None:
    classifier = worn(cnn14())
    layers = named(classifier)
    turn = 4
    shown = Late(classifier)
    shown.layer = layers[turn].modules[0]
    rows, _ = check(make_bench(classifier, {"late": shown}, tmp_path), depths=len(layers))
    rank = rows[(rows["figure"] == "rank") & (rows["variant"] == "cascade")].groupby("level")["value"].mean()
    assert list(rank.index) == [f"{depth + 1:03d} {layer.name}" for depth, layer in enumerate(layers)]
    assert rank.iloc[:turn].to_numpy() == pytest.approx(1)
    assert (rank.iloc[turn:].abs() < 0.6).all()


def test_depths_are_few_and_hold_both_ends(tmp_path: Path) -> None:
    classifier = cnn14().eval()
    rows, _ = check(make_bench(classifier, {"random": find_method("random")(classifier)}, tmp_path), depths=3)
    levels = sorted(set(rows["level"]) - {""})
    layers = named(classifier)
    assert [level[4:] for level in (levels[0], levels[-1])] == [layers[0].name, layers[-1].name]
    assert len(levels) == 3


def test_lmac_hears_with_the_random_network_and_says_that_its_decoder_stays(tmp_path: Path) -> None:
    classifier = worn(cnn14())
    torch.manual_seed(0)
    lmac = Lmac(classifier)
    nn.init.normal_(next(reversed([p for p in lmac.decoder.parameters() if p.ndim == 4])))
    heard: list[Sequence[float]] = []
    masks = lmac.masks

    class Watched(Lmac):
        def masks(self, stft, target, heard_=None):
            alone = self.classifier.hear(stft).logits
            heard.append((alone - heard_.logits).abs().flatten().tolist())
            return masks(stft, target, heard_)

    lmac.__class__ = Watched
    bench = make_bench(classifier, {"lmac": lmac}, tmp_path)
    rows, one = check(bench, variants=("cascade",), depths=2)
    assert max(map(max, heard)) < 1e-6  # what it was given is what this very network hears
    assert "retrained-labels" in verdicts(rows, one)["lmac"].said


def test_table_and_figure_have_a_row_per_method_and_a_picture_per_depth(tmp_path: Path) -> None:
    told = Told().eval()
    explainers = {"weights": Weights(told), "random": find_method("random")(told)}
    rows, one = check(make_bench(told, explainers, tmp_path))
    table = one.table(rows)
    assert list(table.index) == ["weights", "random"]
    assert table.notna().all(axis=None)
    assert table.loc["random", "rank, other clips"] == pytest.approx(1)
    figure = draw(rows, tmp_path / "randomisation")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["sound", "explanation", "1 random,\nchoice", "", "", ""]
    with np.load(tmp_path / "randomisation" / "weights.npz") as strip:
        assert strip["names"].tolist() == ["sound", "explanation", "001 choice"]


def test_methods_that_failed_are_left_out(tmp_path: Path) -> None:
    told = Told().eval()
    bench = make_bench(told, {"random": find_method("random")(told)}, tmp_path)
    one = Randomisation()
    rows = frame_of([("random", "paper", row) for row in one.run(bench, Step("random", "paper"))])
    assert one.table(rows)["rank, all, paper"].tolist() == pytest.approx([1])
    assert one.verdicts(rows) == []
