"""Anyone's network as an `AudioClassifier`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from earmark.classifiers.base import AudioClassifier, evaluating
from earmark.classifiers.checks import check_settings, check_spectrogram, check_weights, reachable
from earmark.classifiers.layers import Layer, choose, look_through
from earmark.classifiers.taps import Layout, check_layer, tapped
from earmark.errors import ModelError
from earmark.features.front_ends import Bands, LogMel, Mfcc, Takes, describe, make_front_end
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
        bands: what the rows of pictures that it makes itself are.
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
        bands: Bands | None,
    ) -> None:
        super().__init__(spectrogram, labels, seconds, multi_label)
        self.network = network
        samples = round(seconds * spectrogram.sample_rate)
        self.front_end = make_front_end(takes, spectrogram, samples, bands)
        self.layout = layout or self.front_end.layout
        self.eats = f"{_name_of(takes)}, {self.layout}"
        self.output, self.bands = output, bands
        self.layers: dict[str, Layout] = {}
        self._recurrent = any(isinstance(module, nn.RNNBase) for module in network.modules())
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

    def maps_to_bins(self) -> Tensor | None:
        """See `AudioClassifier.maps_to_bins`."""
        return self.front_end.maps_to_bins()

    @property
    def settings(self) -> str:
        """All that makes the same weights another classifier, as text."""
        its = self.spectrogram.config, self.seconds, self.labels, self.multi_label, self.eats
        return repr((*its, self.output, self.bands, self.layers))

    def logits(self, features: Tensor) -> Tensor:
        """See `AudioClassifier.logits`."""
        # A copy, as a network may change what it is given.
        entering = arrange(self.front_end.enter(features), self.layout).clone()
        # On CUDA, recurrent networks in evaluation mode have gradients only without cuDNN.
        with torch.backends.cudnn.flags(enabled=not (self._recurrent and features.requires_grad)):
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

    def frozen(self) -> Self:
        """See `AudioClassifier.frozen`."""
        # What weight norms computed with a gradient cannot be copied.
        with evaluating(self), torch.no_grad():
            self.logits(self.features(_stft(self, self._samples)))
        return super().frozen()

    @property
    def _samples(self) -> int:
        return round(self.seconds * self.spectrogram.sample_rate)

    def _checked(self, output: Any, batch: int) -> Tensor:
        name = type(self.network).__name__
        logits = _pick(output, self.output, name)
        expected = f"logits of shape ({batch}, {len(self.labels)}), one for each label"
        if not isinstance(logits, Tensor):
            fix = "name the part that holds them: output='logits', or output=0"
            raise ModelError(f"{name} gives {describe(logits)}", expected, fix)
        if logits.shape != (batch, len(self.labels)) or not logits.is_floating_point():
            fix = "pass as many labels as the network has classes, or pool over time before"
            if logits.shape == (batch, 1):
                fix = "one output is one yes or no: pass one label and multi_label=True"
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
    bands: Bands | None = None,
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
        spectrogram: the STFT that masks live on; the one of the network's training, and needed, but for
            waveforms.
        bands: for a network or function that makes a spectrogram of its own: what its rows are, "linear" for
            all bins or the `LogMel` settings. Without, its feature maps are taken to speak of time alone.

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
    network = reachable(network)
    names = check_settings(labels, seconds, sample_rate, multi_label)
    spectrogram = check_spectrogram(spectrogram, sample_rate, seconds, takes)
    classifier = WrappedClassifier(
        network, Spectrogram(spectrogram), names, seconds, takes, layout, multi_label, output, bands
    )
    classifier.eval().to(check_weights(network, classifier.front_end))
    for module in classifier.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    _probe(classifier)
    classifier.layers = _chosen(classifier) if layers is None else _named(classifier, layers)
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
    samples = classifier._samples

    def run(length: int, later: bool = False) -> Tensor:
        features = classifier.features(_stft(classifier, length, later)).detach()
        try:
            with torch.enable_grad():
                return classifier.logits(features.clone().requires_grad_())
        except RuntimeError:  # what leaves torch on the way takes no tensor with a gradient
            return classifier.logits(features)

    wide = "t" in classifier.layout and "f" in classifier.layout
    layers = look_through(
        classifier.network,
        run=lambda: run(samples),
        longer=lambda: run(samples + samples // 2),
        later=lambda: run(samples, later=True),
        time_before_frequency=wide and classifier.layout.index("t") < classifier.layout.index("f"),
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


def _stft(classifier: AudioClassifier, samples: int, later: bool = False) -> Tensor:
    """Return the spectra of two faint noises, the second halves of which may be others."""
    noise = 0.1 * torch.randn((2, samples), generator=torch.Generator().manual_seed(0))
    if later:
        noise[:, samples // 2 :] = noise[:, samples // 2 :].flip(0)
    return classifier.spectrogram(noise.to(classifier.device))


def _probe(classifier: WrappedClassifier) -> None:
    """Run the network on sounds of its own length, and see that it gives logits, and the same ones twice."""
    name = type(classifier.network).__name__
    stft = _stft(classifier, classifier._samples)
    with torch.no_grad():
        once, again = (_answers(classifier, stft, name) for _ in range(2))
        if not once.isfinite().all():
            raise ModelError(f"{name} gives no finite numbers for noise", fix="check its weights and takes")
        alone = torch.cat([_answers(classifier, one, name) for one in stft.split(1)])
    largest = float(once.abs().max())
    for other, what, fix in (
        (again, "in evaluation mode", "let its dropout heed module.training"),
        (alone, "alone and beside another", "let it treat each sound by itself"),
    ):
        apart = float((once - other).abs().max())
        if apart > _SAME * largest:
            given = f"{name} gives two answers to one sound, {apart:.3g} apart, {what}"
            raise ModelError(given, "the same twice", fix)
    _check_logits(classifier, stft, name)


def _answers(classifier: WrappedClassifier, stft: Tensor, name: str) -> Tensor:
    eaten = None
    try:
        features = classifier.features(stft)
        eaten = arrange(classifier.front_end.enter(features), classifier.layout)
        return classifier.logits(features)
    except ModelError:
        raise
    except Exception as error:  # whatever a network of somebody's own may raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if eaten is None:
            given = f"the front end cannot take spectra of shape {tuple(stft.shape)}: {reason}"
            raise ModelError(given, fix="check takes") from error
        given = f"{name} cannot take {describe(eaten)} ({classifier.seconds:g} s): {reason}"
        raise ModelError(given, fix="check takes, layout, seconds and spectrogram") from error


def _check_logits(classifier: WrappedClassifier, stft: Tensor, name: str) -> None:
    """See that what a network gives are no probabilities yet."""
    with torch.enable_grad():
        features = classifier.features(stft).detach()
        try:
            logits = classifier.logits(features.clone().requires_grad_())
        except RuntimeError:  # what leaves torch on the way takes no tensor with a gradient
            logits = classifier.logits(features)
    last = logits.grad_fn.name() if logits.grad_fn else ""
    sum_to_one = logits.shape[1] > 1 and (logits >= 0).all() and (logits.sum(1) - 1).abs().max() < 1e-4
    if sum_to_one or last.startswith(("SoftmaxBackward", "SigmoidBackward")):
        which = "they sum to one" if sum_to_one else f"its last step is {last.partition('Backward')[0]}"
        fix = "leave out its last softmax or sigmoid, or name the logits with output"
        raise ModelError(f"{name} gives probabilities: {which}", "logits", fix)


def _chosen(classifier: WrappedClassifier) -> dict[str, Layout]:
    return {layer.name: layer.layout for layer in choose(list_layers(classifier)) if layer.layout}


def _named(classifier: WrappedClassifier, layers: Layers) -> dict[str, Layout]:
    """Return the layers that were named, in the order in which they run."""
    names = [layers] if isinstance(layers, str) else list(layers)
    modules = dict(classifier.network.named_modules())
    for name in names:
        check_layer(modules, name)
    known = {layer.name: layer for layer in list_layers(classifier)}
    found: dict[str, Layout] = {name: _layout_of(name, known) for name in names}
    if isinstance(layers, Mapping):
        found |= dict(layers)
    order = list(known)
    classifier.layers = dict(sorted(found.items(), key=lambda item: order.index(item[0])))
    with torch.no_grad():  # so that axes that do not fit show here
        classifier.representations(classifier.features(_stft(classifier, classifier._samples)))
    return classifier.layers


def _layout_of(name: str, known: Mapping[str, Layer]) -> Layout:
    if name not in known:
        given = f"the module {name!r} gives no tensor with the batch first, or does not run"
        raise ModelError(given, "one that does", "pick another")
    layer = known[name]
    if not layer.counts:
        raise ModelError(f"the logits do not depend on the module {name!r}", "a layer that they do on")
    if layer.layout in (None, "bc"):
        given = f"the module {name!r} gives (batch, {', '.join(map(str, layer.shape))})"
        raise ModelError(given, "something over time", "pick a layer before the pooling")
    return layer.layout
