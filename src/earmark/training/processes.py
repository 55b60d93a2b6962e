"""One training in several processes, which comes to what one process would come to.

Every process draws the same batch and takes its own rows of it. What is drawn inside a step is drawn for
all rows, too; batch normalisation goes over all of them; losses and validation are put together again. Where
there is one process all this does nothing.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from earmark.errors import ModelError, RecipeError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from earmark.training.loop import LoopSettings

_PATIENCE = timedelta(minutes=30)  # until a process that says nothing is given up; validation takes its time
_GONE = ("connection closed", "connection reset", "gloo", "nccl", "broken pipe")
_fabric: Fabric | None = None
_batch = 0  # rows of the whole batch of the step that is on; 0 outside a step


def launch(settings: LoopSettings) -> Fabric:
    """Start the other processes of a training, once; each runs the same program from its beginning.

    To be called early, as whatever comes before it is done again in each process. Under ``torchrun`` and the
    like, which have started all of them already, their number is theirs.

    Args:
        settings: device, devices, num_nodes and precision.

    Raises:
        RecipeError: the devices are not there.
    """
    global _fabric
    if _fabric is None:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy

        devices, nodes = _asked(settings)
        several = devices * nodes > 1
        strategy = DDPStrategy(timeout=_PATIENCE) if several else "auto"
        try:
            fabric = Fabric(
                accelerator=settings.device,
                strategy=strategy,
                devices=devices,
                num_nodes=nodes,
                precision=settings.precision,
            )
            fabric.launch()
        except (RuntimeError, ValueError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            given = f"{devices} devices of {nodes} machines, {settings.precision}: {reason}"
            raise RecipeError(given, fix="change --devices, --num-nodes or --precision") from error
        if not several:
            return fabric
        _share_cores(fabric, devices)
        atexit.register(_end)
        _fabric = fabric
    return _fabric


def _end() -> None:
    """Let go of the others; what still listened at the exit would bring the program down."""
    if _is_on():
        distributed.destroy_process_group()


def _share_cores(fabric: Fabric, here: int) -> None:
    """Let processes of one machine not get in each other's way, unless threads were set by hand."""
    if fabric.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // here))


def _asked(settings: LoopSettings) -> tuple[int, int]:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        here, all_of_them = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        return here, all_of_them // here
    return settings.devices, settings.num_nodes


def count() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if _is_on() else 1


def rank() -> int:
    """Return which of them this is, from 0."""
    return distributed.get_rank() if _is_on() else 0


def _is_on() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def wait() -> None:
    """Wait for all processes."""
    if count() > 1:
        distributed.barrier()


def share(rows: int) -> slice:
    """Return which of so many rows are this process's; all of them where it is alone.

    >>> share(5)
    slice(0, 5, None)
    """
    first, last = _ends(rows, rank()), _ends(rows, rank() + 1)
    return slice(first, last)


def _ends(rows: int, place: int) -> int:
    """Return where the rows of a process begin; shares differ by one at most."""
    size, more = divmod(rows, count())
    return place * size + min(place, more)


def gather_rows(own: Tensor) -> Tensor:
    """Return the rows of all processes in their order; shares may differ in length."""
    if count() == 1:
        return own
    sizes = [torch.zeros(1, dtype=torch.long, device=own.device) for _ in range(count())]
    distributed.all_gather(sizes, torch.tensor([len(own)], device=own.device))
    longest = int(max(sizes))
    padded = F.pad(own, (0, 0) * (own.dim() - 1) + (0, longest - len(own))).contiguous()
    parts = [torch.empty_like(padded) for _ in range(count())]
    distributed.all_gather(parts, padded)
    return torch.cat([part[: int(size)] for part, size in zip(parts, sizes)])


class _Gather(torch.autograd.Function):
    """`gather_rows`; gradients flow back to where rows came from."""

    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:
        context.rows = len(own)
        return gather_rows(own)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        rows = torch.tensor([context.rows], device=gradient.device)
        before = int(gather_rows(rows)[: rank()].sum())
        return _summed(gradient)[before : before + context.rows]


def gather_learning(own: Tensor) -> Tensor:
    """Return the rows of all processes in their order, with gradients."""
    if count() == 1:
        return own
    gathered: Tensor = _Gather.apply(own)
    return gathered


def over_shares(rows: int, compute: Callable[[slice], Tensor]) -> Tensor:
    """Compute something row by row, each process its own rows, and return all of them in every process.

    Args:
        rows: how many there are; where there are fewer than processes, each process computes all.
        compute: returns (rows, …) for some of the rows.
    """
    if rows < count():
        return compute(slice(0, rows))
    return gather_rows(compute(share(rows)))


