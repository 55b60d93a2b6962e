"""How good a mask is: how faithful, how concise and, where the sources are known, how well placed.

Every metric is a pure function of tensors that gives one value per clip; none of them sees a model.
`score` computes all that the paper's tables have.
"""

from earmark.metrics.concision import complexity, mask_mean, sparseness
from earmark.metrics.faithfulness import (
    Protocol,
    average_drop,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
)
from earmark.metrics.localisation import (
    energy_share,
    ideal_ratio_mask,
    kept_share,
    pointing,
    roc_auc,
    si_sdr,
    si_sdr_improvement,
)
from earmark.metrics.scores import score

__all__ = [
    "Protocol",
    "average_drop",
    "average_gain",
    "average_increase",
    "complexity",
    "energy_share",
    "faithfulness",
    "ideal_ratio_mask",
    "input_fidelity",
    "kept_share",
    "mask_mean",
    "pointing",
    "roc_auc",
    "score",
    "si_sdr",
    "si_sdr_improvement",
    "sparseness",
]
