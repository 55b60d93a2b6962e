"""The command `earmark`: its subcommands, its version, and what becomes of errors."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from earmark import __version__
from earmark.cli.app import EXAMPLES as APP_EXAMPLES
from earmark.cli.app import page
from earmark.cli.audit import EXAMPLES as AUDIT_EXAMPLES
from earmark.cli.audit import audit
from earmark.cli.components import EXAMPLES as COMPONENTS_EXAMPLES
from earmark.cli.components import components
from earmark.cli.evaluate import EXAMPLES as EVALUATE_EXAMPLES
from earmark.cli.evaluate import evaluate
from earmark.cli.explain import EXAMPLES, explain
from earmark.cli.import_ import import_
from earmark.cli.info import EXAMPLES as INFO_EXAMPLES
from earmark.cli.info import info
from earmark.cli.methods import methods
from earmark.cli.models import models
from earmark.cli.report import EXAMPLES as REPORT_EXAMPLES
from earmark.cli.report import report
from earmark.cli.sanity import EXAMPLES as SANITY_EXAMPLES
from earmark.cli.sanity import sanity
from earmark.cli.study import study
from earmark.cli.tables import EXAMPLES as TABLES_EXAMPLES
from earmark.cli.tables import tables
from earmark.cli.terminal import STOPPED, exit_code, say, say_error, say_stopped
from earmark.cli.train import train
from earmark.errors import EarmarkError
from earmark.memory import keep_freed_memory


class _Group(TyperGroup):
    """Turns errors into one line and an exit code, for every subcommand."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except EarmarkError as error:
            say_error(str(error))
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt as error:
            say_stopped()
            raise typer.Exit(STOPPED) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(no_args_is_help=True, epilog=EXAMPLES)(explain)
app.command(no_args_is_help=True, epilog=COMPONENTS_EXAMPLES)(components)
app.command(no_args_is_help=True, epilog=REPORT_EXAMPLES)(report)
app.command("app", epilog=APP_EXAMPLES)(page)
app.add_typer(train, name="train")
app.add_typer(import_, name="import")
app.add_typer(study, name="study")
app.command(no_args_is_help=True, epilog=EVALUATE_EXAMPLES)(evaluate)
app.command(no_args_is_help=True, epilog=TABLES_EXAMPLES)(tables)
app.command(no_args_is_help=True, epilog=SANITY_EXAMPLES)(sanity)
app.command(no_args_is_help=True, epilog=AUDIT_EXAMPLES)(audit)
app.command()(methods)
app.command()(models)
app.command(no_args_is_help=True, epilog=INFO_EXAMPLES)(info)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"earmark {__version__}")
        raise typer.Exit


@app.callback(
    epilog="[bold]Examples[/bold]\n\n"
    "earmark explain dog.wav\n\n"
    "earmark train classifier --data ESC-50 --out my-model\n\n"
    "earmark train lmac --model my-model --data ESC-50 --out my-explained-model"
)
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Hear what your audio classifier heard."""


def run() -> None:
    """Run the command line; the installed command `earmark` calls this."""
    for stream in (sys.stdout, sys.stderr):
        # A console that cannot show an arrow or a name shows a question mark.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    keep_freed_memory()
    app(prog_name="earmark")
