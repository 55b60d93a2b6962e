"""The one training loop: devices and precision by Lightning Fabric, best epoch, resume."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from safetensors.torch import load_file, save
from torch import Tensor, nn

from earmark.errors import ModelError
from earmark.files import whole, write_bytes
from earmark.training import processes
from earmark.training.ahead import ahead
from earmark.training.recipe import WHERE

Row = dict[str, float]


class LoopSettings(BaseModel):
    """What every training has to say about its loop.

    Args:
        epochs: passes over the training clips.
        batch_size: clips per step.
        learning_rate: its highest value; it rises over ``warmup`` and falls as a cosine to 1 % of it.
        warmup: share of all steps in which the learning rate rises.
        weight_decay: of AdamW.
        clip_norm: the gradient's norm is cut to this.
        seed: of everything drawn at random.
        device: what Lightning Fabric calls an accelerator: "cpu", "cuda", "auto".
        devices: how many of them train together; a batch is shared between them.
        num_nodes: on so many machines, that many on each.
        precision: what Fabric calls it: single precision, or half of it where that is enough.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 1e-3
    warmup: float = Field(0.1, ge=0, lt=1)
    weight_decay: NonNegativeFloat = 1e-4
    clip_norm: PositiveFloat = 5.0
    seed: int = 0
    device: str = "cpu"
    devices: PositiveInt = 1
    num_nodes: PositiveInt = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


@dataclass(frozen=True)
class Job:
    """One training: what to step, on what, and which epoch is best.

    Args:
        step: maps a batch to its losses; the entry "loss" is minimised over its trainable parameters.
        batches: epoch and generator → the batches of that epoch; all chance comes from the generator, as a
            batch is made while the one before is trained on.
        validate: the validation figures after an epoch.
        criterion: validation figures → a number; the epoch with the highest is kept.
        steps_per_epoch: how many batches an epoch has.
        prepare: makes of a process's own rows of a batch what the step takes, where that is costly.
        streamed: whether each process yields its own batches, as many and as large as all others' are.
    """

    step: nn.Module
    batches: Callable[[int, torch.Generator], Iterable[tuple[Tensor, ...]]]
    validate: Callable[[], Row]
    criterion: Callable[[Row], float]
    steps_per_epoch: int
    prepare: Callable[..., tuple[Tensor, ...]] | None = None
    streamed: bool = False


def fit(
    job: Job, settings: LoopSettings, folder: Path, report: Callable[[int, int, Row], None] | None = None
) -> list[Row]:
    """Train, keep the best epoch's weights in ``job.step``, and return one row of figures per epoch.

    The folder gets ``log.csv``, ``best.safetensors`` and ``resume.pt`` after each epoch, each written
    whole. If it holds a ``resume.pt`` already, training goes on after its last epoch and comes to the
    same result as without the break, since each epoch draws its chance from the seed and its number.

    Args:
        job: what to train.
        settings: how long, how fast, on what device.
        folder: where logs and checkpoints go; made if missing.
        report: called with (steps done, steps in all, latest figures) after each step and epoch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fabric = processes.launch(settings)
    parameters = [p for p in job.step.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
    step, wrapped = fabric.setup(job.step, optimizer)
    log = _resume(folder, job.step, optimizer, settings)
    processes.wait()
    with processes.telling_of_others(), processes.normalised_over_all(job.step):
        for epoch in range(len(log), settings.epochs):
            row = _one_epoch(fabric, step, wrapped, job, settings, epoch, report)
            job.step.eval()
            row |= job.validate()
            row["criterion"] = job.criterion(row)
            if not math.isfinite(row["criterion"]):
                given = f"the criterion of epoch {epoch} is {row['criterion']}"
                raise ModelError(given, "a number", "check the validation clips")
            best = all(row["criterion"] > earlier["criterion"] for earlier in log)
            log.append(row)
            if processes.rank() == 0:
                _save(folder, job.step, optimizer, settings, log, best)
                if report:
                    report((epoch + 1) * job.steps_per_epoch, settings.epochs * job.steps_per_epoch, row)
            processes.wait()
    job.step.load_state_dict(_read_best(folder / "best.safetensors"), strict=False)
    job.step.eval()
    return log


def _one_epoch(
    fabric: Fabric,
    step: Any,
    optimizer: Any,
    job: Job,
    settings: LoopSettings,
    epoch: int,
    report: Callable[[int, int, Row], None] | None,
) -> Row:
    # The seed of an epoch depends on nothing that happened before it.
    seed = settings.seed * 1_000_003 + epoch
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    total = settings.epochs * job.steps_per_epoch
    sums: dict[str, float] = {}
    started, count = time.perf_counter(), 0
    job.step.train()
    for rows, parts in ahead(_own_parts(job, job.batches(epoch, generator))):
        done = epoch * job.steps_per_epoch + count
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, done, total)
        losses = _one_step(fabric, step, optimizer, rows, parts, settings)
        count += 1
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
        if report and processes.rank() == 0:
            report(done + 1, total, {name: value / count for name, value in sums.items()})
    if not math.isfinite(sums.get("loss", math.nan)):
        raise ModelError(f"the loss of epoch {epoch} is not finite", fix="lower learning_rate")
    return {"epoch": epoch, "seconds": time.perf_counter() - started} | {
        k: v / count for k, v in sums.items()
    }


def _own_parts(job: Job, batches: Iterable[tuple[Tensor, ...]]) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    """Yield how many rows a batch has in all processes together, and what the step takes of this one's."""
    for batch in batches:
        rows = len(batch[0]) * (processes.count() if job.streamed else 1)
        processes.check_batches(rows)
        own = slice(None) if job.streamed else processes.share(rows)
        parts = tuple(part[own] for part in batch)
        yield rows, job.prepare(*parts) if job.prepare else parts


