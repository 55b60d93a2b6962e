"""`earmark components`: the parts that a sound is made of, and what each says of a class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earmark.cli.own import HELP as MODEL_HELP
from earmark.cli.own import METAVAR, find, is_own
from earmark.cli.terminal import FAILED, make_writable, say, say_error
from earmark.errors import AudioError

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark components dog.wav\n\n"
    "earmark components dog.wav --method audiolime --top 3\n\n"
    "earmark components farm.wav --target rooster --model my-model --out parts"
)


def components(
    audio: Annotated[
        list[Path], typer.Argument(metavar="AUDIO", help="Sound files, no longer than is heard at once.")
    ],
    model: Annotated[str, typer.Option(metavar=METAVAR, help=MODEL_HELP)] = "esc10",
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="One that explains by components: l2i, audiolime …")
    ] = "l2i",
    target: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The class to explain, not what was decided.")
    ] = None,
    top: Annotated[int, typer.Option(metavar="K", min=1, help="Write the K most relevant parts.")] = 5,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go.")] = Path("explained"),
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps …")] = "cpu",
) -> None:
    """Play back the parts of a sound one by one, the one that speaks most for the class first.

    Per input: [bold]STEM.component-1.wav[/bold] and so on, and [bold]STEM.components.json[/bold], which says
    which part of the dictionary each is, and its relevance: 1 for the most relevant, below 0 what speaks
    against the class.
    """
    make_writable(out)
    from earmark.cli.explaining import distinct_stems
    from earmark.components import decompose

    named = find(model, device) if is_own(model) else model
    failed = 0
    for path, stem in zip(audio, distinct_stems(audio)):
        try:
            found = decompose(path, named, method, target, top, device)
        except AudioError as error:
            say_error(str(error))
            failed += 1
            continue
        found.save(out, stem)
        parts = ", ".join(f"{one.number} ({one.relevance:.2f})" for one in found.components)
        say(f"{path.name}: {found.label} ({found.probability:.0%}), parts {parts} of {found.of} → {out}")
    if failed:
        raise typer.Exit(FAILED)
