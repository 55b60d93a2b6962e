"""All the scores of the paper's tables at once."""

from __future__ import annotations

from torch import Tensor

from earmark.metrics.concision import complexity, mask_mean, sparseness
from earmark.metrics.faithfulness import (
    RISE,
    Protocol,
    average_drop,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
)


def score(
    logits: Tensor,
    logits_in: Tensor,
    logits_out: Tensor,
    mask: Tensor,
    target: Tensor,
    protocol: Protocol = "corrected",
) -> dict[str, Tensor]:
    """Score masks by what the classifier says with and without them, under the names of the paper's tables.

    Args:
        logits: (batch, classes), of the whole sound.
        logits_in: (batch, classes), of the masked-in sound.
        logits_out: (batch, classes), of the masked-out sound.
        mask: (batch, bins, frames) in [0, 1].
        target: (batch,), class indices.
        protocol: "corrected" follows the definitions, but for rises that rounding makes as well, see `RISE`;
            "paper" the authors' code, which differs in AD.

    Returns:
        (batch,) each: AI, AD, AG in %; FF, a difference of probabilities; Fid-In, 0 or 1; SPS; COMP in
        nats; MM.

    >>> import torch
    >>> whole, kept = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 1.0]]).log()
    >>> scores = score(whole, kept, whole, torch.ones(1, 2, 2), torch.tensor([0]))
    >>> {name: round(value.item(), 2) for name, value in scores.items()}
    {'AI': 100.0, 'AD': 0.0, 'AG': 50.0, 'FF': 0.0, 'Fid-In': 1.0, 'SPS': 0.0, 'COMP': 1.39, 'MM': 1.0}
    """
    least = RISE if protocol == "corrected" else 0.0
    return {
        "AI": average_increase(logits, logits_in, target, least),
        "AD": average_drop(logits, logits_in, target, protocol),
        "AG": average_gain(logits, logits_in, target, least),
        "FF": faithfulness(logits, logits_out, target),
        "Fid-In": input_fidelity(logits, logits_in),
        "SPS": sparseness(mask),
        "COMP": complexity(mask),
        "MM": mask_mean(mask),
    }
