"""Who may import whom inside earmark, and a few habits that a linter does not know."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "earmark"

# A unit is a file or a folder directly in earmark; ANY is every unit but the faces, cli and app.
ANY = {"*"}
FACES = {"app", "cli", "__main__"}
EVALUATION = {"classifiers", "data", "explainers", "features", "metrics"}
EVERYONE_MAY = {"errors", "files", "earmark"}  # "earmark" is a name of earmark/__init__.py itself
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "memory": set(),
    "audio": set(),
    "bundled": set(),
    "features": set(),
    "metrics": set(),
    "training": set(),
    "data": {"audio", "features"},
    "classifiers": {"data", "features", "training"},
    "explainers": {"classifiers", "data", "features", "training"},
    "evaluation": EVALUATION,
    "sanity": EVALUATION | {"audio", "evaluation", "training"},
    "report": {"audio", "evaluation", "explanation", "features", "saving"},
    "study": {"audio", "evaluation", "explanation", "features", "web"},
    "web": set(),
    "windowing": {"audio", "features"},
    "pictures": {"features"},
    "saving": set(),
    "trust": {"pictures"},
    "archive": ANY,
    "components": ANY,
    "gathering": ANY,
    "notebook": {"pictures", "explanation"},
    "explaining": ANY,
    "recording": ANY,
    "tape": ANY,
    "regions": ANY,
    "explanation": ANY,
    "model": ANY,
    "card": ANY,
    "api": ANY,
    "earmark": ANY,
    "app": ANY | FACES,
    "cli": ANY | FACES,
    "__main__": ANY | FACES,
}

# Methods share nothing but these files of earmark/explainers.
SHARED_BY_EXPLAINERS = {"attention", "attribution", "base", "cam", "criterion", "guided", "scenes"}
LONGEST_FILE = 400  # lines
PICKLING = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def sources(root: Path = SOURCE) -> Iterator[tuple[Path, ast.Module]]:
    """Yield the path inside earmark and the syntax tree of every file."""
    for path in sorted(root.rglob("*.py")):
        yield path.relative_to(root), ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of all that a file imports, wherever in it."""
    package = ("earmark", *path.parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def unit(path: Path) -> str:
    first = path.parts[0].removesuffix(".py")
    return "earmark" if first == "__init__" else first


def imported_unit(name: str, units: Iterable[str]) -> str | None:
    """Return the unit of earmark that a dotted name lies in, None for what is not earmark's."""
    first, *rest = name.split(".")
    if first != "earmark":
        return None
    return rest[0] if rest and rest[0] in units else "earmark"


def wrong_imports(root: Path = SOURCE) -> list[str]:
    found = list(sources(root))
    there = {unit(path) for path, _ in found}
    units = there | MAY_IMPORT.keys()
    wrong = [f"{name} is not in the table of this test" for name in sorted(there - MAY_IMPORT.keys())]
    for path, tree in found:
        importer = unit(path)
        allowed = MAY_IMPORT.get(importer, ANY | FACES) | EVERYONE_MAY | {importer}
        allowed |= (units - FACES) if "*" in allowed else set()
        for line, name in imports(path, tree):
            imported = imported_unit(name, units)
            if imported and imported not in allowed:
                wrong.append(f"{path}:{line} imports {name}, but {importer} may not import {imported}")
    return wrong


def explainers_that_meet(root: Path = SOURCE) -> list[str]:
    wrong = []
    for path, tree in sources(root):
        if path.parts[0] != "explainers":
            continue
        method = path.parts[1].removesuffix(".py")
        for line, name in imports(path, tree):
            parts = name.split(".")
            if parts[:2] != ["earmark", "explainers"] or method in SHARED_BY_EXPLAINERS or len(parts) < 3:
                continue
            if parts[2] not in SHARED_BY_EXPLAINERS | {method}:
                wrong.append(f"{path}:{line} imports {name}, but a method may only import what all share")
    return wrong


def metrics_with_networks(root: Path = SOURCE) -> list[str]:
    return [
        f"{path}:{line} imports {name}, but a metric sees tensors, never a network"
        for path, tree in sources(root)
        if path.parts[0] == "metrics"
        for line, name in imports(path, tree)
        if f"{name}.".startswith("torch.nn.") and not name.startswith("torch.nn.functional")
    ]


def long_files(root: Path = SOURCE) -> list[str]:
    lengths = {path: len((root / path).read_text(encoding="utf-8").splitlines()) for path, _ in sources(root)}
    return [
        f"{path} has {length} lines, more than {LONGEST_FILE}"
        for path, length in lengths.items()
        if length > LONGEST_FILE
    ]


def prints(root: Path = SOURCE) -> list[str]:
    return [
        f"{path}:{node.lineno} prints, which only cli may"
        for path, tree in sources(root)
        if path.parts[0] != "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]


def unpickling(root: Path = SOURCE) -> list[str]:
    wrong = []
    for path, tree in sources(root):
        for line, name in imports(path, tree):
            if name.split(".")[0] in PICKLING or name == "torch.load":
                wrong.append(f"{path}:{line} imports {name}, which could run a stranger's code")
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            if ast.unparse(node.func) == "torch.load" and options.get("weights_only") != "True":
                wrong.append(f"{path}:{node.lineno} calls torch.load without weights_only=True")
            if options.get("allow_pickle", "False") != "False":
                wrong.append(f"{path}:{node.lineno} allows pickles")
    return wrong


RULES = [wrong_imports, explainers_that_meet, metrics_with_networks, long_files, prints, unpickling]


@pytest.mark.parametrize("rule", RULES)
def test_the_house_is_in_order(rule) -> None:
    wrong = rule()
    assert not wrong, "\n  ".join([f"{len(wrong)} against the rules of docs/architecture.md:", *wrong])


BROKEN = {
    "features/mel.py": ("from earmark.data.clips import Clip", wrong_imports),
    "features/level.py": ("from ..cli import main", wrong_imports),
    "audio.py": ("def f():\n    import earmark.features.mel", wrong_imports),
    "api.py": ("from earmark.cli.main import run", wrong_imports),
    "attic.py": ("", wrong_imports),
    "explainers/rise.py": ("from earmark.explainers import lmac", explainers_that_meet),
    "explainers/l2i/nmf.py": ("from ..lmac.decoder import Decoder", explainers_that_meet),
    "metrics/scores.py": ("from torch import nn", metrics_with_networks),
    "metrics/curves.py": ("import torch.nn", metrics_with_networks),
    "report/html.py": ("\n" * 401, long_files),
    "study/ratings.py": ("print('heard')", prints),
    "classifiers/checkpoints.py": ("torch.load(path)", unpickling),
    "classifiers/wrap.py": ("torch.load(path, weights_only=False)", unpickling),
    "data/folder.py": ("np.load(path, allow_pickle=True)", unpickling),
    "training/loop.py": ("import pickle", unpickling),
}


@pytest.mark.parametrize("path", BROKEN)
def test_a_broken_rule_is_found_and_named(tmp_path: Path, path: str) -> None:
    text, rule = BROKEN[path]
    for name, content in {"cli/main.py": "", "data/clips.py": "", path: text}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    wrong = rule(tmp_path)
    assert len(wrong) == 1
    assert path.removesuffix(".py").split("/")[-1] in wrong[0]


SOUND = {
    "features/masking.py": "import torch.nn.functional as F\nfrom earmark.errors import EarmarkError",
    "metrics/scores.py": "from torch.nn import functional as F",
    "explainers/lmac/training.py": "from earmark.explainers.lmac.decoder import Decoder\n"
    "from earmark.explainers.base import Explainer\nfrom earmark.data.mixtures import mix",
    "explainers/base.py": "from earmark.explainers.lmac import explainer",
    "explanation.py": "from earmark import __version__, audio",
    "cli/explain.py": "import earmark.api\nprint(console.print())",
    "training/loop.py": "torch.load(path, weights_only=True)",
}


@pytest.mark.parametrize("rule", RULES)
def test_what_is_allowed_passes(tmp_path: Path, rule) -> None:
    for name, content in {"api.py": "", "data/mixtures.py": "", **SOUND}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert rule(tmp_path) == []
