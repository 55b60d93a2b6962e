"""Every recipe in the repository can be read by the training it is for."""

from pathlib import Path

import pytest

from earmark.classifiers.training import ClassifierRecipe
from earmark.explainers.lmac.training import LmacRecipe
from earmark.training.recipe import load_recipe

RECIPES = sorted((Path(__file__).parent.parent / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe_is_read(path: Path) -> None:
    settings = ClassifierRecipe if path.name.startswith("classifier") else LmacRecipe
    assert load_recipe(settings, path) != settings()
