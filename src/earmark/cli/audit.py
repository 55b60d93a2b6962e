"""`earmark audit`: what a classifier leans on that is none of the sound."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earmark import __version__
from earmark.cli.choosing import of_known_classes
from earmark.cli.own import HELP as MODEL_HELP
from earmark.cli.own import METAVAR, find
from earmark.cli.terminal import make_writable, progress, say, say_error
from earmark.errors import RecipeError

if TYPE_CHECKING:
    from earmark.data.clips import Clip
    from earmark.evaluation.protocol import Material
    from earmark.explainers.base import Explainer
    from earmark.model import Model
    from earmark.sanity.audit import Audit, Finding

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark audit --data ESC-50 --folds 5\n\n"
    "earmark audit --model my-model --data my-clips --method saliency --out audited\n\n"
    "earmark audit --data ESC-50 --clips 20 --json > audit.json"
)
STEM = "audit"


def audit(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Clips laid out as ESC-50, UrbanSound8K, or a folder a class.")
    ],
    model: Annotated[str, typer.Option(metavar=METAVAR, help=MODEL_HELP)] = "esc10",
    method: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="Who explains; lmac if the model has it, else saliency."),
    ] = None,
    folds: Annotated[str | None, typer.Option(metavar="A,B", help="Of the data; all by default.")] = None,
    clips: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only so many of each class, evenly chosen.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Gets audit.json, audit.csv, and what to listen to as WAV files."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of what is random.")] = 0,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps …")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find classes that lean on a hum, a codec's band edge, digital silence, or the start or end of clips.

    Sounds are grouped by what is decided. What most sounds of a class have and few others is taken from the
    class's sounds and given to others: if decisions go with it, the class leans on it. Explanations say
    whether it is shown, and which clips to listen to. At least 5 clips of a class and of others are needed.
    """
    if out is not None:
        make_writable(out)
    loaded = find(model, device)
    explainer = _explainer(loaded, method, seed)
    material = _material(loaded, read(data, folds, clips, loaded.classifier.labels))
    found = _run(explainer, material, seed, quiet=as_json)
    values = {"model": loaded.name, "method": explainer.name, "seed": seed, **_values(found)}
    if as_json:
        say(json.dumps(values, ensure_ascii=False, allow_nan=False))
    else:
        for line in _lines(found):
            say(line)
    if out is not None:
        write(values, found, explainer, material, out)
        if not as_json:
            say(f"→ {out / f'{STEM}.json'}")


def read(data: Path, folds: str | None, most: int | None, labels: Sequence[str]) -> list[Clip]:
    """Choose the clips: of some folds, and so many of each class."""
    from earmark.data.datasets import read_clips

    clips = of_known_classes(read_clips(data, _numbers(folds)), labels, data)
    if most is None:
        return clips
    by_class: dict[str, list[Clip]] = {}
    for clip in clips:
        by_class.setdefault(clip.label, []).append(clip)
    return [clip for own in by_class.values() for clip in _evenly(own, most)]


