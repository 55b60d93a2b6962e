"""Audio classifiers of Hugging Face's transformers: their own arithmetic, seen as an `AudioClassifier`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError
from torch import Tensor, nn

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.extractors import (
    KNOWN,
    AstExtractor,
    ExtractorConfig,
    WaveformExtractor,
    linear_spectrogram,
    make_extractor,
)
from earmark.classifiers.taps import Layout, Tokens, tapped
from earmark.errors import ModelError
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig

if TYPE_CHECKING:
    from types import ModuleType

_MAPS = 4
_CLASS_TOKENS = 2  # of an AST, before its patches: the class and the distillation token
_WHISPER_STRIDE = 2  # frames a step, of its second convolution
# What a config may hold that would fetch or run other code, or is not the network's to say.
_NOT_KEPT = ("auto_map", "quantization_config", "dtype", "torch_dtype", "use_kernels", "return_dict")
_FETCHED = ("*.json", "*.safetensors")

Result = TypeVar("Result")


class HuggingFaceConfig(BaseModel):
    """Settings of a Hugging Face audio classifier, enough to build it without the hub.

    Args:
        labels: class names in the order of the logits.
        seconds: length of sound it was trained on.
        spectrogram: settings of the STFT that masks live on.
        multi_label: whether several labels may hold at once.
        extractor: settings of its feature extractor.
        network: the network's own config, with its ``model_type``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ClassVar[str] = "huggingface"

    labels: tuple[str, ...] = Field(min_length=2)
    seconds: PositiveFloat
    spectrogram: SpectrogramConfig
    multi_label: bool = False
    extractor: ExtractorConfig
    network: dict[str, Any]


class HuggingFaceClassifier(AudioClassifier):
    """An ``AutoModelForAudioClassification`` behind its feature extractor.

    It hears sounds at their own level, as the plain pipeline does. The feature maps are four layers, evenly
    spread, the last one included; of networks on waveforms, the last convolution and three layers.

    Args:
        config: its settings.
        network: the network that ``config.network`` describes. If not given, one whose weights are whatever
            lay in memory, for `load_state_dict` to set.
    """

    kind: ClassVar[str] = HuggingFaceConfig.kind
    peak_normalised = False

    def __init__(self, config: HuggingFaceConfig, network: nn.Module | None = None) -> None:
        spectrogram = Spectrogram(config.spectrogram)
        super().__init__(spectrogram, config.labels, config.seconds, config.multi_label)
        self.config = config
        self.extractor = make_extractor(config.extractor, spectrogram, config.network)
        self.has_bands = self.extractor.has_bands
        self.eats = f"what its {config.extractor.kind} gives"
        self.network = _build(config.network) if network is None else network
        self.layers = _layers(self.network, self.extractor)

    def features(self, stft: Tensor) -> Tensor:
        """Return what the feature extractor makes of the sound, without what it appends to it.

        Args:
            stft: complex (batch, bins, frames).

        Returns:
            (batch, mels, frames) or, of networks on waveforms, (batch, 1, samples).
        """
        samples = self.extractor.samples(stft.shape[-1])
        features: Tensor = self.extractor(self.spectrogram.inverse(stft, samples))
        return features

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See `AudioClassifier.representations`; maps are as long as the sound."""
        with tapped(self.network, self.layers, self._width(features)) as maps:
            logits = self.logits(features)
        return logits, list(maps.values())

    def logits(self, features: Tensor) -> Tensor:
        """See `AudioClassifier.logits`."""
        logits: Tensor = self.network(self.extractor.entering(features), return_dict=True).logits
        return logits

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        """See `AudioClassifier.picture`; of networks on waveforms log1p mel magnitudes of the STFT."""
        return self.extractor.picture(stft, features)

    def bands_to_bins(self) -> Tensor:
        """See `AudioClassifier.bands_to_bins`."""
        return self.extractor.bands_to_bins()

    def _width(self, features: Tensor) -> int | None:
        if isinstance(self.extractor, WaveformExtractor):
            return None
        strides = self.config.network.get("time_stride", _WHISPER_STRIDE)
        return math.ceil(features.shape[-1] / strides)


def from_pretrained(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    seconds: float | None = None,
    multi_label: bool | None = None,
) -> HuggingFaceClassifier:
    """Load a trained audio classifier from a local folder, or download it from the Hugging Face hub.

    No code that comes with a model is run. Weights are read from safetensors; where there are none, from a
    ``pytorch_model.bin`` with torch's ``weights_only``.

    Args:
        name_or_folder: a folder that ``save_pretrained`` wrote, with its ``preprocessor_config.json``, which
            is read offline; or a name on the hub.
        revision: branch, tag or commit on the hub.
        seconds: length of sound it was trained on. If not given, the whole seconds that its extractor cuts
            sounds to, and 1 for networks on waveforms.
        multi_label: whether several labels may hold at once; as its config says if not given.

    Raises:
        ModelError: transformers is missing; no such folder or name; not a trained audio classifier; one whose
            feature extractor is not known.
    """
    library = _transformers()
    folder = _found(name_or_folder, revision)
    with _quiet(library):
        settings = _read(folder, library.AutoConfig)
        _check_type(settings, folder)
        extractor = _extractor_config(_read(folder, library.AutoFeatureExtractor), folder)
        config = _config(settings, extractor, folder, seconds, multi_label)
        classifier = HuggingFaceClassifier(config, _trained(library, folder, config.network))
    _try(classifier, folder)
    return classifier


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        given = "Hugging Face's transformers is not installed"
        raise ModelError(given, fix="pip install 'earmark[hf]'") from error
    return transformers


def _found(name_or_folder: str | Path, revision: str | None) -> Path:
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return folder
    name = str(name_or_folder)
    if isinstance(name_or_folder, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"there is no folder {name}", "a folder, or a name on the hub such as owner/model")
    return _download(name, revision)


def _download(name: str, revision: str | None) -> Path:
    """Fetch settings and weights into the hub's own cache."""
    from huggingface_hub import snapshot_download

    def fetch(*patterns: str) -> Path:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))

    what = f"there is no folder {name!r}, and it cannot be had from the Hugging Face hub"
    folder = _told(what, lambda: fetch(*_FETCHED))
    if any(folder.glob("*.safetensors")):
        return folder
    return _told(what, lambda: fetch("*.json", "pytorch_model*.bin"))


