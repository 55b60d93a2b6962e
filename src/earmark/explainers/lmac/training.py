"""Train L-MAC's decoder on a frozen classifier: first stage and fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from earmark.classifiers.augment import uniform
from earmark.classifiers.base import Heard
from earmark.classifiers.training import Clips
from earmark.errors import ModelError
from earmark.explainers.criterion import criterion
from earmark.explainers.lmac.decoder import DecoderConfig
from earmark.explainers.lmac.explainer import Lmac
from earmark.explainers.lmac.guidance import GuidanceConfig, binarised, guidance_loss, similarity
from earmark.explainers.lmac.objective import (
    ObjectiveConfig,
    area_mask,
    kept_energy,
    mask_in_loss,
    mask_out_loss,
)
from earmark.explainers.scenes import Scenes, draw_scenes, epoch_length
from earmark.features.masking import MaskScale, apply_mask, mask_features
from earmark.training.loop import Job, LoopSettings, Row, fit

Share = Annotated[float, Field(gt=0, lt=1)]


class LmacScenes(Scenes):
    """What the training sounds are.

    Args:
        absent: share of the clips for which a class is asked that is not in them; its mask should be empty.
    """

    absent: float = Field(0.0, ge=0, le=1)


class LmacRecipe(BaseModel):
    """Settings of ``earmark train lmac``.

    Args:
        train_folds: folds to train on.
        validate_folds: folds that choose the best epoch.
        decoder: which decoder.
        scale: what an STFT mask multiplies: "magnitude", or "log1p" as in the authors' recipe.
        objective: the weights of eq. 2.
        guidance: the fine-tuning's.
        scenes: what the training sounds are.
        mean_limit: by what its mask's mean exceeds this, an epoch counts for less, see `criterion`.
        areas: shares of the bins at which binary masks choose the epoch too, beside the soft one.
        loop: epochs, rates, seed, device.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train_folds: tuple[int, ...] = (1, 2, 3)
    validate_folds: tuple[int, ...] = (4,)
    decoder: DecoderConfig = DecoderConfig()
    scale: MaskScale = "magnitude"
    objective: ObjectiveConfig = ObjectiveConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    scenes: LmacScenes = LmacScenes()
    mean_limit: float = Field(0.25, gt=0, le=1)
    areas: tuple[Share, ...] = ()
    loop: LoopSettings = LoopSettings(epochs=20, batch_size=16, learning_rate=1e-3)


