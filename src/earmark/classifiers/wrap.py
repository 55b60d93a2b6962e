"""Anyone's network as an `AudioClassifier`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.layers import Layer, choose, look_through
from earmark.classifiers.taps import Layout, check_layer, tapped
from earmark.errors import ModelError
from earmark.features.front_ends import LogMel, Mfcc, Takes, describe, make_front_end
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig

_SAME = 1e-4  # how far two answers to one sound may lie apart, of the largest logit
Layers = Sequence[str] | Mapping[str, Layout]


class WrappedClassifier(AudioClassifier):
    """A network of one's own behind the interface that every explainer asks; made by `wrap`.

    Args:
        network: gives logits for what the front end and the layout make of a sound.
        spectrogram: the STFT that masks live on.
        labels: class names in the order of the logits.
        seconds: the length of sound it was trained on.
        takes: what it eats.
        layout: the axes of that, see `arrange`; by default those of the front end.
        multi_label: whether several labels may hold at once.
        output: where in what it gives the logits are: a key, an attribute or a place; None for a tensor.
    """

    peak_normalised = False

    def __init__(
        self,
        network: nn.Module,
        spectrogram: Spectrogram,
        labels: tuple[str, ...],
        seconds: float,
        takes: Takes,
        layout: str | None,
        multi_label: bool,
        output: str | int | None,
    ) -> None:
        super().__init__(spectrogram, labels, seconds, multi_label)
        self.network = network
        self.front_end = make_front_end(takes, spectrogram, round(seconds * spectrogram.sample_rate))
        self.layout = layout or self.front_end.layout
        self.eats = f"{_name_of(takes)}, {self.layout}"
        self.output = output
        self.layers: dict[str, Layout] = {}
        self.hears_phase = self.front_end.hears_phase
        self.has_bands = self.front_end.has_bands

    def features(self, stft: Tensor) -> Tensor:
        """See `AudioClassifier.features`."""
        features: Tensor = self.front_end(stft)
        return features

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        """See `AudioClassifier.picture`."""
        return self.front_end.picture(stft, features)

    def bands_to_bins(self) -> Tensor:
        """See `AudioClassifier.bands_to_bins`."""
        return self.front_end.bands_to_bins()

    def logits(self, features: Tensor) -> Tensor:
        """See `AudioClassifier.logits`."""
        entering = arrange(self.front_end.enter(features), self.layout)
        return self._checked(self.network(entering), len(features))

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See `AudioClassifier.representations`."""
        with tapped(self.network, self.layers) as maps:
            logits = self.logits(features)
        silent = [name for name in self.layers if name not in maps]
        if silent:
            given = f"the module {silent[0]!r} did not run"
            raise ModelError(given, "a layer that each sound goes through", "pick another")
        return logits, list(maps.values())

    def _checked(self, output: Any, batch: int) -> Tensor:
        name = type(self.network).__name__
        logits = _pick(output, self.output, name)
        expected = f"logits of shape ({batch}, {len(self.labels)}), one for each label"
        if not isinstance(logits, Tensor):
            fix = "name the part that holds them: output='logits', or output=0"
            raise ModelError(f"{name} gives {describe(logits)}", expected, fix)
        if logits.shape != (batch, len(self.labels)) or not logits.is_floating_point():
            fix = "pool over time before, or pass as many labels as the network has classes"
            raise ModelError(f"{name} gives {describe(logits)}", expected, fix)
        return logits


def wrap(
    network: nn.Module,
    *,
    sample_rate: int,
    labels: Sequence[str],
    seconds: float,
    takes: Takes = "waveform",
    layout: str | None = None,
    layers: Layers | None = None,
    multi_label: bool = False,
    output: str | int | None = None,
    spectrogram: SpectrogramConfig | None = None,
) -> WrappedClassifier:
    """Make an `AudioClassifier` of any network, for every explainer, metric and training here.

    The network is used as it is and put in evaluation mode; modules that work in place are told not to.

    Args:
        network: returns logits, (batch, classes), before any softmax or sigmoid.
        sample_rate: in Hz, of the sounds that it was trained on.
        labels: the names of its classes, in their order.
        seconds: how long those sounds were; shorter ones are padded with silence, longer ones cut.
        takes: what it eats: "waveform"; "complex", "magnitude" or "power" of the STFT; `LogMel` or `Mfcc`
            settings; or a function of the complex STFT, (batch, bins, frames), that returns real features,
            (batch, rows, frames).
        layout: the axes of what it eats, one letter each: b batch, f frequency, t time, 1 an axis of one. By
            default "bt" for waveforms, else "bft"; "b1ft" is an image, "btf" a sequence of frames.
        layers: which modules' outputs explanations are made from, shallow to deep, as `named_modules` names
            them; a mapping also says what the axes of each are: "bcft", "bctf", "bct", "btc", or `Tokens`.
            Up to four are chosen if none are named; `list_layers` lists them all.
        multi_label: whether several labels may hold at once (sigmoid) or exactly one does (softmax).
        output: where the logits are in a tuple, dict or object that the network returns.
        spectrogram: the STFT that masks live on; but for waveforms the one of the network's training.

    Returns:
        the classifier, on the network's device.

    Raises:
        ModelError: the network gives something else than logits, gives two answers to one sound, is not in
            float32, is spread over devices, has no such layers, or cannot take sounds of this length.

    >>> layers = nn.Conv1d(1, 8, 64, 32), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2)
    >>> network = nn.Sequential(*layers)
    >>> classifier = wrap(network, sample_rate=8000, labels=("dog", "rain"), seconds=1.0, layout="b1t")
    >>> tuple(classifier(torch.randn(3, 8000)).shape), list(classifier.layers)
    ((3, 2), ['1'])
    """
    spectrogram = spectrogram or SpectrogramConfig.at(sample_rate)
    names = _check_settings(labels, seconds, sample_rate, spectrogram)
    _check_weights(network)
    for module in network.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    classifier = WrappedClassifier(
        network.eval(), Spectrogram(spectrogram), names, seconds, takes, layout, multi_label, output
    )
    classifier.to(_device(network))
    _probe(classifier)
    classifier.layers = _named(classifier, layers) if layers else _chosen(classifier)
    _check_layers(classifier)
    return classifier