def _told(what: str, do: Callable[[], Result]) -> Result:
    """Do what another library does, and tell its errors, which are of many kinds, in one line."""
    try:
        return do()
    except ModelError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(f"{what}: {lines[0] if lines else type(error).__name__}") from error


def _read(folder: Path, kind: Any) -> Any:
    """Read settings from a folder: ``kind`` is AutoConfig or AutoFeatureExtractor."""
    file = "config.json" if kind.__name__ == "AutoConfig" else "preprocessor_config.json"
    return _told(
        f"{folder} has no {file} that transformers can read",
        lambda: kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
    )


def _check_type(settings: Any, folder: Path) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES as KINDS

    if settings.model_type not in KINDS:
        given = f"{folder} holds a model of type {settings.model_type!r}, which is no audio classifier"
        raise ModelError(given, f"one of {', '.join(sorted(KINDS))}")
    if settings.problem_type == "regression" or settings.num_labels < 2:
        given = f"{folder} has {settings.num_labels} label(s) and the problem type {settings.problem_type!r}"
        raise ModelError(given, "a classifier of two or more labels")


def _extractor_config(extractor: Any, folder: Path) -> ExtractorConfig:
    name = type(extractor).__name__
    if name not in KNOWN:
        given = f"{folder} has a feature extractor {name}, whose arithmetic earmark does not know"
        raise ModelError(given, f"one of {', '.join(KNOWN)}")
    fields = KNOWN[name].model_fields.keys() - {"kind"}
    values = {field: getattr(extractor, field) for field in fields}
    try:
        return KNOWN[name].model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        setting = f"{problem['loc'][0]} {problem['input']!r}"
        raise ModelError(f"{folder} has a {name} with {setting}: {problem['msg']}") from None


def _config(
    settings: Any, extractor: ExtractorConfig, folder: Path, seconds: float | None, multi_label: bool | None
) -> HuggingFaceConfig:
    network = _kept(settings.to_dict())
    spectrogram = linear_spectrogram(extractor)
    if seconds is None:
        seconds = make_extractor(extractor, Spectrogram(spectrogram), network).seconds
    if not seconds > 0:
        raise ModelError(f"seconds is {seconds}", "a length of sound, above 0")
    if multi_label is None:
        multi_label = settings.problem_type == "multi_label_classification"
    return HuggingFaceConfig(
        labels=tuple(str(settings.id2label[index]) for index in range(settings.num_labels)),
        seconds=seconds,
        spectrogram=spectrogram,
        multi_label=multi_label,
        extractor=extractor,
        network=network,
    )


