"""Train PIQ's codes and decoder on a frozen classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.training import Clips
from earmark.errors import ModelError
from earmark.explainers.criterion import criterion
from earmark.explainers.piq.explainer import Piq
from earmark.explainers.piq.network import PiqConfig, PiqNetwork
from earmark.explainers.piq.quantiser import perplexity
from earmark.explainers.scenes import Scenes, scene_job
from earmark.features.masking import apply_mask
from earmark.training.loop import LoopSettings, Row, fit

Share = Annotated[float, Field(gt=0, lt=1)]


class PiqObjective(BaseModel):
    """Weights of the objective; all are means over clips, so none depends on the batch size.

    Args:
        mask_in: of the cross-entropy of the masked-in sound.
        guide: of the cross-entropy between the mask and the loud bins of what the class names.
        loudness: bins above this share of its largest are loud, where it is the louder part.
        commitment: of the distance of the adapted representations to their codes.
        sparsity: of the mask's mean.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mask_in: NonNegativeFloat = 1.0
    guide: NonNegativeFloat = 10.0
    loudness: Share = 0.02
    commitment: NonNegativeFloat = 0.25
    sparsity: NonNegativeFloat = 1.0


class PiqRecipe(BaseModel):
    """Settings of ``earmark train piq``.

    Args:
        train_folds: folds to train on.
        validate_folds: folds that choose the best epoch.
        piq: the codes and the decoder.
        objective: the weights of the losses.
        scenes: what the training sounds are.
        mean_limit: see `earmark.explainers.criterion.criterion`.
        areas: shares of the bins at which binary masks choose the epoch too, beside the soft one.
        loop: epochs, rates, seed, device.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train_folds: tuple[int, ...] = (1, 2, 3)
    validate_folds: tuple[int, ...] = (4,)
    piq: PiqConfig = PiqConfig()
    objective: PiqObjective = PiqObjective()
    scenes: Scenes = Scenes()
    mean_limit: float = Field(0.25, gt=0, le=1)
    areas: tuple[Share, ...] = ()
    loop: LoopSettings = LoopSettings(epochs=20, batch_size=16, learning_rate=2e-3)


def loud_bins(wanted: Tensor, rest: Tensor, loudness: float) -> Tensor:
    """Mark where a sound is loud and the louder part of a mixture, (batch, bins, frames) of 0 and 1.

    Args:
        wanted: complex (batch, bins, frames), the sound.
        rest: the same of all else.
        loudness: bins above this share of its largest are loud.

    >>> loud_bins(torch.tensor([[[4.0, 0.1, 3.0, 0.0]]]), torch.tensor([[[1.0, 0.0, 5.0, 0.0]]]), 0.1)
    tensor([[[1., 0., 0., 0.]]])
    """
    size = wanted.abs()
    loud = size >= loudness * size.amax((1, 2), keepdim=True)
    return (loud & (size > rest.abs())).to(size.dtype)


class PiqStep(nn.Module):
    """One step of training: a batch of sounds with known parts → the losses.

    Args:
        explainer: the PIQ in training; its classifier is copied, and left as it is.
        objective: the weights.
    """

    def __init__(self, explainer: Piq, objective: PiqObjective) -> None:
        super().__init__()
        self.network: PiqNetwork = explainer.network.requires_grad_(True)
        self.objective = objective
        # Held in a tuple, so that the frozen classifier is no submodule: it is neither trained nor saved.
        self._frozen = (explainer.classifier.frozen(),)

    def forward(self, source: Tensor, interferer: Tensor, labels: Tensor, asked: Tensor) -> dict[str, Tensor]:
        """Compute the losses of a `earmark.explainers.scenes.SceneBatch`, and how many codes a class uses."""
        (classifier,) = self._frozen
        clean = classifier.spectrogram(torch.cat([source, interferer]))
        stft = clean[: len(source)] + clean[len(source) :]
        with torch.no_grad():
            heard = classifier.hear(stft)
        target = torch.where(asked >= 0, asked, heard.logits.argmax(1))
        picture = heard.picture.shape[1], heard.picture.shape[2]
        quantised = self.network.quantise(heard.representations, target, picture)
        logits = self.network.draw(quantised.maps, picture, (stft.shape[1], stft.shape[2]))
        mask = torch.sigmoid(logits)
        losses = {
            "area": mask.mean(),
            "commitment": quantised.commitment.mean(),
            "guide": self._guide(logits, clean, target, labels),
        }
        if self.objective.mask_in:
            losses["in"] = self._faithfulness(stft, mask, target)
        weights = {
            "area": self.objective.sparsity,
            "commitment": self.objective.commitment,
            "guide": self.objective.guide,
            "in": self.objective.mask_in,
        }
        total = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        return {"loss": total, **losses, "codes": perplexity(self.network.quantiser.uses).mean()}

    def _faithfulness(self, stft: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of the masked-in sound, in nats."""
        (classifier,) = self._frozen
        masked = apply_mask(stft if classifier.hears_phase else stft.abs(), mask)
        logits = classifier.logits(classifier.features(masked))
        return F.cross_entropy(*classifier.question(logits, target))

    def _guide(self, logits: Tensor, clean: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """Return the mask's cross-entropy to the loud bins of the class, where one of the parts is of it."""
        source, interferer = clean.chunk(2)
        is_source, is_interferer = (labels == target[:, None]).unbind(1)
        of_source = is_source[:, None, None]
        wanted, rest = (
            torch.where(of_source, *parts) for parts in ((source, interferer), (interferer, source))
        )
        loud = loud_bins(wanted, rest, self.objective.loudness)
        error = F.binary_cross_entropy_with_logits(logits, loud, reduction="none").mean((1, 2))
        return (error * (is_source | is_interferer)).mean()


def train_piq(
    explainer: Piq,
    train: Clips,
    recipe: PiqRecipe,
    folder: Path,
    validate: Callable[[], Row],
    report: Callable[[int, int, Row], None] | None = None,
) -> list[Row]:
    """Train codes and decoder in place and leave the weights of their best epoch in them.

    Args:
        explainer: what is trained; its classifier's weights stay as they are.
        train: the clips to learn from, and noises to mix into them.
        recipe: the settings.
        folder: gets the log and the checkpoints; training goes on from there if it was stopped.
        validate: returns the scores of an epoch, see `earmark.evaluation.runner.mean_scores`.
        report: see `earmark.training.loop.fit`.

    Returns:
        one row of figures per epoch.

    Raises:
        ModelError: the objective needs gradients that the classifier does not let through.
    """
    if recipe.objective.mask_in and not explainer.classifier.passes_gradients():
        given = "piq is trained by gradients, and the classifier lets none through to its input"
        raise ModelError(given, "one that is differentiable", "set objective.mask_in to 0, which needs none")
    step, batch_size = PiqStep(explainer, recipe.objective), recipe.loop.batch_size
    job = scene_job(
        step, train, recipe.scenes, batch_size, validate, lambda row: criterion(row, recipe.mean_limit)
    )
    return fit(job, recipe.loop, folder, report)
