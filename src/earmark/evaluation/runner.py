"""The one path on which every explainer is scored."""

from __future__ import annotations

import torch
from torch import Tensor

from earmark.classifiers.base import Heard
from earmark.evaluation.protocol import Sounds
from earmark.explainers.base import Explainer
from earmark.features.masking import apply_mask, largest_bins
from earmark.metrics import energy_share, score, si_sdr, si_sdr_improvement

Scores = dict[str, Tensor]


def score_sounds(
    explainer: Explainer,
    sounds: Sounds,
    batch_size: int = 16,
    area: float | None = None,
) -> Scores:
    """Explain the classifier's decision on each sound and score the masks by the corrected protocol.

    Args:
        explainer: whose masks; its classifier is put in evaluation mode.
        sounds: what to explain.
        batch_size: sounds at a time.
        area: binarise each mask to its best bins up to this share of all; the soft mask if not given.

    Returns:
        per name (sounds,): the metrics of `earmark.metrics.score`; "FF all" the FF of the all-ones
        mask; "p", "p_in", "p_out" the class's probabilities; "target" the decided class and "label"
        that of the source; "share" the kept energy in bins where the source dominates, "share mixture"
        the same of the whole sound; "SI-SDRi" the listenable sound's improvement towards the source in dB
        and "SI-SDR" what it comes to. The last four only for masks on the STFT, as others cannot be heard.
    """
    explainer.classifier.eval()
    device = next(explainer.classifier.parameters()).device
    rows: dict[str, list[Tensor]] = {}
    for index in torch.arange(len(sounds)).split(batch_size):
        for name, values in _score_batch(explainer, sounds.part(index, device), area).items():
            rows.setdefault(name, []).append(values.cpu())
    return {name: torch.cat(values) for name, values in rows.items()}


def _score_batch(explainer: Explainer, sounds: Sounds, area: float | None) -> Scores:
    classifier = explainer.classifier
    with torch.no_grad():
        parts = classifier.spectrogram(torch.cat([sounds.source, sounds.interferer]))
        source, interferer = parts.chunk(2)
        stft = source + interferer
        heard = classifier.hear(stft)
        target = heard.logits.argmax(1)
    mask = explainer.masks(stft, target, heard).detach()
    if area is not None:
        mask = largest_bins(mask, area)
    with torch.no_grad():
        seen = stft if explainer.domain == "stft" else heard.features
        scores = faithfulness_scores(explainer, seen, mask, target, heard) | {"label": sounds.labels}
        if explainer.domain == "features":
            return scores
        return scores | _localisation_scores(explainer, sounds, source, interferer, mask)


def faithfulness_scores(
    explainer: Explainer, seen: Tensor, mask: Tensor, target: Tensor, heard: Heard
) -> Scores:
    """Score masks by what the classifier says with and without them.

    Args:
        explainer: whose masks they are.
        seen: what the masks are laid on: a complex STFT, (batch, bins, frames), or features.
        mask: of the same shape.
        target: (batch,).
        heard: what the classifier made of the whole.
    """
    classifier, scale = explainer.classifier, explainer.scale if seen.is_complex() else "magnitude"
    kept, rest = (apply_mask(seen, part, scale) for part in (mask, 1 - mask))
    masked = torch.cat([kept, rest, torch.zeros_like(seen[:1])])
    features = classifier.features(masked) if seen.is_complex() else masked
    logits_in, logits_out, logits_none = classifier.logits(features).split([len(seen), len(seen), 1])
    scores = score(heard.logits, logits_in, logits_out, mask, target)
    probability = {
        name: logits.softmax(1).expand(len(seen), -1).gather(1, target[:, None])[:, 0]
        for name, logits in {
            "p": heard.logits,
            "p_in": logits_in,
            "p_out": logits_out,
            "p_none": logits_none,
        }.items()
    }
    all_ones = probability["p"] - probability.pop("p_none")
    return {**scores, "FF all": all_ones, **probability, "target": target}


def _localisation_scores(
    explainer: Explainer, sounds: Sounds, source: Tensor, interferer: Tensor, mask: Tensor
) -> Scores:
    mixture = sounds.mixture
    kept = apply_mask(source + interferer, mask, explainer.scale)
    listenable = explainer.classifier.spectrogram.inverse(kept, mixture.shape[1])
    return {
        "share": energy_share(mask, source, interferer),
        "share mixture": energy_share(torch.ones_like(mask), source, interferer),
        "SI-SDRi": si_sdr_improvement(listenable, mixture, sounds.source),
        "SI-SDR": si_sdr(listenable, sounds.source),
    }


def mean_scores(scores: Scores) -> dict[str, float]:
    """Average over sounds; what speaks of the source only over those decided for its class, if there are any.

    "accuracy" is the share of sounds decided for the class of the source.
    """
    right = scores["target"] == scores["label"]
    about_source = {"share", "share mixture", "SI-SDRi", "SI-SDR"}
    means = {
        name: float((values[right] if name in about_source else values).double().mean())
        for name, values in scores.items()
        if name not in ("target", "label") and (right.any() or name not in about_source)
    }
    return {**means, "accuracy": float(right.double().mean())}
