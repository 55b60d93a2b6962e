"""Every recipe in the repository can be read by the command it is for."""

from pathlib import Path

import pytest

from earmark.classifiers.simclr.training import SimclrRecipe
from earmark.classifiers.training import ClassifierRecipe
from earmark.evaluation.evaluate import EvaluationRecipe
from earmark.explainers.l2i.training import L2iRecipe
from earmark.explainers.lmac.training import LmacRecipe
from earmark.explainers.lmac_td.training import LmacTdRecipe
from earmark.explainers.piq.training import PiqRecipe
from earmark.sanity.recipe import SanityRecipe
from earmark.training.recipe import load_recipe

RECIPES = sorted((Path(__file__).parent.parent / "recipes").rglob("*.yaml"))
KINDS = {"classifier": ClassifierRecipe, "results": EvaluationRecipe, "sanity": SanityRecipe}
KINDS |= {"family": EvaluationRecipe, "l2i": L2iRecipe, "lmac-td": LmacTdRecipe, "piq": PiqRecipe}
KINDS["simclr"] = SimclrRecipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe_is_read(path: Path) -> None:
    settings = KINDS.get(path.stem) or KINDS.get(path.stem.partition("-")[0], LmacRecipe)
    assert load_recipe(settings, path) != settings()
