"""The bundled model on real recordings that it was not trained on, and where its weights come from."""

import os
from pathlib import Path

import pytest
import torch

import earmark
from earmark.data.clips import load_all
from earmark.data.esc50 import read_esc50
from earmark.evaluation.protocol import mixtures
from earmark.evaluation.runner import mean_scores, score_sounds
from earmark.evaluation.targets import score_targets, two_classes
from earmark.explainers.l2i.training import L2iRecipe
from earmark.explainers.lmac.training import LmacRecipe
from earmark.explainers.lmac_td.training import LmacTdRecipe
from earmark.explainers.piq.training import PiqRecipe
from earmark.training.recipe import load_recipe, recipe_hash

DATA = os.environ.get("EARMARK_DATA", "")
RECIPES = Path(__file__).parent.parent / "recipes" / "esc10"

needs_data = pytest.mark.skipif(not DATA, reason="EARMARK_DATA does not name real recordings")


@pytest.fixture(scope="module")
def fold4() -> tuple[torch.Tensor, torch.Tensor]:
    labels = earmark.load("esc10").classifier.labels
    return load_all(read_esc50(Path(DATA) / "esc10", folds=[4]), labels, 16000, 5.0)


@needs_data
def test_the_classifier_knows_its_sounds(fold4: tuple[torch.Tensor, torch.Tensor]) -> None:
    waveform, labels = fold4
    with torch.inference_mode():
        logits = torch.cat([earmark.load("esc10").classifier(part) for part in waveform.split(16)])
    assert (logits.argmax(1) == labels).float().mean() >= 0.93


@needs_data
def test_the_explanations_are_faithful_and_about_the_right_source(
    fold4: tuple[torch.Tensor, torch.Tensor],
) -> None:
    # Mixtures of a seed that neither chose an epoch nor stands in a table.
    sounds = mixtures(*fold4, per_clip=1, snr_db=3.0, seed=7)
    means = mean_scores(score_sounds(earmark.load("esc10").explainers["lmac"], sounds)[None])
    assert means["AI"] >= 65
    assert means["AD"] <= 7
    assert means["AG"] >= 28
    assert means["FF"] >= 0.97 * means["FF all"]
    assert means["Fid-In"] >= 0.93
    assert means["MM"] <= 0.25
    assert means["SI-SDRi"] >= 2
    assert means["share"] >= 0.80


@needs_data
@pytest.mark.parametrize(
    ("method", "least"),
    [
        ("l2i", {"AI": 30, "Fid-In": 0.7, "SI-SDRi": 0.5, "share": 0.72}),
        ("piq", {"AI": 65, "FF": 0.25, "Fid-In": 0.9, "SI-SDRi": 1.5, "share": 0.77}),
        ("lmac-td", {"AI": 60, "FF": 0.6, "Fid-In": 0.88, "SI-SDRi": 1.5, "share": 0.77}),
    ],
)
def test_what_else_is_trained_explains_too(
    fold4: tuple[torch.Tensor, torch.Tensor], method: str, least: dict[str, float]
) -> None:
    sounds = mixtures(*fold4, per_clip=1, snr_db=3.0, seed=7)
    means = mean_scores(score_sounds(earmark.load("esc10").explainers[method], sounds)[None])
    assert {name: means[name] for name, value in least.items() if means[name] < value} == {}


@needs_data
def test_each_class_of_a_mixture_has_its_own_explanation_and_others_hardly_any(
    fold4: tuple[torch.Tensor, torch.Tensor],
) -> None:
    scores = score_targets(earmark.load("esc10").explainers["lmac"], *two_classes(*fold4, per_clip=1, seed=7))
    means = {name: float(values.mean()) for name, values in scores.items()}
    assert means["own"] >= 0.8
    assert means["SI-SDRi"] >= 4
    assert means["overlap"] <= 0.3
    assert means["absent energy"] <= 0.08
    assert means["absent energy"] <= means["energy"] / 5


def test_its_weights_come_from_the_recipes_beside_it() -> None:
    description = earmark.load("esc10").explainers["lmac"].config.description
    for name in ("separate.yaml", "lmac.yaml", "targets.yaml"):
        assert recipe_hash(load_recipe(LmacRecipe, RECIPES / name)) in description
    for method, settings in {"l2i": L2iRecipe, "piq": PiqRecipe, "lmac-td": LmacTdRecipe}.items():
        description = earmark.load("esc10").explainers[method].config.description  # type: ignore[attr-defined]
        assert recipe_hash(load_recipe(settings, RECIPES / f"{method}.yaml")) in description


def test_it_is_small() -> None:
    folder = Path(earmark.__file__).parent / "models" / "esc10"
    sizes = {file.stem: file.stat().st_size for file in folder.glob("*.safetensors")}
    assert sizes.pop("classifier") + sizes.pop("lmac") <= 12 * 2**20
    assert max(sizes.values()) <= 3e6
