"""From a YAML recipe to checked settings: a base, its difference, and ``key=value`` on top."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from earmark.errors import RecipeError

Settings = TypeVar("Settings", bound=BaseModel)

WHERE = {"device", "devices", "num_nodes", "precision"}
"""Settings of a loop that say where and how fast a training runs, which may change between sittings."""


def load_recipe(settings: type[Settings], path: Path | None = None, changes: Sequence[str] = ()) -> Settings:
    """Read settings from a recipe file and changes to it; whatever neither names keeps its default.

    Args:
        settings: the pydantic model to fill; unknown keys are errors.
        path: a YAML file; its key ``base`` may name another one beside it, which it then changes.
        changes: "key=value", with dots for nested keys and YAML for values.

    Raises:
        RecipeError: the file is missing or no mapping, or a key or value does not fit.

    >>> class Demo(BaseModel, extra="forbid"):
    ...     epochs: int = 3
    >>> load_recipe(Demo, changes=["epochs=5"]).epochs
    5
    """
    values = _read(path, ()) if path else {}
    for change in changes:
        values = merge(values, _nested(change))
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        raise RecipeError(
            _explain(error, path), fix=f"known settings: {', '.join(settings.model_fields)}"
        ) from None


def recipe_hash(settings: BaseModel) -> str:
    """Return twelve hexadecimal digits that change whenever a setting does.

    Settings at their defaults do not count, so that a recipe keeps its hash when a release adds a setting.
    """
    # Where it is computed makes no other training.
    text = settings.model_dump_json(exclude_defaults=True, exclude={"loop": WHERE})
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def merge(base: Mapping[str, Any], difference: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a nested mapping over another; lists and scalars replace, mappings merge.

    >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    merged = dict(base)
    for key, value in difference.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise RecipeError(f"{path} is its own base", fix="remove one of the base keys")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read as YAML ({error})", "a recipe file") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} holds {type(values).__name__}", "keys and values", "see recipes/")
    base = values.pop("base", None)
    if not isinstance(base, str | None):
        raise RecipeError(f"{path} has the base {base!r}", "the name of a recipe beside it")
    return merge(_read(path.parent / base, (*seen, path.resolve())), values) if base else values


def _nested(change: str) -> dict[str, Any]:
    key, sign, value = change.partition("=")
    if not sign or not key:
        raise RecipeError(f"--set {change!r}", "key=value", "write for example --set epochs=5")
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise RecipeError(f"--set {change!r}", "a value in YAML", "check brackets and quotes") from None
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return dict(nested)


def _explain(error: ValidationError, path: Path | None) -> str:
    problems = (
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']} (given {problem['input']!r})"
        for problem in error.errors()
    )
    return f"{path or 'settings'}: " + "; ".join(problems)
