"""The training loop: best epoch, resume, what it refuses."""

from pathlib import Path

import pytest
import torch
from torch import nn

from earmark.errors import ModelError
from earmark.training.loop import Job, LoopSettings, fit, learning_rate


class Fit(nn.Module):
    """A frozen part and a line to be fitted, with chance in it as dropout has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.line = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        error = (self.line(x + 0.1 * torch.randn_like(x)) - y).square().mean()
        return {"loss": error, "error": error}


def job(step: Fit, scores: list[float] | None = None) -> Job:
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
    y = x @ torch.tensor([[2.0], [-1.0]])

    def batches(epoch: int, generator: torch.Generator):
        for index in torch.randperm(32, generator=generator).split(8):
            yield x[index], y[index]

    def validate() -> dict[str, float]:
        if scores is not None:
            return {"score": scores.pop(0)}
        return {"score": -(step.line(x) - y).square().mean().item()}

    return Job(step, batches, validate, lambda row: row["score"], 4)


def settings(epochs: int = 4, **more: object) -> LoopSettings:
    return LoopSettings(epochs=epochs, batch_size=8, learning_rate=0.05, **more)


def test_it_learns_and_leaves_the_frozen_part(tmp_path: Path) -> None:
    step = Fit()
    before = step.frozen.weight.clone()
    log = fit(job(step), settings(20), tmp_path)
    assert log[-1]["score"] > 0.5 * log[0]["score"]
    assert torch.equal(step.frozen.weight, before)
    assert (tmp_path / "log.csv").read_text().count("\n") == 21


def test_stopped_and_resumed_equals_unbroken(tmp_path: Path) -> None:
    unbroken = Fit()
    fit(job(unbroken), settings(5), tmp_path / "a")

    class StopError(Exception):
        pass

    def stop_in_third_epoch(done: int, total: int, row: dict[str, float]) -> None:
        if done == 10:
            raise StopError

    with pytest.raises(StopError):
        fit(job(Fit()), settings(5), tmp_path / "b", stop_in_third_epoch)
    torch.manual_seed(99)
    resumed = Fit()
    fit(job(resumed), settings(5), tmp_path / "b")
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_best_epoch_is_kept(tmp_path: Path) -> None:
    step = Fit()
    weights = []
    inner = job(step, [0.1, 0.9, 0.3, 0.9])
    watched = Job(
        inner.step,
        inner.batches,
        lambda: weights.append(step.line[0].weight.clone()) or inner.validate(),
        inner.criterion,
        4,
    )
    fit(watched, settings(4), tmp_path)
    assert torch.equal(step.line[0].weight, weights[1])


def test_other_settings_are_not_mixed_into_a_run(tmp_path: Path) -> None:
    fit(job(Fit()), settings(1), tmp_path)
    with pytest.raises(ModelError, match="another epochs, seed"):
        fit(job(Fit()), settings(2, seed=1), tmp_path)


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "resume.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match=r"resume\.pt cannot be taken up"):
        fit(job(Fit()), settings(1), tmp_path)


def test_diverged_training_says_so(tmp_path: Path) -> None:
    step = Fit()
    nn.init.constant_(step.line[1].weight, float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        fit(job(step), settings(1), tmp_path)


def test_learning_rate_rises_then_falls() -> None:
    rates = [learning_rate(settings(warmup=0.25), step, 100) for step in range(100)]
    assert max(rates) == rates[24] == pytest.approx(0.05)
    assert rates[:24] == sorted(rates[:24])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[-1] == pytest.approx(0.0005, rel=0.1)


def test_a_criterion_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="criterion of epoch 1 is nan"):
        fit(job(Fit(), [0.5, float("nan")]), settings(2), tmp_path)


def test_a_lost_best_epoch_is_named(tmp_path: Path) -> None:
    fit(job(Fit()), settings(1), tmp_path)
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(ModelError, match=r"best\.safetensors cannot be read"):
        fit(job(Fit()), settings(1), tmp_path)
