"""What the pages show runs, and the messages that they explain are the real ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import earmark
from earmark.explainers.lmac.explainer import Lmac
from earmark.model import save_model

PAGE = Path(__file__).parent.parent / "docs" / "own-classifier.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the page's Python from top to bottom in an empty folder; returns all names that it sets."""
    names: dict[str, Any] = {"__name__": "page"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        torch.manual_seed(0)
        for block in re.finditer(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
            # With as many lines before it as on the page, a traceback names the page's own.
            before = "\n" * TEXT.count("\n", 0, block.start(1))
            exec(compile(before + block[1], str(PAGE), "exec"), names)
        names["written"] = {path.name for path in Path("heard").iterdir()}
    return names


def test_the_code_of_the_page_does_what_is_said(shown: dict[str, Any]) -> None:
    assert "sound.listen.wav" in shown["written"]
    assert shown["apart"] < 1e-3
    assert list(shown["classifier"].layers) == ["1", "3"]
    assert shown["of_patches"].layers == {"block": earmark.Tokens(rows=4, columns=3, skip=1)}
    assert (shown["bird"].label, shown["engine"].label) == ("bird", "engine")
    assert shown["explanation"].method == "lmac"


def test_every_example_that_is_named_exists() -> None:
    linked = re.findall(r"\]\((\.\./[^)]+)\)", TEXT)
    assert linked
    assert [link for link in linked if not (PAGE.parent / link).exists()] == []


class Around(nn.Module):
    """A network of sounds, and what is made of its logits."""

    def __init__(self, change: Callable[[Tensor], Any] = lambda logits: logits, classes: int = 3) -> None:
        super().__init__()
        layers = nn.Conv1d(1, 4, 32, 16), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()
        self.inner, self.head, self.change = nn.Sequential(*layers), nn.Linear(4, classes), change
        self.beside = nn.Linear(8000, 4)

    def forward(self, sound: Tensor) -> Any:
        self.beside(sound)
        return self.change(self.head(self.inner(sound)))


class Frames(nn.Module):
    """Speaks of each frame of a mel spectrogram."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(frames)


def wrap(network: nn.Module, **changes: Any) -> earmark.Model:
    settings = {"sample_rate": 8000, "labels": ["a", "b", "c"], "seconds": 1.0, "layout": "b1t"}
    if "takes" in changes:
        settings["spectrogram"] = earmark.SpectrogramConfig.at(8000)
    settings |= changes
    return earmark.Model("mine", earmark.wrap(network, **settings))


def explain(network: nn.Module, method: str, **changes: Any) -> None:
    earmark.explain((torch.randn(8000), 8000), wrap(network, **changes), method)


def load_with_other_weights(folder: Path) -> None:
    model = wrap(Around())
    save_model(earmark.Model("mine", model.classifier, {"lmac": Lmac(model.classifier)}), folder)
    earmark.load(folder, classifier=wrap(Around()).classifier)


MISTAKES: dict[str, Callable[[Path], Any]] = {
    "gives a tuple of 2; expected logits": lambda _: wrap(Around(lambda logits: (logits, 1))),
    "gives a tensor of shape (2, 87, 3); expected logits": lambda _: wrap(
        Frames(), takes=earmark.LogMel(64), layout="btf"
    ),
    "gives a tensor of shape (2, 1); expected logits of shape (2, 2)": lambda _: wrap(
        Around(classes=1), labels=["no", "yes"]
    ),
    "gives probabilities: they sum to one": lambda _: wrap(Around(lambda logits: logits.softmax(1))),
    "cannot take a tensor of shape": lambda _: wrap(Around(), layout="bt"),
    "has no 'f', and the features are": lambda _: wrap(Around(), takes=earmark.LogMel(64)),
    "gives two answers to one sound": lambda _: wrap(Around(nn.functional.dropout)),
    "need a feature map": lambda _: explain(nn.Sequential(nn.Flatten(), nn.Linear(8000, 3)), "gradcam"),
    "the network has no module": lambda _: wrap(Around(), layers=["innner.1"]),
    "the logits do not depend on the module": lambda _: wrap(Around(), layers=["beside"]),
    "of the network is float16": lambda _: wrap(Around().half()),
    "has no trained 'lmac'": lambda _: explain(Around(), "lmac"),
    "needs gradients, and": lambda _: explain(Around(torch.no_grad()(Tensor.detach)), "saliency"),
    "write nn.ReLU() modules": lambda _: explain(Around(nn.functional.relu), "guided-backprop"),
    "other weights than": load_with_other_weights,
}


def test_the_table_of_errors_is_all_tested() -> None:
    table = TEXT[TEXT.index("| you see") :]
    assert re.findall(r"^\| `([^`]+)`", table, re.MULTILINE) == list(MISTAKES)


@pytest.mark.parametrize("message", MISTAKES)
def test_what_the_table_of_errors_says_is_seen(message: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(earmark.EarmarkError) as seen:
        MISTAKES[message](tmp_path)
    assert message in str(seen.value)
