"""Twins learn what they are told, are taken up again, and tell explanations of labels from others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from pandas import DataFrame
from safetensors.torch import load_file

from earmark.errors import RecipeError
from earmark.evaluation.protocol import Material
from earmark.explainers import base
from earmark.explainers.base import Explainer
from earmark.explainers.lmac.explainer import Lmac
from earmark.report.checks.retrained_labels import draw
from earmark.sanity.base import Bench, Row, Step, Verdict
from earmark.sanity.retrained_labels import AGAIN, SHUFFLED, TRUE, RetrainedLabels, RetrainedLabelsSettings
from earmark.sanity.rows import frame_of
from explainers.networks import RATE, cnn14

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])


class Decision(Explainer):
    """Marks the rows of the decided class: explains what its network learned, and nothing of its seed."""

    name = "decision"

    def masks(self, stft, target, heard=None):
        rows = torch.arange(stft.shape[1]) >= stft.shape[1] // 2
        return (rows[None, :, None] == target[:, None, None].bool()).float().expand(stft.shape)


def tones() -> Material:
    """Make clips of one tone each, the higher ones of the second class; the first clip is silent."""
    time = torch.arange(RATE // 2) / RATE
    waveform = torch.stack([0.1 * torch.sin(2 * torch.pi * 200 * (1 + number) * time) for number in range(8)])
    silent = torch.zeros(1, RATE // 2)
    names = ("silent", *(f"tone {number}" for number in range(8)))
    return Material(names, torch.cat([silent, waveform]), torch.cat([LABELS[:1], LABELS]), {"n": waveform[0]})


def make_bench(folder: Path, *methods: str) -> Bench:
    classifier = cnn14().eval()
    kinds = {name: base.find(name)(classifier) for name in methods}
    return Bench(classifier, classifier, kinds, tones(), tuple(range(9)), tones(), folder, batch_size=5)


def toy(epochs: int = 16) -> RetrainedLabels:
    size = {"width": 1 / 16, "n_mels": 32, "batch_size": 4, "decoder_epochs": 1}
    return RetrainedLabels(RetrainedLabelsSettings(epochs=epochs, learning_rate=3e-3, **size))


def run(one: RetrainedLabels, bench: Bench) -> DataFrame:
    return frame_of(
        [(step.method, step.part, row) for step in one.steps(bench) for row in one.run(bench, step)]
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Iterator[tuple[Bench, DataFrame]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(base._REGISTRY, "decision", Decision)
        bench = make_bench(tmp_path_factory.mktemp("run"), "decision", "loudest", "random", "all-zeros")
        yield bench, run(toy(), bench)


def values(rows: DataFrame, method: str, variant: str, figure: str = "rank") -> list[float]:
    own = rows[(rows["method"] == method) & (rows["variant"] == variant) & (rows["figure"] == figure)]
    return own["value"].tolist()


def verdicts(rows: DataFrame) -> dict[str, Verdict]:
    return {verdict.method: verdict for verdict in toy().verdicts(rows)}


def test_all_networks_know_their_own_labels(found: tuple[Bench, DataFrame]) -> None:
    _, rows = found
    accuracy = rows[rows["figure"] == "accuracy"].set_index("variant")["value"]
    assert accuracy.to_dict() == {TRUE: 1, AGAIN: 1, SHUFFLED: 1}


def test_what_follows_the_labels_passes_and_what_ignores_them_fails(
    found: tuple[Bench, DataFrame],
) -> None:
    _, rows = found
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    kept = (LABELS[order] == LABELS).tolist()
    assert 0 < sum(kept) < 8
    # Clips whose label another order leaves alone are explained alike, and others by the other half.
    assert values(rows, "decision", AGAIN) == pytest.approx([1] * 8)
    assert values(rows, "decision", SHUFFLED) == pytest.approx([1 if same else -1 for same in kept], abs=0.1)
    for method in ("loudest", "random", "all-zeros"):
        for variant in (AGAIN, SHUFFLED):
            assert values(rows, method, variant) == pytest.approx([1] * 8)
    passed = {name: verdict.passed for name, verdict in verdicts(rows).items()}
    assert passed == {"decision": True, "loudest": False, "random": False, "all-zeros": False}


def test_the_table_and_the_figure_have_a_row_per_method(found: tuple[Bench, DataFrame]) -> None:
    bench, rows = found
    table = toy().table(rows)
    assert list(table.index) == ["decision", "loudest", "random", "all-zeros"]
    assert table.loc["decision", "rank, other seed"] == pytest.approx(1)
    assert table["learned, shuffled"].tolist() == [100] * 4
    figure = draw(rows, bench.folder)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list(table.index)


def test_networks_are_taken_up_and_not_trained_again(found: tuple[Bench, DataFrame]) -> None:
    bench, rows = found
    files = {path: path.stat().st_mtime_ns for path in bench.folder.rglob("*.safetensors")}
    assert len(files) == 3
    again = frame_of([("loudest", "", row) for row in toy().run(bench, Step("loudest"))])
    assert values(again, "loudest", AGAIN) == values(rows, "loudest", AGAIN)
    assert {path: path.stat().st_mtime_ns for path in bench.folder.rglob("*.safetensors")} == files


def test_each_network_gets_a_decoder_of_its_own(tmp_path: Path) -> None:
    bench, one = make_bench(tmp_path, "lmac", "class-mean"), toy(epochs=1)
    assert [step.part for step in one.steps(bench)] == [
        *(TRUE, AGAIN, SHUFFLED),
        *(f"decoder of {name}" for name in (TRUE, AGAIN, SHUFFLED)),
        "",
    ]
    before = {name: value.clone() for name, value in bench.explainers["lmac"].decoder.state_dict().items()}
    rows = run(one, bench)
    assert len(values(rows, "lmac", SHUFFLED, "SSIM")) == 8
    first = []
    for name in (TRUE, AGAIN, SHUFFLED):
        folder = tmp_path / "retrained-labels" / name.replace(" ", "-") / "decoder"
        explainer = one._explainer(bench, "lmac", name)
        assert isinstance(explainer, Lmac)
        own = {f"decoder.{key}": value for key, value in explainer.decoder.state_dict().items()}
        trained = load_file(folder / "best.safetensors")
        assert all(torch.equal(own[key], value) for key, value in trained.items())
        first.append(torch.cat([value.flatten().float() for value in trained.values()]))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])
    after = bench.explainers["lmac"].decoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def of_known(accuracy: float, alike: list[float], other: list[float]) -> DataFrame:
    rows = [("", "", Row("accuracy", value, variant=name)) for name, value in zip((TRUE, AGAIN), (1, 1))]
    rows.append(("", "", Row("accuracy", accuracy, variant=SHUFFLED)))
    for variant, found in ((AGAIN, alike), (SHUFFLED, other)):
        rows += [("m", "", Row("rank", value, f"{n}", variant)) for n, value in enumerate(found)]
    return frame_of(rows)


def test_nothing_is_told_of_networks_that_have_not_learned() -> None:
    rows = of_known(0.62, [0.9] * 5, [0.1] * 5)
    assert verdicts(rows)["m"].passed is None
    assert "shuffled: 62 %" in verdicts(rows)["m"].said
    unknown = rows[(rows["variant"] != SHUFFLED) | (rows["figure"] != "accuracy")]
    assert verdicts(unknown)["m"].passed is None
    assert "shuffled: missing" in verdicts(unknown)["m"].said
    failed = rows[rows["variant"] != SHUFFLED]
    assert toy().table(failed)["rank, other seed"].tolist() == pytest.approx([0.9])


def test_clips_are_compared_with_themselves() -> None:
    spread = [0.0, 0.2, 0.4, 0.6, 0.8]
    steady = of_known(1, spread, [value - 0.05 for value in spread])
    assert verdicts(steady)["m"].passed
    assert "+0.05 for the labels (95 %: +0.05 … +0.05" in verdicts(steady)["m"].said
    assert verdicts(of_known(1, spread, [0.35] * 5))["m"].passed is False


def test_a_method_that_failed_is_left_out(found: tuple[Bench, DataFrame]) -> None:
    _, rows = found
    own = pd.concat([rows[rows["method"] != "decision"]])
    assert "decision" not in verdicts(own)
    assert list(toy().table(own).index) == ["loudest", "random", "all-zeros"]


def test_without_clips_to_train_on_it_says_so(tmp_path: Path) -> None:
    bench = replace(make_bench(tmp_path, "random"), train=None)
    with pytest.raises(RecipeError, match="train-folds"):
        list(toy().run(bench, Step("", TRUE)))
