"""`earmark study`: ask people which explanation they prefer, and count what they said."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from earmark.cli.own import HELP as MODEL_HELP
from earmark.cli.own import METAVAR
from earmark.cli.terminal import FAILED, make_writable, say, say_error
from earmark.errors import ModelError

BUILD_EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark study build mixtures/*.wav --methods lmac,l2i,gradcam --out study\n\n"
    "earmark study build website/*.wav mixtures/*.wav --methods lmac,l2i@0.4 --anchor random\n\n"
    "earmark study build owls/*.wav --model esc10 --model tuned --methods lmac --also theirs=their-sounds"
)
SCORE_EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark study score webMUSHRA/results/study/mushra.csv --study study\n\n"
    "earmark study score study/ratings.db --study study --exclude 'test*'"
)
SERVE_EXAMPLES = (
    "[bold]Examples[/bold]\n\n"
    "earmark study serve study\n\n"
    "earmark study serve study --host 0.0.0.0 --port 8080"
)

study = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Ask people which explanation they prefer: build, serve, score.",
)


@study.command(no_args_is_help=True, epilog=BUILD_EXAMPLES)
def build(
    audio: Annotated[
        list[Path],
        typer.Argument(metavar="AUDIO", help="Recordings; those of one folder are one column of the table."),
    ],
    methods: Annotated[
        str, typer.Option(metavar="A,B", help="What is compared: of [bold]earmark methods[/bold].")
    ] = "lmac,l2i",
    model: Annotated[
        list[str] | None,
        typer.Option(metavar=METAVAR, help=f"{MODEL_HELP} Give it again to compare models, too."),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="Sounds made elsewhere: DIR/STEM.wav, or STEM.listen.wav, for each recording.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the study goes.")] = Path("study"),
    title: Annotated[str, typer.Option(metavar="TEXT", help="What listeners see above all.")] = (
        "What did the classifier hear?"
    ),
    target: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The class to explain, not what was decided.")
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(metavar="random|lowpass", help="Also rate a bad one: random bins, or below 3.5 kHz."),
    ] = None,
    hidden_reference: Annotated[
        bool,
        typer.Option("--hidden-reference", help="Also let the whole sound be rated; webMUSHRA always does."),
    ] = False,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps …")] = "cpu",
) -> None:
    """Make a listening study: sounds of one loudness, and a configuration for webMUSHRA.

    DIR/webmushra goes into webMUSHRA's folder; [bold]earmark study serve DIR[/bold] needs none. Files and
    results name methods by codes, which DIR/study.json resolves.
    """
    _needs("pyloudnorm")
    make_writable(out)
    from earmark.cli.studying import Plan

    names = tuple(name.strip() for name in methods.split(",") if name.strip())
    plan = Plan(names, tuple(model or ["esc10"]), tuple(also or ()), target, anchor, hidden_reference, device)
    failed = plan.build(audio, out, title)
    if failed:
        say_error(f"{failed} of {len(audio)} recordings failed, and are not in the study")
        raise typer.Exit(FAILED)


@study.command(no_args_is_help=True, epilog=SERVE_EXAMPLES)
def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What [bold]build[/bold] wrote.")],
    ratings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where ratings go, in SQLite; DIR/ratings.db.")
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 lets your network in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="0 takes one that is free.")
    ] = 7861,
    names: Annotated[
        list[str] | None,
        typer.Option("--known-as", metavar="NAME", help="A name that others know it by, as behind a proxy."),
    ] = None,
) -> None:
    """Let people rate a study on a page of earmark's own.

    Each rating is stored the moment it is given. Nothing is asked about listeners; who comes back to the
    address of their page goes on where they were.
    """
    _needs("fastapi", "uvicorn")
    from earmark.study.plan import read_study
    from earmark.study.server import build as build_server
    from earmark.study.store import Store
    from earmark.web import address_of, listen
    from earmark.web import serve as answer

    plan = read_study(folder)
    store = Store(ratings or folder / "ratings.db", plan.id)
    with listen(host, port) as bound:
        say(f"open {address_of(bound)} in a browser; Ctrl-C ends it; ratings go to {store.path}")
        answer(build_server(plan, folder, store, host, names or ()), bound)


@study.command(no_args_is_help=True, epilog=SCORE_EXAMPLES)
def score(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULTS", help="webMUSHRA's mushra.csv, the database of serve, or several."),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--study", metavar="DIR", help="The study; names methods, recordings and sets."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Leave out sessions like this, as 'test*'; or several."),
    ] = None,
    drop_untouched: Annotated[
        bool, typer.Option("--drop-untouched", help="Leave out pages where every slider stands at 100.")
    ] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where tables and figure go.")] = Path("scores"),
) -> None:
    """Mean opinion scores of methods and recordings, with 95 % intervals, and tests of pairs.

    Writes [bold]table3.md[/bold], [bold]mos.csv[/bold], [bold]pairs.csv[/bold] and [bold]figure2.png[/bold];
    none of them says who gave which rating. Rows that cannot be used are named, and the others counted.
    """
    make_writable(out)
    from earmark.cli.study_scores import score_study

    score_study(results, folder, exclude or [], drop_untouched, out)


def _needs(*names: str) -> None:
    for name in names:
        if find_spec(name) is None:
            given = f"a study needs {name}, which is not installed"
            raise ModelError(given, fix="pip install 'earmark[study]'")
