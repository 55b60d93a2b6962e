"""What evaluations and checks choose and read alike: clips, what is mixed in, methods that can explain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from earmark.cli.labels import few, known
from earmark.cli.terminal import say
from earmark.errors import DataError, EarmarkError, RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from earmark.data.clips import Clip
    from earmark.explainers.base import Domain, Explainer
    from earmark.model import Model

_MOST_VOICES = 200  # of LJSpeech's 13100, which would fill the memory


def usable(model: Model, domains: Sequence[Domain], quiet: bool = False) -> tuple[str, ...]:
    """Return the methods that can explain a model in reasonable time, and tell of others why they cannot.

    Methods that take a hundred passes a sound or more, or have no masks in these domains, are left out in
    silence, and so are those that must be trained and are not.

    Args:
        model: what is to be explained.
        domains: where masks are to live.
        quiet: whether to tell nothing.
    """
    from earmark.evaluation.evaluate import TRAINED
    from earmark.explainers.base import Trained, registered

    methods = []
    # All that ask for gradients would be slow to try, and without gradients fail at once.
    blind = not model.classifier.passes_gradients()
    for name, kind in registered().items():
        here = [domain for domain in domains if domain in kind.domains]
        untrained = issubclass(kind, Trained) and name not in model.explainers
        if kind.costly or untrained or not here or (kind.needs_examples and TRAINED not in model.explainers):
            continue
        if kind.choosy or (blind and getattr(kind, "needs_gradients", False)):
            reason = _refusal(model.explainer(name).on(here[0]))
            if reason:
                its = f"it{reason.removeprefix(name)}" if reason.startswith(f"{name} ") else reason
                if not quiet:
                    typer.echo(f"{name} is left out: {its}", err=True)
                continue
        methods.append(name)
    return tuple(methods)


def explainers_of(
    model: Model, methods: Sequence[str] | None, domains: Sequence[Domain]
) -> dict[tuple[str, Domain], Explainer]:
    """Return explainers by method and domain; each method in those of the domains that it has.

    Args:
        model: what is to be explained.
        methods: names; all that are `usable`, if not given.
        domains: where masks are to live.

    Raises:
        RecipeError: a method that was asked for has masks in none of them.
    """
    found: dict[tuple[str, Domain], Explainer] = {}
    for method in methods or usable(model, domains):
        explainer = model.explainer(method)
        here = [domain for domain in domains if domain in explainer.domains]
        if not here:
            given = f"{method} has no masks on the {' or the '.join(domains)}"
            raise RecipeError(given, " or ".join(explainer.domains), "change --domains, or leave it out")
        found |= {(method, domain): explainer.on(domain) for domain in here}
    return found


def _refusal(explainer: Explainer) -> str:
    """Return why a method cannot explain one faint noise; nothing if it can."""
    import torch

    classifier = explainer.classifier
    samples = round(classifier.seconds * classifier.spectrogram.sample_rate)
    noise = 0.1 * torch.randn((1, samples), generator=torch.Generator().manual_seed(0))
    noise = noise.to(classifier.device)
    stft = classifier.spectrogram(noise / classifier.level(noise))
    try:
        explainer.masks(stft, torch.zeros(1, dtype=torch.long, device=stft.device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a method may raise
        line = str(error).partition("\n")[0]
        return line if isinstance(error, EarmarkError) else f"{type(error).__name__}: {line}"
    return ""


def of_known_classes(clips: Sequence[Clip], labels: Sequence[str], data: Path) -> list[Clip]:
    """Keep the clips of classes that the model knows, and tell which others there are.

    Raises:
        DataError: none is left, or two have one name.
    """
    kept = [clip for clip in clips if clip.label in labels]
    others = sorted({clip.label for clip in clips} - set(labels))
    if not kept:
        given = f"{data} has the classes {few(others)}"
        raise DataError(given, f"some that the model knows: {known(labels, others)}", "pass its own data")
    name, times = Counter(clip.name for clip in kept).most_common(1)[0]
    if times > 1:
        raise DataError(
            f"{data} has {times} clips named {name!r}", "each once", "rename or remove the others"
        )
    if others:
        left_out = len(clips) - len(kept)
        say(f"{left_out} clips of classes that the model does not know are left out: {few(others)}")
    return kept


def read_recordings(
    wanted: Collection[str], folders: Mapping[str, Path | None], rate: int, split: str = "tt"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Read noises and voices by their names; none of what is not wanted or has no folder.

    Args:
        wanted: "noise" and "speech", or one of them.
        folders: of both, laid out as WHAM! and LJSpeech.
        rate: sample rate in Hz.
        split: of the noises.
    """
    from earmark.data.ljspeech import read_ljspeech
    from earmark.data.noise import read_noise_named

    noise, speech = (folders.get(name) if name in wanted else None for name in ("noise", "speech"))
    noises = read_noise_named(noise, split, rate) if noise else {}
    return noises, read_ljspeech(speech, rate, most=_MOST_VOICES) if speech else {}
