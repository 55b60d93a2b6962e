"""Does the classifier still decide the same on what the mask keeps, and no longer on what it removes?

Section 3.1 of Paissan et al., Listenable Maps for Audio Classifiers, ICML 2024. Finite logits give
finite values, however large they are.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Protocol = Literal["corrected", "paper"]
"""What a metric follows: its definition, or what the authors' code computed for the paper's tables."""


RISE = 1e-4
"""A rise of a probability by less is none where sounds are scored: 16 bits and transforms make as much."""


def average_increase(logits: Tensor, logits_in: Tensor, target: Tensor, least: float = 0.0) -> Tensor:
    """Tell whether the class's probability is higher on the masked-in sound (AI, higher is better).

    An increase must show in the floating-point type of the logits, so a probability of 1 cannot increase.

    Args:
        logits: (batch, classes), of the whole sound.
        logits_in: (batch, classes), of the masked-in sound.
        target: (batch,), class indices.
        least: only what rises by more than this counts.

    Returns:
        (batch,), 0 or 100 %.

    Source: 100·[p_in > p]; Chattopadhay et al., Grad-CAM++, WACV 2018.

    >>> logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])  # p = 1/2
    >>> logits_in = torch.tensor([[3.0, 1.0], [3.0, 3.0]]).log()  # p_in = 3/4 and 1/2
    >>> average_increase(logits, logits_in, torch.tensor([0, 0]))
    tensor([100.,   0.])
    """
    return 100 * _rises(logits, logits_in, target, least).to(logits.dtype)


def average_drop(
    logits: Tensor, logits_in: Tensor, target: Tensor, protocol: Protocol = "corrected"
) -> Tensor:
    """Return by how much the class's probability drops on the masked-in sound (AD, lower is better).

    Args:
        logits: (batch, classes), of the whole sound.
        logits_in: (batch, classes), of the masked-in sound.
        target: (batch,), class indices.
        protocol: "paper" applies softmax to the probabilities once more, as the authors' code does;
            no drop can then exceed 100·(1 - 1/e) = 63.2 %.

    Returns:
        (batch,), in [0, 100] % of the probability on the whole sound.

    Source: 100·max(0, p - p_in)/p; Chattopadhay et al., Grad-CAM++, WACV 2018.

    >>> logits = torch.tensor([[3.0, 1.0]]).log()  # p = 3/4
    >>> logits_in = torch.tensor([[0.0, 0.0]])  # p_in = 1/2: a drop by a third
    >>> average_drop(logits, logits_in, torch.tensor([0]))
    tensor([33.3333])
    >>> average_drop(logits, logits_in, torch.tensor([0]), "paper")  # 1 - (1/2) (1 + exp(1/4 - 3/4))
    tensor([19.6735])
    """
    if protocol == "paper":
        logits, logits_in = logits.softmax(1), logits_in.softmax(1)
    # The ratio p_in / p as a difference of logs is exact even where both underflow.
    log_ratio = _of(logits_in.log_softmax(1), target) - _of(logits.log_softmax(1), target)
    return 100 * torch.expm1(log_ratio.clamp_max(0)).abs()


def average_gain(logits: Tensor, logits_in: Tensor, target: Tensor, least: float = 0.0) -> Tensor:
    """Return how much of the missing probability the masked-in sound adds (AG, higher is better).

    Args:
        logits: (batch, classes), of the whole sound.
        logits_in: (batch, classes), of the masked-in sound.
        target: (batch,), class indices.
        least: only what rises by more than this counts.

    Returns:
        (batch,), in [0, 100] % of 1 - p; 0 wherever `average_increase` is, so where p is 1.

    Source: 100·max(0, p_in - p)/(1 - p); Zhang et al., Opti-CAM, 2023.

    >>> logits = torch.tensor([[0.0, 0.0]])  # p = 1/2
    >>> logits_in = torch.tensor([[3.0, 1.0]]).log()  # p_in = 3/4: half of what was missing
    >>> average_gain(logits, logits_in, torch.tensor([0]))
    tensor([50.])
    """
    log_ratio = _log_rest(logits_in, target) - _log_rest(logits, target)
    gain = 100 * torch.expm1(log_ratio.clamp_max(0)).abs()
    return torch.where(_rises(logits, logits_in, target, least), gain, 0)


def faithfulness(
    logits: Tensor,
    logits_out: Tensor,
    target: Tensor,
    of: Literal["probability", "logit"] = "probability",
) -> Tensor:
    """Return how much of the class goes when the mask's part is taken away (FF, higher is better).

    Args:
        logits: (batch, classes), of the whole sound.
        logits_out: (batch, classes), of the masked-out sound.
        target: (batch,), class indices.
        of: "probability" as in the paper's tables, or "logit" as in its text.

    Returns:
        (batch,), a difference of probabilities in [-1, 1], or of logits.

    Source: FF of Parekh et al., Listen to Interpret, NeurIPS 2022.

    >>> logits = torch.tensor([[3.0, 1.0]]).log()  # p = 3/4
    >>> logits_out = torch.tensor([[0.0, 0.0]])  # p_out = 1/2
    >>> faithfulness(logits, logits_out, torch.tensor([0]))
    tensor([0.2500])
    >>> faithfulness(logits, logits_out, torch.tensor([0]), of="logit")  # ln 3
    tensor([1.0986])
    """
    if of == "logit":
        return _of(logits, target) - _of(logits_out, target)
    return _probability(logits, target) - _probability(logits_out, target)


def input_fidelity(logits: Tensor, logits_in: Tensor) -> Tensor:
    """Tell whether the masked-in sound gets the decision of the whole one (Fid-In, higher is better).

    Args:
        logits: (batch, classes), of the whole sound.
        logits_in: (batch, classes), of the masked-in sound.

    Returns:
        (batch,), 0 or 1.

    Source: Fid-In in section 3.1 of Paissan et al., ICML 2024.

    >>> input_fidelity(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([[2.0, 5.0], [5.0, 2.0]]))
    tensor([1., 0.])
    """
    return (logits.argmax(1) == logits_in.argmax(1)).to(logits.dtype)


def _of(values: Tensor, target: Tensor) -> Tensor:
    return values.gather(1, target[:, None])[:, 0]


def _probability(logits: Tensor, target: Tensor) -> Tensor:
    return _of(logits.softmax(1), target)


def _rises(logits: Tensor, logits_in: Tensor, target: Tensor, least: float) -> Tensor:
    return _probability(logits_in, target) - _probability(logits, target) > least


def _log_rest(logits: Tensor, target: Tensor) -> Tensor:
    """log(1 - p) as a difference of two logsumexps, which keeps its digits where p is close to 1."""
    others = logits.scatter(1, target[:, None], -torch.inf)
    return torch.logsumexp(others, 1) - torch.logsumexp(logits, 1)
