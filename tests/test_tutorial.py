"""The tutorial's cells run one after the other, and show what the text beside them says."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

TUTORIAL = Path(__file__).parent.parent / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[Any]]:
    """Run the notebook as a kernel does; returns its names, and what each cell shows."""
    cells = json.loads(TUTORIAL.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "tutorial"}
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("tutorial"))
        for cell in cells:
            if cell["cell_type"] != "code":
                continue
            tree = ast.parse("".join(cell["source"]))
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "tutorial", "exec"), names)
            if last:
                shown.append(eval(compile(ast.Expression(last.value), "tutorial", "eval"), names))
        names["there"] = sorted(path.name for path in Path("heard").iterdir())
    return names, shown


def test_it_shows_what_it_tells(ran: tuple[dict[str, Any], list[Any]]) -> None:
    names, shown = ran
    assert names["explanation"].label == "clock_tick"
    assert names["apart"] < 1e-4
    assert names["inside"] > 0.5 > names["outside"]
    assert names["rainy"].kept < names["explanation"].kept
    assert names["explained"].label in ("bird", "engine")
    assert "clock.listen.wav" in names["there"]
    assert all("<audio" in one._repr_html_() for one in shown if hasattr(one, "_repr_html_"))


def test_it_is_a_notebook_without_outputs() -> None:
    notebook = json.loads(TUTORIAL.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
