"""How fast and how big, as ratios within one run on two threads: the speed table of the README.

    python bench/speed.py [--repeats 15] [--into README.md]

Weights are random: they do not change the time. The floor of an explanation is the classifier's own
forward pass, from waveform to logits; that of a training step, three forward passes (the sound, the part
kept, the part removed) and two backward passes of the classifier, down to the spectrum under the mask.
The step is that of the bundled model's recipe.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

import soundfile
import torch
from tables import emit
from torch.utils.flop_counter import FlopCounterMode

import earmark
from earmark import audio
from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.explainers.lmac.decoder import DecoderConfig
from earmark.explainers.lmac.explainer import Lmac, LmacConfig
from earmark.explainers.lmac.training import LmacRecipe, LmacStep
from earmark.memory import keep_freed_memory
from earmark.model import Model, save_model
from earmark.training.recipe import load_recipe

RECIPE = Path(__file__).parent.parent / "recipes" / "esc10" / "lmac.yaml"
LABELS = tuple(f"class {index}" for index in range(50))


def model(width: float, kind: Literal["compact", "paper"] = "compact") -> Model:
    """Return a CNN14 with an untrained L-MAC."""
    classifier = Cnn14(Cnn14Config(labels=LABELS, width=width)).eval().requires_grad_(False)
    explainer = Lmac(classifier, LmacConfig(decoder=DecoderConfig(kind=kind)))
    for module in (classifier, explainer.decoder):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model("bench", classifier, {"lmac": explainer})


def alternate(repeats: int, *actions: Callable[[], object]) -> list[float]:
    """Time actions in turn, so that all suffer the same machine; return the median seconds of each."""
    seconds: list[list[float]] = [[] for _ in actions]
    for repeat in range(repeats + 2):
        for action, times in zip(actions, seconds, strict=True):
            started = time.perf_counter()
            action()
            if repeat >= 2:
                times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in seconds]


def explanation_ratio(width: float, repeats: int) -> tuple[float, float]:
    """Return seconds of the classifier's forward pass, and of an explanation with both WAVs over it."""
    it = model(width)
    waveform = torch.randn(80000) * 0.1

    def forward() -> None:
        with torch.inference_mode():
            it.classifier(waveform[None])

    def explain() -> None:
        explanation = earmark.explain((waveform, 16000), model=it, scores=False)
        audio.write(Path(folder) / "listen.wav", explanation.listenable, explanation.sample_rate)
        audio.write(Path(folder) / "rest.wav", explanation.remainder, explanation.sample_rate)

    with tempfile.TemporaryDirectory() as folder:
        forward_seconds, explain_seconds = alternate(repeats, forward, explain)
    return forward_seconds, explain_seconds / forward_seconds


