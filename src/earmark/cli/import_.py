"""`earmark import`: make a model folder of a checkpoint that others trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earmark.cli.import_hf import EXAMPLES as HF_EXAMPLES
from earmark.cli.import_hf import hf
from earmark.cli.terminal import make_writable, say

if TYPE_CHECKING:
    from earmark.model import Model

import_ = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Make a model folder of a checkpoint that others trained.",
)

import_.command(no_args_is_help=True, epilog=HF_EXAMPLES)(hf)

Out = Annotated[Path, typer.Option(metavar="DIR", help="The model folder to write.")]
Half = Annotated[bool, typer.Option("--half", help="Store weights as float16, which halves the folder.")]


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
    single_label: Annotated[
        bool,
        typer.Option("--single-label", help="One class holds at a time (softmax), not several (sigmoid)."),
    ] = False,
    half: Half = False,
) -> None:
    """Import a PANN, a network trained on AudioSet."""
    from earmark.classifiers.panns import import_panns
    from earmark.model import Model

    classifier = import_panns(file, labels, multi_label=not single_label)
    _write(Model(out.resolve().name, classifier), out, half)
    say(f"next: earmark explain SOUND --model {out} --method gradcam")


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

    classifier = import_classifier(folder, labels)
    if psi is None and (folder / PSI).is_file():
        psi = folder / PSI
    model = Model(out.resolve().name, classifier)
    if psi:
        model.explainers["lmac"] = import_psi(psi, classifier)
    _write(model, out, half)
    if not psi:
        say(f"{folder} has no {PSI}, so the model has no lmac: train one, or pass the file with --psi")
    say(f"next: earmark explain SOUND --model {out}{'' if psi else ' --method gradcam'}")


def _write(model: Model, out: Path, half: bool) -> None:
    from earmark.model import save_model

    make_writable(out)
    save_model(model, out, half)
    explainers = ", ".join(model.explainers) or "nothing yet"
    say(f"{out}: {len(model.classifier.labels)} classes, explained by {explainers}")
