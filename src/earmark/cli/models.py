"""`earmark models`: which models come with earmark."""

from __future__ import annotations

import json

from earmark.bundled import CONFIG, MODELS, bundled
from earmark.cli.terminal import say


def models() -> None:
    """List the models that come with earmark and that [bold]--model[/bold] takes by name.

    [bold]earmark info NAME[/bold] says all about one.
    """
    names = bundled()
    if not names:
        say("no model comes with this installation; train one with `earmark train classifier`")
    for name in names:
        config = json.loads((MODELS / name / CONFIG).read_text(encoding="utf-8"))
        its = config["classifier"]
        labels, rate, seconds = its["labels"], its["spectrogram"]["sample_rate"], its["seconds"]
        explainers = ", ".join(config["explainers"]) or "nothing"
        sound = f"{rate} Hz, {seconds:g} s at a time"
        say(f"{name}  {sound}; explained by {explainers}; {len(labels)} classes: {', '.join(labels)}")
