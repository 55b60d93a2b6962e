"""`earmark evaluate` without --methods: what cannot explain a network is left out, and told."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas
import pytest
from typer.testing import CliRunner, Result

from earmark.cli.main import app
from earmark.explainers import cam, guided
from earmark.explainers.base import Trained, registered

OWN = """
import earmark, torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self, act, gradients=True):
        super().__init__()
        self.act, self.gradients = act, gradients
        self.first, self.second, self.head = nn.Conv1d(1, 4, 64, 32), nn.Conv1d(4, 4, 4, 2), nn.Linear(4, 3)

    def forward(self, x):
        with torch.set_grad_enabled(self.gradients and torch.is_grad_enabled()):
            return self.head(self.act(self.second(self.act(self.first(x)))).mean(2))

def wrap(*of, **more):
    torch.manual_seed(0)
    labels = ("dog", "rain", "clock")
    return earmark.wrap(Net(*of), sample_rate=8000, labels=labels, seconds=0.5, layout="b1t", **more)

def smooth(): return wrap(F.gelu)
def twice(): return wrap(nn.ReLU())
def blind(): return wrap(F.relu, False)
"""
RELUS = {"deeplift-shap", "guided-backprop", "guided-gradcam"}
ATTENTIVE = {"attention-rollout", "gradient-x-attention"}


def test_the_methods_that_not_all_networks_allow() -> None:
    files = {name: vars(sys.modules[kind.__module__]).values() for name, kind in registered().items()}
    needs = [guided.check_relus, cam.activation_map]
    choosy = {name for name, kind in registered().items() if kind.choosy}
    assert {name for name, uses in files.items() if any(one in uses for one in needs)} <= choosy


@pytest.mark.parametrize(
    ("network", "left_out"),
    [
        ("smooth", RELUS),
        ("twice", {"deeplift-shap"}),
        ("blind", None),  # all that need gradients
    ],
)
def test_methods_that_cannot_explain_a_network_are_left_out_by_default(
    network: str, left_out: set[str] | None, data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(OWN)

    def run(out: str, *more: str) -> Result:
        what = ["--model", f"{tmp_path / 'net.py'}:{network}", "--data", str(data_dir), "--clips", "1"]
        how = ["--conditions", "clean", "--areas", "soft", "--out", str(tmp_path / out), *more]
        return CliRunner().invoke(app, ["evaluate", *what, *how])

    quick = {name for name, kind in registered().items() if not kind.costly and not issubclass(kind, Trained)}
    result = run("r.csv")
    assert result.exit_code == 0, result.stderr
    if left_out is None:
        left_out = {name for name in quick if getattr(registered()[name], "needs_gradients", False)}
    left_out = left_out | ATTENTIVE
    # Zennit may be there or not.
    lines = [line for line in result.stderr.splitlines() if not line.startswith("lrp is left out")]
    left_out -= {"lrp"}
    assert {line.partition(" is left out: ")[0] for line in lines} == left_out
    assert len(lines) == len(left_out)
    assert any(line.startswith("deeplift-shap is left out: it can hook") for line in lines) == (
        network != "twice"
    )
    done = set(pandas.read_csv(tmp_path / "r.csv")["method"])
    assert done - {"lrp"} == quick - left_out - {"class-mean", "lrp"}
    # What was asked for by name fails, and is told.
    named = run("q.csv", "--methods", "deeplift-shap")
    assert (named.exit_code, "rows failed" in named.stderr) == (1, True)
