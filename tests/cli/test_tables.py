"""`earmark tables`: from a results file to tables and curves."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from earmark.cli.main import app
from earmark.evaluation.tables import BETTER


def make_results() -> pd.DataFrame:
    """Make results of two methods, conditions and domains, of soft masks and binarised ones."""
    clips = [f"clip {number}" for number in range(6)]
    fixed: dict[str, object] = {"protocol": "corrected", "seed": 0, "sound": clips, "clip": clips}
    fixed |= {"label": "dog", "target": "dog", "error": ""}
    parts = []
    for domain, areas in (("stft", (np.nan, 0.05, 0.2)), ("features", (np.nan,))):
        for condition in ("clean", "mixtures"):
            for value, method in enumerate(("lmac", "saliency")):
                for area in areas:
                    key = {"domain": domain, "condition": condition, "method": method, "area": area}
                    figures = {name: value + np.linspace(0, 1, 6) for name in BETTER if name != "accuracy"}
                    parts.append(pd.DataFrame(fixed | key | figures))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "results.csv"
    make_results().to_csv(path, index=False)
    return path


def tables(*arguments: object) -> Any:
    result = CliRunner().invoke(app, ["tables", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def summary(*arguments: object) -> pd.DataFrame:
    result = tables(*arguments, "--format", "csv")
    assert result.exit_code == 0, result.stderr
    return pd.read_csv(io.StringIO(result.stdout))


def test_by_default_every_condition_and_domain_is_told_of_the_soft_masks(results: Path) -> None:
    result = tables(results)
    assert result.exit_code == 0
    headings = [line for line in result.stdout.splitlines() if line.startswith("#")]
    conditions = ["### clean", "### mixtures"]
    assert headings[1:3] == headings[4:6] == conditions
    assert [heading.split(",")[1] for heading in headings[::3]] == [" soft", " soft"]


def test_options_choose_the_rows(results: Path) -> None:
    chosen = summary(results, "--area", 0.05, "--condition", "mixtures")
    assert set(chosen["area"]) == {0.05}
    assert set(chosen["condition"]) == {"mixtures"}
    both = summary(results, "--domain", "features", "--condition", "mixtures", "--condition", "clean")
    assert set(both["domain"]) == {"features"}
    assert set(both["condition"]) == {"mixtures", "clean"}


def test_differences_are_to_the_reference(results: Path) -> None:
    for reference, other, difference in (("lmac", "saliency", 1), ("saliency", "lmac", -1)):
        rows = summary(results, "--reference", reference)
        rows = rows[(rows["method"] == other) & (rows["metric"] == "FF")]
        assert rows["difference"].tolist() == pytest.approx([difference] * 4)


def test_published_figures_are_shown_unless_unwanted(results: Path) -> None:
    row = "method == 'lmac' and metric == 'AI' and condition == 'mixtures' and domain == 'stft'"
    assert summary(results).query(row)["published"].tolist() == [60.63]
    assert summary(results, "--dataset", "UrbanSound8K").query(row)["published"].tolist() == [27.12]
    assert summary(results, "--no-published")["published"].isna().all()
    assert "*lmac, published*" in tables(results).stdout
    assert "published" not in tables(results, "--no-published").stdout


def test_files_are_written_and_parquet_is_read(results: Path, tmp_path: Path) -> None:
    make_results().to_parquet(tmp_path / "results.parquet")
    said = tables(results, "--format", "latex").stdout
    table, picture = tmp_path / "table.tex", tmp_path / "curves.png"
    arguments = ["--format", "latex", "--out", table, "--plot", picture]
    result = tables(tmp_path / "results.parquet", *arguments)
    assert (result.exit_code, result.stdout) == (0, f"→ {table}\n")
    assert table.read_text(encoding="utf-8") == said
    assert r"\begin{tabular}" in said
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--area", "0.3"], "no area 0.3; expected one of soft, 0.05, 0.2"),
        (["--domain", "features", "--area", "0.2"], "no area 0.2; expected one of soft;"),
        (["--condition", "rain"], "no condition 'rain'; expected one of clean, mixtures"),
        (["--reference", "rise"], "no method 'rise' to compare with; expected one of lmac, saliency"),
        (["--plot", "curves.wav"], "curves.wav does not end as a picture does"),
        (["--format", "html"], "html"),
        (["--dataset", "AudioSet"], "AudioSet"),
    ],
)
def test_wrong_usage_is_told(results: Path, arguments: list[str], message: str) -> None:
    result = tables(results, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_failed_input_is_told(results: Path, tmp_path: Path) -> None:
    soft = tmp_path / "soft.csv"
    make_results().query("area.isna()").to_csv(soft, index=False)
    for arguments, message in (
        ([tmp_path / "none.csv"], "does not exist"),
        ([soft, "--plot", tmp_path / "curves.png"], "soft masks only"),
        ([results, "--out", tmp_path / "none" / "table.md"], "is not a folder"),
    ):
        result = tables(*arguments)
        assert result.exit_code == 1
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "curves.png").exists()


def test_help_has_examples() -> None:
    assert "earmark tables results.csv" in tables("--help").stdout.split("Examples")[1]
