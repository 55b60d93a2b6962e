"""Look through a network: what its modules give, what the logits are computed from, what to explain by."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from earmark.classifiers.taps import Layout, Tokens, first_tensor, to_map

_MOSTLY = 0.8  # of a difference

MOST = 4
"""How many layers are chosen where nobody names any."""

_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
)
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RNNBase, nn.MultiheadAttention)


@dataclass(frozen=True)
class Layer:
    """One module of a network, as a probe of it found it.

    Args:
        name: as `named_modules` has it.
        kind: the module's class.
        shape: of the first tensor that it gives, the batch left out.
        layout: what its axes are, where that could be told; None for what cannot be a feature map.
        counts: whether the logits are computed from it.
        chosen: whether it is one of the classifier's representations.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    layout: Layout | None
    counts: bool
    chosen: bool = False

    @property
    def usable(self) -> bool:
        """Whether explanations can be made from it: the logits depend on it, and it has a time axis."""
        return self.counts and self.layout is not None and self.size[1] > 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its map."""
        if isinstance(self.layout, Tokens):
            return self.layout.rows, self.layout.columns
        axes = dict(zip((self.layout or "b")[1:], self.shape))
        return axes.get("f", 1), axes.get("t", 1)


@dataclass(frozen=True)
class _Output:
    name: str
    module: nn.Module
    tensor: Tensor
    last_leaf: nn.Module | None


def look_through(
    network: nn.Module,
    run: Callable[[], Tensor],
    longer: Callable[[], Tensor],
    later: Callable[[], Tensor],
    time_before_frequency: bool,
) -> list[Layer]:
    """List what each module gives, in the order in which they end.

    Args:
        network: whose modules.
        run: runs it on two sounds and returns the logits.
        longer: the same on longer sounds, which tells the time axis; it may fail.
        later: the same on sounds whose second half is another, which tells the time axis where that fails.
        time_before_frequency: how the axes of pictures lie where that does not tell.
    """
    outputs, logits = _outputs(network, run)
    others, changes = _other_outputs(network, longer), _resized
    if not any(_resized(output.tensor, others.get(output.name, output.tensor)) for output in outputs):
        others, changes = _other_outputs(network, later), _moved
    gradients = _gradients(logits, [output.tensor for output in outputs])
    layers = []
    picture: tuple[Tensor, str] | None = None
    for output, gradient in zip(outputs, gradients):
        shape = tuple(output.tensor.shape)
        changed = changes(output.tensor, others.get(output.name, output.tensor))
        layout = _layout(output, changed, picture, time_before_frequency)
        if len(shape) == 4 and isinstance(layout, str):
            picture = output.tensor, layout
        counts = not logits.requires_grad or _counts(gradient, layout)
        layers.append(Layer(output.name, type(output.module).__name__, shape[1:], layout, counts))
    return layers


def _resized(one: Tensor, other: Tensor) -> list[int]:
    """Return the axes that are longer for a longer sound."""
    return [axis for axis, (a, b) in enumerate(zip(one.shape, other.shape)) if axis and a != b]


def _moved(one: Tensor, other: Tensor) -> list[int]:
    """Return the axis in whose second half another second half of a sound shows, if there is one."""
    apart = (one - other).detach().abs()
    late = [_late(apart, axis) for axis in range(1, apart.ndim)]
    return [late.index(max(late)) + 1] if late and max(late) > _MOSTLY else []


def _late(apart: Tensor, axis: int) -> float:
    """Return how much of a difference lies in the second half of an axis."""
    half = apart.shape[axis] // 2
    if half == 0 or not apart.any():
        return 0.0
    return float(apart.narrow(axis, apart.shape[axis] - half, half).sum() / apart.sum())


def _counts(gradient: Tensor | None, layout: Layout | None) -> bool:
    """Whether logits depend on a map; on the class token alone is not enough."""
    if gradient is None:
        return False
    return bool((to_map(gradient, layout) if layout else gradient).any())


def _outputs(network: nn.Module, run: Callable[[], Tensor]) -> tuple[list[_Output], Tensor]:
    found: dict[str, _Output] = {}
    leaf: list[nn.Module | None] = [None]

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(module, _CHANNELS_FIRST + _CHANNELS_LAST):
                leaf[0] = module
            tensor = first_tensor(output)
            if name and tensor is not None and tensor.ndim > 1 and _is_batch(tensor):
                found.pop(name, None)
                found[name] = _Output(name, module, tensor, leaf[0])

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules()]
    try:
        logits = run()
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values()), logits


def _is_batch(tensor: Tensor) -> bool:
    return len(tensor) == 2 and tensor.is_floating_point()


def _other_outputs(network: nn.Module, run: Callable[[], Tensor]) -> dict[str, Tensor]:
    try:
        return {output.name: output.tensor for output in _outputs(network, run)[0]}
    except Exception:  # a network for one length alone may raise anything
        return {}


def _gradients(logits: Tensor, tensors: Sequence[Tensor]) -> list[Tensor | None]:
    """Return how the logits change with each tensor; None where they do not, or where nobody can tell."""
    asked = [tensor for tensor in tensors if tensor.requires_grad]
    if not logits.requires_grad or not asked:
        return [None] * len(tensors)
    # The sum of equal parts of all logits may not change at all, behind a layer norm.
    weights = torch.linspace(1, 2, logits.shape[1], device=logits.device)
    found = iter(torch.autograd.grad((logits * weights).sum(), asked, allow_unused=True))
    return [next(found) if tensor.requires_grad else None for tensor in tensors]


def _layout(
    output: _Output, changed: Sequence[int], picture: tuple[Tensor, str] | None, time_first: bool
) -> Layout | None:
    shape = tuple(output.tensor.shape)
    if len(shape) == 4:
        if changed in ([2], [3]):
            return "bctf" if changed == [2] else "bcft"
        return "bctf" if time_first else "bcft"
    if len(shape) == 3:
        return _tokens(shape[1], picture) or _sequence(output, changed)
    return "bc" if len(shape) == 2 else None


def _tokens(count: int, picture: tuple[Tensor, str] | None) -> Tokens | None:
    """Recognise the patches of the picture before: as many as it has places, and up to two more."""
    if picture is None:
        return None
    height, width = picture[0].shape[2:]
    skip = count - height * width
    if not 0 <= skip <= 2 or height == 1 or width == 1:
        return None
    if picture[1] == "bctf":
        return Tokens(width, height, skip, time_first=True)
    return Tokens(height, width, skip)


def _sequence(output: _Output, changed: Sequence[int]) -> str:
    if changed in ([1], [2]):
        return "btc" if changed == [1] else "bct"
    return "btc" if isinstance(output.last_leaf, _CHANNELS_LAST) else "bct"


def choose(layers: Sequence[Layer]) -> list[Layer]:
    """Choose up to four layers to explain by: the end of each stage, and of repeated blocks some.

    A stage is all that has maps of one size. Where there are fewer than four, blocks that repeat in the
    deepest stage, such as those of a transformer, fill them up, evenly spread.
    """
    usable = [layer for layer in layers if layer.usable]
    order = {layer.name: place for place, layer in enumerate(layers)}
    ends = list({(layer.size, isinstance(layer.layout, str)): layer for layer in usable}.values())
    ends = sorted(ends, key=lambda layer: order[layer.name])[-MOST:]
    if ends and len(ends) < MOST:
        ends += _spread(_blocks(usable, ends[-1].size), MOST - len(ends), {layer.name for layer in ends})
    return [replace(layer, chosen=True) for layer in sorted(ends, key=lambda layer: order[layer.name])]


def _blocks(layers: Sequence[Layer], size: tuple[int, int]) -> list[Layer]:
    """Return the largest family of modules of one kind whose names differ in one number, nearest the root."""
    families: dict[tuple[str, str, int], list[Layer]] = {}
    for layer in layers:
        for number in re.finditer(r"(?<![^.])\d+(?![^.])", layer.name):
            if layer.size == size:
                pattern = f"{layer.name[: number.start()]}#{layer.name[number.end() :]}"
                families.setdefault((pattern, layer.kind, pattern.count(".")), []).append(layer)
    fit = {key: family for key, family in families.items() if len(family) > 1}
    return max(fit.items(), key=lambda item: (-item[0][2], len(item[1])))[1] if fit else []


def _spread(layers: Sequence[Layer], count: int, taken: set[str]) -> list[Layer]:
    free = [layer for layer in layers if layer.name not in taken]
    # The last block gives what the stage ends with, or nearly.
    free = free[:-1] if len(free) > count else free
    picks = {round((place + 1) * len(free) / (count + 1)) for place in range(count)}
    return [free[place] for place in sorted(picks) if place < len(free)]
