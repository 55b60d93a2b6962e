"""What `wrap` asks of a network and its settings before it runs them: errors that name what is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from earmark.errors import ModelError
from earmark.features.front_ends import FrontEnd, Takes, describe
from earmark.features.spectrogram import SpectrogramConfig


def reachable(network: nn.Module) -> nn.Module:
    """Return what hooks can reach: of a compiled network the one that was compiled."""
    network = getattr(network, "_orig_mod", network)
    if not isinstance(network, nn.Module):
        raise ModelError(f"the network is {describe(network)}", "a torch.nn.Module")
    if isinstance(network, torch.jit.ScriptModule):
        given = "the network is a TorchScript module, into which nobody can look"
        raise ModelError(given, "the torch.nn.Module that it was made from")
    return network


def check_settings(
    labels: Sequence[str], seconds: float, sample_rate: int, multi_label: bool
) -> tuple[str, ...]:
    """See that labels, length and rate can be those of a classifier, and return the labels."""
    if not isinstance(labels, list | tuple) or not labels or not all(isinstance(it, str) for it in labels):
        raise ModelError(f"labels is {labels!r}", "the names of the classes, in their order, in a list")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if list(labels).count(label) > 1)
        raise ModelError(f"the label {twice!r} is there more than once", "names that differ")
    if len(labels) == 1 and not multi_label:
        given = f"{labels[0]!r} is the only label, so it would always have the probability 1"
        raise ModelError(given, "multi_label=True for a yes or no")
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int) or sample_rate < 1:
        raise ModelError(f"sample_rate is {sample_rate!r}", "a whole number of Hz")
    if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ModelError(f"seconds is {seconds!r}", "a length of sound")
    return tuple(labels)


def check_spectrogram(
    spectrogram: SpectrogramConfig | None, sample_rate: int, seconds: float, takes: Takes
) -> SpectrogramConfig:
    """See that an STFT is given where it matters, and fits rate and length, and return it."""
    if spectrogram is None and takes != "waveform":
        given = "spectrogram is missing: what is not a waveform must be made by the STFT of the training"
        raise ModelError(given, "an earmark.SpectrogramConfig with its window and hop")
    if spectrogram is None:
        spectrogram = SpectrogramConfig.at(sample_rate)
    if not isinstance(spectrogram, SpectrogramConfig):
        raise ModelError(f"spectrogram is {spectrogram!r}", "an earmark.SpectrogramConfig")
    if spectrogram.sample_rate != sample_rate:
        given = f"sample_rate is {sample_rate} and the spectrogram's {spectrogram.sample_rate}"
        raise ModelError(given, "one rate", "pass SpectrogramConfig(sample_rate=…) with the same")
    if not seconds * sample_rate >= spectrogram.win_length:
        raise ModelError(f"seconds is {seconds}", f"at least {spectrogram.win_length / sample_rate:.3g}")
    return spectrogram


def check_weights(network: nn.Module, front_end: FrontEnd) -> torch.device:
    """See that all weights are float32 and on one device, and return that."""
    of_network = dict((*network.named_parameters(), *network.named_buffers()))
    own = getattr(front_end, "function", None)
    if isinstance(own, nn.Module):
        of_network |= dict((*own.named_parameters("takes"), *own.named_buffers("takes")))
    for name, value in of_network.items():
        if value.is_floating_point() and value.dtype != torch.float32:
            kind = str(value.dtype).removeprefix("torch.")
            raise ModelError(f"{name} of the network is {kind}", "float32", "call network.float() before")
    devices = {str(value.device) for value in of_network.values()}
    if len(devices) > 1 or "meta" in devices:
        fix = "move it to one with network.to(…)"
        raise ModelError(f"the network is on {' and '.join(sorted(devices))}", "one device with numbers", fix)
    return torch.device(devices.pop() if devices else "cpu")
