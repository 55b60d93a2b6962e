"""`earmark import hf`: make a model folder of a Hugging Face audio classifier."""

from __future__ import annotations

from typing import Annotated

import typer

from earmark.cli.importing import SEVERAL, Half, Out, tried, write

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark import hf MIT/ast-finetuned-audioset-10-10-0.4593 --multi-label --out ast\n\n"
    "earmark import hf superb/wav2vec2-base-superb-ks --out keywords\n\n"
    "earmark import hf my-finetuned-wavlm --seconds 4 --out mine"
)


def hf(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME|DIR",
            help="A folder that [bold]save_pretrained[/bold] wrote, or a name on the hub to download.",
        ),
    ],
    out: Out,
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="Branch, tag or commit on the hub.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Length of its training sounds: longer ones are heard in windows, shorter ones padded.",
        ),
    ] = None,
    multi_label: Annotated[
        bool | None,
        typer.Option(
            SEVERAL,
            help="Several classes may hold (sigmoid) or one (softmax); as its config says if not given.",
        ),
    ] = None,
    half: Half = False,
) -> None:
    """Import a Hugging Face audio classifier: AST, wav2vec2, HuBERT, WavLM, Whisper and their kin."""
    from earmark.classifiers.huggingface import from_pretrained
    from earmark.model import Model

    with tried(out):
        classifier = from_pretrained(model, revision=revision, seconds=seconds, multi_label=multi_label)
        write(Model(out.resolve().name, classifier), out, half)
