"""A point a method: its mean score over the median of its seconds."""

from __future__ import annotations

import pandas as pd
import pytest
from typer.testing import CliRunner

from earmark.cli.main import app
from earmark.errors import RecipeError
from earmark.report.cost import PANELS, cost_and_truth
from report.test_figures import results


def table() -> pd.DataFrame:
    return pd.concat(
        [
            results({"lmac": 2.0}).assign(seconds=0.01),
            results({"rise": 1.0}).assign(seconds=[5.0, 5.0, 50.0] * 7),
            results({"random": 0.5, "class-mean": 0.5}).assign(seconds=0.001),
        ]
    )


def points(axes) -> dict[str, tuple[float, float]]:
    return {
        bar.get_label(): (float(bar[0].get_xdata()[0]), float(bar[0].get_ydata()[0]))
        for bar in axes.containers
    }


def test_each_method_stands_at_its_cost_and_score() -> None:
    figure = cost_and_truth(table(), 0.1)
    assert len(figure.axes) == len(PANELS)
    found = points(figure.axes[0])
    assert found["lmac"] == pytest.approx((0.01, 2.1))
    assert found["rise"] == pytest.approx((5.0, 1.1))
    assert set(found) == {"lmac", "rise", "random"}
    assert figure.axes[0].get_xscale() == "log"


def test_a_row_a_condition_and_an_area_that_is_there() -> None:
    both = pd.concat([table(), table().assign(condition="mixtures")])
    assert len(cost_and_truth(both, 0.02).axes) == 2 * len(PANELS)
    with pytest.raises(RecipeError, match=r"no area 0\.3"):
        cost_and_truth(both, 0.3)


def test_the_command_draws_it(tmp_path) -> None:
    table().to_csv(tmp_path / "r.csv", index=False)
    command = ["tables", str(tmp_path / "r.csv"), "--area", "0.1", "--cost"]
    result = CliRunner().invoke(app, [*command, str(tmp_path / "c.png")])
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "c.png").stat().st_size > 1000
    refused = CliRunner().invoke(app, [*command, str(tmp_path / "c.docx")])
    assert (refused.exit_code, "--cost" in refused.stderr) == (2, True)
