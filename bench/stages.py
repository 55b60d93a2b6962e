"""Where the time of an explanation goes, and what each way of saving it saves.

    python bench/stages.py [--repeats 15] [--into docs/performance.md]

5 s of sound, two threads, random weights (they do not change the time), a CNN14 of a quarter's width as the
bundled one and of full width. *Stages*: each by itself, over the classifier's forward pass from the waveform
to logits. *Savings*: the same work without and with it, in one run.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import torch
from speed import alternate, model
from tables import emit
from torch.utils.flop_counter import FlopCounterMode

from earmark import audio
from earmark.api import prepare
from earmark.classifiers.cnn14 import Cnn14
from earmark.explainers.lmac.explainer import Lmac
from earmark.features.masking import apply_mask
from earmark.memory import keep_freed_memory

SAMPLES, RATE = 80_000, 16_000
WIDTHS = (0.25, 1.0)


def stages(width: float, repeats: int) -> dict[str, float]:
    """Return the seconds of each stage of an explanation, the whole forward pass first."""
    it = model(width)
    classifier, explainer = cast("Cnn14", it.classifier), cast("Lmac", it.explainers["lmac"])
    waveform = 0.1 * torch.randn(1, SAMPLES)
    target = torch.zeros(1, dtype=torch.long)
    with torch.inference_mode():
        stft = classifier.spectrogram(waveform)
        features = classifier.features(stft)
        heard = classifier.hear(stft)
        mask = explainer.masks(stft, target, heard)
        kept = apply_mask(stft, mask)

    def quiet(action: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            with torch.inference_mode():
                action()

        return run

    with tempfile.TemporaryDirectory() as folder:
        sound = classifier.spectrogram.inverse(kept, SAMPLES)[0].numpy()

        def write() -> None:
            for name in ("listen", "rest"):
                audio.write(Path(folder) / f"{name}.wav", sound, RATE)

        actions: dict[str, Callable[[], object]] = {
            "forward pass": lambda: classifier(waveform),
            "STFT": lambda: classifier.spectrogram(waveform),
            "features": lambda: classifier.features(stft),
            "network": lambda: classifier.representations(features),
            "decoder, mask on the bins": lambda: explainer.masks(stft, target, heard),
            "mask applied": lambda: apply_mask(stft, mask),
            "back to sound": lambda: classifier.spectrogram.inverse(kept, SAMPLES),
            "two WAVs": write,
        }
        found = alternate(repeats, *(quiet(action) for action in actions.values()))
    return dict(zip(actions, found))


def flops(width: float) -> tuple[float, float]:
    """Return GFLOPs of the classifier and of the decoder, for 5 s."""
    it = model(width)
    explainer = cast("Lmac", it.explainers["lmac"])
    with torch.no_grad():
        stft = it.classifier.spectrogram(torch.zeros(1, SAMPLES))
        with FlopCounterMode(display=False) as classifier:
            heard = it.classifier.hear(stft)
        with FlopCounterMode(display=False) as decoder:
            explainer.masks(stft, torch.tensor([0]), heard)
    return classifier.get_total_flops() / 1e9, decoder.get_total_flops() / 1e9


def savings(width: float, repeats: int) -> dict[str, tuple[float, float]]:
    """Return what each saving costs without and with it, in seconds."""
    it = model(width)
    plain = cast("Cnn14", it.classifier).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    last = cast("Cnn14", model(width).classifier)
    folded = last.frozen().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    explainer = cast("Lmac", it.explainers["lmac"])
    windows = 0.1 * torch.randn(8, SAMPLES)
    stft = plain.spectrogram(windows[:1])
    target = torch.zeros(1, dtype=torch.long)
    request = prepare(it)
    sounds = [((window.numpy(), RATE), "noise") for window in windows]

    def classify(network: Cnn14) -> Callable[[], object]:
        def run() -> None:
            with torch.inference_mode():
                network(windows)

        return run

    def masks(known: bool) -> Callable[[], object]:
        def run() -> None:
            with torch.inference_mode():
                heard = plain.hear(stft)
                explainer.masks(stft, target, heard if known else None)

        return run

    pairs = {
        "channels last, 8 windows": (classify(plain), classify(last)),
        "batch norms folded away too": (classify(last), classify(folded)),
        "the first pass used again for the mask": (masks(False), masks(True)),
        "8 windows at once": (
            lambda: [request(*one) for one in sounds],
            lambda: list(request.each(sounds)),
        ),
    }
    return {
        name: cast("tuple[float, float]", tuple(alternate(repeats, *pair))) for name, pair in pairs.items()
    }


def keeping(repeats: int) -> dict[float, tuple[float, float]]:
    """Return by width the seconds of 8 windows before and after the process keeps what it frees."""

    def seconds() -> list[float]:
        windows, found = 0.1 * torch.randn(8, SAMPLES), []
        for width in WIDTHS:
            network = cast("Cnn14", model(width).classifier)
            with torch.inference_mode():
                found += alternate(repeats, partial(network, windows))
        return found

    before = seconds()
    keep_freed_memory()
    return dict(zip(WIDTHS, zip(before, seconds())))


def main() -> None:
    """Measure, and write two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--into", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    memory = keeping(max(5, given.repeats // 2))  # first, as it is kept ever after
    by_width = {width: stages(width, given.repeats) for width in WIDTHS}
    counted = {width: flops(width) for width in WIDTHS}
    rows = [("GFLOPs: classifier, decoder", *(f"{c:.2f}, {d:.2f}" for c, d in counted.values()))]
    for name in by_width[WIDTHS[0]]:
        cells = [(found[name], found[name] / found["forward pass"]) for found in by_width.values()]
        rows.append((name, *(f"{1e3 * seconds:.1f} ms, {ratio:.2f}" for seconds, ratio in cells)))
    emit("stages", ("over the forward pass", *(f"width {width:g}" for width in WIDTHS)), rows, given.into)
    name = "freed memory kept, 8 windows"
    saved = {width: {name: memory[width], **savings(width, max(5, given.repeats // 2))} for width in WIDTHS}
    lines = [
        (name, *(f"{1e3 * found[name][0]:.0f} → {1e3 * found[name][1]:.0f} ms" for found in saved.values()))
        for name in saved[WIDTHS[0]]
    ]
    emit("savings", ("without → with", *(f"width {width:g}" for width in WIDTHS)), lines, given.into)


if __name__ == "__main__":
    main()
