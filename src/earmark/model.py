"""A classifier and what was trained to explain it, in memory and as a folder of JSON and safetensors."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from earmark.bundled import CONFIG, bundled, find_model
from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.checkpoints import check_weights
from earmark.classifiers.fingerprint import fingerprint
from earmark.errors import ModelError, OutputError
from earmark.explainers.base import Explainer, Trained, find, names, registered
from earmark.files import write_bytes, write_text

__all__ = ["Model", "bundled", "load_model", "save_model"]

_COPY_AGAIN = "copy or train the model again"
_WEIGHTS = "classifier.safetensors"
_MOST_LABELS = 12  # in an error line

Config = TypeVar("Config", bound=BaseModel)


@dataclass(frozen=True)
class Model:
    """A classifier and the explainers that were trained for it.

    Args:
        name: the bundled name, or the folder's.
        classifier: what is explained.
        explainers: the trained ones, by method name.
    """

    name: str
    classifier: AudioClassifier
    explainers: dict[str, Trained] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put the classifier in evaluation mode: dropout and batch statistics change what it says."""
        self.classifier.eval()

    @property
    def device(self) -> torch.device:
        """Where the classifier's weights are."""
        return self.classifier.device

    def to(self, device: str | torch.device) -> Model:
        """Move all weights to a device, in place, and return the model.

        Raises:
            ModelError: there is no such device here.
        """
        _check_device(device)
        for module in (self.classifier, *(explainer.weights for explainer in self.explainers.values())):
            module.to(device)
        return self

    def fingerprints(self) -> dict[str, str]:
        """Return what changes with any weight, of the classifier and of trained explainers by name."""
        trained = {name: fingerprint(explainer.weights) for name, explainer in self.explainers.items()}
        return {"classifier": fingerprint(self.classifier), **trained}

    def explainer(self, method: str) -> Explainer:
        """Return what explains by a method: the trained one, or a new one where nothing is trained.

        Args:
            method: its name, and a variant of it after "@", such as "l2i@0.4".

        Raises:
            ModelError: there is no such method or variant, or it must be trained and is not.
        """
        method, marked, variant = method.partition("@")
        explainer = self.explainers.get(method) or self._new(method)
        return explainer.variant(variant) if marked else explainer

    def _new(self, method: str) -> Explainer:
        kind = find(method)
        if issubclass(kind, Trained):
            trained = ", ".join(self.explainers) or "none"
            fix = f"train one with `earmark train {method}`, or pick another of `earmark methods`"
            raise ModelError(f"the model {self.name!r} has no trained {method!r} (it has {trained})", fix=fix)
        return kind(self.classifier)


def lacks_classifier(name_or_dir: str | Path) -> bool:
    """Return whether a model folder holds explainers alone, for a network of one's own.

    Raises:
        ModelError: no such model, or its config cannot be read.
    """
    return _read_config(find_model(name_or_dir) / CONFIG).classifier.get("kind") == _EXTERNAL