def _evenly(clips: list[Clip], most: int) -> list[Clip]:
    count = min(most, len(clips))
    return [clips[place * len(clips) // count] for place in range(count)]


def _numbers(folds: str | None) -> list[int] | None:
    if folds is None:
        return None
    try:
        return [int(part) for part in folds.split(",")]
    except ValueError as error:
        raise RecipeError(f"--folds is {folds!r}", "numbers such as 1,2,3") from error


def _explainer(model: Model, method: str | None, seed: int) -> Explainer:
    """Return the explainer, of the copy of the classifier that is quickest."""
    from earmark.evaluation.evaluate import TRAINED
    from earmark.explainers.base import find as find_method

    name = method or (TRAINED if TRAINED in model.explainers else "saliency")
    if find_method(name).needs_examples:
        given = f"{name} must see other clips first, and can only be evaluated"
        raise RecipeError(given, fix="choose another of `earmark methods`")
    explainer = model.explainer(name).on("stft").of(model.classifier.frozen())
    explainer.seed = seed
    return explainer


def _material(model: Model, clips: Sequence[Clip]) -> Material:
    from earmark.data.clips import load_each
    from earmark.evaluation.protocol import Material

    classifier = model.classifier
    own_level, rate = not classifier.peak_normalised, classifier.spectrogram.sample_rate
    waveform, labels, failures = load_each(
        clips, classifier.labels, rate, classifier.seconds, own_level=own_level
    )
    for index, why in failures.items():
        say_error(f"{clips[index].path} is left out: {why}")
    return Material(tuple(clip.name for clip in clips), waveform, labels)


def _run(explainer: Explainer, material: Material, seed: int, quiet: bool) -> Audit:
    """Audit under a progress bar."""
    from earmark.sanity.audit import audit as run

    with progress(not quiet) as display:
        bar = display.add_task("auditing", total=None) if display else None

        def report(done: int, total: int, at: str) -> None:
            if display and bar is not None:
                display.update(bar, completed=done, total=total, description=at)

        return run(explainer.classifier, explainer, material, seed=seed, report=report)


def _lines(found: Audit) -> Iterator[str]:
    """Say for each class what it leans on, and what to listen to."""
    from earmark.sanity.audit import FEWEST

    for label, count in found.clips.items():
        own = [finding for finding in found.findings if finding.label == label]
        if not found.was_asked(label):
            needed = f"{FEWEST} and {FEWEST} others are needed"
            yield f"{label}: cannot tell ({count} clips decided for it; {needed})"
        elif not own:
            yield f"{label}: leans on nothing suspicious ({count} clips)"
        for finding in own:
            yield finding.said
            yield f"  listen to: {', '.join(finding.clips)}"


def _values(found: Audit) -> dict[str, Any]:
    """Return what audit.json holds, ready for strict JSON."""
    from earmark.saving import finite_all

    classes = [
        {"label": label, "clips": count, "asked": found.was_asked(label)}
        for label, count in found.clips.items()
    ]
    findings = [
        {**asdict(one), "evidence": finite_all(asdict(one.evidence)), "clips": list(one.clips)}
        for one in found.findings
    ]
    return {"classes": classes, "findings": findings, "earmark": __version__}


def write(
    values: dict[str, Any], found: Audit, explainer: Explainer, material: Material, out: Path
) -> list[Path]:
    """Write the sounds to listen to, audit.csv and audit.json, the last only when all others are there.

    Returns:
        the paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    from earmark import audio
    from earmark.files import write_text
    from earmark.sanity.audit import kept_sounds
    from earmark.saving import publish, workshop

    rate = explainer.classifier.spectrogram.sample_rate
    with workshop(out, STEM) as temporary:
        made, stems, rows = [], iter(_stems(found.findings)), []
        for finding in found.findings:
            for name, sound in zip(finding.clips, kept_sounds(explainer, material, finding)):
                made.append(temporary / f"{next(stems)}.wav")
                audio.write(made[-1], sound, rate, audio.subtype_for([float(sound.abs().max())]))
                rows.append(_row(finding, name, made[-1].name))
        made += [temporary / f"{STEM}.csv", temporary / f"{STEM}.json"]
        write_text(made[-2], _table(rows))
        files = [row["file"] for row in rows]
        write_text(made[-1], json.dumps({**values, "files": files}, indent=2, ensure_ascii=False) + "\n")
        return publish(made, out)


def _stems(findings: Sequence[Finding]) -> list[str]:
    from earmark.saving import distinct, harmless

    names = (f"{one.label}.{one.suspect}.{name}" for one in findings for name in one.clips)
    return list(distinct(harmless(name) for name in names))


def _row(finding: Finding, name: str, file: str) -> dict[str, Any]:
    plain = {"label": finding.label, "suspect": finding.suspect, "where": finding.where}
    return {**plain, "clip": name, "file": file, **asdict(finding.evidence)}


def _table(rows: Sequence[dict[str, Any]]) -> str:
    from earmark.sanity.audit import Evidence

    columns = ["label", "suspect", "where", "clip", "file", *Evidence.__dataclass_fields__]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