def _one_step(
    fabric: Fabric, step: Any, optimizer: Any, rows: int, parts: tuple[Tensor, ...], settings: LoopSettings
) -> dict[str, float]:
    """Train on this process's rows of a batch; return the losses of the whole of it."""
    with processes.step_of(rows):
        losses: dict[str, Tensor] = step(*(fabric.to_device(part) for part in parts))
        optimizer.zero_grad()
        fabric.backward(losses["loss"] * processes.weight_of(rows))
    fabric.clip_gradients(step, optimizer, max_norm=settings.clip_norm, error_if_nonfinite=False)
    optimizer.step()
    return processes.mean_over_all(losses, rows)


def learning_rate(settings: LoopSettings, step: int, total: int) -> float:
    """Return the rate at a step: a linear rise, then a cosine down to 1 % of the highest value.

    >>> settings = LoopSettings(learning_rate=1.0, warmup=0.5)
    >>> [round(learning_rate(settings, step, 8), 2) for step in (0, 3, 4, 7)]
    [0.25, 1.0, 1.0, 0.15]
    """
    rise = int(settings.warmup * total)
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    progress = (step - rise) / max(1, total - rise)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def in_batches(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """Split an order of clips, (clips,), into as few batches of at most ``size`` as can be, about equal.

    >>> [len(batch) for batch in in_batches(torch.arange(5), 4)]
    [3, 2]
    """
    return order.tensor_split(math.ceil(len(order) / size))


def _trained(step: nn.Module) -> dict[str, Tensor]:
    """Return the trainable parts of a state: parameters with gradients and their modules' buffers."""
    frozen = {name for name, p in step.named_parameters() if not p.requires_grad}
    frozen_modules = {name.rpartition(".")[0] for name in frozen}
    return {
        name: value.detach().cpu().contiguous()
        for name, value in step.state_dict().items()
        if name not in frozen and name.rpartition(".")[0] not in frozen_modules
    }


def _save(
    folder: Path,
    step: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: LoopSettings,
    log: list[Row],
    best: bool,
) -> None:
    if best:
        write_bytes(folder / "best.safetensors", save(_trained(step)))
    state = {
        "step": _trained(step),
        "optimizer": optimizer.state_dict(),
        "log": log,
        "settings": settings.model_dump(),
    }
    content = io.BytesIO()
    torch.save(state, content)
    write_bytes(folder / "resume.pt", content.getvalue())
    write_log(folder / "log.csv", log)


def write_log(path: Path, log: list[Mapping[str, float]] | list[Row]) -> None:
    """Write one line of figures per epoch as CSV."""
    with whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(log[0]))
        writer.writeheader()
        writer.writerows(log)


def _resume(
    folder: Path, step: nn.Module, optimizer: torch.optim.Optimizer, settings: LoopSettings
) -> list[Row]:
    path = folder / "resume.pt"
    if not path.exists():
        return []
    state = _read_checkpoint(path)
    wanted, found = settings.model_dump(exclude=WHERE), state["settings"]
    changed = ", ".join(name for name in wanted if wanted[name] != found.get(name))
    if changed:
        raise ModelError(
            f"{folder} holds a training with another {changed}",
            fix="finish it as it was, or choose a new --out",
        )
    step.load_state_dict(state["step"], strict=False)
    optimizer.load_state_dict(state["optimizer"])
    return list(state["log"])


def _read_best(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # as below
        raise ModelError(f"{path} cannot be read ({error})", fix="remove resume.pt to start anew") from None


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        return {name: state[name] for name in ("step", "optimizer", "log", "settings")}
    except Exception as error:  # torch raises a different kind for each way a file can be damaged
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"{path} cannot be taken up ({reason})", "a checkpoint of earmark", "remove it to start anew"
        ) from None
