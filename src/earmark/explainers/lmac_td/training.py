"""Train LMAC-TD's separator on a frozen classifier, which judges its sounds, and by true sources."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.training import Clips
from earmark.errors import ModelError
from earmark.explainers.criterion import criterion
from earmark.explainers.lmac_td.explainer import LmacTd
from earmark.explainers.lmac_td.network import LmacTdConfig
from earmark.explainers.scenes import Scenes, scene_job
from earmark.training.loop import LoopSettings, Row, fit


class LmacTdObjective(BaseModel):
    """Weights of the objective; all losses are means over clips, so none depends on the batch size.

    Args:
        kept: of the cross-entropy of the explanation, as the classifier hears it.
        rest: of −log(1 − p) of what the explanation leaves of the sound.
        size: of the explanation's mean absolute value relative to the sound's.
        sparsity: of the mean of the mask on the separator's encoding.
        guide: of the signal-to-distortion ratio to the true source of the explained class, see `sdr`.
        judged: share of a batch's clips that the classifier judges. A step spends most of its time there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kept: NonNegativeFloat = 1.0
    rest: NonNegativeFloat = 0.5
    size: NonNegativeFloat = 0.5
    sparsity: NonNegativeFloat = 1.0
    guide: NonNegativeFloat = 1.0
    judged: float = Field(1.0, gt=0, le=1)


class LmacTdRecipe(BaseModel):
    """Settings of ``earmark train lmac-td``.

    Args:
        train_folds: folds to train on.
        validate_folds: folds that choose the best epoch.
        network: the separator's sizes, and α.
        objective: the weights of the losses.
        scenes: what the training sounds are.
        mean_limit: by what its mask's mean exceeds this, an epoch counts for less, see
            `earmark.explainers.criterion.criterion`.
        loop: epochs, rates, seed, device.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train_folds: tuple[int, ...] = (1, 2, 3)
    validate_folds: tuple[int, ...] = (4,)
    network: LmacTdConfig = LmacTdConfig()
    objective: LmacTdObjective = LmacTdObjective()
    scenes: Scenes = Scenes()
    mean_limit: float = Field(0.25, gt=0, le=1)
    loop: LoopSettings = LoopSettings(epochs=20, batch_size=16, learning_rate=1e-3)


def kept_loss(classifier: AudioClassifier, logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of what the explanation is heard as, (batch,), in nats.

    Args:
        classifier: whether one label holds or several may.
        logits: (batch, classes), of the explanations.
        target: (batch,), the explained classes.
    """
    return F.cross_entropy(*classifier.question(logits, target), reduction="none")


def rest_loss(classifier: AudioClassifier, logits: Tensor, target: Tensor) -> Tensor:
    """Return −log(1 − p) of what is left without the explanation, (batch,), in nats.

    It stops at 0 once the class is gone. Arguments as of `kept_loss`.
    """
    logits, target = classifier.question(logits, target)
    own = logits.gather(1, target[:, None])[:, 0]
    others = logits.scatter(1, target[:, None], -torch.inf).logsumexp(1)
    return F.softplus(own - others)


def relative_size(explained: Tensor, mixture: Tensor) -> Tensor:
    """Return the mean absolute value of sounds, over that of what they are part of, (batch,).

    Both are (batch, samples).

    >>> relative_size(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, -2.0]]))
    tensor([0.2500])
    """
    return explained.abs().sum(1) / mixture.abs().sum(1).clamp_min(1e-8)


def sdr(explained: Tensor, wanted: Tensor, ceiling_db: float = 20.0) -> Tensor:
    """Return the signal-to-distortion ratio of sounds, (batch, samples), in dB, (batch,).

    It nears its ceiling smoothly. It is not scale-invariant, on purpose: an explanation that shrinks as a
    whole would keep its ratio, please what asks for small ones, and fade away.

    Source: Wisdom et al., Unsupervised sound separation using mixture invariant training, 2020, eq. 2.

    >>> wanted = torch.tensor([[1.0, 2.0]])
    >>> [round(sdr(factor * wanted, wanted).item(), 2) for factor in (1, 0)]
    [20.0, -0.04]
    """
    energy, distortion = wanted.square().sum(1), (explained - wanted).square().sum(1)
    floor = 10 ** (-ceiling_db / 10) * energy
    return 10 * torch.log10(energy.clamp_min(1e-8) / (distortion + floor).clamp_min(1e-8))