def save_model(model: Model, folder: str | Path, half: bool = False) -> None:
    """Write a model as a folder: config.json, classifier.safetensors, and METHOD.safetensors per explainer.

    Each file is written whole, the config last, so that a folder with a config is complete. Of a network
    of your own, which only its own code can build, the folder has labels and a fingerprint of its weights
    and settings instead, and `load_model` is to be given the network again.

    Args:
        model: a classifier and its explainers.
        folder: made if missing; files of these names in it are replaced.
        half: store weights of two and more dimensions as float16, which halves the files.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    classifier = _describe(model.classifier)
    _make(folder)
    if classifier["kind"] != _EXTERNAL:
        _save_weights(model.classifier, folder / _WEIGHTS, half)
    for method, explainer in model.explainers.items():
        _save_weights(explainer.weights, folder / f"{method}.safetensors", half)
    config = {
        "format": 1,
        "classifier": classifier,
        "explainers": {
            name: explainer.config.model_dump(mode="json") for name, explainer in model.explainers.items()
        },
    }
    write_text(folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def load_model(
    name_or_dir: str | Path,
    device: str | torch.device = "cpu",
    classifier: AudioClassifier | None = None,
    methods: Collection[str] | None = None,
) -> Model:
    """Load a bundled model or a model folder, ready to explain: in eval mode, frozen, float32.

    Args:
        name_or_dir: a folder that `save_model` wrote, or a name of `bundled`.
        device: where the weights go, as torch names it.
        classifier: the network that the folder's explainers were trained for, where it is one of your own;
            it moves to the device as well.
        methods: which of the folder's explainers are wanted, as each takes its time; all, if not given or if
            it lacks one of them.

    Raises:
        ModelError: no such model or device; a file is missing, corrupt, or does not fit the others; a
            network of your own is not given, or is not the one.
    """
    _check_device(device)
    folder = find_model(name_or_dir)
    config = _read_config(folder / CONFIG)
    # Whatever new networks still draw, the caller's own chance must not change by it.
    with torch.random.fork_rng(devices=[]):
        classifier = _load_classifier(config.classifier, folder, classifier)
        some = methods is not None and config.explainers.keys() >= set(methods)
        explainers = {
            method: _load_explainer(method, settings, classifier, folder)
            for method, settings in config.explainers.items()
            if not some or method in (methods or ())
        }
    return Model(folder.resolve().name, classifier, explainers).to(device)


class _NoFirstWeights(TorchFunctionMode):
    """Builds networks without their random first weights: drawing them takes longer than reading a file.

    What is drawn into other tensors than parameters is drawn: functions such as `trunc_normal_` draw into
    tensors of their own until all numbers lie between two bounds.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensor = args[0] if args else kwargs.get("tensor")
        drawing = getattr(function, "__name__", "") in ("uniform_", "normal_")
        if getattr(function, "__module__", "") == "torch.nn.init" or (
            drawing and isinstance(tensor, nn.Parameter)
        ):
            return tensor
        return function(*args, **kwargs)


class _FolderConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    classifier: dict[str, Any]
    explainers: dict[str, dict[str, Any]] = {}


class _Network(NamedTuple):
    """A kind of classifier that has a config: the file in `classifiers`, and what is imported from it."""

    file: str
    config: str
    build: str


_NETWORKS = {
    "cnn14": _Network("cnn14", "Cnn14Config", "Cnn14"),
    "huggingface": _Network("huggingface", "HuggingFaceConfig", "HuggingFaceClassifier"),
    "panns": _Network("panns", "PannsConfig", "Panns"),
}
_EXTERNAL = "external"


