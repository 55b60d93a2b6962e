"""A classifier and what was trained to explain it, in memory and as a folder of JSON and safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.errors import ModelError, OutputError
from earmark.explainers.base import Explainer, find
from earmark.explainers.lmac.explainer import Lmac, LmacConfig
from earmark.files import write_bytes, write_text

__all__ = ["Model", "bundled", "load_model", "save_model"]

_COPY_AGAIN = "copy or train the model again"
_MOST_NAMED = 3  # weights named in an error line

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
    explainers: dict[str, Explainer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put the classifier in evaluation mode: dropout and batch statistics change what it says."""
        self.classifier.eval()

    @property
    def device(self) -> torch.device:
        """Where the classifier's weights are."""
        return next(self.classifier.parameters()).device

    def to(self, device: str | torch.device) -> Model:
        """Move all weights to a device, in place, and return the model.

        Raises:
            ModelError: there is no such device here.
        """
        _check_device(device)
        for module in (self.classifier, *map(_module, self.explainers.values())):
            module.to(device)
        return self

    def explainer(self, method: str) -> Explainer:
        """Return what explains by a method: the trained one, or a new one where nothing is trained.

        Raises:
            ModelError: there is no such method, or it must be trained and is not.
        """
        if method in self.explainers:
            return self.explainers[method]
        kind = find(method)
        if method in _KINDS:
            trained = ", ".join(self.explainers) or "none"
            fix = f"train one with `earmark train {method}`, or pick another of `earmark methods`"
            raise ModelError(f"the model {self.name!r} has no trained {method!r} (it has {trained})", fix=fix)
        return kind(self.classifier)


def save_model(model: Model, folder: str | Path, half: bool = False) -> None:
    """Write a model as a folder: config.json, classifier.safetensors, and METHOD.safetensors per explainer.

    Each file is written whole, the config last, so that a folder with a config is complete.

    Args:
        model: a model with a CNN14 as its classifier.
        folder: made if missing; files of these names in it are replaced.
        half: store weights of two and more dimensions as float16, which halves the files.

    Raises:
        ModelError: the classifier is of a kind that has no config.
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    if not isinstance(model.classifier, Cnn14):
        given = f"a {type(model.classifier).__name__} cannot be saved"
        raise ModelError(given, "a Cnn14", "save your own network in your own way and wrap it after loading")
    _make(folder)
    _save_weights(model.classifier, folder / "classifier.safetensors", half)
    for method, explainer in model.explainers.items():
        _save_weights(_module(explainer), folder / f"{method}.safetensors", half)
    config = {
        "format": 1,
        "classifier": {"kind": "cnn14", **model.classifier.config.model_dump(mode="json")},
        "explainers": {name: _settings(explainer) for name, explainer in model.explainers.items()},
    }
    write_text(folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def load_model(name_or_dir: str | Path, device: str | torch.device = "cpu") -> Model:
    """Load a bundled model or a model folder, ready to explain: in eval mode, frozen, float32.

    Args:
        name_or_dir: a folder that `save_model` wrote, or a name of `bundled`.
        device: where the weights go, as torch names it.

    Raises:
        ModelError: no such model or device; a file is missing, corrupt, or does not fit the others.
    """
    _check_device(device)
    folder = find_model(name_or_dir)
    config = _read_config(folder / CONFIG)
    # Whatever new networks still draw, the caller's own chance must not change by it.
    with torch.random.fork_rng(devices=[]):
        classifier = _load_classifier(config.classifier, folder)
        explainers = {
            method: _load_explainer(method, settings, classifier, folder)
            for method, settings in config.explainers.items()
        }
    return Model(folder.resolve().name, classifier, explainers).to(device)


class _NoFirstWeights(TorchFunctionMode):
    """Builds networks without their random first weights: drawing them takes longer than reading a file."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        drawing = getattr(function, "__name__", "") in ("uniform_", "normal_")
        if drawing or getattr(function, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


class _FolderConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    classifier: dict[str, Any]
    explainers: dict[str, dict[str, Any]] = {}


class _Kind(NamedTuple):
    """How an explainer that has weights is kept: its settings, how to build it, and where its weights are."""

    config: type[BaseModel]
    build: Callable[[AudioClassifier, Any], Explainer]
    weights: Callable[[Any], nn.Module]


_KINDS = {"lmac": _Kind(LmacConfig, Lmac, lambda explainer: explainer.decoder)}


def _module(explainer: Explainer) -> nn.Module:
    return _KINDS[explainer.name].weights(explainer)


def _settings(explainer: Explainer) -> dict[str, Any]:
    settings: BaseModel = explainer.config  # type: ignore[attr-defined]
    return settings.model_dump(mode="json")


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


def _load_classifier(values: Mapping[str, Any], folder: Path) -> AudioClassifier:
    values = dict(values)
    kind = values.pop("kind", None)
    if kind != "cnn14":
        raise ModelError(f"{folder / CONFIG} has a classifier of kind {kind!r}", "'cnn14'", _COPY_AGAIN)
    settings = _validated(Cnn14Config, values, folder / CONFIG)
    with _NoFirstWeights():
        classifier = Cnn14(settings)
    _load_weights(classifier, folder / "classifier.safetensors")
    return classifier


def _load_explainer(
    method: str, values: Mapping[str, Any], classifier: AudioClassifier, folder: Path
) -> Explainer:
    if method not in _KINDS:
        given = f"{folder / CONFIG} has an explainer {method!r}"
        raise ModelError(given, f"one of {', '.join(_KINDS)}", "update earmark, or remove the entry")
    kind = _KINDS[method]
    settings = _validated(kind.config, values, folder / CONFIG)
    with _NoFirstWeights():
        explainer = kind.build(classifier, settings)
    _load_weights(kind.weights(explainer), folder / f"{method}.safetensors")
    return explainer


def _load_weights(module: nn.Module, path: Path) -> None:
    weights = _read_weights(path)
    _check_weights(module.state_dict(), weights, path)
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


def _check_weights(state: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path) -> None:
    shapes = {name: tuple(weights[name].shape) for name in state.keys() & weights.keys()}
    wrong = [
        f"{name} is {shape} instead of {tuple(state[name].shape)}"
        for name, shape in sorted(shapes.items())
        if shape != tuple(state[name].shape)
    ]
    problems = {
        "lacks": sorted(state.keys() - weights.keys()),
        "has unknown weights": sorted(weights.keys() - state.keys()),
        "has weights of another shape:": wrong,
    }
    for problem, names in problems.items():
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            given = f"{path} {problem} {', '.join(names[:_MOST_NAMED])}{more}"
            raise ModelError(given, "the weights that config.json describes", _COPY_AGAIN)
