"""`earmark import`: make a model folder of a checkpoint that others trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earmark.cli.import_hf import EXAMPLES as HF_EXAMPLES
from earmark.cli.import_hf import hf
from earmark.cli.importing import SEVERAL, Half, Out, tried, write
from earmark.cli.terminal import say

import_ = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Make a model folder of a checkpoint that others trained.",
)

import_.command(no_args_is_help=True, epilog=HF_EXAMPLES)(hf)


@import_.command(
    no_args_is_help=True,
    epilog="[bold]Examples[/bold]\n\n"
    "earmark import panns Cnn14_mAP=0.431.pth --out cnn14\n\n"
    "earmark import panns finetuned.pth --labels birds.txt --single-label --out birds",
)
def panns(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Cnn6, Cnn10, Cnn14 or Cnn14_16k.")],
    out: Out,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One class name a line; AudioSet's if not given.")
    ] = None,
    multi_label: Annotated[
        bool,
        typer.Option(SEVERAL, help="Several classes may hold (sigmoid), as in AudioSet, or one (softmax)."),
    ] = True,
    half: Half = False,
) -> None:
    """Import a PANN, a network trained on AudioSet."""
    from earmark.classifiers.panns import import_panns
    from earmark.model import Model

    with tried(out):
        classifier = import_panns(file, labels, multi_label=multi_label)
        write(Model(out.resolve().name, classifier), out, half)


@import_.command(
    no_args_is_help=True,
    epilog="[bold]Examples[/bold]\n\n"
    "earmark import speechbrain results/save --out lmac\n\n"
    "earmark import speechbrain cnn14/save/CKPT --labels cnn14/save/label_encoder.txt"
    " --psi lmac/save/CKPT/psi_model.ckpt --out lmac",
)
def speechbrain(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="With embedding_model.ckpt, classifier.ckpt and the like.")
    ],
    out: Out,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The label encoder; label_encoder.txt in DIR if not given."),
    ] = None,
    psi: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The decoder; psi_model.ckpt in DIR if not given.")
    ] = None,
    half: Half = False,
) -> None:
    """Import the CNN14 of SpeechBrain's ESC-50 recipe, and its L-MAC if that is there."""
    from earmark.classifiers.speechbrain import import_classifier
    from earmark.explainers.lmac.original import PSI, import_psi
    from earmark.model import Model

    with tried(out):
        model = Model(out.resolve().name, import_classifier(folder, labels))
        if psi is None and (folder / PSI).is_file():
            psi = folder / PSI
        if psi:
            model.explainers["lmac"] = import_psi(psi, model.classifier)
        else:
            say(f"{folder} has no {PSI}, so the model has no lmac: train one, or pass the file with --psi")
        write(model, out, half)
