"""Models on disk: what is saved comes back, and whatever is wrong with a folder is told in one line."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import earmark.bundled
import earmark.model
from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.classifiers.fingerprint import fingerprint
from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError, OutputError
from earmark.explainers.lmac.decoder import DecoderConfig
from earmark.explainers.lmac.explainer import Lmac, LmacConfig
from earmark.features.front_ends import LogMel
from earmark.features.spectrogram import SpectrogramConfig
from earmark.model import Model, _NoFirstWeights, bundled, load_model, save_model


def outputs(model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    waveform = torch.randn(2, 16000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        stft = model.classifier.spectrogram(waveform)
        return model.classifier(waveform), model.explainers["lmac"].masks(stft, torch.tensor([0, 2]))


def test_a_model_comes_back_as_it_was(tiny: Model, model_dir: Path) -> None:
    loaded = load_model(model_dir)
    assert loaded.name == "tiny"
    assert loaded.classifier.labels == tiny.classifier.labels
    for ours, theirs in zip(outputs(loaded), outputs(tiny), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_half_the_bytes_give_nearly_the_same(tiny: Model, model_dir: Path, tmp_path: Path) -> None:
    save_model(tiny, tmp_path, half=True)
    name = "classifier.safetensors"
    assert (tmp_path / name).stat().st_size < 0.6 * (model_dir / name).stat().st_size
    loaded = load_model(tmp_path)
    assert {parameter.dtype for parameter in loaded.classifier.parameters()} == {torch.float32}
    for ours, theirs in zip(outputs(loaded), outputs(tiny), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02)


def test_a_loaded_model_is_ready_to_explain(model_dir: Path) -> None:
    model = load_model(model_dir)
    modules = (model.classifier, model.explainers["lmac"].decoder)  # type: ignore[attr-defined]
    for module in modules:
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
    convolution = model.classifier.blocks[1].conv1.weight  # type: ignore[attr-defined, union-attr, index]
    assert convolution.is_contiguous(memory_format=torch.channels_last)


def test_loading_leaves_the_callers_chance_alone(model_dir: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_model(model_dir)
    assert torch.equal(torch.rand(3), expected)


def change(name: str, **values: object) -> Callable[[Path], None]:
    """Return what changes entries of config.json, at the top or in a part of it; None removes one."""

    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        part = config[name] if name else config
        for key, value in values.items():
            part.pop(key) if value is None else part.update({key: value})
        (folder / "config.json").write_text(json.dumps(config))

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return apply


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: write(name, (folder / name).read_bytes()[:-100])(folder)


def reweigh(name: str, edit: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        weights = load_file(folder / name)
        edit(weights)
        save_file(weights, folder / name)

    return apply


CLASSIFIER, LMAC = "classifier.safetensors", "lmac.safetensors"
DAMAGES = {
    "no config": (remove("config.json"), r"config\.json is missing"),
    "no JSON": (write("config.json", b"{'format'"), r"config\.json cannot be read as JSON"),
    "no text": (write("config.json", b"\xff\xfe\x00"), r"config\.json cannot be read as JSON"),
    "a list": (write("config.json", b"[1]"), r"config\.json does not describe a model"),
    "unknown key": (change("", color="red"), r"config\.json .* color: Extra inputs"),
    "unknown setting": (change("classifier", depth=3), r"config\.json .* depth: Extra inputs"),
    "missing labels": (change("classifier", labels=None), r"config\.json .* labels: Field required"),
    "later format": (change("", format=2), r"config\.json has format 2; expected format 1; update"),
    "other network": (
        change("classifier", kind="ast"),
        r"kind 'ast'; expected one of 'cnn14', 'external'",
    ),
    "other explainer": (change("explainers", saliency={}), r"config\.json has an explainer 'saliency'"),
    "no weights": (remove(CLASSIFIER), rf"{CLASSIFIER} is missing"),
    "no decoder": (remove(LMAC), rf"{LMAC} is missing"),
    "cut weights": (cut(CLASSIFIER), rf"{CLASSIFIER} is damaged"),
    "no safetensors": (write(LMAC, b"hello"), rf"{LMAC} is damaged"),
    "empty weights": (write(LMAC, b""), rf"{LMAC} is damaged"),
    "a pickle": (write(CLASSIFIER, pickle.dumps({"head.bias": [0.0]})), rf"{CLASSIFIER} is damaged"),
    "missing weight": (reweigh(CLASSIFIER, lambda w: w.pop("head.bias")), rf"{CLASSIFIER} lacks head\.bias"),
    "unknown weight": (
        reweigh(LMAC, lambda w: w.update(tail=torch.zeros(1))),
        rf"{LMAC} has unknown weights tail",
    ),
    "other shape": (
        reweigh(CLASSIFIER, lambda w: w.update({"head.bias": torch.zeros(7)})),
        r"shape: head\.bias is \(7,\) instead of \(3,\)",
    ),
    "other width": (change("classifier", width=0.125), rf"{CLASSIFIER} has weights of another shape"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_told_in_one_line(name: str, model_dir: Path, tmp_path: Path) -> None:
    damage, message = DAMAGES[name]
    folder = tmp_path / "model"
    shutil.copytree(model_dir, folder)
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bundled_model_is_found_by_name(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earmark.bundled, "MODELS", model_dir.parent)
    monkeypatch.chdir(tmp_path)
    assert bundled() == ["tiny"]
    (tmp_path / "tiny").mkdir()  # a folder of that name that is no model does not hide it
    assert load_model("tiny").name == "tiny"


@pytest.mark.parametrize("name", ["nope", "a/b"])
def test_an_unknown_model_lists_those_there_are(name: str, model_dir: Path, monkeypatch) -> None:
    monkeypatch.setattr(earmark.bundled, "MODELS", model_dir.parent)
    with pytest.raises(ModelError, match=rf"no model '{name}'.*bundled model \(tiny\)"):
        load_model(name)


def test_a_file_is_no_model(model_dir: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is a file"):
        load_model(model_dir / "config.json")


@pytest.mark.parametrize("device", ["blah", "meta", "cuda:99"])
def test_a_device_that_is_not_there(device: str, model_dir: Path) -> None:
    with pytest.raises(ModelError, match=f"'{device}'"):
        load_model(model_dir, device)


def test_explainers_are_found_or_the_error_says_how(tiny: Model) -> None:
    assert tiny.explainer("lmac") is tiny.explainers["lmac"]
    with pytest.raises(ModelError, match=r"no trained 'lmac'.*earmark train lmac"):
        Model("bare", tiny.classifier).explainer("lmac")
    with pytest.raises(ModelError, match="no method 'magic'"):
        tiny.explainer("magic")


class Own(Cnn14):
    """Somebody's own network: it has no kind by which a folder could build it."""

    kind = ""  # type: ignore[misc]


