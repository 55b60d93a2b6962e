"""ROAD: what becomes of the decision when the best bins are filled in from their neighbours."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pandas import DataFrame
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from earmark.features.masking import binary_masks
from earmark.sanity.base import Bench, Check, Row, Step, Verdict, register
from earmark.sanity.ordering import random_order
from earmark.sanity.shares import Shares
from earmark.sanity.statistics import by_sound, interval, means, methods_of

RANDOM = "random"
MOST, LEAST = "most first", "least first"


class RoadSettings(BaseModel):
    """What is filled in.

    Args:
        shares: rising shares of the bins.
        sweeps: steps of the solver that fills them in.
        noise: what is added to filled-in log1p magnitudes, a standard deviation, so that no smoothness tells
            where they are.
        condition: what is explained, see `earmark.evaluation.protocol.CONDITIONS`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shares: Shares = (0.2, 0.4, 0.6, 0.8)
    sweeps: PositiveInt = 60
    noise: float = Field(0.01, ge=0)
    condition: str = "mixtures"


@register("road")
class Road(Check):
    """The cheap relative of `roar`: removed bins become what their neighbours would have them be.

    The network that is explained is asked, and nothing is trained; it gets spectra as they are filled in, and
    no sounds made of them, which would spread over what stays. Best bins first, the decision should go sooner
    than with random bins; worst first, later.

    Source: Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, ICML 2022.
    """

    summary = "does the decision go with the best bins, filled in from their neighbours (ROAD)"
    Settings = RoadSettings
    settings: RoadSettings

    def steps(self, bench: Bench) -> list[Step]:
        """See `Check.steps`; random bins are always among them."""
        ranking = {name for name, explainer in bench.explainers.items() if explainer.ranks}
        return [
            Step(name) for name in dict.fromkeys([*bench.explainers, RANDOM]) if name in {*ranking, RANDOM}
        ]

    def run(self, bench: Bench, step: Step) -> Iterator[Row]:
        """See `Check.run`."""
        settings, generator = self.settings, torch.Generator().manual_seed(bench.seed)
        for scene in bench.scenes(settings.condition):
            if step.method == RANDOM:
                masks = random_order(scene.stft.shape, generator).to(scene.magnitude)
            else:
                masks = bench.explainer(step.method).masks(scene.stft, scene.target, scene.heard).detach()
            for variant, order in ((MOST, masks), (LEAST, -masks)):
                for share, gone in zip(settings.shares, binary_masks(order, settings.shares)):
                    filled = fill_in(scene.stft, gone, settings.sweeps, settings.noise, generator)
                    with torch.no_grad():
                        logits = bench.classifier.logits(bench.classifier.features(filled))
                    chance = bench.classifier.probabilities(logits).gather(1, scene.target[:, None])[:, 0]
                    kept = (logits.argmax(1) == scene.target).to(chance)
                    for figure, values in (("accuracy", kept), ("p", chance)):
                        for sound, value in zip(bench.names(scene), values.tolist()):
                            yield Row(figure, value, sound, variant, f"{share:g}")

    def table(self, rows: DataFrame) -> DataFrame:
        """See `Check.table`: over all shares."""
        columns = [
            (f"{name}, {variant}", rows[(rows["figure"] == figure) & (rows["variant"] == variant)])
            for variant in (MOST, LEAST)
            for figure, name in (("accuracy", "decision stays"), ("p", "p"))
        ]
        return means(rows, columns)

    def verdicts(self, rows: DataFrame) -> list[Verdict]:
        """See `Check.verdicts`: by the probability of the class, over all shares, beside random bins."""
        return [_verdict(self.name, rows, method) for method in methods_of(rows) if method != RANDOM]


def _verdict(check: str, rows: DataFrame, method: str) -> Verdict:
    def less(variant: str) -> tuple[float, float, float]:
        chance = by_sound(rows, RANDOM, "p", variant=variant)
        return interval((chance - by_sound(rows, method, "p", variant=variant)).dropna())

    most, least = less(MOST), less(LEAST)
    said = (
        f"with the best bins filled in the class loses {100 * most[0]:+.0f} points more than with random bins"
        f" (95 %: {100 * most[1]:+.0f} … {100 * most[2]:+.0f}), with the worst {100 * least[0]:+.0f}"
    )
    return Verdict(check, method, most[1] > 0 if most[0] == most[0] else None, said)


def fill_in(
    stft: Tensor, gone: Tensor, sweeps: int, noise: float, generator: torch.Generator | None = None
) -> Tensor:
    """Replace bins by the weighted means of their eight neighbours, all solved for together.

    Direct neighbours weigh twice what diagonal ones do; beyond the edges there are none. It is done to
    log1p magnitudes; the phases stay.

    Args:
        stft: complex (batch, bins, frames).
        gone: (batch, bins, frames), 1 where a bin is replaced.
        sweeps: steps of conjugate gradients.
        noise: standard deviation of what is added to replaced values.
        generator: of the noise, on the CPU.

    Returns:
        complex (batch, bins, frames).

    Source: noisy linear imputation, Rong et al., ICML 2022.
    """
    known = torch.log1p(stft.abs())
    unknown = gone.to(known)
    filled = known * (1 - unknown) + _solve(known * (1 - unknown), unknown, sweeps)
    if noise:
        filled = filled + noise * unknown * torch.randn(stft.shape, generator=generator).to(known)
    return torch.where(gone > 0, torch.polar(torch.expm1(filled.clamp_min(0)), stft.angle()), stft)


def _solve(known: Tensor, unknown: Tensor, sweeps: int) -> Tensor:
    """Return x with  weight·x - Σ of its unknown neighbours = Σ of its known ones, by conjugate gradients."""
    weight = _neighbours(torch.ones_like(known))

    def apply(x: Tensor) -> Tensor:
        return unknown * (weight * x - _neighbours(x))

    x = unknown * _start(known, 1 - unknown)
    residual = unknown * _neighbours(known) - apply(x)
    direction, energy = residual, _dot(residual, residual)
    for _ in range(sweeps):
        moved = apply(direction)
        step = energy / _dot(direction, moved).clamp_min(1e-20)
        x, residual = x + step * direction, residual - step * moved
        new = _dot(residual, residual)
        direction, energy = residual + new / energy.clamp_min(1e-20) * direction, new
    return x


def _start(known: Tensor, there: Tensor) -> Tensor:
    """Return known values, and in their gaps ever coarser means: a sweep carries values by one bin only."""
    if there.shape[1] <= 2 or there.shape[2] <= 2:
        mean = known.sum(dim=(1, 2), keepdim=True) / there.sum(dim=(1, 2), keepdim=True).clamp_min(1)
        return torch.where(there > 0, known, mean)
    sums, counts = (F.avg_pool2d(part[:, None], 2, ceil_mode=True)[:, 0] for part in (known, there))
    some = (counts > 0).to(known)
    coarse = _start(sums / counts.clamp_min(1e-6) * some, some)
    fine = F.interpolate(coarse[:, None], known.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return torch.where(there > 0, known, fine)


def _neighbours(values: Tensor) -> Tensor:
    """Sum the eight neighbours, direct ones by 1/6, diagonal ones by 1/12."""
    # (1, 2, 1) both ways is that and 4 of the bin itself; slices take a fifth of the time of a convolution.
    padded = F.pad(values, (1, 1, 1, 1))
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:] - 4 * values) / 12


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dim=(1, 2), keepdim=True)
