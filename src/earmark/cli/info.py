"""`earmark info`: what a model is."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from earmark.cli.own import METAVAR, find
from earmark.cli.terminal import say

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark info esc10\n\n"
    "earmark info my-model --json\n\n"
    "earmark info mynet.py:make"
)
_MOST_LABELS = 12  # in a line for people


def info(
    model: Annotated[
        str, typer.Argument(metavar=METAVAR, help="A bundled model, a model folder, or your own network.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a model is: rate, labels, front end, representations, explainers, size and cost."""
    from earmark.card import describe_model

    card = describe_model(find(model))
    if as_json:
        say(json.dumps(card, ensure_ascii=False))
        return
    for name, text in _lines(card):
        say(f"{name:<16}{text}")


def _lines(card: dict[str, Any]) -> list[tuple[str, str]]:
    labels, stft = card["labels"], card["spectrogram"]
    more = f" and {len(labels) - _MOST_LABELS} more" if len(labels) > _MOST_LABELS else ""
    several = "several may hold" if card["several"] else "one holds"
    rows, columns = card["eaten"]
    lines = [
        ("model", f"{card['name']} ({card['kind']})"),
        ("classes", f"{len(labels)}, {several}: {', '.join(labels[:_MOST_LABELS])}{more}"),
        ("sound", f"{card['sample_rate']} Hz, {card['seconds']:g} s at a time, level {card['level']}"),
        (
            "spectrogram",
            f"{stft['n_fft'] // 2 + 1} bins, a window of {stft['win_length']} samples ({stft['window']}),"
            f" a frame every {stft['hop_length']}",
        ),
        ("front end", f"{card['eats']}: {rows} x {columns}"),
        ("cost", _cost(card)),
    ]
    for place, inner in enumerate(card["representations"]):
        shape = " x ".join(map(str, inner["shape"]))
        lines.append(("" if place else "representations", f"{inner['name']}: {shape}"))
    explainers = card["explainers"] or {"none": {"flops": 0}}
    for place, (name, its) in enumerate(explainers.items()):
        kind = f" ({its['decoder']} decoder)" if "decoder" in its else ""
        text = f"{name}{kind}, {_cost(its)}" if its["flops"] else f"{name} trained; others need no training"
        lines.append(("" if place else "explained by", text))
        if its.get("description"):
            lines.append(("", its["description"]))
    return lines


def _cost(of: dict[str, Any]) -> str:
    parameters = f"{of['parameters'] / 1e6:.3g} M parameters, " if "parameters" in of else ""
    return f"{parameters}{of['flops'] / 1e9:.3g} GFLOP a sound"
