"""A CNN14 without its last layer, as pre-training leaves it: a folder to begin a classifier with."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from earmark.classifiers.cnn14 import Cnn14
from earmark.errors import ModelError
from earmark.files import write_bytes, write_text

_CONFIG, _WEIGHTS = "encoder.json", "encoder.safetensors"
_FORM = {"width", "n_mels", "mel_scale", "spectrogram", "input_norm"}


def is_encoder(folder: Path) -> bool:
    """Whether a folder holds a pre-trained encoder."""
    return (folder / _CONFIG).exists()


def save_encoder(network: Cnn14, folder: Path) -> None:
    """Write all weights of a network but its last layer's; the config comes last.

    Raises:
        OutputError: the folder cannot be written.
    """
    weights = {name: value.cpu().contiguous() for name, value in _weights(network).items()}
    write_bytes(folder / _WEIGHTS, save(weights))
    form = network.config.model_dump(mode="json", include=_FORM)
    write_text(folder / _CONFIG, json.dumps({"format": 1, "kind": "cnn14", **form}, indent=2) + "\n")


def begin_with(network: Cnn14, folder: Path) -> None:
    """Copy an encoder's weights into a network of the same form; its last layer stays as it is.

    Raises:
        ModelError: the folder is damaged, or the encoder has another form.
    """
    try:
        form = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        weights = load_file(folder / _WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        given = f"the encoder of {folder} cannot be read ({error})"
        raise ModelError(given, fix="train it again") from error
    ours = network.config.model_dump(mode="json", include=_FORM)
    differs = [name for name in sorted(_FORM) if form.get(name) != ours[name]]
    if differs:
        theirs = ", ".join(f"{name} {form.get(name)}" for name in differs)
        raise ModelError(f"the encoder of {folder} has {theirs}", "the recipe's", "change the recipe")
    missing, unexpected = network.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"head.weight", "head.bias"}:
        raise ModelError(f"the weights of {folder} are not those of a CNN14", fix="train it again")


def _weights(network: Cnn14) -> dict[str, Tensor]:
    return {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}
