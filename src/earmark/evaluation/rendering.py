"""Summaries as text, in the shape of the paper's tables: Markdown, LaTeX, HTML, and CSV for further use."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pandas import DataFrame

from earmark.evaluation.tables import BETTER, CONTROLS, FEWEST_CLIPS

Format = Literal["markdown", "csv", "latex", "html"]

_SHOWN = ("AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP", "MM", "share", "SI-SDRi")
_DECIMALS = {"AI": 1, "AD": 1, "AG": 1, "SI-SDRi": 1, "MM": 3}
_NONE = "—"
_DOMAINS = {"stft": "masks on the spectrogram", "features": "masks on the classifier's features"}
_OF_THE_WHOLE = {
    "accuracy": "decided for the clip's class",
    "FF all": "FF of keeping everything",
    "share mixture": "share of the untouched sound",
}


@dataclass(frozen=True)
class _Style:
    """How a format writes what the tables are made of; the templates take a text for ``{}``."""

    special: dict[str, str]
    bold: str
    half: str
    differs: str
    paper: str
    arrows: dict[int, str]

    def escape(self, text: str) -> str:
        """Keep a name from being read as markup."""
        return "".join(self.special.get(letter, letter) for letter in text)


_MARKDOWN = _Style(
    special={letter: f"\\{letter}" for letter in "\\`*_|<>["},
    bold="**{}**",
    half=" ±{}",
    differs=" †",
    paper="*{}, published*",
    arrows={1: " ↑", -1: " ↓", 0: ""},
)
_LATEX = _Style(
    special={
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "λ": r"$\lambda$",
        "±": r"$\pm$",
        "†": r"$^\dagger$",
    },
    bold=r"\textbf{{{}}}",
    half=r" {{\scriptsize$\pm${}}}",
    differs=r"$^\dagger$",
    paper=r"\emph{{{}, published}}",
    arrows={1: r" $\uparrow$", -1: r" $\downarrow$", 0: ""},
)
_HTML = _Style(
    special={"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"},
    bold="<b>{}</b>",
    half=" <small>±{}</small>",
    differs=" †",
    paper="<i>{}, published</i>",
    arrows={1: " ↑", -1: " ↓", 0: ""},
)


def render(
    summary: DataFrame,
    form: Format = "markdown",
    reference: str = "lmac",
    controls: Sequence[str] = CONTROLS,
) -> str:
    """Write a summary as text: a table per condition, domain and area, or tidy CSV.

    In the tables the best mean of each column is bold, controls aside; ± is half the 95 % interval; † marks
    what differs from the reference. CSV has the ends of every interval.

    Args:
        summary: as `earmark.evaluation.tables.summarise` gives it.
        form: "markdown", "latex" (needs the package booktabs), "html" (the middle of a page) or "csv".
        reference: the method that the summary compares with.
        controls: what is shown last and not ranked.

    >>> from earmark.evaluation.tables import summarise
    >>> import pandas as pd
    >>> figures = dict.fromkeys(["p", "p_in", "p_out", *BETTER], 0.5)
    >>> row = {"protocol": "corrected", "domain": "stft", "area": 0.1, "condition": "clean", "seed": 0,
    ...        "sound": "a", "clip": "a", "label": "dog", "target": "dog", "error": "", "method": "lmac"}
    >>> print(render(summarise(pd.DataFrame([row | figures])), "csv").splitlines()[1][:60])
    corrected,stft,0.1,clean,lmac,AI,0.5,,,1,1,0,0.0,,,1,False,
    """
    if form == "csv":
        return summary.to_csv(index=False, lineterminator="\n")
    write = {"markdown": _markdown, "latex": _latex, "html": _html}[form]
    return "\n".join(write(summary, reference, controls)) + "\n"


def _markdown(summary: DataFrame, reference: str, controls: Sequence[str]) -> Iterator[str]:
    for section in _blocks(summary, ["protocol", "domain", "area"]):
        title = _MARKDOWN.escape(_title(section))
        yield from (f"## {title[:1].upper()}{title[1:]}", "")
        for block in _blocks(section, ["condition"]):
            header, *rows = _grid(block, _MARKDOWN, reference, controls)
            yield from (f"### {_MARKDOWN.escape(block['condition'].iloc[0])}", "", f"{_facts(block)}", "")
            yield from aligned([header, ["---"] + ["--:"] * (len(header) - 1), *rows])
            yield ""
    yield from (f"- {_MARKDOWN.escape(note)}" for note in _notes(summary, reference))


def _latex(summary: DataFrame, reference: str, controls: Sequence[str]) -> Iterator[str]:
    yield r"% needs \usepackage{booktabs}"
    for section in _blocks(summary, ["protocol", "domain", "area"]):
        for block in _blocks(section, ["condition"]):
            header, *rows = _grid(block, _LATEX, reference, controls)
            caption = f"{block['condition'].iloc[0]}: {_title(section)}. {_facts(block)}."
            yield from (r"\begin{table}", r"\centering", rf"\caption{{{_LATEX.escape(caption)}}}")
            yield rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}"
            yield from (r"\toprule", _latex_row(header), r"\midrule", *map(_latex_row, rows), r"\bottomrule")
            yield from (r"\end{tabular}", r"\end{table}", "")
    yield r"\noindent\footnotesize"
    yield from (_LATEX.escape(note) for note in _notes(summary, reference))


def _html(summary: DataFrame, reference: str, controls: Sequence[str]) -> Iterator[str]:
    for section in _blocks(summary, ["protocol", "domain", "area"]):
        title = _title(section)
        yield f'<section class="masks"><h2>{_HTML.escape(title[:1].upper() + title[1:])}</h2>'
        for block in _blocks(section, ["condition"]):
            header, *rows = _grid(block, _HTML, reference, controls)
            yield f"<h3>{_HTML.escape(block['condition'].iloc[0])}</h3><p>{_HTML.escape(_facts(block))}</p>"
            yield f'<div class="wide"><table><thead>{_html_row(header, "th")}</thead><tbody>'
            yield from map(_html_row, rows)
            yield "</tbody></table></div>"
        notes = "".join(f"<li>{_HTML.escape(note)}</li>" for note in _notes(section, reference))
        yield f"<ul>{notes}</ul></section>"


def _html_row(cells: Sequence[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def escaped(text: str) -> str:
    """Keep a name from being read as Markdown.

    >>> print(escaped("a_b|c"))
    a\\_b\\|c
    """
    return _MARKDOWN.escape(text)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lay out a Markdown table so that it can be read as it is.

    Args:
        rows: the cells; the header first, then one of dashes.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    for first, *rest in rows:
        fill = "-" if first == "---" else " "
        cells = [first.ljust(widths[0], fill)]
        cells += [text.rjust(width, fill) for text, width in zip(rest, widths[1:])]
        yield f"| {' | '.join(cells)} |"


def _grid(block: DataFrame, style: _Style, reference: str, controls: Sequence[str]) -> list[list[str]]:
    """Return header and rows of one condition's table, written in a style."""
    rows = {(row["method"], row["metric"]): row for row in block.to_dict("records")}
    methods = sorted(block["method"].unique(), key=lambda name: (name in controls, name != reference))
    shown = [name for name in _SHOWN if any(rows[key]["n"] for key in rows if key[1] == name)]
    ranked = [name for name in methods if name not in controls]
    best = {name: _best([rows[method, name]["mean"] for method in ranked], name) for name in shown}
    grid = [["method", *(_head(name, style) for name in shown), "n"]]
    for method in methods:
        own = {name: rows[method, name] for name in shown}
        cells = [_cell(row, name, best[name] if method in ranked else "", style) for name, row in own.items()]
        grid.append([style.escape(method), *cells, _count(rows[method, "AI"])])
        if any(row["published"] == row["published"] for row in own.values()):
            paper = [_exact(row["published"]) for row in own.values()]
            grid.append([style.paper.format(style.escape(method)), *paper, ""])
    return grid