class LmacStep(nn.Module):
    """One step of training: a batch of sounds with known parts → the losses of eq. 2.

    Args:
        explainer: the L-MAC in training; its classifier is copied, and left as it is.
        objective: the weights.
        guidance: the fine-tuning's.
        before: the explainer of the stage before, which decides what is guided; needed for a
            guidance threshold above 0.
    """

    def __init__(
        self,
        explainer: Lmac,
        objective: ObjectiveConfig,
        guidance: GuidanceConfig | None = None,
        before: Lmac | None = None,
    ) -> None:
        super().__init__()
        self.decoder = explainer.decoder.requires_grad_(True)
        self.domain, self.scale = explainer.domain, explainer.scale
        self.objective = objective
        self.guidance = guidance or GuidanceConfig()
        # Held in tuples, so that the frozen parts are no submodules: they are neither trained nor saved.
        self._frozen = (explainer.classifier.frozen(), before)

    def forward(
        self, source: Tensor, interferer: Tensor, labels: Tensor, asked: Tensor, area: Tensor
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            source: (batch, samples).
            interferer: (batch, samples), zero where there is none.
            labels: (batch, 2), the classes of source and interferer, -1 for what has none.
            asked: (batch,), the classes to explain, -1 for what the classifier decides.
            area: (batch,), the area of the mask, 0 where it is free.
        """
        classifier, _ = self._frozen
        clean = classifier.spectrogram(torch.cat([source, interferer]))
        stft = clean[: len(source)] + clean[len(source) :]
        with torch.no_grad():
            heard = classifier.hear(stft)
        target = torch.where(asked >= 0, asked, heard.logits.argmax(1))
        there = ((asked < 0) | (labels == asked[:, None]).any(1)).to(area.dtype)
        size = self._seen(stft, heard).shape
        inside = heard.picture, heard.representations, target
        logits = self.decoder(*inside, (size[1], size[2]), self.domain)
        mask = torch.sigmoid(logits)
        # An area that was asked for is no virtue of the mask.
        losses = {"area": (mask.mean(dim=(1, 2)) * (area == 0)).mean()}
        if self.objective.mask_in or self.objective.mask_out:
            phaseless = self.domain == "stft" and not classifier.hears_phase and not self.objective.heard
            seen = stft.abs() if phaseless else self._seen(stft, heard)
            samples = source.shape[1]
            losses |= self._faithfulness(seen, _fitted(logits, mask, area), target, there, samples)
        if self.guidance.kind != "none":
            losses["guide"] = self._guide(stft, clean, mask, heard, target, labels)
        if self.objective.absent:
            losses["absent"] = (kept_energy(mask, self._seen(stft, heard)) * (1 - there)).mean()
        weights = {
            "area": self.objective.sparsity,
            "in": self.objective.mask_in,
            "out": self.objective.mask_out,
            "guide": self.guidance.weight,
            "absent": self.objective.absent,
        }
        total = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        return {"loss": total, **losses}

    def _faithfulness(
        self, seen: Tensor, mask: Tensor, target: Tensor, there: Tensor, samples: int
    ) -> dict[str, Tensor]:
        """Return the losses of eq. 1, over the clips whose class is there."""
        classifier, _ = self._frozen
        both, masks = torch.cat([seen, seen]), torch.cat([mask, 1 - mask])
        if self.domain == "stft":
            masked = apply_mask(both, masks, self.scale)
            if self.objective.heard:
                masked = classifier.spectrogram(classifier.spectrogram.inverse(masked, samples))
            features = classifier.features(masked)
        else:
            features = mask_features(both, masks, classifier.silence())
        logits_in, logits_out = classifier.logits(features).chunk(2)
        kind = self.objective.out_loss
        return {
            "in": (mask_in_loss(*classifier.question(logits_in, target)) * there).mean(),
            "out": (mask_out_loss(*classifier.question(logits_out, target), kind) * there).mean(),
        }

    def _seen(self, stft: Tensor, heard: Heard) -> Tensor:
        """Return what the mask is laid on."""
        return stft if self.domain == "stft" else heard.features

    def _guide(
        self, stft: Tensor, clean: Tensor, mask: Tensor, heard: Heard, target: Tensor, labels: Tensor
    ) -> Tensor:
        classifier, before = self._frozen
        source, interferer = clean.chunk(2)
        is_source, is_interferer = (labels == target[:, None]).unbind(1)
        wanted = torch.where(is_source[:, None, None], source, interferer)
        if self.domain == "features":
            wanted = classifier.features(wanted)
        guided = is_source | is_interferer
        if before is not None and self.guidance.threshold > 0:
            likeness = similarity(
                before.masks(stft, target, heard), binarised(wanted, self.guidance.loudness)
            )
            guided = guided & (likeness >= self.guidance.threshold)
        return (guidance_loss(mask, self._seen(stft, heard), wanted, self.guidance) * guided).mean()


def _fitted(logits: Tensor, mask: Tensor, area: Tensor) -> Tensor:
    """Return the masks, with those of the clips that an area was drawn for fitted to it."""
    chosen = area > 0
    if not chosen.any():
        return mask
    return torch.where(chosen[:, None, None], area_mask(logits, area.clamp_min(1e-3)), mask)


def train_lmac(
    explainer: Lmac,
    train: Clips,
    recipe: LmacRecipe,
    folder: Path,
    validate: Callable[[], Row],
    before: Lmac | None = None,
    report: Callable[[int, int, Row], None] | None = None,
) -> list[Row]:
    """Train a decoder in place and leave the weights of its best epoch in it.

    Args:
        explainer: what is trained; its classifier's weights stay as they are.
        train: the clips to learn from, and noises to mix into them.
        recipe: the settings.
        folder: gets the log and the checkpoints; training goes on from there if it was stopped.
        validate: returns the scores of an epoch, see `earmark.evaluation.runner.mean_scores`.
        before: the explainer of the stage before, for guidance with a threshold.
        report: see `earmark.training.loop.fit`.

    Returns:
        one row of figures per epoch.

    Raises:
        ModelError: the objective needs gradients that the classifier does not let through.
    """
    faithful = recipe.objective.mask_in or recipe.objective.mask_out
    if faithful and not explainer.classifier.passes_gradients():
        given = "lmac is trained by gradients, and the classifier lets none through to its input"
        raise ModelError(given, "one that is differentiable", "write its front end in torch")
    job = Job(
        step=LmacStep(explainer, recipe.objective, recipe.guidance, before),
        batches=lambda epoch, generator: make_scenes(train, recipe, generator),
        validate=validate,
        criterion=lambda row: criterion(row, recipe.mean_limit),
        steps_per_epoch=epoch_length(train, recipe.scenes, recipe.loop.batch_size),
    )
    return fit(job, recipe.loop, folder, report)


def make_scenes(clips: Clips, recipe: LmacRecipe, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
    """Yield the batches of an epoch, each as `LmacStep.forward` takes it."""
    for batch in draw_scenes(clips, recipe.scenes, recipe.loop.batch_size, generator):
        labels, asked = batch.labels, batch.asked
        area = _areas(len(asked), recipe.objective, generator)
        if recipe.scenes.absent:
            missing = torch.rand(len(asked), generator=generator) < recipe.scenes.absent
            asked = torch.where(missing, absent_class(clips.labels, labels, generator), asked)
            area = torch.where(missing, 0, area)
        yield batch.source, batch.interferer, labels, asked, area


def absent_class(known: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each clip a class of the data that is not in it, (batch,); -1 where there is none.

    Args:
        known: the classes of all clips.
        labels: (batch, 2), those of each clip, -1 for none.
        generator: of the draw.
    """
    classes = known.unique()
    free = (classes[None, :, None] != labels[:, None]).all(2)
    drawn = torch.multinomial(free + 1e-9, 1, generator=generator)[:, 0]
    return torch.where(free.any(1), classes[drawn], -1)


def _areas(count: int, objective: ObjectiveConfig, generator: torch.Generator) -> Tensor:
    low, high = (math.log(area) for area in objective.area_range)
    area = torch.exp(uniform((count,), low, high, generator))
    fitted = torch.rand(count, generator=generator) < objective.area_share
    return torch.where(fitted, area, 0)