def _kept(network: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that say what the network is."""
    return {
        name: value
        for name, value in network.items()
        if name not in _NOT_KEPT and "implementation" not in name and not name.startswith("_")
    }


def _network_config(network: Mapping[str, Any]) -> Any:
    values = _kept(network)
    kind = values.pop("model_type", None)
    return _told(
        f"the settings of a network of type {kind!r} do not describe one",
        lambda: _transformers().AutoConfig.for_model(kind, **values),
    )


def _build(network: Mapping[str, Any]) -> nn.Module:
    library = _transformers()
    try:
        from transformers.initialization import no_init_weights
    except ImportError:  # before transformers 5
        from transformers.modeling_utils import no_init_weights
    settings = _network_config(network)
    with no_init_weights():
        built: nn.Module = _told(
            f"a network of type {settings.model_type!r} cannot be built",
            lambda: library.AutoModelForAudioClassification.from_config(settings),
        )
    return built.float()


def _trained(library: Any, folder: Path, network: Mapping[str, Any]) -> nn.Module:
    settings = _network_config(network)
    loaded, report = _told(
        f"{folder} holds no weights that transformers can load",
        lambda: library.AutoModelForAudioClassification.from_pretrained(
            folder, config=settings, local_files_only=True, trust_remote_code=False, output_loading_info=True
        ),
    )
    missing = sorted(report["missing_keys"])
    if missing:
        given = f"{folder} has no trained weights for {missing[0]}"
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(given + more, "a trained classifier", "fine-tune it first, or pick one that is")
    trained: nn.Module = loaded.float().eval()
    return trained


def _try(classifier: HuggingFaceClassifier, folder: Path) -> None:
    """Run once, so that settings that do not fit each other show here."""
    import torch

    rate = classifier.spectrogram.sample_rate
    silence = torch.zeros(1, min(rate, round(classifier.seconds * rate)))
    with torch.no_grad():
        _told(
            f"the network of {folder} does not take what its feature extractor gives",
            lambda: classifier.hear(classifier.spectrogram(silence)),
        )


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Keep transformers from telling what this module checks itself."""
    logging = library.utils.logging
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # An AST's bank has bands so narrow that no bin lies in them.
            warnings.filterwarnings("ignore", category=UserWarning, module="transformers")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _layers(network: nn.Module, extractor: nn.Module) -> dict[str, Layout]:
    """Return the modules that give the feature maps, and how their outputs lie."""
    settings: Any = network.config
    stack, depth = _stack(network, settings.num_hidden_layers), settings.num_hidden_layers
    if isinstance(extractor, AstExtractor):
        rows = (settings.num_mel_bins - settings.patch_size) // settings.frequency_stride + 1
        columns = (settings.max_length - settings.patch_size) // settings.time_stride + 1
        patches = Tokens(rows, columns, skip=_CLASS_TOKENS)
        layers: dict[str, Layout] = {f"{stack}.{index}": patches for index in _spread(depth, _MAPS)[:-1]}
        # What the last layer makes of the patches is not looked at: they speak to its class tokens through
        # its attention alone, which takes them from here.
        return layers | {f"{stack}.{depth - 1}.layernorm_before": patches}
    if not isinstance(extractor, WaveformExtractor):
        return {f"{stack}.{index}": "btc" for index in _spread(depth, _MAPS)}
    convolutions = max(name for name, _ in network.named_modules() if name.endswith(".conv_layers"))
    last = len(network.get_submodule(convolutions)) - 1  # type: ignore[arg-type]
    layers = {f"{stack}.{index}": "btc" for index in _spread(depth, _MAPS - 1)}
    return {f"{convolutions}.{last}": "bct", **layers}


def _stack(network: nn.Module, depth: int) -> str:
    """Return the name of the list of transformer layers."""
    for name, module in network.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) != depth or "pos_conv_embed" in name:
            continue
        if name.rsplit(".", 1)[-1] in ("layer", "layers"):
            return name
    given = f"a {type(network).__name__} has no list of {depth} transformer layers"
    raise ModelError(given, fix="wrap it with earmark.wrap, and name its layers")


def _spread(depth: int, count: int) -> list[int]:
    """Return which layers to look at, evenly spread, the last one included.

    >>> _spread(12, 4), _spread(2, 4)
    ([2, 5, 8, 11], [0, 1])
    """
    return sorted({max(0, round(depth * step / count) - 1) for step in range(1, count + 1)})