def _best(means: Sequence[float], metric: str) -> str:
    """Return the best mean as it is shown, so that what looks alike is marked alike; nothing if none is."""
    means = [mean for mean in means if not math.isnan(mean)]
    if not BETTER[metric] or len({_number(mean, metric) for mean in means}) < 2:
        return ""
    return _number(max(means, key=lambda mean: BETTER[metric] * mean), metric)


def _cell(row: Mapping[Hashable, Any], metric: str, best: str, style: _Style) -> str:
    text = _number(row["mean"], metric)
    text = style.bold.format(text) if text == best else text
    if not math.isnan(row["lo"]):
        text += style.half.format(_number((row["hi"] - row["lo"]) / 2, metric))
    return text + (style.differs if row["significant"] else "")


def _number(value: float, metric: str) -> str:
    decimals = _DECIMALS.get(metric, 2)
    # Adding 0 turns a rounded -0.0 into 0.0.
    return _NONE if math.isnan(value) else f"{round(value, decimals) + 0.0:.{decimals}f}"


def _exact(value: float) -> str:
    return _NONE if math.isnan(value) else f"{value:g}"


def _count(row: Mapping[Hashable, Any]) -> str:
    return f"{row['n']} ({row['failed']} failed)" if row["failed"] else f"{row['n']}"


def _head(metric: str, style: _Style) -> str:
    return style.escape(metric) + style.arrows[BETTER[metric]]


def _blocks(summary: DataFrame, columns: list[str]) -> Iterator[DataFrame]:
    return (rows for _, rows in summary.groupby(columns, sort=False, dropna=False))


def _title(section: DataFrame) -> str:
    first = section.iloc[0]
    kind = "soft" if math.isnan(first["area"]) else f"binarised to {100 * first['area']:g} % of the bins"
    return f"{_DOMAINS.get(first['domain'], first['domain'])}, {kind}, {first['protocol']} protocol"


def _facts(block: DataFrame) -> str:
    """Tell what holds for a condition whatever the method."""
    figures = block[block["metric"] == "AI"]
    facts = [f"{(figures['n'] + figures['failed']).max()} sounds of {figures['clips'].max()} clips"]
    for metric, name in _OF_THE_WHOLE.items():
        of_all = block[(block["metric"] == metric) & (block["n"] > 0)]
        if len(of_all):
            facts.append(f"{name}: {of_all.loc[of_all['n'].idxmax(), 'mean']:.2f}")
    return "; ".join(facts)


def _notes(summary: DataFrame, reference: str) -> Iterator[str]:
    if summary["lo"].notna().any():
        yield "±: half the 95 % interval of a bootstrap over clips; CSV has its ends."
        yield "Bold: the best, controls aside."
    if (summary["n"].gt(0) & summary["lo"].isna()).any():
        yield f"Without ±: fewer than {FEWEST_CLIPS} clips, too few for an interval."
    if summary["significant"].any():
        yield (
            f"†: differs from {reference}; the 95 % interval of the paired difference excludes 0,"
            " each comparison taken by itself."
        )
    if (summary["metric"] == "share").any():
        yield "share, SI-SDRi: over the sounds decided for the clip's class."
    if summary["published"].notna().any():
        yield (
            "published: Paissan et al., ICML 2024; of another model and data, and of a program"
            " whose differences docs/metrics.md names."
        )
