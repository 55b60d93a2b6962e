"""A ticking clock in the rain, made from nothing but numbers, and what a classifier hears in it.

As both parts are known, this tells how much of what an explanation keeps belongs to the sound it names.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import earmark
from earmark import audio
from earmark.features.spectrogram import Spectrogram
from earmark.metrics import energy_share, si_sdr_improvement

Waveform = NDArray[np.float64]

RATE = 16_000
SECONDS = 5.0
SNR_DB = 5.0


class Scene(NamedTuple):
    """Two sounds that are heard together, (samples,) each; their sum has a peak of 0.9."""

    clock: Waveform
    rain: Waveform

    @property
    def mixture(self) -> Waveform:
        """What a microphone would record, (samples,)."""
        return self.clock + self.rain


def make_scene(snr_db: float = SNR_DB, seed: int = 0) -> Scene:
    """Put a clock into the rain, with `snr_db` more energy than it; every seed is another clock."""
    rng = np.random.default_rng(seed)
    clock, rain = make_clock(rng), make_rain(rng)
    rain *= np.linalg.norm(clock) / np.linalg.norm(rain) * 10 ** (-snr_db / 20)
    level = 0.9 / np.abs(clock + rain).max()
    return Scene(level * clock, level * rain)


def make_clock(rng: np.random.Generator) -> Waveform:
    """Let a clock tick and tock two to four times a second in a small room."""
    samples = round(SECONDS * RATE)
    strikes = [make_strike(rng), make_strike(rng)]
    period = 1 / rng.uniform(2, 4)
    dry = np.zeros(samples)
    for count, tick in enumerate(np.arange(rng.uniform(0.05, 0.25), SECONDS - 0.1, period)):
        start = round((tick + rng.normal(0, 0.001)) * RATE)
        strike = rng.uniform(0.85, 1) * strikes[count % 2]
        dry[start : start + len(strike)] += strike
    time = np.arange(round(0.2 * RATE)) / RATE
    echo = rng.normal(0, 0.02, len(time)) * np.exp(-time / 0.03)
    return dry + np.convolve(dry, echo)[:samples]


def make_strike(rng: np.random.Generator) -> Waveform:
    """Make one tick, 80 ms: a lever hits a tooth three times, and the case and the metal ring."""
    time = np.arange(round(0.08 * RATE)) / RATE
    frequency = np.append(rng.uniform(400, 1000), rng.uniform(1500, 6000, 5))
    decay = np.append(rng.uniform(0.006, 0.012), rng.uniform(0.002, 0.008, 5))
    phase = rng.uniform(0, 2 * np.pi, 6)
    modes = np.sin(2 * np.pi * np.outer(frequency, time) + phase[:, None])
    modes *= np.exp(-np.outer(1 / decay, time))
    click = rng.normal(0, 1, len(time)) * np.exp(-time / 0.0008)
    hit = rng.uniform(0.3, 1, 6) @ modes + click
    strike = np.zeros_like(time)
    for delay, level in ((0, 0.5), (rng.uniform(0.004, 0.008), 0.25), (rng.uniform(0.012, 0.02), 1)):
        start = round(delay * RATE)
        strike[start:] += level * hit[: len(hit) - start]
    strike *= np.clip((time[-1] - time) / 0.01, 0, 1)
    return strike / np.abs(strike).max()


def make_rain(rng: np.random.Generator) -> Waveform:
    """Let it rain: the hiss of countless far drops, and three hundred near ones a second."""
    samples = round(SECONDS * RATE)
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    colour = frequency / (frequency + 80) / (1 + (frequency / 2500) ** 2) ** 0.3
    hiss = np.fft.irfft(np.fft.rfft(rng.normal(0, 1, samples)) * colour, samples)
    time = np.arange(round(0.012 * RATE)) / RATE
    drops = np.zeros(samples)
    for start in rng.integers(0, samples - len(time), round(300 * SECONDS)):
        pitch, decay = rng.uniform(1500, 7000), rng.uniform(0.0005, 0.002)
        drop = np.sin(2 * np.pi * pitch * time + rng.uniform(0, 2 * np.pi)) * np.exp(-time / decay)
        drops[start : start + len(time)] += rng.lognormal(0, 0.6) * drop
    return hiss / hiss.std() + 0.5 * drops / drops.std()


def write_scene(scene: Scene, folder: Path) -> Path:
    """Write clock.wav, rain.wav and clock_in_rain.wav, and return the path of the last."""
    folder.mkdir(parents=True, exist_ok=True)
    sounds = {"clock": scene.clock, "rain": scene.rain, "clock_in_rain": scene.mixture}
    for name, waveform in sounds.items():
        audio.write(folder / f"{name}.wav", waveform, RATE)
    return folder / "clock_in_rain.wav"


def explain_scene(scene: Scene, recording: Path, model: str, method: str) -> list[str]:
    """Explain a recording of the scene, write the explanation beside it, and tell about it in plain words."""
    explanation = earmark.explain(recording, model=model, method=method)
    listen, rest, picture, figures = explanation.save(recording.parent)
    alone, without = explanation.scores["probability_in"], explanation.scores["probability_out"]
    lines = [
        f"The classifier heard: {explanation.label} ({explanation.probability:.0%} sure;"
        f" of the kept part alone {alone:.0%}, of the rest alone {without:.0%}).",
        f"  the kept part    {listen}",
        f"  the rest         {rest}",
        f"  a picture        {picture}",
        f"  all figures      {figures}",
    ]
    parts = {"clock_tick": ("clock", scene.clock), "rain": ("rain", scene.rain)}
    if explanation.label not in parts:
        return [*lines, "That is neither the clock nor the rain, so there is nothing to compare it with."]
    name, source = parts[explanation.label]
    kept, before, gain = compare(explanation, source, scene.mixture - source)
    return [
        *lines,
        f"Of the energy it kept, {kept:.0%} lies where the {name} is the louder part"
        f" (in the whole recording: {before:.0%}).",
        f"What it kept is {abs(gain):.1f} dB {'nearer to' if gain >= 0 else 'further from'}"
        f" the true {name} than the whole recording is (SI-SDR).",
    ]


def compare(
    explanation: earmark.Explanation, source: Waveform, interferer: Waveform
) -> tuple[float, float, float]:
    """Hold an explanation against the true parts.

    Returns:
        the share of the kept energy in bins where the source is louder, that of the whole recording,
        and the SI-SDR improvement of the kept sound towards the source in dB.
    """
    rate = explanation.sample_rate
    parts = torch.stack([torch.from_numpy(audio.to_mono_rate(x, RATE, rate)) for x in (source, interferer)])
    spectra = Spectrogram(explanation.spectrogram)(parts).split(1)
    mask = explanation.mask[None]
    kept, before = energy_share(mask, *spectra), energy_share(torch.ones_like(mask), *spectra)
    gain = si_sdr_improvement(explanation.listenable[None], parts.sum(0, keepdim=True), parts[:1])
    return float(kept), float(before), float(gain)


def main() -> None:
    """Make the scene, write it, and explain it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write to (%(default)s)")
    parser.add_argument("--snr", type=float, default=SNR_DB, help="clock over rain in dB (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which clock and rain (%(default)s)")
    parser.add_argument("--model", default="esc10", help="bundled model or model folder (%(default)s)")
    parser.add_argument("--method", default="lmac", help="see `earmark methods` (%(default)s)")
    options = parser.parse_args()
    scene = make_scene(options.snr, options.seed)
    recording = write_scene(scene, options.out)
    print(f"Made {recording}: a ticking clock in rain, at a signal-to-noise ratio of {options.snr:g} dB.")
    print(f"  its true parts   {options.out / 'clock.wav'} {options.out / 'rain.wav'}")
    try:
        print("\n".join(explain_scene(scene, recording, options.model, options.method)))
    except earmark.EarmarkError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
