"""A codebook that is shared out among the classes: what is said of a class is said in its own codes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from earmark.training.processes import gather_rows


class Quantised(NamedTuple):
    """What a quantiser made of maps.

    Args:
        maps: (batch, channels, height, width), what the chosen codes tell the decoder.
        chosen: (batch, height, width), which of the class's codes were chosen.
        commitment: (batch,), the mean squared distance of the maps to their codes.
    """

    maps: Tensor
    chosen: Tensor
    commitment: Tensor


class Quantiser(nn.Module):
    """Replaces each vector of a map by the nearest code of a class.

    Where a code lies follows the mean of the vectors that chose it, so its loss needs no gradient; what it
    tells the decoder is its place and a word that is learned. A code that is hardly chosen any more goes to
    a vector of its class, drawn from the batch, and says what its class's codes say in the mean; so do all
    codes of a class that is seen for the first time.

    Args:
        classes: how many shares the codebook has.
        codes: of each class.
        channels: of the maps.
        decay: what a step leaves of the mean so far, and of the count of uses.
        dead: a code is dead that gets less than this part of an even share of its class's vectors.

    Attributes:
        codes: (classes, codes, channels), where they lie.
        uses: (classes, codes), which share of its class's vectors each gets.
        words: (classes, codes, channels), what each says beyond its place.

    Source: Paissan et al., Posthoc Interpretation via Quantization, 2023; the moving means are those of
    van den Oord et al., Neural Discrete Representation Learning, 2017, appendix A.1.
    """

    codes: Tensor
    uses: Tensor

    def __init__(
        self, classes: int, codes: int, channels: int, decay: float = 0.95, dead: float = 0.05
    ) -> None:
        super().__init__()
        self.decay = decay
        self.dead = dead
        # Near one another, so that an untrained mask hangs on no rounding; the first batches spread them.
        self.register_buffer("codes", 1e-3 * torch.randn(classes, codes, channels))
        self.register_buffer("uses", torch.zeros(classes, codes))
        # At first all codes of a class have one word, by which the decoder tells the classes apart at once.
        self.words = nn.Parameter(0.5 * torch.randn(classes, 1, channels).repeat(1, codes, 1))

    def forward(self, maps: Tensor, target: Tensor) -> Quantised:
        """Quantise maps.

        Backward, the maps get the gradient of what is told as if they had been told themselves.

        Args:
            maps: (batch, channels, height, width).
            target: (batch,), the classes whose codes are used.
        """
        # Codes are means over thousands of steps, too fine for half a precision.
        vectors = maps.to(self.codes.dtype).flatten(2).transpose(1, 2)
        if self.training:  # codes follow the clips of all processes
            seen, of_class = gather_rows(vectors.detach()), gather_rows(target)
            self._revive(seen, of_class)
        own = self.codes[target]
        index = nearest(vectors.detach(), own)
        place = index[:, :, None].expand_as(vectors)
        code, word = own.gather(1, place), self.words[target].gather(1, place)
        if self.training:
            self._follow(seen, of_class, gather_rows(index))
        told = code + word + (vectors - vectors.detach())
        commitment = (vectors - code).square().mean((1, 2))
        return Quantised(
            told.transpose(1, 2).reshape(maps.shape), index.view(-1, *maps.shape[2:]), commitment
        )

    @torch.no_grad()
    def _follow(self, vectors: Tensor, target: Tensor, index: Tensor) -> None:
        """Move the codes of the classes that are there towards the mean of what chose them."""
        classes, codes, channels = self.codes.shape
        flat = (target[:, None] * codes + index).flatten()
        counts = torch.bincount(flat, minlength=classes * codes).view(classes, codes).to(vectors.dtype)
        sums = torch.zeros_like(self.codes).view(-1, channels)
        sums = sums.index_add(0, flat, vectors.flatten(0, 1)).view_as(self.codes)
        seen = counts.sum(1, keepdim=True)
        new = 1 - self.decay
        uses = self.decay * self.uses + new * counts / seen.clamp_min(1)
        kept = self.decay * self.uses[:, :, None] * self.codes
        places = kept + new * sums / seen.clamp_min(1)[:, :, None]
        moved = (seen > 0) & (uses > 0)
        places = places / uses.masked_fill(~moved, 1)[:, :, None]
        self.codes.copy_(torch.where(moved[:, :, None], places, self.codes))
        self.uses.copy_(torch.where(seen > 0, uses, self.uses))

    @torch.no_grad()
    def _revive(self, vectors: Tensor, target: Tensor) -> None:
        """Put the dead codes of the classes that are there on vectors drawn from their clips."""
        classes, codes, _ = self.codes.shape
        of_class = target == torch.arange(classes, device=target.device)[:, None]
        there = of_class.any(1, keepdim=True)
        dead = (self.uses < self.dead / codes) & there
        if not dead.any():
            return
        # A class that is not there draws from all clips, and what it draws is not used.
        clip = torch.multinomial((of_class | ~there).to(vectors.dtype), codes, replacement=True)
        drawn = vectors[clip, torch.randint_like(clip, vectors.shape[1])]
        self.codes.copy_(torch.where(dead[:, :, None], drawn, self.codes))
        self.uses.masked_fill_(dead, 1 / codes)
        self.words.copy_(torch.where(dead[:, :, None], self.words.mean(1, keepdim=True), self.words))


def nearest(vectors: Tensor, codes: Tensor) -> Tensor:
    """Return which code each vector is nearest to, (batch, vectors).

    Args:
        vectors: (batch, vectors, channels).
        codes: (batch, codes, channels).

    >>> nearest(torch.tensor([[[0.0], [0.9]]]), torch.tensor([[[1.0], [0.2]]]))
    tensor([[1, 0]])
    """
    # |v - c|^2 without |v|^2, which is the same for all codes.
    return (codes.square().sum(2)[:, None] - 2 * vectors @ codes.transpose(1, 2)).argmin(2)


def perplexity(uses: Tensor) -> Tensor:
    """Return how many codes each class uses, (classes,): e to their shares' entropy; 1 for none.

    Args:
        uses: (classes, codes), counts or shares.

    >>> perplexity(torch.tensor([[1.0, 1.0], [3.0, 0.0]]))
    tensor([2., 1.])
    """
    share = uses / uses.sum(1, keepdim=True).clamp_min(torch.finfo(uses.dtype).tiny)
    return torch.special.entr(share).sum(1).exp()
