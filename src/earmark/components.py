"""What a sound is made of, part by part, and what each part says of a class."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from earmark.api import prepare
from earmark.audio import subtype_for
from earmark.audio import write as write_sound
from earmark.errors import AudioError
from earmark.explaining import AudioInput, read
from earmark.features.masking import apply_mask
from earmark.saving import publish, safe_stem, workshop
from earmark.windowing import Window

if TYPE_CHECKING:
    from earmark.explaining import Request
    from earmark.model import Model


@dataclass(frozen=True, eq=False)
class Component:
    """A part of a sound.

    Args:
        number: of the part, which is the same spectrum in every sound where the method learned them.
        relevance: how much it speaks for the class, over the part that speaks most: -1 … 1.
        mask: (bins, frames), the share of each bin that it is.
        listenable: (samples,), how it sounds, as loud as it is in the sound.
    """

    number: int
    relevance: float
    mask: Tensor = field(repr=False)
    listenable: Tensor = field(repr=False)


@dataclass(frozen=True)
class Decomposition:
    """A sound's parts that speak most for a class, the first most.

    Args:
        components: the parts.
        of: how many there are in all.
        label: the class.
        probability: the classifier's for it.
        source: the file, or "sound" for an array.
        method: the explainer's name.
        model: the model's name.
        sample_rate: in Hz.
    """

    components: tuple[Component, ...]
    of: int
    label: str
    probability: float
    source: str
    method: str
    model: str
    sample_rate: int

    def to_dict(self) -> dict[str, Any]:
        """Return all but the arrays, ready for strict JSON."""
        parts = [{"number": one.number, "relevance": one.relevance} for one in self.components]
        return {**vars(self), "components": parts}

    def save(self, folder: str | Path, stem: str | None = None) -> list[Path]:
        """Write STEM.component-1.wav, that of the highest relevance, and so on, and STEM.components.json.

        Raises:
            OutputError: the folder cannot be written.
        """
        from earmark.explanation import write_json

        folder, stem = Path(folder), stem or safe_stem(self.source)
        subtype = subtype_for(float(one.listenable.abs().max()) for one in self.components)
        with workshop(folder, stem) as temporary:
            made = []
            for place, one in enumerate(self.components, start=1):
                made.append(temporary / f"{stem}.component-{place}.wav")
                write_sound(made[-1], one.listenable, self.sample_rate, subtype)
            files = {"files": [path.name for path in made]}
            made.append(write_json(temporary / f"{stem}.components.json", self.to_dict() | files))
            return publish(made, folder)


def decompose(
    audio: AudioInput,
    model: str | Path | Model = "esc10",
    method: str = "l2i",
    target: str | None = None,
    top: int = 5,
    device: str | None = None,
) -> Decomposition:
    """Find the parts of a sound that speak most for a class.

    Args:
        audio: as in `earmark.explain`, no longer than the classifier hears at once.
        model: as in `earmark.explain`.
        method: one that explains by components, such as "l2i" or "audiolime".
        target: the class; the classifier's own decision if not given.
        top: how many parts to return at most.
        device: as in `earmark.explain`.

    Raises:
        AudioError: a sound that cannot be used or is too long.
        ModelError: no such model, method or class, or a method without components.
    """
    request = prepare(model, method, target, device, scores=False)
    source, waveform = read(audio, "sound", request.sample_rate)
    return _decompose(request, source, waveform, top)


@torch.no_grad()
def _decompose(request: Request, source: str, waveform: Tensor, top: int) -> Decomposition:
    classifier = request.classifier
    samples = len(waveform)
    _check(request, source, waveform)
    padded = request.padded([Window(0, waveform.numpy())])
    level = classifier.level(padded)
    stft = classifier.spectrogram(padded / level)
    heard = classifier.hear(stft)
    said = classifier.probabilities(heard.logits)[0]
    index = request.targets[0] if request.targets else int(said.argmax())
    found = request.explainer.components(stft, torch.tensor([index], device=stft.device), heard)
    order = found.relevance[0].argsort(descending=True)[:top].tolist()
    frames = classifier.spectrogram.frames(samples)
    parts = []
    for number in order:
        chosen = torch.zeros_like(found.relevance)
        chosen[0, number] = 1
        mask = found.mask(chosen)
        sound = classifier.spectrogram.inverse(apply_mask(stft, mask), request.windows.length) * level
        relevance = float(found.relevance[0, number])
        parts.append(Component(number, relevance, mask[0, :, :frames].cpu(), sound[0, :samples].cpu()))
    return Decomposition(
        components=tuple(parts),
        of=found.relevance.shape[1],
        label=classifier.labels[index],
        probability=float(said[index]),
        source=source,
        method=request.method,
        model=request.model.name,
        sample_rate=request.sample_rate,
    )


def _check(request: Request, source: str, waveform: Tensor) -> None:
    if not waveform.any():
        raise AudioError(f"{source} is silent", "a sound", "pass another file")
    if request.windows.count(len(waveform)) > 1:
        given = f"{source} is {len(waveform) / request.sample_rate:.1f} s long"
        longest = request.windows.length / request.sample_rate
        raise AudioError(given, f"at most {longest:g} s, which the classifier hears at once", "cut it")
