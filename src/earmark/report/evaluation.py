"""The page of an evaluation: its tables, to sort and to choose from, and its curves."""

from __future__ import annotations

import base64
import html
import io
from importlib.resources import files
from string import Template

from pandas import DataFrame

from earmark.evaluation.rendering import render
from earmark.evaluation.tables import at_area, summarise
from earmark.report.figures import faithfulness_curves

MEANINGS = {
    "AI": "for how many sounds in a hundred the kept part convinces the classifier more than the whole did",
    "AD": "how much of its belief in the class the kept part loses, in per cent",
    "AG": "how much of its doubt the kept part removes, in per cent",
    "FF": "how far the class falls when the kept part is taken away",
    "Fid-In": "for what share of sounds the kept part alone is decided as the whole was",
    "SPS": "how few bins carry the mask, 0 to 1",
    "COMP": "how spread out the mask is: its entropy",
    "MM": "how much is kept: the mask's mean",
    "share": "what share of the kept energy is where the named source is the louder one",
    "SI-SDRi": "by how many dB the kept sound is nearer to the named source than the mixture is",
}
"""The figures in words, one line each."""

_DPI = 80


def evaluation_page(results: DataFrame, title: str, reference: str = "lmac") -> str:
    """Return a page that needs no network, with a table for every area, domain and condition.

    Args:
        results: as `earmark.evaluation.tables.read_results` gives them.
        title: what stands above it.
        reference: the method that the others are compared with.

    Raises:
        DataError: the results cannot be summed up.
    """
    areas = [None, *sorted(results["area"].dropna().unique())]
    there = [area for area in areas if area is not None or results["area"].isna().any()]
    summaries = [summarise(at_area(results, area), reference) for area in there]
    tables = "\n".join(render(summary, "html", reference) for summary in summaries)
    words = "".join(f"<dt>{name}</dt><dd>{html.escape(said)}</dd>" for name, said in MEANINGS.items())
    templates = files("earmark.report") / "templates"
    style, script, frame = (
        (templates / name).read_text(encoding="utf-8")
        for name in ("report.css", "evaluation.js", "evaluation.html")
    )
    clips = results["clip"].nunique()
    about = f"{results['method'].nunique()} methods, {clips} clips, {len(results)} rows, scored by earmark"
    return Template(frame).substitute(
        title=html.escape(title),
        about=html.escape(about),
        style=style,
        script=script,
        words=words,
        tables=tables,
        curves=_curves(results, reference),
    )


def _curves(results: DataFrame, reference: str) -> str:
    if results["area"].isna().all():
        return ""  # soft masks have no area
    content = io.BytesIO()
    faithfulness_curves(results, reference).savefig(content, format="png", dpi=_DPI)
    picture = base64.b64encode(content.getvalue()).decode()
    said = "AI, AD, AG, FF and Fid-In of every method over the share of bins kept; tables have the figures"
    image = f'<img src="data:image/png;base64,{picture}" alt="{said}">'
    return f'<h2>Over the area of the masks</h2><div class="wide">{image}</div>'
