"""`earmark explain`: from sound files to what the classifier heard in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earmark.cli.terminal import FAILED, make_writable, progress, say, say_error
from earmark.errors import AudioError, EarmarkError

if TYPE_CHECKING:
    from earmark.explanation import Explanation

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark explain dog.wav\n\n"
    "earmark explain field/*.wav --model my-model --out heard\n\n"
    "earmark explain street.mp3 --target siren --area 0.1\n\n"
    "earmark explain field/*.wav --json > heard.jsonl"
)


def explain(
    audio: Annotated[
        list[Path], typer.Argument(metavar="AUDIO", help="Sound files: WAV, FLAC, Ogg, MP3 and more.")
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="One of [bold]earmark models[/bold], or a model folder.")
    ] = "esc10",
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="One of [bold]earmark methods[/bold].")
    ] = "lmac",
    target: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The class to explain, not what was decided.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go.")] = Path("explained"),
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps …")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per input.")] = False,
    threshold: Annotated[
        float | None, typer.Option(metavar="0…1", help="Hard mask: keep the bins with at least this.")
    ] = None,
    area: Annotated[
        float | None, typer.Option(metavar="0…1", help="Hard mask: keep the best bins up to this share.")
    ] = None,
) -> None:
    """Play back the part of a sound that made the classifier decide.

    Per input: [bold]STEM.listen.wav[/bold], what was heard; [bold]STEM.rest.wav[/bold], all else;
    [bold]STEM.png[/bold], a picture; [bold]STEM.json[/bold], the scores.
    """
    make_writable(out)
    from earmark.api import prepare

    explain_one = prepare(model, method, target, device, threshold=threshold, area=area)
    failed = 0
    with progress(len(audio) > 1) as display:
        task = display.add_task("explaining", total=len(audio)) if display else None
        for path, stem in zip(audio, _distinct_stems(audio)):
            failed += not _try(path, stem, explain_one, out, as_json)
            if display and task is not None:
                display.advance(task)
    if failed:
        if len(audio) > 1:
            say_error(f"{failed} of {len(audio)} inputs failed")
        raise typer.Exit(FAILED)


def _try(path: Path, stem: str, explain_one: Callable[..., Explanation], out: Path, as_json: bool) -> bool:
    """Explain and save one input; tell how it went, and return whether it went well."""
    try:
        if path.is_dir():
            raise AudioError(f"{path} is a folder", "sound files", f"pass {path}/*.wav")
        explanation = explain_one(path)
        files = explanation.save(out, stem)
    except EarmarkError as error:
        say_error(str(error))
        if as_json:
            say(json.dumps({"input": str(path), "error": str(error)}))
        return False
    say(_as_json(explanation, files) if as_json else _as_line(explanation, files[0]))
    return True


def _as_json(explanation: Explanation, files: Sequence[Path]) -> str:
    values: dict[str, Any] = explanation.to_dict() | {"files": [str(file) for file in files]}
    return json.dumps(values, allow_nan=False)


def _as_line(explanation: Explanation, listen: Path) -> str:
    label, scores = explanation.label, explanation.scores
    decided = "" if explanation.decision == label else f" (decided: {explanation.decision})"
    return (
        f"{explanation.source}: {label} {_percent(explanation.probability)}{decided}"
        f" · kept {_percent(explanation.kept)} of the picture,"
        f" alone: {label} {_percent(scores['probability_in'])},"
        f" without it: {label} {_percent(scores['probability_out'])}"
        f" → {listen}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _distinct_stems(paths: Sequence[Path]) -> Iterator[str]:
    """Name the results of each input so that no two of a run share a name."""
    from earmark.explanation import safe_stem

    taken: set[str] = set()
    for path in paths:
        stem, number = safe_stem(str(path)), 1
        while (name := stem if number == 1 else f"{stem}-{number}").casefold() in taken:
            number += 1
        taken.add(name.casefold())
        yield name
