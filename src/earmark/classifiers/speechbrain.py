"""The classifier of SpeechBrain's ESC-50 recipe, from the files that its training leaves."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from earmark.classifiers.checkpoints import read_checkpoint, read_lines, state_of, translated
from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.errors import ModelError

EMBEDDING, HEAD, LABELS = "embedding_model.ckpt", "classifier.ckpt", "label_encoder.txt"

_ARROW = " => "
_END = "="  # of a line that ends the labels


def import_classifier(folder: str | Path, labels: str | Path | None = None) -> Cnn14:
    """Make a CNN14 of the recipe's ``embedding_model.ckpt``, ``classifier.ckpt`` and ``label_encoder.txt``.

    Args:
        folder: holds these files.
        labels: where the labels are, if not there.

    Raises:
        ModelError: a file is missing or no checkpoint, or has weights that are missing, unknown or of
            another shape, which are named; there is not one label for each class.

    Source: Paissan et al., Listenable Maps for Audio Classifiers, ICML 2024.
    """
    folder = Path(folder)
    if not folder.is_dir():
        given = f"{folder} is {'a file' if folder.exists() else 'missing'}"
        raise ModelError(given, f"a folder with {EMBEDDING}, {HEAD} and {LABELS}")
    body, head = (state_of(read_checkpoint(folder / name), folder / name) for name in (EMBEDDING, HEAD))
    path = Path(labels) if labels else folder / LABELS
    names = read_label_encoder(path)
    classes = len(head.get("bias", names))
    if classes != len(names):
        given = f"{path} has {len(names)} labels, {folder / HEAD} has {classes} classes"
        raise ModelError(given, "one label for each class", "pass the label encoder of the same training")
    network = Cnn14(_config(body, names))
    own = network.state_dict()
    inner = {name: value for name, value in own.items() if not name.startswith("head.")}
    outer = {name: value for name, value in own.items() if name.startswith("head.")}
    weights = translated(inner, body, _original_name, folder / EMBEDDING)
    weights |= translated(outer, head, lambda name: name.removeprefix("head."), folder / HEAD)
    network.load_state_dict(weights)
    return network.eval()


def read_label_encoder(path: str | Path) -> tuple[str, ...]:
    """Return the class names of a SpeechBrain label encoder, in the order of the logits.

    Each line has a label as Python writes it, an arrow and its index; a line of ``=`` ends them.

    Raises:
        ModelError: the file is missing, or is none of these, or its indices are not 0, 1, 2 …
    """
    what = "a label encoder of SpeechBrain, with lines such as 'dog' => 0"
    names = {}
    for line in read_lines(path, what):
        if not line.strip(_END):
            break
        label, _, index = line.rpartition(_ARROW)
        try:
            names[int(index)] = str(ast.literal_eval(label))
        except (ValueError, SyntaxError) as error:
            raise ModelError(f"{path} has the line {line!r}", what) from error
    if not names or sorted(names) != list(range(len(names))):
        raise ModelError(f"{path} does not number its labels 0, 1, 2 …", what)
    return tuple(names[index] for index in range(len(names)))


def _config(body: Mapping[str, Tensor], names: tuple[str, ...]) -> Cnn14Config:
    """Read the sizes off the weights; where some are missing, the check that follows names them."""
    n_mels = max(32, len(body.get("norm0.bias", range(80))))
    width = len(body.get("conv_block1.norm1.bias", range(64))) / 64
    return Cnn14Config(labels=names, width=width, n_mels=n_mels, input_norm=True)


def _original_name(name: str) -> str:
    """Return what the recipe calls one of our weights.

    >>> _original_name("blocks.2.bn1.weight"), _original_name("norm.bias")
    ('conv_block3.norm1.weight', 'norm0.bias')
    """
    part, rest = name.split(".", 1)
    if part == "norm":
        return f"norm0.{rest}"
    number, rest = rest.split(".", 1)
    return f"conv_block{int(number) + 1}.{rest.replace('bn', 'norm', 1)}"
