"""`earmark explain`: from sound files to what the classifier heard in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earmark.cli.own import HELP as MODEL_HELP
from earmark.cli.own import METAVAR, find, is_own
from earmark.cli.terminal import FAILED, make_writable, progress, say_error
from earmark.errors import ModelError

if TYPE_CHECKING:
    from earmark.explaining import Request

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark explain dog.wav\n\n"
    "earmark explain field/*.wav --model my-model --out heard\n\n"
    "earmark explain street.mp3 --target siren --area 0.1\n\n"
    "earmark explain farm.wav --contrast dog rooster\n\n"
    "earmark explain night.flac --top 3\n\n"
    "earmark explain dog.wav --check\n\n"
    "earmark explain night.flac --labels raven,audacity\n\n"
    "earmark explain bird.wav --model mynet.py:make --method saliency\n\n"
    "earmark explain field/*.wav --json > heard.jsonl\n\n"
    "earmark explain --manifest archive.csv --out heard --workers 2 --top-sounds 5"
)


def explain(
    audio: Annotated[
        list[Path] | None,
        typer.Argument(metavar="AUDIO", help="Sound files of any length: WAV, FLAC, Ogg, MP3 …"),
    ] = None,
    model: Annotated[str, typer.Option(metavar=METAVAR, help=MODEL_HELP)] = "esc10",
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="One of [bold]earmark methods[/bold].")
    ] = "lmac",
    target: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The class to explain, not what was decided.")
    ] = None,
    contrast: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="Explain two classes, side by side.")
    ] = None,
    top: Annotated[int | None, typer.Option(metavar="K", help="Explain the K most probable classes.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go.")] = Path("explained"),
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps …")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per input.")] = False,
    threshold: Annotated[
        float | None, typer.Option(metavar="0…1", help="Hard mask: keep the bins with at least this.")
    ] = None,
    area: Annotated[
        float | None, typer.Option(metavar="0…1", help="Hard mask: keep the best bins up to this share.")
    ] = None,
    overlap: Annotated[
        float, typer.Option(metavar="0…0.5", help="Long sounds: the share that two windows both hear.")
    ] = 0.2,
    check: Annotated[
        bool, typer.Option("--check", help="Say how far each explanation can be trusted: beside chance.")
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Also write labels: raven, audacity, label-studio, jsonl, textgrid."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also explain what the same command has explained before.")
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="An archive: a list of files, .txt, or .csv or .parquet with a column file."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Archives: processes that read; with ray, actors.")
    ] = 1,
    backend: Annotated[
        str, typer.Option(metavar="NAME", help="Archives: local, or ray for many machines.")
    ] = "local",
    top_sounds: Annotated[
        int, typer.Option(metavar="K", min=0, help="Archives: write the sounds of K windows of each class.")
    ] = 0,
) -> None:
    """Play back the part of a sound that made the classifier decide.

    Per input: [bold]STEM.listen.wav[/bold], what was heard; [bold]STEM.rest.wav[/bold], all else;
    [bold]STEM.png[/bold], a picture; [bold]STEM.json[/bold], the scores. Several classes:
    [bold]STEM.LABEL.listen.wav[/bold] and so on, and [bold]STEM.contrast.png[/bold] for two side by side.
    With --labels, boxes around what was heard: [bold]STEM.raven.txt[/bold], [bold]STEM.audacity.txt[/bold] …

    What is longer than the classifier hears at once is explained in windows and stitched together, in the
    memory of a few windows; [bold]STEM.timeline.csv[/bold] tells what was decided when. The same command
    goes on where it was stopped.

    With --manifest, a table instead: [bold]windows/part-*.parquet[/bold] has a row for every window of every
    recording, with label, probability, scores, trust and regions, or the error.
    """
    hard: dict[str, Any]
    if sum(choice is not None for choice in (target, contrast, top)) > 1:
        raise ModelError(
            "--target, --contrast and --top exclude one another", "one of them", "drop the others"
        )
    if manifest:
        if audio or contrast or top is not None or as_json or labels:
            given = "--manifest goes with neither files nor --contrast, --top, --json, --labels"
            raise ModelError(given, "a list and --target at most", "drop the others")
        hard = {"threshold": threshold, "area": area}
        wanted_of_archive = {"target": target, **hard, "overlap": overlap, "check": check}
        _archive(manifest, out, model, method, device, wanted_of_archive, (workers, backend, top_sounds))
        return
    if not audio:
        raise ModelError("no sound is given", "files, or --manifest", "see `earmark explain --help`")
    make_writable(out)
    from earmark.report.labels import check_formats

    formats = check_formats([part.strip() for part in (labels or "").split(",") if part.strip()])
    from earmark.api import prepare
    from earmark.cli.explaining import Run, distinct_stems, is_long, stamps

    wanted = contrast or target
    named = find(model, device) if is_own(model) else model
    hard = {"threshold": threshold, "area": area}
    request = prepare(named, method, wanted, device, **hard, top=top, overlap=overlap, check=check)
    with progress(len(audio) > 1 or is_long(request, audio[0])) as display:
        run = Run(
            request, out, as_json, again, contrast is not None, stamps(model, request.model), display, formats
        )
        task = display.add_task("explaining", total=len(audio)) if display and len(audio) > 1 else None
        for path, stem in zip(audio, distinct_stems(audio)):
            run.take(path, stem)
            if display and task is not None:
                display.advance(task)
        run.flush()
    if run.failed:
        if len(audio) > 1:
            say_error(f"{run.failed} of {len(audio)} inputs failed")
        raise typer.Exit(FAILED)


def _archive(
    manifest: Path,
    out: Path,
    model: str,
    method: str,
    device: str,
    more: dict[str, Any],
    how: tuple[int, str, int],
) -> None:
    from earmark.cli.archiving import Archive

    def make() -> Request:
        from earmark.api import prepare

        return prepare(find(model, device) if is_own(model) else model, method, device=device, **more)

    wish = {"model": model, "method": method, **more}
    Archive(manifest, out, make, wish, *how).run()
