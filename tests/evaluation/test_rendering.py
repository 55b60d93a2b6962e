"""Tables as text: what is bold, what is marked, in which order, and that names stay names."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from earmark.evaluation.published import add_published
from earmark.evaluation.rendering import render
from earmark.evaluation.tables import BETTER, PAPER_METRICS, summarise

CLIPS = 8
FIGURES = [name for name in BETTER if name != "accuracy"]


def results(methods: Mapping[str, float], **columns: object) -> pd.DataFrame:
    """Return results in which all figures of a method are one value, give or take a fixed little."""
    clips = [f"clip {number}" for number in range(CLIPS)]
    fixed: dict[str, object] = {"protocol": "corrected", "domain": "stft", "area": np.nan, "seed": 0}
    fixed |= {
        "condition": "speech",
        "label": "dog",
        "target": "dog",
        "error": "",
        "sound": clips,
        "clip": clips,
    }
    little = np.linspace(-0.1, 0.1, CLIPS)
    parts = [
        pd.DataFrame(fixed | {"method": method} | dict.fromkeys(FIGURES, value + little) | columns)
        for method, value in methods.items()
    ]
    return pd.concat(parts, ignore_index=True)


def grid(text: str) -> dict[str, dict[str, str]]:
    """Return the cells of the one Markdown table of a text, by method and by metric without its arrow."""
    lines = [line.strip("| ") for line in text.splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip() for cell in re.split(r" *(?<!\\)\| *", line)] for line in lines)
    assert all(len(row) in (len(header), len(header) - 1) for row in rows)  # the last cell may be empty
    return {row[0]: dict(zip((name.split(" ")[0] for name in header), row)) for row in rows}


VALUES = {"random": 9.0, "all-zeros": 0.0, "loudest": 3.0, "saliency": 3.0, "lmac": 2.0, "gradcam": 1.0}


def test_the_best_is_bold_whichever_direction_is_better_and_never_a_control() -> None:
    cells = grid(render(summarise(results(VALUES))))
    for metric in ("AI", "AG", "FF", "Fid-In", "SPS", "share", "SI-SDRi"):
        assert [name for name in cells if "**" in cells[name][metric]] == ["saliency"], metric
    for metric in ("AD", "COMP"):
        assert [name for name in cells if "**" in cells[name][metric]] == ["gradcam"], metric
    assert not any("**" in row["MM"] for row in cells.values())
    assert cells["saliency"]["AI"].startswith("**3.0** ±0.0")


def test_arrows_point_to_the_better() -> None:
    header = next(line for line in render(summarise(results(VALUES))).splitlines() if line.startswith("|"))
    for metric in PAPER_METRICS:
        arrow = {1: " ↑", -1: " ↓", 0: ""}[BETTER[metric]]
        assert re.search(rf"\| +{metric}{arrow} \|", header), metric


def test_what_looks_alike_is_bold_alike_and_nothing_is_where_all_are() -> None:
    cells = grid(render(summarise(results({"lmac": 1.0, "rise": 2.0, "saliency": 2.0001}))))
    assert [name for name in cells if "**" in cells[name]["FF"]] == ["rise", "saliency"]
    assert "**" not in render(summarise(results({"lmac": 2.0, "rise": 2.0001})))


def test_the_reference_comes_first_and_controls_last() -> None:
    assert list(grid(render(summarise(results(VALUES))))) == [
        *("lmac", "saliency", "gradcam"),
        *("random", "all-zeros", "loudest"),
    ]
    other = summarise(results(VALUES), reference="gradcam")
    assert list(grid(render(other, reference="gradcam", controls=["lmac"])))[::5] == ["gradcam", "lmac"]


def test_only_what_differs_from_the_reference_is_marked() -> None:
    text = render(summarise(results({"lmac": 2.0, "rise": 3.0, "same": 2.0})))
    cells = grid(text)
    assert [name for name in cells if "†" in cells[name]["AD"]] == ["rise"]
    assert "†: differs from lmac" in text
    assert "†" not in render(summarise(results({"lmac": 2.0, "same": 2.0})))


def test_half_the_interval_stands_beside_the_mean() -> None:
    summary = summarise(results({"lmac": 20.0}, AI=np.arange(CLIPS) * 10.0))
    row = summary[summary["metric"] == "AI"].iloc[0]
    assert grid(render(summary))["lmac"]["AI"] == f"35.0 ±{(row['hi'] - row['lo']) / 2:.1f}"
    few = summarise(results({"lmac": 20.0})[:3])
    assert grid(render(few))["lmac"]["AI"] == "19.9"
    assert "fewer than 6 clips" in render(few)


def test_failures_are_told() -> None:
    table = results({"lmac": 1.0, "rise": 2.0, "slime": 3.0})
    table.loc[(table["method"] == "rise") & (table["clip"] == "clip 3"), "error"] = "no memory"
    table.loc[table["method"] == "slime", "error"] = "no memory"
    cells = grid(render(summarise(table)))
    assert [cells[name]["n"] for name in cells] == ["8", "7 (1 failed)", "0 (8 failed)"]
    assert cells["slime"]["AI"] == "—"
    assert "8 sounds of 8 clips" in render(summarise(table))


def test_published_figures_follow_ours_with_a_note() -> None:
    summary = summarise(results({"lmac": 1.0, "rise": 2.0}))
    text = render(add_published(summary))
    cells = grid(text)
    assert list(cells) == ["lmac", "*lmac, published*", "rise"]
    assert [cells["*lmac, published*"][name] for name in ("AI", "AD", "MM", "share")] == [
        *("70.75", "2.73", "0.05", "—")
    ]
    assert "docs/metrics.md" in text
    assert "published" not in render(summary)


def test_a_table_per_condition_and_a_section_per_kind_of_mask() -> None:
    parts = [
        results({"lmac": 1.0}, domain=domain, area=area, condition=condition)
        for domain, area in (("stft", np.nan), ("stft", 0.05), ("features", np.nan))
        for condition in ("clean", "mixtures")
    ]
    headings = [line for line in render(summarise(pd.concat(parts))).splitlines() if line.startswith("#")]
    assert headings[::3] == [
        "## Masks on the spectrogram, soft, corrected protocol",
        "## Masks on the spectrogram, binarised to 5 % of the bins, corrected protocol",
        "## Masks on the classifier's features, soft, corrected protocol",
    ]
    assert headings[1:3] == ["### clean", "### mixtures"]


def test_figures_that_no_method_has_get_no_column() -> None:
    cells = grid(render(summarise(results({"lmac": 1.0}, share=np.nan, **{"SI-SDRi": np.nan}))))
    assert list(cells["lmac"]) == ["method", *PAPER_METRICS, "n"]


AWKWARD = r"a_b&c%d|e*f{g}^~\#$<"


def test_markdown_keeps_names_as_they_are() -> None:
    names = list(grid(render(summarise(results({AWKWARD: 1.0, "lmac": 2.0})))))
    assert re.sub(r"\\([\\`*_|<>\[])", r"\1", names[1]) == AWKWARD


def test_latex_escapes_names_and_is_balanced() -> None:
    text = render(add_published(summarise(results({AWKWARD: 1.0, "lmac": 2.0, "rise": 1.0}))), "latex")
    escaped = (
        r"a\_b\&c\%d\textbar{}e*f\{g\}\textasciicircum{}\textasciitilde{}\textbackslash{}\#\$\textless{}"
    )
    assert f"\n{escaped} & " in text
    plain = re.sub(r"\\[\\{}%&_#$]", "", text)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert not set("±†↑↓") & set(text)
    assert [text.count(rf"\{line}rule") for line in ("top", "mid", "bottom")] == [1, 1, 1]
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = re.search(r"\\begin\{tabular\}\{(l r*)\}", text.replace("{l", "{l "))
    assert columns
    wanted = len(columns.group(1)) - 1
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in body} == {wanted}
    assert r"AI $\uparrow$ & AD $\downarrow$ &" in text
    assert r"\textbf{2.0} {\scriptsize$\pm$" in text
    assert r"\emph{lmac, published} & 70.75" in text


def test_csv_holds_the_whole_summary() -> None:
    summary = add_published(summarise(results(VALUES)))
    text = render(summary, "csv")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text)), summary, check_dtype=False)
    assert text.count("\n") == 1 + len(VALUES) * len(BETTER)


@pytest.mark.parametrize("form", ["markdown", "latex", "csv"])
def test_every_format_ends_with_one_line_feed(form: str) -> None:
    text = render(summarise(results({"lmac": 1.0})), form)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
