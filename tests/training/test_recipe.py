"""Recipes: base and difference, changes, and what is refused."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from earmark.errors import RecipeError
from earmark.training.recipe import load_recipe, recipe_hash


class Loop(BaseModel):
    model_config = ConfigDict(extra="forbid")
    epochs: int = 3
    rate: float = 0.1


class Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid")
    loop: Loop = Loop()
    labels: tuple[str, ...] = ()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_recipe_is_a_base_and_its_difference(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "loop: {epochs: 7, rate: 0.5}\nlabels: [dog]\n")
    path = write(tmp_path / "mine.yaml", "base: base.yaml\nloop: {rate: 0.2}\n")
    assert load_recipe(Recipe, path, ["labels=[cat, rain]"]).model_dump() == {
        "loop": {"epochs": 7, "rate": 0.2},
        "labels": ("cat", "rain"),
    }


def test_hash_changes_with_any_setting() -> None:
    assert recipe_hash(Recipe()) == recipe_hash(Recipe())
    assert recipe_hash(Recipe()) != recipe_hash(Recipe(loop=Loop(epochs=4)))


@pytest.mark.parametrize(("change", "message"), [
    ("loop.epoch=4", r"loop\.epoch: .*given 4"),
    ("loop.epochs=many", r"loop\.epochs: .*given 'many'"),
    ("epochs", "expected key=value"),
    ("=3", "expected key=value"),
    ("labels=[dog", "a value in YAML"),
])  # fmt: skip
def test_bad_changes_are_named(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(Recipe, None, [change])


@pytest.mark.parametrize(("text", "message"), [
    ("- a\n", "holds list"),
    ("a: [", "cannot be read as YAML"),
    ("base: mine.yaml\n", "its own base"),
    ("base: 3\n", "has the base 3"),
    ("base: other.yaml\n", r"other\.yaml cannot be read"),
])  # fmt: skip
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(Recipe, write(tmp_path / "mine.yaml", text))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml cannot be read"):
        load_recipe(Recipe, tmp_path / "none.yaml")