class LmacTdStep(nn.Module):
    """One step of training: a batch of sounds with known parts → the losses.

    Args:
        explainer: the LMAC-TD in training; its classifier is copied, and left as it is.
        objective: the weights.
    """

    def __init__(self, explainer: LmacTd, objective: LmacTdObjective) -> None:
        super().__init__()
        self.network = explainer.network.requires_grad_(True)
        self.objective = objective
        # Held in a tuple, so that the frozen classifier is no submodule: it is neither trained nor saved.
        self._frozen = (explainer.classifier.frozen(),)

    def forward(self, source: Tensor, interferer: Tensor, labels: Tensor, asked: Tensor) -> dict[str, Tensor]:
        """Compute the losses of a batch; arguments as in `earmark.explainers.scenes.SceneBatch`."""
        (classifier,) = self._frozen
        mixture = source + interferer
        with torch.no_grad():
            heard = classifier.hear(classifier.spectrogram(mixture))
        target = torch.where(asked >= 0, asked, heard.logits.argmax(1))
        explained, mask = self.network(mixture, heard.representations, target)
        objective = self.objective
        losses = {"size": relative_size(explained, mixture).mean(), "sparsity": mask.mean()}
        if objective.kept or objective.rest:
            losses |= self._judged(explained, mixture, target)
        if objective.guide:
            losses["guide"] = self._guide(explained, source, interferer, labels, target)
        weights = objective.model_dump()
        total = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        return {"loss": total, **losses}

    def _judged(self, explained: Tensor, mixture: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the losses of what the classifier hears in the first clips of a batch, which is shuffled."""
        (classifier,) = self._frozen
        count = math.ceil(self.objective.judged * len(target))
        explained, mixture, target = explained[:count], mixture[:count], target[:count]
        both = classifier.spectrogram(torch.cat([explained, mixture - explained]))
        kept, rest = classifier.logits(classifier.features(both)).chunk(2)
        return {
            "kept": kept_loss(classifier, kept, target).mean(),
            "rest": rest_loss(classifier, rest, target).mean(),
        }

    def _guide(
        self, explained: Tensor, source: Tensor, interferer: Tensor, labels: Tensor, target: Tensor
    ) -> Tensor:
        """Return −SDR to the part of the explained class, in units of 10 dB; 0 where there is none."""
        is_source, is_interferer = (labels == target[:, None]).unbind(1)
        wanted = torch.where(is_source[:, None], source, interferer)
        return (-sdr(explained, wanted) / 10 * (is_source | is_interferer)).mean()


def train_lmac_td(
    explainer: LmacTd,
    train: Clips,
    recipe: LmacTdRecipe,
    folder: Path,
    validate: Callable[[], Row],
    report: Callable[[int, int, Row], None] | None = None,
) -> list[Row]:
    """Train a separator in place and leave the weights of its best epoch in it.

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
    objective = recipe.objective
    if (objective.kept or objective.rest) and not explainer.classifier.passes_gradients():
        given = "lmac-td is trained by gradients, and the classifier lets none through to its input"
        fix = "write its front end in torch, or set objective.kept and objective.rest to 0"
        raise ModelError(given, "one that is differentiable", fix)
    step, batch_size = LmacTdStep(explainer, objective), recipe.loop.batch_size
    job = scene_job(
        step, train, recipe.scenes, batch_size, validate, lambda row: criterion(row, recipe.mean_limit)
    )
    return fit(job, recipe.loop, folder, report)
