"""The models that come with earmark, found by name; nothing here needs torch."""

from __future__ import annotations

from pathlib import Path

from earmark.errors import ModelError

MODELS = Path(__file__).parent / "models"
"""The folder that holds one folder per bundled model."""

CONFIG = "config.json"


def bundled() -> list[str]:
    """Return the names of the models that come with earmark, in alphabetical order."""
    return sorted(config.parent.name for config in MODELS.glob(f"*/{CONFIG}"))


def find_model(name_or_dir: str | Path) -> Path:
    """Return the folder of a model: the given one if it exists, else the bundled one of that name.

    Args:
        name_or_dir: a folder, or one of `bundled`. A bundled name wins over a folder that is no model,
            so that a data set of the same name in the current folder does not hide it.

    Raises:
        ModelError: it is neither; the message lists the bundled names.
    """
    folder, name = Path(name_or_dir), str(name_or_dir)
    if name in bundled() and not (folder / CONFIG).is_file():
        return MODELS / name
    if folder.is_dir():
        return folder
    names = ", ".join(bundled()) or "none in this installation"
    what = f"{name} is a file" if folder.exists() else f"there is no model {name!r}"
    raise ModelError(what, f"a model folder, or a bundled model ({names})", "check the name or the path")