def list_layers(classifier: WrappedClassifier) -> list[Layer]:
    """List what each module of a wrapped network gives, in the order in which they run.

    Args:
        classifier: what `wrap` returned.

    Returns:
        name, kind, shape and layout of each, and whether it is one of the representations.

    >>> layers = nn.Conv1d(1, 8, 64, 32), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2)
    >>> network = nn.Sequential(*layers)
    >>> classifier = wrap(network, sample_rate=8000, labels=("dog", "rain"), seconds=1.0, layout="b1t")
    >>> for layer in list_layers(classifier)[:2]:
    ...     print(layer.name, layer.kind, layer.shape, layer.layout, layer.chosen)
    0 Conv1d (8, 249) bct False
    1 ReLU (8, 249) bct True
    """
    samples = round(classifier.seconds * classifier.spectrogram.sample_rate)

    def run(length: int) -> Tensor:
        features = classifier.features(_stft(classifier, length)).detach()
        try:
            with torch.enable_grad():
                return classifier.logits(features.clone().requires_grad_())
        except RuntimeError:  # what leaves torch on the way takes no tensor with a gradient
            return classifier.logits(features)

    wide = "t" in classifier.layout and "f" in classifier.layout
    time_first = wide and classifier.layout.index("t") < classifier.layout.index("f")
    layers = look_through(
        classifier.network, lambda: run(samples), lambda: run(samples + samples // 2), time_first
    )
    return [replace(layer, chosen=layer.name in classifier.layers) for layer in layers]


def arrange(features: Tensor, layout: str) -> Tensor:
    """Bring features, (batch, rows, columns), to the axes that a network wants.

    Args:
        features: (batch, rows, columns).
        layout: one letter an axis: b batch, f rows, t columns, 1 an axis of one; without f, the one row goes.

    Raises:
        ModelError: the layout has other letters, or drops rows.

    >>> tuple(arrange(torch.ones(2, 40, 100), "b1tf").shape)
    (2, 1, 100, 40)
    """
    kept = layout.replace("1", "")
    if not (sorted(kept) in (["b", "f", "t"], ["b", "t"]) and layout[0] == "b"):
        fix = "for example 'b1ft' for an image, or 'btf' for a sequence of frames"
        raise ModelError(f"layout is {layout!r}", "'b' first, then 't', 'f' and '1'", fix)
    if "f" not in kept:
        if features.shape[1] != 1:
            given = f"layout {layout!r} has no 'f', and the features are {tuple(features.shape)}"
            raise ModelError(given, "one row", "say where the rows go, such as 'bft'")
        features = features[:, 0]
    else:
        features = features.permute(["bft".index(axis) for axis in kept])
    for place, axis in enumerate(layout):
        if axis == "1":
            features = features.unsqueeze(place)
    return features


def _name_of(takes: Takes) -> str:
    if isinstance(takes, str | LogMel | Mfcc):
        return str(takes)
    return getattr(takes, "__name__", type(takes).__name__)


def _pick(output: Any, which: str | int | None, name: str) -> Any:
    if which is None:
        return output
    try:
        return getattr(output, which) if isinstance(which, str) and hasattr(output, which) else output[which]
    except (KeyError, IndexError, TypeError) as error:
        given = f"{name} gives {describe(output)}"
        raise ModelError(given, f"something with {which!r}", "change output") from error


def _check_settings(
    labels: Sequence[str], seconds: float, sample_rate: int, spectrogram: SpectrogramConfig
) -> tuple[str, ...]:
    if isinstance(labels, str) or len(labels) < 1 or not all(isinstance(label, str) for label in labels):
        raise ModelError(f"labels is {labels!r}", "the names of the classes, in their order")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if list(labels).count(label) > 1)
        raise ModelError(f"the label {twice!r} is there more than once", "names that differ")
    if spectrogram.sample_rate != sample_rate:
        given = f"sample_rate is {sample_rate} and the spectrogram's {spectrogram.sample_rate}"
        raise ModelError(given, "one rate", "pass SpectrogramConfig(sample_rate=…) with the same")
    if not seconds * sample_rate >= spectrogram.win_length:
        raise ModelError(f"seconds is {seconds}", f"at least {spectrogram.win_length / sample_rate:.3g}")
    return tuple(labels)


