"""`earmark models`: which models come with earmark."""

from __future__ import annotations

import json

from earmark.bundled import CONFIG, MODELS, bundled
from earmark.cli.terminal import say


def models() -> None:
    """List the models that come with earmark and that [bold]--model[/bold] takes by name."""
    names = bundled()
    if not names:
        say("no model comes with this installation; train one with `earmark train classifier`")
    for name in names:
        config = json.loads((MODELS / name / CONFIG).read_text(encoding="utf-8"))
        labels = config["classifier"]["labels"]
        explainers = ", ".join(config["explainers"]) or "nothing"
        say(f"{name}  explained by {explainers}; {len(labels)} classes: {', '.join(labels)}")
