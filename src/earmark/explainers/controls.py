"""Masks that explain nothing: what a score is worth shows only beside theirs."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.classifiers.base import Heard
from earmark.errors import ModelError
from earmark.explainers.base import Explainer, register


class Control(Explainer):
    """A mask that does not ask the classifier anything."""

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        """See `Explainer.masks`."""
        with torch.no_grad():
            if self.domain == "stft":
                return self.draw(stft.abs(), target)
            return self.draw(heard.features if heard else self.classifier.features(stft), target)

    @abstractmethod
    def draw(self, picture: Tensor, target: Tensor) -> Tensor:
        """Return masks for pictures of magnitudes or features, (batch, rows, frames) both."""


@register("all-ones")
class AllOnes(Control):
    """Keeps everything: the best AD and Fid-In there can be, and no explanation."""

    summary = "control: keeps everything"
    ranks = False

    def draw(self, picture: Tensor, target: Tensor) -> Tensor:
        """See `Control.draw`."""
        return torch.ones_like(picture)


@register("all-zeros")
class AllZeros(Control):
    """Keeps nothing."""

    summary = "control: keeps nothing"
    ranks = False

    def draw(self, picture: Tensor, target: Tensor) -> Tensor:
        """See `Control.draw`."""
        return torch.zeros_like(picture)


@register("random")
class Random(Control):
    """Each bin is uniformly random, the same in every clip of a size; its best bins are a random area."""

    summary = "control: random bins"

    def draw(self, picture: Tensor, target: Tensor) -> Tensor:
        """See `Control.draw`."""
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.rand(picture.shape[1:], generator=generator)
        return noise.to(picture).expand_as(picture)


@register("loudest")
class Loudest(Control):
    """Each bin by how loud it is, over the loudest: its best bins are the loudest ones."""

    summary = "control: the loudest bins"

    def draw(self, picture: Tensor, target: Tensor) -> Tensor:
        """See `Control.draw`."""
        loudest = picture.amax(dim=(1, 2), keepdim=True)
        return picture.clamp_min(0) / loudest.masked_fill(loudest <= 0, 1)


@register("class-mean")
class ClassMean(Control):
    """The mean of the masks that another method gave to sounds of the class, whatever is heard now.

    A method that is no better than this has learned what its classes look like, not what was heard.
    """

    summary = "control: the mean of the trained explainer's masks for the class"
    needs_examples = True
    means: Tensor | None = None

    def learn(self, masks: Tensor, target: Tensor) -> None:
        """Take the mean mask of each class.

        Args:
            masks: (clips, rows, frames).
            target: (clips,), the classes they explain. A class without any gets the mean of all.
        """
        classes = F.one_hot(target, len(self.classifier.labels)).to(masks)
        count = classes.sum(0)
        sums = torch.einsum("bc,brt->crt", classes, masks)
        means = sums / count.clamp_min(1)[:, None, None]
        self.means = torch.where(count[:, None, None] > 0, means, masks.mean(0))

    def draw(self, picture: Tensor, target: Tensor) -> Tensor:
        """See `Control.draw`.

        Raises:
            ModelError: no masks were learned from.
        """
        if self.means is None:
            given = "class-mean has seen no masks to take the mean of"
            raise ModelError(
                given, fix="use it by `earmark evaluate` with a model that has a trained explainer"
            )
        means = self.means.to(picture.device)[target]
        if means.shape[1:] == picture.shape[1:]:
            return means
        return F.interpolate(means[:, None], picture.shape[1:], mode="bilinear", align_corners=False)[:, 0]
