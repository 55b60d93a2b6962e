"""How the command line speaks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from earmark.cli.terminal import say, say_error


def test_names_do_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for speak in (say, say_error):
        speak("a\x1b[31mb\rc\nd\x9be\u202ef → é")
    out, err = capsys.readouterr()
    assert out == err.removeprefix("error: ") == "a\ufffd[31mb\ufffdc\ufffdd\ufffde\ufffdf → é\n"


def test_a_reader_that_stops_is_no_error() -> None:
    program = (
        "import typer, earmark.cli.terminal as t\n"
        "try:\n while True: t.say('x' * 9999)\nexcept typer.Exit: t.say('y')"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.read(1)
    run.stdout.close()
    assert run.stderr.read() == b""
    assert run.wait() == 0
    run.stderr.close()
