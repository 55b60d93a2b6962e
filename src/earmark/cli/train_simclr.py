"""`earmark train simclr`: a network learns from sounds without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earmark.cli.runs import open_run, reporting, save_curves
from earmark.cli.terminal import say, say_error
from earmark.cli.training import Changes, Config, Devices, Nodes, Noise, Out, Precision, start, where
from earmark.errors import DataError

if TYPE_CHECKING:
    from earmark.classifiers.cnn14 import Cnn14
    from earmark.classifiers.simclr.training import SimclrRecipe
    from earmark.data.segments import Recordings
    from earmark.data.shards import Shards

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark train simclr --data VGGSound --out encoder --devices 8 --precision bf16-mixed\n\n"
    "earmark train simclr --data shards/ --out encoder --set steps=5000\n\n"
    "earmark train simclr --data field-recordings/ --out encoder --set width=0.25\n\n"
    "earmark train classifier --data ESC-50 --out my-model --init encoder"
)


def simclr(
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Sounds: VGGSound's layout, WebDataset shards (.tar), ESC-50's, or any folder of sounds.",
        ),
    ],
    out: Out,
    config: Config = None,
    changes: Changes = None,
    noise: Noise = None,
    devices: Devices = None,
    nodes: Nodes = None,
    precision: Precision = None,
) -> None:
    """Pre-train a CNN14 on sounds whose labels nobody looks at; then [bold]train classifier --init[/bold]."""
    from earmark.classifiers.encoder import save_encoder
    from earmark.classifiers.simclr.training import SimclrRecipe, train_simclr
    from earmark.data.noise import read_noise
    from earmark.training.processes import rank
    from earmark.training.recipe import load_recipe

    recipe = load_recipe(SimclrRecipe, config, [*(changes or ()), *where(devices, nodes, precision)])
    device = start(recipe.loop)
    network = _network(recipe).to(device)
    inputs = {"--data": str(data.resolve()), "--noise": str(noise and noise.resolve())}
    open_run(out, "simclr", recipe, inputs)
    rate = recipe.spectrogram.sample_rate
    recordings = _recordings(data, recipe)
    noises = read_noise(noise, "tr", rate) if noise else []
    with reporting(recipe.loop.epochs) as report:
        log = train_simclr(network, recordings, noises, recipe, out, report)
    for name, why in getattr(recordings, "broken", {}).items():
        say_error(f"{name} was passed over: {why}")
    if rank():
        return
    save_encoder(network, out)
    save_curves(out / "curves.png", log)
    say(f"→ {out}")
    say(f"next: earmark train classifier --data DATA --out MODEL --init {out}")


def _network(recipe: SimclrRecipe) -> Cnn14:
    import torch

    from earmark.classifiers.cnn14 import Cnn14, Cnn14Config

    form = recipe.model_dump(include={"width", "n_mels", "mel_scale", "spectrogram", "dropout"})
    torch.manual_seed(recipe.loop.seed)
    # It has no classes; a head must have two.
    return Cnn14(Cnn14Config(labels=("none", "other"), seconds=recipe.views.seconds, **form))


def _recordings(data: Path, recipe: SimclrRecipe) -> Recordings | Shards:
    """Return the sounds of a folder, whichever of the known layouts it has."""
    from earmark.data.datasets import has_table, read_clips
    from earmark.data.folder import sounds_in
    from earmark.data.segments import recordings_of
    from earmark.data.shards import Shards, shards_of
    from earmark.data.vggsound import is_vggsound, read_vggsound

    if not data.is_dir():
        raise DataError(f"there is no folder {data}", "one with sounds", "check the path")
    rate = recipe.spectrogram.sample_rate
    if shards := shards_of(data):
        say(f"{len(shards)} shards, {recipe.steps} batches an epoch")
        return Shards(shards, rate, round(recipe.views.seconds * rate))
    if is_vggsound(data):
        paths = [clip.path for clip in read_vggsound(data)]
    elif has_table(data):
        paths = [clip.path for clip in read_clips(data, recipe.train_folds)]
    else:
        paths = sounds_in(data)
    if len(paths) < 2:
        raise DataError(f"{data} holds {len(paths)} sounds", "many, to tell from one another")
    say(f"{len(paths)} sounds, whose labels are not looked at")
    return recordings_of(paths, rate)
