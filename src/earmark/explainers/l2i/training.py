"""Train L2I's interpreter on a frozen classifier, over a dictionary learned before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.training import Clips
from earmark.explainers.criterion import criterion
from earmark.explainers.l2i.dictionary import learn_dictionary, log_spectra
from earmark.explainers.l2i.explainer import L2i
from earmark.explainers.l2i.network import L2iConfig, L2iNetwork
from earmark.explainers.scenes import Scenes, scene_job
from earmark.training.loop import LoopSettings, Row, fit


class L2iRecipe(BaseModel):
    """Settings of ``earmark train l2i``.

    Args:
        train_folds: folds to train on.
        validate_folds: folds that choose the best epoch.
        interpreter: its sizes and threshold.
        fidelity: weight of the cross-entropy between the interpreter's decision and the classifier's.
        reconstruction: α, of the squared error of log spectra, a mean over bins and frames.
        sparsity: β, of the activations' mean.
        mean_limit: see `earmark.explainers.criterion.criterion`.
        scenes: what the training sounds are.
        loop: epochs, rates, seed, device.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train_folds: tuple[int, ...] = (1, 2, 3)
    validate_folds: tuple[int, ...] = (4,)
    interpreter: L2iConfig = L2iConfig()
    fidelity: NonNegativeFloat = 1.0
    reconstruction: NonNegativeFloat = 10.0
    sparsity: NonNegativeFloat = 0.8
    mean_limit: float = Field(1.0, gt=0, le=1)
    scenes: Scenes = Scenes(other_class=0.0)
    loop: LoopSettings = LoopSettings(epochs=20, batch_size=16, learning_rate=1e-3)


def fidelity_loss(classifier: AudioClassifier, decided: Tensor, logits: Tensor) -> Tensor:
    """Return the cross-entropy of the interpreter's decisions against the classifier's, (batch,), in nats.

    Args:
        classifier: whether one label holds or several may.
        decided: the interpreter's logits, (batch, classes).
        logits: the classifier's.
    """
    wanted = classifier.probabilities(logits)
    if classifier.multi_label:
        return F.binary_cross_entropy_with_logits(decided, wanted, reduction="none").mean(1)
    return F.cross_entropy(decided, wanted, reduction="none")


class L2iStep(nn.Module):
    """One step of training: a batch of sounds → fidelity, reconstruction and sparsity.

    Args:
        explainer: the L2I in training.
        recipe: the weights.
    """

    def __init__(self, explainer: L2i, recipe: L2iRecipe) -> None:
        super().__init__()
        self.network: L2iNetwork = explainer.network.requires_grad_(True)
        self.recipe = recipe
        # Held in a tuple, so that the frozen classifier is no submodule: it is neither trained nor saved.
        self._frozen = (explainer.classifier.frozen(),)

    def forward(self, source: Tensor, interferer: Tensor, labels: Tensor, asked: Tensor) -> dict[str, Tensor]:
        """Compute the losses of `earmark.explainers.scenes.SceneBatch`; what is asked is not looked at."""
        (classifier,) = self._frozen
        stft = classifier.spectrogram(source + interferer)
        with torch.no_grad():
            heard = classifier.hear(stft)
        activations = self.network.activations(heard.representations, stft.shape[2])
        decided = self.network.decide(self.network.pooled(activations))
        fidelity = fidelity_loss(classifier, decided, heard.logits).mean()
        rebuilt = self.network.dictionary @ activations
        reconstruction = F.mse_loss(rebuilt, stft.abs().log1p())
        sparsity = activations.mean()
        recipe = self.recipe
        total = (
            recipe.fidelity * fidelity + recipe.reconstruction * reconstruction + recipe.sparsity * sparsity
        )
        same = (decided.argmax(1) == heard.logits.argmax(1)).float().mean()
        return {
            "loss": total,
            "fidelity": fidelity,
            "reconstruction": reconstruction,
            "sparsity": sparsity,
            "agreement": same,
        }


def train_l2i(
    explainer: L2i,
    train: Clips,
    recipe: L2iRecipe,
    folder: Path,
    validate: Callable[[], Row],
    report: Callable[[int, int, Row], None] | None = None,
) -> list[Row]:
    """Learn a dictionary, train an interpreter in place, and leave the weights of its best epoch in it.

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
        DataError: there are fewer frames of sound than components.
    """
    classifier, seed = explainer.classifier, recipe.loop.seed
    waveform = train.waveform / classifier.level(train.waveform)
    spectra = log_spectra(classifier.spectrogram, waveform, seed)
    dictionary, usual = learn_dictionary(spectra, explainer.config.components, seed)
    explainer.network.dictionary.copy_(dictionary)
    explainer.network.usual.copy_(usual)
    step, batch_size = L2iStep(explainer, recipe), recipe.loop.batch_size
    job = scene_job(
        step,
        train,
        recipe.scenes,
        batch_size,
        validate,
        lambda row: criterion(row, recipe.mean_limit) + row["agreement"],
    )
    return fit(job, recipe.loop, folder, report)
