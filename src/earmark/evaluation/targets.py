"""Does a class that was not decided for get an explanation of its own, and one that is not there none?"""

from __future__ import annotations

import torch
from torch import Tensor

from earmark.data.mixtures import pairs_of_other_class
from earmark.errors import ModelError
from earmark.evaluation.protocol import Sounds, mixtures
from earmark.evaluation.runner import Scene, hear_sounds
from earmark.explainers.base import Explainer
from earmark.features.masking import apply_mask
from earmark.metrics import kept_share, si_sdr


def two_classes(
    waveform: Tensor, labels: Tensor, per_clip: int = 2, snr_db: float = 0.0, seed: int = 0
) -> tuple[Sounds, Tensor]:
    """Mix each clip with clips of other classes.

    Args:
        waveform: (clips, samples).
        labels: (clips,).
        per_clip: mixtures per clip.
        snr_db: of the first clip to the second.
        seed: of the choice of the second.

    Returns:
        the sounds, and the classes of both their parts, (sounds, 2).
    """
    sounds = mixtures(waveform, labels, per_clip, snr_db, seed)
    return sounds, labels[pairs_of_other_class(labels, per_clip, seed)]


def absent_classes(present: Tensor, classes: int) -> Tensor:
    """Return for each sound a class that is not in it, another one from sound to sound, (sounds,).

    Args:
        present: (sounds, 2), the classes that are.
        classes: how many there are.

    Raises:
        ModelError: fewer than 3.

    >>> absent_classes(torch.tensor([[0, 1], [2, 0], [1, 2]]), 4)
    tensor([2, 1, 3])
    """
    if classes < 3:
        raise ModelError(f"the classifier has {classes} classes", "at least 3, so that one is absent")
    wanted = (torch.arange(len(present))[:, None] + torch.arange(classes)) % classes
    there = (wanted[:, :, None] == present[:, None].cpu()).any(2)
    return wanted.gather(1, (~there).int().argmax(1, keepdim=True))[:, 0].to(present.device)


@torch.no_grad()
def score_targets(
    explainer: Explainer, sounds: Sounds, present: Tensor, batch_size: int = 16
) -> dict[str, Tensor]:
    """Explain mixtures of two classes for each of the two, and for one that is in neither.

    Args:
        explainer: whose masks, on the STFT; its classifier is put in evaluation mode.
        sounds: the mixtures.
        present: (sounds, 2), the classes of source and interferer.
        batch_size: sounds at a time.

    Returns:
        per name (sounds,), means over the two classes: "own", of the energy that a mask keeps the share in
        bins where its own class's part is the louder; "SI-SDRi", of the kept sound towards that part, in dB;
        "mean", of the mask; "energy", the share of the sound's energy that it keeps. Then "overlap", the
        cosine of the two masks; and "absent mean", "absent energy", of the mask for the class that is not
        there.
    """
    explainer.classifier.eval()
    device = explainer.classifier.device
    away = absent_classes(present, len(explainer.classifier.labels))
    found: dict[str, list[Tensor]] = {}
    for index in torch.arange(len(sounds)).split(batch_size):
        scene = hear_sounds(explainer.classifier, sounds.part(index, device))
        asked = (*present[index].unbind(1), away[index])
        first, second, absent = (explainer.masks(scene.stft, of.to(device), scene.heard) for of in asked)
        sides = [_of_part(explainer, scene, first, True), _of_part(explainer, scene, second, False)]
        scores = {name: torch.stack([side[name] for side in sides]).mean(0) for name in sides[0]}
        scores["overlap"] = torch.cosine_similarity(first.flatten(1), second.flatten(1))
        scores |= {f"absent {name}": values for name, values in _size(scene, absent).items()}
        for name, values in scores.items():
            found.setdefault(name, []).append(values.cpu())
    return {name: torch.cat(values) for name, values in found.items()}


def _of_part(explainer: Explainer, scene: Scene, mask: Tensor, is_source: bool) -> dict[str, Tensor]:
    part = scene.sounds.source if is_source else scene.sounds.interferer
    heard = scene.classifier.spectrogram.inverse(apply_mask(scene.stft, mask, explainer.scale), part.shape[1])
    owned = scene.owned if is_source else 1 - scene.owned
    return {
        "own": kept_share(mask, scene.power, owned),
        "SI-SDRi": si_sdr(heard, part) - si_sdr(scene.sounds.mixture, part),
        **_size(scene, mask),
    }


def _size(scene: Scene, mask: Tensor) -> dict[str, Tensor]:
    energy = (mask.square() * scene.power).sum(dim=(1, 2)) / scene.power.sum(dim=(1, 2))
    return {"mean": mask.mean(dim=(1, 2)), "energy": energy}