@contextmanager
def step_of(rows: int) -> Iterator[None]:
    """Let what is drawn inside be drawn for a batch of so many rows."""
    global _batch
    _batch = rows
    try:
        yield
    finally:
        _batch = 0


def drawn(own: int, draw: Callable[[int], Tensor]) -> Tensor:
    """Return what is drawn at random for the rows of this process.

    Args:
        own: how many rows it has; a multiple of its share, where a step works at several views of each.
        draw: makes a draw for so many rows.

    >>> drawn(2, lambda rows: torch.zeros(rows, 3)).shape
    torch.Size([2, 3])
    """
    if count() == 1 or not _batch:
        return draw(own)
    mine = share(_batch)
    views = own // (mine.stop - mine.start)
    of_all = draw(views * _batch)
    return of_all.view(views, _batch, *of_all.shape[1:])[:, mine].flatten(0, 1)


class Dropout(nn.Dropout):
    """Dropout whose choices do not depend on how many processes there are."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (its name in torch)
        """Drop entries of (batch, …) at random."""
        if count() == 1 or not (self.training and self.p):
            return super().forward(input)

        def draw(rows: int) -> Tensor:
            return F.dropout(input.new_ones((rows, *input.shape[1:])), self.p)

        return input * drawn(len(input), draw)


class _OverAll(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the rows of all processes; torch's own has this on GPUs only."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 (its name in torch)
        pass

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (its name in torch)
        """Normalise (batch, channels, …)."""
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        wide = input.float()
        number = _sum(input.new_tensor([input.numel() / input.shape[1]], dtype=torch.float32))
        mean = _sum(wide.sum(axes)) / number
        centred = wide - mean.view(shape)
        variance = _sum(centred.square().sum(axes)) / number
        self._remember(mean.detach(), variance.detach() * number / (number - 1).clamp_min(1))
        normal = centred * (variance.view(shape) + self.eps).rsqrt()
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        new = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), new)
        self.running_var.lerp_(variance.to(self.running_var.dtype), new)


class _OverAll1d(_OverAll, nn.BatchNorm1d):
    pass


class _OverAll2d(_OverAll, nn.BatchNorm2d):
    pass


_OVER_ALL: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: _OverAll1d,
    nn.BatchNorm2d: _OverAll2d,
}


class _Sum(torch.autograd.Function):
    """The sum over processes; gradients flow back to all of them."""

    @staticmethod
    def forward(context: object, value: Tensor) -> Tensor:
        return _summed(value)

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(value: Tensor) -> Tensor:
    total = value.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


def _sum(value: Tensor) -> Tensor:
    summed: Tensor = _Sum.apply(value)
    return summed


@contextmanager
def normalised_over_all(step: nn.Module) -> Iterator[None]:
    """Let batch normalisation inside a step go over all processes' rows; its weights stay where they are."""
    changed = [(one, type(one)) for one in step.modules() if type(one) in _OVER_ALL] if count() > 1 else []
    for module, kind in changed:
        module.__class__ = _OVER_ALL[kind]
    try:
        yield
    finally:
        for module, kind in changed:
            module.__class__ = kind


def weight_of(rows: int) -> float:
    """Return by what a process's mean loss is multiplied, so that gradients are those of the whole batch.

    Gradients are averaged over processes, whose shares of a batch may differ by a row.

    >>> weight_of(5)
    1.0
    """
    own = share(rows)
    return (own.stop - own.start) * count() / rows


def mean_over_all(losses: dict[str, Tensor], rows: int) -> dict[str, float]:
    """Return the losses of the whole batch from each process's own."""
    values = torch.stack([value.detach().float() for value in losses.values()])
    if count() > 1:
        values = values * (weight_of(rows) / count())
        distributed.all_reduce(values)
    return dict(zip(losses, values.tolist()))


def check_batches(smallest: int) -> None:
    """See that every process gets a row of every batch.

    Raises:
        ModelError: it would not.
    """
    if smallest < count():
        given = f"{count()} processes share batches of {smallest} clips"
        raise ModelError(given, "at least one clip each", "raise loop.batch_size, or take fewer --devices")


@contextmanager
def telling_of_others() -> Iterator[None]:
    """Tell in a line where another process has ended; this one cannot go on without it.

    Raises:
        ModelError: it has.
    """
    try:
        yield
    except RuntimeError as error:
        said = str(error).lower()
        if count() == 1 or not any(sign in said for sign in _GONE):
            raise
        given = f"another process of this training has ended, and process {rank()} cannot go on alone"
        fix = "see what that one said; the same command goes on after the last whole epoch"
        raise ModelError(given, fix=fix) from error
