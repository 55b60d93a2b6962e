"""Layer-wise relevance propagation: the logit handed back, layer by layer, to what it was computed from."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from earmark.classifiers.base import AudioClassifier
from earmark.errors import ModelError
from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register

if TYPE_CHECKING:
    from types import ModuleType

_Convolution, _Norm = nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm

# Steps of autograd that scale with what they are given, so that gradient times input hands on all relevance:
# products with weights, sums, picks, and moves.
_PRODUCTS = "Addmm Mm Mv Bmm Mul Div Convolution"
_STEPS = f"""{_PRODUCTS} MkldnnConvolution CudnnConvolution NativeBatchNorm CudnnBatchNorm
    Add Sub Rsub Neg Mean Sum AvgPool AdaptiveAvgPool UpsampleBilinear UpsampleNearest
    Relu Threshold LeakyRelu PreluKernel Amax Max Maximum MaxPool AdaptiveMaxPool
    View UnsafeView ReshapeAlias AsStrided Alias T Transpose Permute Squeeze Unsqueeze Expand Repeat
    Clone Copy ToCopy Slice Select Index IndexSelect Cat Stack Split SplitWithSizes UnsafeSplit Unbind
    ConstantPadNd ReflectionPad ReplicationPad"""


@register("lrp")
class Lrp(Attribution):
    """The logit, shared out layer by layer among what it was computed from; what speaks against is dropped.

    Convolutions share it out by their positive parts (z⁺), but for the first that runs. That one, and all
    else, does so in proportion to what each input adds (ε, which need not be above 0 here). Batch-norms are
    merged into the layers before them. On the STFT the relevance of features goes on to the bins.

    Source: Bach et al., On Pixel-Wise Explanations by Layer-Wise Relevance Propagation, PLoS ONE 2015; on
    sounds Becker et al., AudioMNIST, 2023; the rules by zennit (Anders et al., 2021).
    """

    summary = "relevance handed back layer by layer (needs zennit)"
    choosy = True

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`.

        Raises:
            ModelError: zennit is missing, or the network does what no rule is for.
        """
        zennit = _zennit()
        with torch.no_grad():
            features = canvas.features(picture.inputs, *picture.extra)
            # What weight norms computed with a gradient cannot be copied.
            self.classifier.logits(features[:1])
        # A copy, as batch-norms are merged in it.
        network = copy.deepcopy(self.classifier).requires_grad_(False)
        ran = _look_through(network, features[:1])
        features = features.detach().requires_grad_()
        with _rules(zennit, ran).context(network):
            logits = network.logits(features).gather(1, target[:, None])
            slope = torch.autograd.grad(logits.sum(), features)[0]
        relevance = slope * (features.detach() - network.silence())
        return (to_bins(canvas, picture, relevance) if canvas.domain == "stft" else relevance).relu()


def to_bins(canvas: Canvas, picture: Picture, relevance: Tensor) -> Tensor:
    """Hand the relevance of features on to the bins of the pictures, (batch, rows, frames), by their shares.

    A share is how much of the rise of a feature, as all bins rise together, comes from this bin. For log1p of
    bands it is the bin's part of its band's sum. The sum of the relevance stays.

    Args:
        canvas: the classifier, whose features are differentiable.
        picture: the sounds.
        relevance: of the features' shape.
    """
    inputs = picture.inputs.detach().requires_grad_()
    features = canvas.features(inputs, *picture.extra)
    # The derivative along the inputs, by differentiating twice backwards.
    ones = torch.zeros_like(features).requires_grad_()
    back = torch.autograd.grad(features, inputs, ones, create_graph=True)[0]
    rise = torch.autograd.grad(back, ones, inputs.detach(), retain_graph=True)[0]
    flat = rise.abs() <= 1e-6 * rise.abs().amax(dim=(1, 2), keepdim=True)
    share = torch.where(flat, 0, relevance / rise.masked_fill(flat, 1))
    return inputs.detach() * torch.autograd.grad(features, inputs, share)[0]


class Ran(NamedTuple):
    """What has rules of its own, as names of modules.

    Args:
        convolutions: in the order in which they ran.
        merged: each batch-norm, and the layer before it.
    """

    convolutions: list[str]
    merged: list[tuple[str, str]]