def own_model(labels: tuple[str, ...] = ("dog", "rain", "clock"), seed: int = 0) -> Model:
    torch.manual_seed(seed)
    network = Own(Cnn14Config(labels=labels, width=1 / 16))
    return Model("own", network, {"lmac": Lmac(network, LmacConfig(decoder=DecoderConfig(channels=(4, 8))))})


def test_explainers_of_ones_own_network_are_kept_without_it(tmp_path: Path) -> None:
    model = own_model()
    save_model(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", LMAC]
    loaded = load_model(tmp_path, classifier=own_model().classifier)
    for ours, theirs in zip(outputs(loaded), outputs(model), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"explainers for a network of your own; pass it: earmark\.load\(folder, classifier=…\)"),
        (
            own_model(("dog", "rain", "bell")),
            r"other labels than .*; expected dog, rain, clock",
        ),
        (
            own_model(seed=1),
            r"other weights than .*; expected those of fingerprint \w{12}, not",
        ),
    ],
)
def test_another_network_than_ones_own(given: Model | None, message: str, tmp_path: Path) -> None:
    save_model(own_model(), tmp_path)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path, classifier=given and given.classifier)


def test_many_labels_are_not_all_listed(tmp_path: Path) -> None:
    save_model(own_model(tuple(f"bird {number}" for number in range(200))), tmp_path)
    with pytest.raises(ModelError, match=r"expected bird 0, .*, bird 11 …") as caught:
        load_model(tmp_path, classifier=own_model().classifier)
    assert len(str(caught.value)) < 400


