"""`earmark app`: a page on which anyone can drop a sound and hear what was heard in it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from earmark.cli.own import HELP as MODEL_HELP
from earmark.cli.own import METAVAR, find
from earmark.cli.terminal import say
from earmark.errors import ModelError

EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark app\n\n"
    "earmark app --model esc10 --model my-model --port 8000\n\n"
    "earmark app --model mynet.py:make --most-minutes 60 --most-mb 500"
)
_NEEDED = ("fastapi", "uvicorn")


def page(
    model: Annotated[
        list[str] | None,
        typer.Option(metavar=METAVAR, help=f"{MODEL_HELP} Give it again for more to choose from."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 lets your network in."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="0 takes one that is free.")
    ] = 7860,
    names: Annotated[
        list[str] | None,
        typer.Option("--known-as", metavar="NAME", help="A name that others know it by, as behind a proxy."),
    ] = None,
    most_minutes: Annotated[
        float, typer.Option(metavar="MINUTES", min=0.01, help="How long a sound may be.")
    ] = 10,
    most_mb: Annotated[float, typer.Option(metavar="MB", min=0.01, help="How large its file may be.")] = 50,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps …")] = "cpu",
) -> None:
    """Open a page to drop sounds on, or record them, and hear what the classifier heard.

    It runs on this machine and needs no network. Sounds are explained one after the other; what came of them
    is kept for an hour, and goes when the page is closed with Ctrl-C.
    """
    for name in _NEEDED:
        if find_spec(name) is None:
            given = f"the page needs {name}, which is not installed"
            raise ModelError(given, fix="pip install 'earmark[app]'")
    from earmark.app.server import build
    from earmark.app.service import Limits, Service
    from earmark.web import address_of, listen, serve

    with listen(host, port) as bound:
        models = [find(name, device) for name in model or ["esc10"]]
        service = Service(*models, limits=Limits(most_minutes, most_mb))
        service.try_out()
        say(f"open {address_of(bound)} in a browser; Ctrl-C ends it")
        serve(build(service, host=host, names=names or ()), bound)
