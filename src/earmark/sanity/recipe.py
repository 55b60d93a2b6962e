"""Settings of `earmark sanity`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from earmark.errors import EarmarkError
from earmark.sanity.base import Check, find, names


def quick() -> tuple[str, ...]:
    """Return the checks that train no networks."""
    return tuple(name for name in names() if not find(name).long)


class SanityRecipe(BaseModel):
    """Settings of ``earmark sanity``; what is named twice counts once.

    Args:
        checks: names of checks; all that train no networks, if not given.
        methods: names of explainers; all that the model can be explained by, if not given.
        folds: of the data, for what is explained; all if not given.
        train_folds: of the data, for what is trained; needed by some checks.
        clips: explain so many clips, evenly chosen; all if not given.
        seed: of what is random.
        batch_size: sounds that are explained together.
        settings: of each check, by its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checks: tuple[str, ...] = Field(default_factory=quick)
    methods: tuple[str, ...] | None = None
    folds: tuple[int, ...] | None = None
    train_folds: tuple[int, ...] = ()
    clips: PositiveInt | None = 24
    seed: int = Field(0, ge=0, lt=2**32)
    batch_size: PositiveInt = 16
    settings: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _known(self) -> SanityRecipe:
        for name in (*self.checks, *self.settings):
            try:
                find(name).Settings.model_validate(self.settings.get(name, {}))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, (name, *first["loc"])))
                raise ValueError(f"{where}: {first['msg']} (given {first['input']!r})") from None
            except EarmarkError as error:
                raise ValueError(str(error)) from None
        return self

    def make(self) -> list[Check]:
        """Return the checks, each with its settings."""
        return [
            kind(kind.Settings.model_validate(self.settings.get(kind.name, {})))
            for kind in map(find, dict.fromkeys(self.checks))
        ]