class _External(BaseModel):
    """What a folder says of a network that it does not hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: tuple[str, ...]
    fingerprint: str

    @classmethod
    def of(cls, classifier: AudioClassifier) -> _External:
        return cls(labels=classifier.labels, fingerprint=fingerprint(classifier))


def _describe(classifier: AudioClassifier) -> dict[str, Any]:
    kind = getattr(classifier, "kind", _EXTERNAL)
    if kind not in _NETWORKS:
        return {"kind": _EXTERNAL, **_External.of(classifier).model_dump(mode="json")}
    settings: BaseModel = classifier.config  # type: ignore[assignment]
    return {"kind": kind, **settings.model_dump(mode="json")}


def _check_device(device: str | torch.device) -> None:
    try:
        known = torch.device(device).type != "meta"  # which holds no numbers
    except RuntimeError:
        known = False
    if not known:
        raise ModelError(f"there is no device {str(device)!r}", "cpu, cuda, cuda:1, mps or the like")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ModelError(f"device {str(device)!r} cannot be used here: {reason}", fix="use cpu") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        given = f"cannot make the folder {folder}: {error.strerror or error}"
        raise OutputError(given, fix="check its permissions, or choose another folder") from error


def _save_weights(module: nn.Module, path: Path, half: bool) -> None:
    weights = {
        name: (value.half() if half and value.ndim > 1 and value.is_floating_point() else value)
        for name, value in module.state_dict().items()
    }
    write_bytes(path, save({name: value.detach().cpu().contiguous() for name, value in weights.items()}))


def _read_config(path: Path) -> _FolderConfig:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        fix = "pass the folder that `earmark train` wrote"
        raise ModelError(f"{path} is missing", "a model folder", fix) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}", fix=_COPY_AGAIN) from error
    if isinstance(values, dict) and values.get("format", 1) != 1:
        fix = "update earmark, or train the model again"
        raise ModelError(f"{path} has format {values['format']!r}", "format 1", fix)
    return _validated(_FolderConfig, values, path)


def _validated(settings: type[Config], values: Any, path: Path) -> Config:
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'content'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ModelError(f"{path} does not describe a model: {problems}", fix=_COPY_AGAIN) from None


def _load_classifier(
    values: Mapping[str, Any], folder: Path, given: AudioClassifier | None
) -> AudioClassifier:
    values = dict(values)
    kind = values.pop("kind", None)
    if kind == _EXTERNAL:
        return _checked(given, _validated(_External, values, folder / CONFIG), folder)
    if given is not None:
        fix = "load it without your own"
        raise ModelError(f"{folder} holds its own classifier", "none besides it", fix)
    if kind not in _NETWORKS:
        known = ", ".join(map(repr, sorted({*_NETWORKS, _EXTERNAL})))
        given_kind = f"{folder / CONFIG} has a classifier of kind {kind!r}"
        raise ModelError(given_kind, f"one of {known}", "update earmark, or copy the model again")
    network = _NETWORKS[kind]
    module = import_module(f"earmark.classifiers.{network.file}")
    settings = _validated(getattr(module, network.config), values, folder / CONFIG)
    with _NoFirstWeights():
        classifier: AudioClassifier = getattr(module, network.build)(settings)
    _load_weights(classifier, folder / _WEIGHTS)
    return classifier


def _checked(given: AudioClassifier | None, expected: _External, folder: Path) -> AudioClassifier:
    if given is None:
        problem = f"{folder} holds explainers for a network of your own"
        command = "for a command in a function of your own file: --model FILE.py:NAME"
        raise ModelError(problem, fix=f"pass it: earmark.load(folder, classifier=…), {command}")
    there = _External.of(given)
    if there.labels != expected.labels:
        more = " …" if len(expected.labels) > _MOST_LABELS else ""
        labels = ", ".join(expected.labels[:_MOST_LABELS]) + more
        raise ModelError(f"the network given has other labels than {folder} was trained for", labels)
    if there.fingerprint != expected.fingerprint:
        problem = f"the network given has other weights than {folder} was trained for, or other settings"
        both = f"those of fingerprint {expected.fingerprint}, not {there.fingerprint}"
        fix = "load its weights first, wrap it as it was then, or train the explainers again"
        raise ModelError(problem, both, fix)
    return given


def _load_explainer(
    method: str, values: Mapping[str, Any], classifier: AudioClassifier, folder: Path
) -> Trained:
    kind = find(method) if method in names() else None
    if kind is None or not issubclass(kind, Trained):
        known = ", ".join(name for name, each in registered().items() if issubclass(each, Trained))
        given = f"{folder / CONFIG} has an explainer {method!r}"
        raise ModelError(given, f"one of {known}", "update earmark, or remove the entry")
    settings = _validated(kind.settings, values, folder / CONFIG)
    with _NoFirstWeights():
        explainer = kind(classifier, settings)
    _load_weights(explainer.weights, folder / f"{method}.safetensors")
    return explainer


def _load_weights(module: nn.Module, path: Path) -> None:
    weights = _read_weights(path)
    check_weights(module.state_dict(), weights, path, "the weights that config.json describes", _COPY_AGAIN)
    module.load_state_dict(weights)
    module.eval().requires_grad_(False)
    # Convolutions on a CPU run faster on this layout; the numbers are the same.
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing", "the weights that config.json names", _COPY_AGAIN) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged: {error}", "a safetensors file", _COPY_AGAIN) from error
