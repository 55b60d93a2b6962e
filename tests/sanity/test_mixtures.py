"""An oracle wins every score of where masks lie; whoever shows the other sound loses them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from earmark.explainers.base import Explainer, find
from earmark.metrics import si_sdr
from earmark.report.checks.mixtures import draw
from earmark.sanity.base import Bench
from earmark.sanity.mixtures import (
    ORACLE,
    MixturesCheck,
    MixturesSettings,
    _gain,
    decided_side,
    masks_of,
    mixed_scenes,
    score_places,
)
from explainers.networks import Cue
from sanity.benches import bench, run

SETTINGS = MixturesSettings(snr_db=(-6.0, 6.0))


class Rows(Explainer):
    """Keeps the rows of the class that is explained, or those of the other one."""

    other = False

    def masks(self, stft, target, heard=None):
        chosen = 1 - target if self.other else target
        return self.classifier.rows[chosen].detach()[:, :, None].expand(stft.shape)


def make_bench() -> Bench:
    classifier = Cue()
    own, wrong = Rows(classifier), Rows(classifier)
    wrong.other = True
    controls = {name: find(name)(classifier) for name in ("random", "loudest", "all-ones")}
    return bench(classifier, {"own": own, "wrong": wrong, **controls}, clips=6)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return run(MixturesCheck(SETTINGS), make_bench())


def test_the_oracle_wins_every_score_at_every_ratio(rows: pd.DataFrame) -> None:
    for level in ("-6", "6"):
        for figure in ("IRM-AUC", "share", "SI-SDRi", "pointing"):
            here = rows[(rows["level"] == level) & (rows["figure"] == figure) & (rows["variant"] == "soft")]
            mean = here.groupby("method")["value"].mean()
            assert mean.drop("own").idxmax() == ORACLE, (level, figure)
            assert mean["wrong"] < mean["random"] < mean[ORACLE], (level, figure)


def test_verdicts_pass_who_shows_what_was_decided_for(rows: pd.DataFrame) -> None:
    passed = {verdict.method: verdict.passed for verdict in MixturesCheck(SETTINGS).verdicts(rows)}
    assert passed[ORACLE]
    assert passed["own"]
    assert not passed["wrong"]
    assert not passed["random"]
    assert not passed["all-ones"]


def test_the_table_and_the_figure_take_what_there_is(rows: pd.DataFrame) -> None:
    some = rows[(rows["method"] != "all-ones") & (rows["figure"] != "pointing")]
    table = MixturesCheck(SETTINGS).table(some)
    assert table.loc["own", "share"] > 0.99
    assert table["pointing"].isna().all()
    assert len(draw(some, Path()).axes) == 4


def test_the_same_pairs_are_mixed_at_each_ratio() -> None:
    on, names = make_bench(), []
    for snr_db in SETTINGS.snr_db:
        (scene,) = mixed_scenes(on, snr_db)
        levels = scene.sounds.source.square().sum(1) / scene.sounds.interferer.square().sum(1)
        torch.testing.assert_close(10 * levels.log10(), torch.full((6,), snr_db), rtol=0, atol=1e-3)
        names.append(scene.sounds.names)
    assert names[0] == names[1]


def test_what_was_decided_for_counts_be_it_the_source_or_not() -> None:
    on = make_bench()
    (quiet,), (loud,) = mixed_scenes(on, -6.0), mixed_scenes(on, 6.0)
    assert decided_side(on, quiet).tolist() == [1] * 6
    assert decided_side(on, loud).tolist() == [0] * 6
    mask = on.explainers["own"].masks(quiet.stft, quiet.target)
    scores = score_places(quiet, mask, decided_side(on, quiet))
    assert (scores["share"] > 0.95).all()
    # The interferer's rows are kept: re-derived from what is heard of them.
    kept = quiet.classifier.spectrogram.inverse(quiet.stft * mask, quiet.sounds.mixture.shape[1])
    nearer = si_sdr(kept, quiet.sounds.interferer) - si_sdr(quiet.sounds.mixture, quiet.sounds.interferer)
    torch.testing.assert_close(scores["SI-SDRi"], nearer)


def test_sounds_decided_for_neither_are_left_out() -> None:
    on = make_bench()
    sounds = SimpleNamespace(labels=torch.tensor([0, 0, 0]), names=("clip001",) * 3)
    scene = SimpleNamespace(target=torch.tensor([0, 1, 2]), sounds=sounds)
    assert decided_side(on, scene).tolist() == [0, 1, -1]  # type: ignore[arg-type]


def test_bins_that_nobody_hears_do_not_count() -> None:
    on = make_bench()
    (scene,) = mixed_scenes(on, 6.0)
    side = decided_side(on, scene)
    loudest = scene.magnitude.amax(dim=(1, 2), keepdim=True)
    faint = scene.magnitude < loudest / 1000
    assert faint.any()
    mask = torch.rand(scene.magnitude.shape, generator=torch.Generator().manual_seed(0))
    before, after = (score_places(scene, one, side) for one in (mask, mask.masked_fill(faint, 2.0)))
    for name in ("IRM-AUC", "pointing"):
        torch.testing.assert_close(before[name], after[name])


def test_of_binary_choices_the_oracles_brings_most(rows: pd.DataFrame) -> None:
    binary = rows[(rows["variant"] == "0.2")].groupby(["figure", "method"])["value"].mean()
    for figure in ("share", "SI-SDRi"):
        assert binary[figure].drop("own").idxmax() == ORACLE, figure


def test_the_oracles_order_is_by_energy_and_not_by_ratio() -> None:
    on = make_bench()
    (scene,) = mixed_scenes(on, 6.0)
    side = decided_side(on, scene)
    gain = scene.source.abs().square() - scene.interferer.abs().square()
    torch.testing.assert_close(_gain(scene, masks_of(None, scene, side)), gain)
