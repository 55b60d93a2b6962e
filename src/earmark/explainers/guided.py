"""Guided gradients, by hooks on ReLU modules, and a check that the hooks reach every ReLU there is."""

from __future__ import annotations

from weakref import WeakSet

from captum.attr import GuidedBackprop as CaptumGuidedBackprop
from torch import Tensor, nn
from torch.autograd.graph import Node

from earmark.classifiers.base import AudioClassifier
from earmark.errors import ModelError
from earmark.explainers.attribution import Canvas, Picture

# Networks whose every ReLU a hook reached: what they are made of does not change from sound to sound.
_REACHED: WeakSet[AudioClassifier] = WeakSet()


def check_relus(method: str, canvas: Canvas, picture: Picture, target: Tensor) -> None:
    """See that hooks on ReLU modules reach every ReLU that the decision goes through.

    Args:
        method: its name, for the message.
        canvas: the classifier.
        picture: a batch, of which the first clip is tried.
        target: (batch,).

    Raises:
        ModelError: there is no ReLU module, or some ReLUs are functions that no hook can reach.
    """
    if canvas.classifier in _REACHED:
        return
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    handles = [m.register_forward_hook(count) for m in canvas.modules() if isinstance(m, nn.ReLU)]
    try:
        first = picture.part(0, 1)
        logits = canvas(first.inputs.detach().requires_grad_(), *first.extra)
    finally:
        for handle in handles:
            handle.remove()
    there = _relus(logits.gather(1, target[:1, None]))
    if calls == 0 or there > calls:
        network = type(canvas.classifier).__name__
        given = f"{method} can hook {calls} of the {max(there, calls)} ReLUs of {network}"
        fix = "write nn.ReLU() modules in place of functional relu, or pick another method"
        raise ModelError(given, "every ReLU as a module; else it would be plain saliency", fix)
    _REACHED.add(canvas.classifier)


def _relus(output: Tensor) -> int:
    """Count the ReLUs in the graph behind a tensor."""
    seen: set[Node] = set()
    waiting = [output.grad_fn] if output.grad_fn else []
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        waiting += [before for before, _ in node.next_functions if before is not None]
    return sum(node.name().startswith(("ReluBackward", "ThresholdBackward")) for node in seen)


def guided_gradient(canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
    """Return the guided gradient, (batch, rows, frames)."""
    found: Tensor = CaptumGuidedBackprop(canvas).attribute(
        picture.inputs, target, additional_forward_args=picture.extra
    )
    return found