def test_explainers_of_one_front_end_are_refused_on_another(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = nn.Conv1d(24, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2)
    network = nn.Sequential(*layers)

    def of(**mel: float) -> Model:
        heard = {"sample_rate": 4000, "labels": ("a", "b"), "seconds": 0.5}
        classifier = wrap(network, takes=LogMel(24, **mel), spectrogram=SpectrogramConfig.at(4000), **heard)
        decoder = DecoderConfig(channels=(4, 8))
        return Model("own", classifier, {"lmac": Lmac(classifier, LmacConfig(decoder=decoder))})

    save_model(of(f_max=1900), tmp_path)
    assert load_model(tmp_path, classifier=of(f_max=1900).classifier).explainers.keys() == {"lmac"}
    with pytest.raises(ModelError, match="or other settings; expected those of fingerprint"):
        load_model(tmp_path, classifier=of(f_max=1800).classifier)


def test_a_fingerprint_is_of_names_and_bytes_alone_where_there_are_no_settings() -> None:
    network = nn.Linear(2, 1)
    parts = (name.encode() + value.numpy().tobytes() for name, value in network.state_dict().items())
    expected = hashlib.sha256(b"".join(parts)).hexdigest()[:12]
    assert fingerprint(network) == expected
    network.settings = ""
    assert fingerprint(network) == expected
    network.settings = "log mel"
    assert fingerprint(network) != expected


@pytest.mark.parametrize("bounds", [{}, {"a": 0.5, "b": 0.6}, {"mean": -2.1, "a": -2.0, "b": 5.0}])
@pytest.mark.parametrize("kind", [nn.Parameter, torch.clone])
def test_first_weights_that_are_drawn_until_they_fit_come_to_an_end(
    bounds: dict[str, float], kind: Callable[[torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_in_memory, where, tries = torch.full((100,), 9.0), torch.where, iter(range(1000))
    monkeypatch.setattr(torch, "empty_like", lambda _: lay_in_memory.clone())
    monkeypatch.setattr(torch, "where", lambda *of: [where(*of), next(tries)][0])
    weights = kind(lay_in_memory)
    torch.manual_seed(0)
    with _NoFirstWeights():
        nn.init.trunc_normal_(weights, **bounds)
    assert ((weights >= bounds.get("a", -2)) & (weights <= bounds.get("b", 2))).all()


def test_first_weights_are_not_drawn() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with _NoFirstWeights():
        modules = nn.Linear(4, 4), nn.Conv2d(2, 2, 3), nn.GRU(4, 4), nn.MultiheadAttention(4, 2)
        modules[0].weight.data.fill_(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert (modules[0].weight == 2).all()


def test_a_folder_with_its_own_network_takes_no_other(tiny: Model, model_dir: Path) -> None:
    with pytest.raises(ModelError, match="holds its own classifier"):
        load_model(model_dir, classifier=tiny.classifier)


def test_a_config_from_before_there_was_a_choice_of_windows_still_loads(
    model_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    shutil.copytree(model_dir, folder)
    config = json.loads((folder / "config.json").read_text())
    for key in ("window", "pad"):
        del config["classifier"]["spectrogram"][key]
    del config["classifier"]["input_norm"]
    (folder / "config.json").write_text(json.dumps(config))
    assert load_model(folder).classifier.config == load_model(model_dir).classifier.config  # type: ignore[attr-defined]


def test_a_folder_that_cannot_be_made(tiny: Model, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot make the folder"):
        save_model(tiny, tmp_path / "file" / "model")


def test_a_broken_off_save_leaves_no_config(
    tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        save_model(tiny, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_wanted_is_loaded(model_dir: Path) -> None:
    there = set(load_model(model_dir).explainers)
    assert there
    assert load_model(model_dir, methods=()).explainers == {}
    assert set(load_model(model_dir, methods=["lmac"]).explainers) == {"lmac"}
    # What is not there is asked of all, so that an error can say what there is.
    assert set(load_model(model_dir, methods=["l2i"]).explainers) == there