def training_step(it: Model, batch: int = 8) -> Callable[[], object]:
    """Return a step of L-MAC's training by the bundled model's recipe."""
    explainer = cast("Lmac", it.explainers["lmac"])
    explainer.decoder.train()
    recipe = load_recipe(LmacRecipe, RECIPE)
    step = LmacStep(explainer, recipe.objective, recipe.guidance)
    source, interferer = torch.randn(2, batch, 80000) * 0.1
    labels = torch.zeros(batch, 2, dtype=torch.long)
    decided, area = torch.full((batch,), -1), torch.tensor([0.1, 0.0, 0.0, 0.0]).repeat(batch // 4)
    optimizer = torch.optim.AdamW(step.parameters())

    def train() -> None:
        optimizer.zero_grad()
        step(source, interferer, labels, decided, area)["loss"].backward()
        optimizer.step()

    return train


def step_ratio(width: float, repeats: int, batch: int = 8) -> tuple[float, float]:
    """Return seconds of the classifier's five passes, and of a training step of L-MAC over them."""
    it = model(width)
    source = torch.randn(batch, 80000) * 0.1
    stft = it.classifier.spectrogram(torch.cat([source, source]))

    def passes() -> None:
        with torch.no_grad():
            it.classifier(source)
        it.classifier.logits(it.classifier.features(stft.detach().requires_grad_())).sum().backward()

    passes_seconds, step_seconds = alternate(repeats, passes, training_step(it, batch))
    return passes_seconds, step_seconds / passes_seconds


def decoder_cost(width: float, kind: Literal["compact", "paper"]) -> tuple[float, float]:
    """Return a decoder's millions of parameters, and its FLOPs over the classifier's."""
    it = model(width, kind)
    explainer = cast("Lmac", it.explainers["lmac"])
    with torch.no_grad():
        stft = it.classifier.spectrogram(torch.zeros(1, 80000))
        with FlopCounterMode(display=False) as classifier:
            heard = it.classifier.hear(stft)
        with FlopCounterMode(display=False) as decoder:
            explainer.decoder(heard.picture, heard.representations, torch.tensor([0]), (513, 431))
    parameters = sum(p.numel() for p in explainer.decoder.parameters()) / 1e6
    return parameters, decoder.get_total_flops() / classifier.get_total_flops()


def peak_memory(seconds: float) -> float:
    """Return the peak resident memory in MB of a fresh process that explains so much sound."""
    child = [sys.executable, __file__, "--explain-only", str(seconds)]
    return float(subprocess.run(child, check=True, capture_output=True, text=True).stdout)


def explain_only(seconds: float) -> None:
    """Explain noise, and print this process's peak memory in MB."""
    it = model(0.25)
    earmark.explain((torch.randn(round(seconds * 16000)) * 0.1, 16000), model=it, scores=False)
    # Not getrusage: Linux lets a child begin with its parent's peak.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024)  # type: ignore[index]


def wall(repeats: int, *commands: list[str | Path]) -> list[float]:
    """Return the median seconds of whole processes, run in turn."""
    return alternate(
        repeats, *(lambda c=c: subprocess.run(c, check=True, capture_output=True) for c in commands)
    )


def command_line(repeats: int) -> list[tuple[str, str]]:
    """Time the command line against what it cannot do without."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(model(0.25), folder / "model")
        soundfile.write(folder / "noise.wav", torch.randn(80000).numpy() * 0.1, 16000)
        imports: list[str | Path] = [sys.executable, "-c", "import torch, soundfile, matplotlib.pyplot"]
        run: list[str | Path] = [sys.executable, "-m", "earmark"]
        explain = [
            *run,
            "explain",
            folder / "noise.wav",
            "--model",
            folder / "model",
            "--out",
            folder / "out",
        ]
        version, bare, full = wall(repeats, [*run, "--version"], imports, explain)
    return [
        ("`earmark --version`", f"{version:.2f} s"),
        ("`earmark explain`, one clip / importing torch, soundfile, pyplot", f"{full / bare:.2f}"),
    ]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--into", type=Path, nargs="*", default=[], help="documents that quote the table")
    parser.add_argument("--explain-only", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    keep_freed_memory()  # as the command line does
    torch.manual_seed(0)
    if arguments.explain_only:
        explain_only(arguments.explain_only)
        return
    repeats = arguments.repeats
    lines = []
    for width in (0.25, 1.0):
        seconds, ratio = explanation_ratio(width, repeats)
        lines.append(
            (f"explanation / forward pass ({seconds * 1e3:.0f} ms), width {width:g}", f"{ratio:.2f}")
        )
    for width in (0.25, 1.0):
        seconds, ratio = step_ratio(width, max(3, repeats // 3))
        passes = f"its five classifier passes ({seconds:.2f} s a batch of 8)"
        lines.append((f"training step / {passes}, width {width:g}", f"{ratio:.2f}"))
    kinds: tuple[Literal["compact", "paper"], ...] = ("compact", "paper")
    for kind in kinds:
        parameters, flops = decoder_cost(1.0, kind)
        lines.append(
            (
                f"{kind} decoder at width 1: parameters, FLOPs / classifier's",
                f"{parameters:.2f} M, {flops:.0%}",
            )
        )
    lines.append(("peak memory of explaining 5 s, width 0.25", f"{peak_memory(5):.0f} MB"))
    lines += command_line(max(3, repeats // 3))
    emit("speed", ["what", "figure"], lines, arguments.into)


if __name__ == "__main__":
    main()
