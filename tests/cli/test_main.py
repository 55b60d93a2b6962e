"""The command itself: quick to start, and honest about what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import earmark
import earmark.bundled
import earmark.cli.models
from earmark.cli.main import app
from earmark.explainers.base import registered

HEAVY = ("torch", "matplotlib", "scipy", "lightning_fabric", "soundfile", "pydantic")


def imported_by(code: str) -> set[str]:
    """Run code in a new Python and return which of the heavy packages it imported."""
    report = f"import sys; {code}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_earmark_imports_nothing_heavy() -> None:
    assert imported_by("import earmark; earmark.__version__, earmark.EarmarkError, dir(earmark)") == set()


def test_the_version_imports_nothing_heavy() -> None:
    code = "from earmark.cli.main import app\ntry: app(['--version'])\nexcept SystemExit: pass"
    assert imported_by(code) == set()


def test_the_public_names_are_there() -> None:
    assert set(earmark.__all__) <= set(dir(earmark))
    assert all(getattr(earmark, name) is not None for name in earmark.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        earmark.nonsense  # noqa: B018


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"earmark {earmark.__version__}\n")


@pytest.mark.parametrize(
    "arguments", [["explain"], ["train"], ["train", "classifier"], ["train", "lmac"], []]
)
def test_help_has_examples(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0
    assert arguments == ["train"] or "earmark " + " ".join(arguments) in result.stdout.split("Examples")[1]


@pytest.mark.parametrize(
    "arguments", [["explian"], ["explain", "--colour", "red", "a.wav"], ["train", "lmac"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_methods_lists_the_registry() -> None:
    lines = CliRunner().invoke(app, ["methods"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(registered())
    assert all(kind.summary in line for line, kind in zip(lines, registered().values(), strict=True))


def test_models_lists_the_bundled(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (earmark.bundled, earmark.cli.models):
        monkeypatch.setattr(module, "MODELS", model_dir.parent)
    result = CliRunner().invoke(app, ["models"])
    said = "tiny  16000 Hz, 1 s at a time; explained by lmac; 3 classes: dog, rain, clock\n"
    assert result.stdout == said