def _look_through(network: AudioClassifier, features: Tensor) -> Ran:
    """Run a network once, to see what of it has rules, and that nothing else is needed.

    Raises:
        ModelError: it does what no rule is for.
    """
    layers: list[tuple[str, Tensor]] = []
    convolutions: dict[str, None] = {}
    merged: list[tuple[str, str]] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, _Convolution):
                convolutions[name] = None
            if isinstance(module, _Convolution | nn.Linear):
                layers.append((name, output))
            elif isinstance(module, _Norm) and module.affine and module.running_mean is not None:
                merged.extend((name, before) for before, gave in layers if gave is inputs[0])

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules()]
    try:
        # A step of its own, so that what is computed from it can be told from what weights are.
        eaten = features.detach().requires_grad_().clone()
        logits = network.logits(eaten)
    finally:
        for handle in handles:
            handle.remove()
    _check_steps(network, eaten, logits)
    # A layer that runs twice, with a norm of its own each time, cannot be merged with both.
    times = [name for name, _ in layers]
    return Ran(list(convolutions), [pair for pair in merged if times.count(pair[1]) == 1])


def _check_steps(network: AudioClassifier, eaten: Tensor, logits: Tensor) -> None:
    """See that every step from what is eaten to the logits has a rule."""
    steps = _between(eaten, logits)
    for step in steps:
        kind = re.sub(r"(\d|Backward|WithIndices).*", "", step.name())
        if kind in _PRODUCTS.split() and sum(before in steps for before, _ in step.next_functions) > 1:
            kind = f"{kind} of two things that it computed"
        if kind not in _STEPS.split():
            given = f"lrp has no rule for {kind} in {type(getattr(network, 'network', network)).__name__}"
            expected = "convolutions, linear layers, batch-norms, ReLUs, pooling and sums"
            raise ModelError(given, expected, "pick another method, such as integrated-gradients")


def _between(start: Tensor, end: Tensor) -> set[Node]:
    """Return the steps of autograd from one tensor to another, the one that gave the first included."""
    users: dict[Node, list[Node]] = {}
    waiting = [node for node in [end.grad_fn] if node]
    seen = set(waiting)
    while waiting:
        user = waiting.pop()
        for node in {node for node, _ in user.next_functions if node}:
            users.setdefault(node, []).append(user)
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    found = {node for node in [start.grad_fn] if node}
    waiting = list(found)
    while waiting:
        new = set(users.get(waiting.pop(), [])) - found
        found |= new
        waiting += new
    return found


def _zennit() -> ModuleType:
    try:
        import zennit
    except ImportError as error:
        raise ModelError(
            "lrp needs zennit, which is not installed", fix="pip install 'earmark[lrp]'"
        ) from error
    return zennit


def _rules(zennit: ModuleType, ran: Ran) -> Any:
    """Return the composite that merges norms, and that has a rule for each convolution but the first."""
    rule = _in_gradients(zennit, zennit.rules.ZPlus())
    canonizer = zennit.canonizers.NamedMergeBatchNorm([([layer], norm) for norm, layer in ran.merged])
    return zennit.composites.NameMapComposite([(tuple(ran.convolutions[1:]), rule)], [canonizer])


def _in_gradients(zennit: ModuleType, rule: Any) -> Any:
    """Return a rule that takes and gives relevance over value, where zennit's takes and gives relevance.

    So it fits between steps of plain autograd, whose gradient times value is the ε rule with an ε of 0. In
    zennit's own form a sum of branches or a mean of places that is no module would double relevance or share
    it out evenly.
    """

    class InGradients(zennit.core.BasicHook):  # type: ignore[name-defined]
        def forward(self, module: nn.Module, input: Any, output: Tensor) -> None:  # noqa: A002
            super().forward(module, input, output)
            self.stored_tensors["output"] = output.detach().clone()

        def backward(self, module: nn.Module, grad_input: Any, grad_output: Any) -> tuple[Tensor, ...]:
            relevance = grad_output[0] * self.stored_tensors["output"]
            value = self.stored_tensors["input"][0].detach()
            found = super().backward(module, grad_input, (relevance,))[0]
            return (torch.where(value == 0, 0, found / value.masked_fill(value == 0, 1)),)

    parts = "input_modifiers", "param_modifiers", "output_modifiers", "gradient_mapper", "reducer"
    return InGradients(*(getattr(rule, part) for part in parts))