def _check_weights(network: nn.Module) -> None:
    if not isinstance(network, nn.Module):
        raise ModelError(f"the network is {describe(network)}", "a torch.nn.Module")
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if value.is_floating_point() and value.dtype != torch.float32:
            kind = str(value.dtype).removeprefix("torch.")
            raise ModelError(f"{name} of the network is {kind}", "float32", "call network.float() before")
    devices = {str(value.device) for value in (*network.parameters(), *network.buffers())}
    if len(devices) > 1 or "meta" in devices:
        fix = "move it to one with network.to(…)"
        raise ModelError(f"the network is on {' and '.join(sorted(devices))}", "one device with numbers", fix)


def _device(network: nn.Module) -> torch.device:
    for value in (*network.parameters(), *network.buffers()):
        return value.device
    return torch.device("cpu")


def _stft(classifier: AudioClassifier, samples: int) -> Tensor:
    """Return the spectra of two faint noises."""
    noise = 0.1 * torch.randn((2, samples), generator=torch.Generator().manual_seed(0))
    return classifier.spectrogram(noise.to(classifier.device))


def _probe(classifier: WrappedClassifier) -> None:
    """Run the network twice on two sounds of its own length, and see that it gives the same logits."""
    samples = round(classifier.seconds * classifier.spectrogram.sample_rate)
    name = type(classifier.network).__name__
    with torch.no_grad():
        features = classifier.features(_stft(classifier, samples))
        try:
            once, again = (classifier.logits(features) for _ in range(2))
        except ModelError:
            raise
        except Exception as error:
            eaten = arrange(classifier.front_end.enter(features), classifier.layout)
            reason = str(error).strip().partition("\n")[0]
            given = f"{name} cannot take {describe(eaten)} ({classifier.seconds:g} s): {reason}"
            raise ModelError(given, fix="check takes, layout, seconds and spectrogram") from error
    if not once.isfinite().all():
        raise ModelError(f"{name} gives no finite numbers for noise", fix="check its weights and takes")
    apart = float((once - again).abs().max())
    if apart > _SAME * float(once.abs().max()):
        given = f"{name} gives two answers to one sound, {apart:.3g} apart, in evaluation mode"
        raise ModelError(given, "the same twice", "let its dropout heed module.training")
    total = once.sum(1)
    if once.min() >= 0 and once.shape[1] > 1 and (total - 1).abs().max() < 1e-4:
        given = f"{name} gives probabilities: they sum to one"
        raise ModelError(
            given, "logits", "leave out its last softmax, or take the logarithm of what it gives"
        )


def _chosen(classifier: WrappedClassifier) -> dict[str, Layout]:
    found = {layer.name: layer.layout for layer in choose(list_layers(classifier)) if layer.layout}
    if not found:
        name = type(classifier.network).__name__
        given = f"no inner module of {name} gives something over time that its logits depend on"
        raise ModelError(given, "at least one", "write what it does as modules, and name them with layers=…")
    return found


def _named(classifier: WrappedClassifier, layers: Layers) -> dict[str, Layout]:
    names = [layers] if isinstance(layers, str) else list(layers)
    modules = dict(classifier.network.named_modules())
    for name in names:
        check_layer(modules, name)
    if isinstance(layers, Mapping):
        return dict(layers)
    known = {layer.name: layer for layer in list_layers(classifier)}
    return {name: _layout_of(name, known) for name in names}


def _layout_of(name: str, known: Mapping[str, Layer]) -> Layout:
    if name not in known:
        given = f"the module {name!r} gives no tensor with the batch first, or does not run"
        raise ModelError(given, "one that does", "pick another")
    layer = known[name]
    if layer.layout is None:
        raise ModelError(f"the module {name!r} gives (batch, {str(layer.shape)[1:]}", "2, 3 or 4 axes")
    if not layer.counts:
        raise ModelError(f"the logits do not depend on the module {name!r}", "a layer that they do on")
    return layer.layout


def _check_layers(classifier: WrappedClassifier) -> None:
    """Run once with all layers tapped, so that what is wrong with them shows here."""
    samples = round(classifier.seconds * classifier.spectrogram.sample_rate)
    with torch.no_grad():
        classifier.representations(classifier.features(_stft(classifier, samples)))
