"""Tap a network: what an inner module gives becomes a feature map that the logits are computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from earmark.errors import ModelError


@dataclass(frozen=True)
class Tokens:
    """The layout of (batch, skip + rows · columns, channels): patches of a spectrogram, row by row.

    Args:
        rows: patches along frequency, from low to high.
        columns: patches along time.
        skip: tokens before the patches, such as a class token.
        time_first: whether the patches lie column by column.
    """

    rows: int
    columns: int
    skip: int = 0
    time_first: bool = False


Layout: TypeAlias = "str | Tokens"
"""What the axes of a module's output are: "bcft", "bctf", "bct", "btc" or "bc", or `Tokens`."""

AXES = ("bcft", "bctf", "bct", "btc", "bc")


@contextmanager
def tapped(
    network: nn.Module, layers: Mapping[str, Layout], width: int | None = None
) -> Iterator[dict[str, Tensor]]:
    """Collect what modules give, as maps (batch, channels, height, width), while a network runs.

    The maps are put back on the way to the logits, so that these have a gradient with respect to them. What a
    later layer does to its input in place leaves them as they are. Of a module that runs several times the
    last output is kept; of one that gives a tuple, the first tensor.

    Args:
        network: whose modules.
        layers: by name, as `named_modules` has it, and how their outputs lie.
        width: of the maps, for networks that pad or cut a sound to their own length. What lies beyond it
            goes on to the logits without being part of a map; columns that the network lacks are zeros.

    Yields:
        the maps by name, in the order of ``layers``, once the network has run.

    Raises:
        ModelError: there is no such module; or, as the network runs, its output does not lie so.

    >>> import torch
    >>> network = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2))
    >>> with tapped(network, {"1": "bct"}) as maps:
    ...     logits = network(torch.ones(2, 1, 8))
    >>> tuple(maps["1"].shape), torch.autograd.grad(logits.sum(), maps["1"])[0].shape == maps["1"].shape
    ((2, 4, 1, 6), True)
    """
    modules = dict(network.named_modules())
    found: dict[str, Tensor] = {}
    handles: list[RemovableHandle] = []
    try:
        for name, layout in layers.items():
            check_layer(modules, name)
            hook = _tap(name, layout, found, width)
            # Before other hooks, which may hand on to the logits what they get.
            handles.append(modules[name].register_forward_hook(hook, prepend=True))
        yield found
        for name in layers:
            if name in found:
                found[name] = found.pop(name)
    finally:
        for handle in handles:
            handle.remove()


def check_layer(modules: Mapping[str, nn.Module], name: str) -> None:
    """See that a module of that name exists.

    Raises:
        ModelError: it does not; the message names those that look like it.
    """
    if name in modules and name:
        return
    near = get_close_matches(name, modules, n=3) or [known for known in modules if known][:5]
    raise ModelError(
        f"the network has no module {name!r}",
        f"a name such as {', '.join(map(repr, near))}",
        "list them with earmark.list_layers",
    )


def first_tensor(output: Any) -> Tensor | None:
    """Return the tensor that a module gave, the first one of a tuple or list, or None."""
    if isinstance(output, list | tuple) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def _tap(name: str, layout: Layout, found: dict[str, Tensor], width: int | None) -> Callable[..., Any]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        tensor = first_tensor(output)
        if tensor is None:
            given = f"the module {name!r} gives a {type(output).__name__}"
            raise ModelError(given, "a tensor, or a tuple that begins with one", "pick another layer")
        whole = found[name] = to_map(tensor, layout, name)
        if width is not None:
            missing = width - whole.shape[-1]
            found[name] = F.pad(whole, (0, missing))
            whole = torch.cat([found[name][..., : whole.shape[-1]], whole[..., width:]], dim=-1)
        # What goes on is a copy, so that nothing that is done to it in place reaches the map.
        restored = from_map(whole, tensor, layout).clone()
        if hasattr(output, "_fields"):  # a named tuple
            return type(output)(restored, *output[1:])
        if isinstance(output, list | tuple):
            return type(output)((restored, *output[1:]))
        return restored

    return hook


def to_map(output: Tensor, layout: Layout, name: str = "") -> Tensor:
    """Rearrange a module's output to (batch, channels, height, width); height 1 has no frequency.

    >>> import torch
    >>> tuple(to_map(torch.ones(2, 1 + 3 * 5, 8), Tokens(3, 5, skip=1)).shape)
    (2, 8, 3, 5)
    """
    _check_shape(output, layout, name)
    if isinstance(layout, Tokens):
        patches = output[:, layout.skip :].transpose(1, 2)
        if layout.time_first:
            return patches.unflatten(2, (layout.columns, layout.rows)).transpose(2, 3)
        return patches.unflatten(2, (layout.rows, layout.columns))
    if layout == "bctf":
        return output.transpose(2, 3)
    if layout == "btc":
        return output.transpose(1, 2)[:, :, None]
    if layout == "bct":
        return output[:, :, None]
    return output[:, :, None, None] if layout == "bc" else output.view_as(output)


def from_map(maps: Tensor, output: Tensor, layout: Layout) -> Tensor:
    """Undo `to_map`; what it left out, such as class tokens, is taken from the output itself."""
    if isinstance(layout, Tokens):
        if layout.time_first:
            maps = maps.transpose(2, 3)
        return torch.cat([output[:, : layout.skip], maps.flatten(2).transpose(1, 2)], dim=1)
    if layout == "bctf":
        return maps.transpose(2, 3)
    if layout == "btc":
        return maps[:, :, 0].transpose(1, 2)
    if layout == "bct":
        return maps[:, :, 0]
    return maps[:, :, 0, 0] if layout == "bc" else maps


def _check_shape(output: Tensor, layout: Layout, name: str) -> None:
    shape = tuple(output.shape)
    if isinstance(layout, Tokens):
        wanted = layout.skip + layout.rows * layout.columns
        if len(shape) != 3 or shape[1] != wanted:
            raise ModelError(
                f"the module {name!r} gives {shape}", f"(batch, {wanted}, channels) for {layout}"
            )
    elif layout not in AXES:
        raise ModelError(f"the layout of {name!r} is {layout!r}", f"one of {', '.join(AXES)}, or Tokens")
    elif len(shape) != len(layout):
        axes = f"{len(layout)} axes, {layout!r}"
        raise ModelError(f"the module {name!r} gives {shape}", axes, "name its axes, or another layer")
