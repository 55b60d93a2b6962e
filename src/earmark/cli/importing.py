"""What all `earmark import` commands share: their options, and the folder that they write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earmark.cli.terminal import make_writable, say

if TYPE_CHECKING:
    from earmark.model import Model

Out = Annotated[Path, typer.Option(metavar="DIR", help="The model folder to write.")]
Half = Annotated[bool, typer.Option("--half", help="Store weights as float16, which halves the folder.")]
SEVERAL = "--multi-label/--single-label"
"""The option that says how many classes may hold at once."""


@contextmanager
def tried(out: Path) -> Iterator[None]:
    """See that a folder can be written before what takes long; leave none behind if that fails.

    Raises:
        OutputError: it cannot be made, or nothing can be written to it.
    """
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    make_writable(out)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # what holds something by now stays
            for folder in new:
                folder.rmdir()
        raise


def write(model: Model, out: Path, half: bool) -> None:
    """Write a model's folder, and tell what it is and what to do with it."""
    from earmark.model import save_model

    save_model(model, out, half)
    its = model.classifier
    several = ", several at once" if its.multi_label else ""
    explainers = ", ".join(model.explainers)
    say(
        f"{out}: {len(its.labels)} classes{several}, heard {its.seconds:g} s at a time,"
        f" explained by {explainers or 'nothing yet'}"
    )
    say(f"next: earmark explain SOUND --model {out}{'' if explainers else ' --method gradcam'}")
