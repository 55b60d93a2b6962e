"""Hugging Face classifiers against transformers itself: tiny random ones, saved to disk and loaded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from earmark.classifiers.extractors import KNOWN
from earmark.classifiers.huggingface import HuggingFaceClassifier, HuggingFaceConfig, from_pretrained
from earmark.errors import ModelError
from earmark.model import Model, load_model, save_model

tf = pytest.importorskip("transformers", reason="pip install 'earmark[hf]'")

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter:UserWarning")

LABELS = ("dog", "rain", "clock")
RATE = 16000
SIZE = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
HEAD = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
WAVE = {**SIZE, "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
WHISPER = {
    "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32,
    "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "max_source_positions": 100,
    "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip
# By name: the config, what it is given, and the feature extractor with what it is given.
KINDS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "ast": ("ASTConfig", {**SIZE, "max_length": 128}, "ASTFeatureExtractor", {"max_length": 128}),
    "whisper": ("WhisperConfig", WHISPER, "WhisperFeatureExtractor", {"chunk_length": 2}),
    "wav2vec2": ("Wav2Vec2Config", WAVE, "Wav2Vec2FeatureExtractor", {"do_normalize": True}),
    "hubert": ("HubertConfig", WAVE, "Wav2Vec2FeatureExtractor", {"do_normalize": False}),
    "wavlm": (
        "WavLMConfig",
        {**WAVE, "do_stable_layer_norm": True, "feat_extract_norm": "layer"},
        "Wav2Vec2FeatureExtractor",
        {"do_normalize": True, "return_attention_mask": True},
    ),
    "weighted": (
        "Wav2Vec2Config",
        {**WAVE, "use_weighted_layer_sum": True},
        "Wav2Vec2FeatureExtractor",
        {"do_normalize": True},
    ),
}


def save(folder: Path, kind: str, **changes: Any) -> Path:
    """Write a tiny network with seeded random weights and its extractor, as their owners would."""
    config, settings, extractor, its_settings = KINDS[kind]
    torch.manual_seed(0)
    network = tf.AutoModelForAudioClassification.from_config(
        getattr(tf, config)(**{**HEAD, "classifier_proj_size": 8, **settings, **changes})
    )
    with torch.no_grad():  # they begin so small that logits hardly depend on the sound
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn_like(weight) * (weight.ndim > 1))
    network.save_pretrained(folder)
    getattr(tf, extractor)(**its_settings).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what gives the folder of a kind; not to be changed."""
    root = tmp_path_factory.mktemp("hf")

    def folder(kind: str) -> Path:
        return root / kind if (root / kind).exists() else save(root / kind, kind)

    return folder


@pytest.fixture(scope="session")
def loaded(saved: Callable[[str], Path]) -> Callable[[str], HuggingFaceClassifier]:
    """Return what gives the classifier of a kind; not to be changed."""
    return cache(lambda kind: from_pretrained(saved(kind)))


def sound(name: str, samples: int, level: float = 1.0) -> np.ndarray:
    time = np.arange(samples) / RATE
    waves = {
        "noise": np.random.default_rng(samples).standard_normal(samples),
        "tone": np.sin(2 * np.pi * 3000 * time),
        "beep": np.sin(2 * np.pi * 1000 * time) * (np.abs(time - 0.3) < 0.1),
        "chirp": np.sin(2 * np.pi * (100 + 2000 * time) * time),
        "silence": np.zeros(samples),
    }
    wave = waves[name]
    return (level * wave / max(np.abs(wave).max(), 1e-9)).astype(np.float32)


def stft(classifier: HuggingFaceClassifier, x: np.ndarray) -> Tensor:
    return classifier.spectrogram(torch.from_numpy(x)[None])


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_plain_pipeline(
    kind: str, saved: Callable[[str], Path], loaded: Callable[[str], HuggingFaceClassifier]
) -> None:
    pipeline = tf.pipeline("audio-classification", model=str(saved(kind)), top_k=None)
    classifier = loaded(kind)
    assert classifier.labels == LABELS
    for samples, level in [(4000, 1.0), (RATE, 0.01), (20075, 1.0), (50000, 0.3)]:
        x = sound("noise", samples, level)
        plain = {one["label"]: one["score"] for one in pipeline(x, function_to_apply="none")}
        logits = classifier(torch.from_numpy(x)[None])[0]
        assert logits.tolist() == pytest.approx([plain[label] for label in LABELS], abs=1e-3)


@pytest.mark.parametrize("kind", ["ast", "whisper", "wav2vec2", "hubert"])
@pytest.mark.parametrize("name", ["noise", "tone", "beep", "chirp", "silence"])
@pytest.mark.parametrize("samples", [4000, 16000, 50000])
def test_features_are_the_extractors(
    kind: str,
    name: str,
    samples: int,
    saved: Callable[[str], Path],
    loaded: Callable[[str], HuggingFaceClassifier],
) -> None:
    plain = tf.AutoFeatureExtractor.from_pretrained(saved(kind))
    classifier = loaded(kind)
    for level in (1.0, 0.01):
        x = sound(name, samples, level)
        theirs = next(iter(plain(x, sampling_rate=RATE, return_tensors="pt").values()))
        ours = classifier.extractor.entering(classifier.features(stft(classifier, x)))
        assert ours.shape == theirs.shape
        assert float((ours - theirs).abs().max()) < 1e-3


@pytest.mark.parametrize("kind", ["ast", "whisper"])
@pytest.mark.parametrize("samples", [399, 7919, 16079, 16080, 20559])
def test_any_number_of_samples_gives_the_extractors_frames(
    kind: str, samples: int, saved: Callable[[str], Path], loaded: Callable[[str], HuggingFaceClassifier]
) -> None:
    x = sound("noise", samples)
    plain = tf.AutoFeatureExtractor.from_pretrained(saved(kind))
    # The extractor of AST takes no less than one frame; we add silence.
    padded = np.pad(x, (0, max(0, 400 - samples)))
    theirs = next(iter(plain(padded, sampling_rate=RATE, return_tensors="pt").values()))
    classifier = loaded(kind)
    ours = classifier.extractor.entering(classifier.features(stft(classifier, x)))
    assert float((ours - theirs).abs().max()) < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_plain_network(
    kind: str, loaded: Callable[[str], HuggingFaceClassifier]
) -> None:
    """Also at a second run, when transformers has set hooks of its own."""
    classifier = loaded(kind)
    spectrum = stft(classifier, sound("noise", 16000)).requires_grad_()
    entering = classifier.extractor.entering(classifier.features(spectrum.detach()))
    name = list(classifier.layers)[-1]
    plain = _plain_gradient(classifier.network, name, entering)
    for _ in range(2):
        heard = classifier.hear(spectrum)
        last, reached = torch.autograd.grad(heard.logits[0, 1], [heard.representations[-1], spectrum])
        assert reached.abs().sum() > 0
        assert torch.isfinite(torch.view_as_real(reached)).all()
        assert last.shape[1] == 16
        assert last.abs().max() > 1e-6
        by_hand = plain[0, 2:] if kind == "ast" else plain[0]
        if kind == "ast":
            by_hand = by_hand.unflatten(0, (12, 12))[:, : last.shape[-1]].flatten(0, 1)
        by_hand = by_hand[: last[0, 0].numel()]
        assert torch.allclose(last[0].flatten(1).T, by_hand, atol=1e-6)


def _plain_gradient(network: torch.nn.Module, name: str, entering: Tensor) -> Tensor:
    kept: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)
        kept[0].retain_grad()

    handle = network.get_submodule(name).register_forward_hook(keep, prepend=True)
    network(entering.requires_grad_()).logits[0, 1].backward()
    handle.remove()
    assert kept[0].grad is not None
    return kept[0].grad


@pytest.mark.parametrize(("kind", "stride", "rows"), [("ast", 1600, 12), ("whisper", 320, 1)])
@pytest.mark.parametrize("samples", [8000, 48000])
def test_maps_and_picture_are_as_long_as_the_sound(
    kind: str, stride: int, rows: int, samples: int, loaded: Callable[[str], HuggingFaceClassifier]
) -> None:
    classifier = loaded(kind)
    x = sound("noise", samples)
    heard = classifier.hear(stft(classifier, x))
    assert heard.picture.shape[-1] == pytest.approx(samples / 160, abs=3)
    assert all(m.shape[2] == rows for m in heard.representations)
    assert all(m.shape[3] == pytest.approx(samples / stride, abs=1.5) for m in heard.representations)
    entering = classifier.extractor.entering(heard.features)
    hidden = classifier.network(entering, output_hidden_states=True).hidden_states[1][0]  # the first layer's
    grid = (hidden[2:] if kind == "ast" else hidden).T.unflatten(1, (rows, -1))
    width = min(grid.shape[-1], heard.representations[0].shape[-1])
    first = heard.representations[0][0]
    assert torch.allclose(first[..., :width], grid[..., :width], atol=1e-5)
    assert not first[..., width:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_folder_gives_the_same_classifier(
    kind: str, saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = from_pretrained(saved(kind), seconds=0.5)
    save_model(Model("tiny", classifier), tmp_path / "tiny")
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)
    again = load_model(tmp_path / "tiny").classifier
    assert isinstance(again, HuggingFaceClassifier)
    assert again.config == classifier.config.model_copy(update={"network": again.config.network})
    assert again.seconds == 0.5
    x = torch.from_numpy(sound("noise", 16000))[None]
    assert torch.allclose(again(x), classifier(x), atol=1e-6)


@pytest.mark.parametrize("kind", ["ast", "whisper", "wav2vec2"])
def test_bins_look_up_their_band(kind: str, loaded: Callable[[str], HuggingFaceClassifier]) -> None:
    """A tone's brightest band, looked up by the bins, is where the tone is."""
    classifier = loaded(kind)
    heard = classifier.hear(stft(classifier, sound("tone", 16000)))
    loudest = (classifier.bands_to_bins() @ heard.picture)[0].mean(1).argmax()
    assert float(classifier.spectrogram.frequencies()[loudest]) == pytest.approx(3000, abs=100)


def test_what_the_settings_say(saved: Callable[[str], Path], tmp_path: Path) -> None:
    assert [from_pretrained(saved(kind)).seconds for kind in ("ast", "whisper", "hubert")] == [1, 2, 1]
    assert [from_pretrained(saved(kind)).has_bands for kind in ("ast", "whisper", "hubert")] == [
        True,
        False,
        False,
    ]
    several = save(tmp_path / "several", "ast", problem_type="multi_label_classification")
    assert from_pretrained(several).multi_label
    assert not from_pretrained(several, multi_label=False).multi_label
    assert not from_pretrained(saved("ast")).multi_label


def test_a_name_is_downloaded_only_when_asked_for(
    saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        return str(tmp_path / "old" if name == "owner/old" else saved("hubert"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    from_pretrained(saved("hubert"))
    assert not asked
    from_pretrained("owner/model", revision="abc")
    assert asked == [("owner/model", "abc", ["*.json", "*.safetensors"])]
    _only_bin(save(tmp_path / "old", "hubert"))
    x = torch.from_numpy(sound("noise", 8000))[None]
    assert torch.equal(from_pretrained("owner/old")(x), from_pretrained(saved("hubert"))(x))
    assert asked[-1] == ("owner/old", None, ["*.json", "pytorch_model*.bin"])


def _only_bin(folder: Path, content: Any = None) -> Path:
    weights = tf.HubertForSequenceClassification.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(content or weights, folder / "pytorch_model.bin")
    return folder


class _Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("evil"),))


def test_nothing_is_unpickled_and_no_foreign_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="no weights that transformers can load"):
        from_pretrained(_only_bin(save(tmp_path / "bin", "hubert"), {"a": _Evil()}))
    folder = save(tmp_path / "code", "hubert")
    values = json.loads((folder / "config.json").read_text())
    code = {"AutoConfig": "evil.Config", "AutoModelForAudioClassification": "evil.Model"}
    values |= {
        "auto_map": code,
        "_attn_implementation": "owner/kernel",
        "attn_implementation": "owner/kernel",
    }
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "evil.py").write_text("open('evil', 'w')")
    kept = from_pretrained(folder).config.network
    assert not {"auto_map", "_attn_implementation", "attn_implementation"} & kept.keys()
    network = {**kept, "auto_map": code, "attn_implementation": "owner/kernel"}
    HuggingFaceClassifier(from_pretrained(folder).config.model_copy(update={"network": network}))
    assert not (tmp_path / "evil").exists()


def _change(folder: Path, file: str, **values: Any) -> Path:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def _headless(folder: Path) -> Path:
    tf.HubertModel(tf.HubertConfig(**WAVE)).save_pretrained(folder)
    tf.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (lambda folder: folder / "nope", "there is no folder .*nope; expected a folder"),
    "no config": (lambda folder: folder, "has no config.json that transformers can read"),
    "no extractor": (
        lambda folder: (save(folder, "hubert") / "preprocessor_config.json").unlink() or folder,
        "has no preprocessor_config.json that transformers can read",
    ),
    "no audio": (
        lambda folder: tf.BertConfig().save_pretrained(folder) or folder,
        "type 'bert', which is no audio classifier; expected one of audio-spectrogram-transformer",
    ),
    "no known extractor": (
        lambda folder: _change(
            save(folder, "hubert"),
            "preprocessor_config.json",
            feature_extractor_type="SeamlessM4TFeatureExtractor",
        ),
        f"SeamlessM4TFeatureExtractor, whose arithmetic .*one of {', '.join(KNOWN)}",
    ),
    "no such rate": (
        lambda folder: _change(save(folder, "ast"), "preprocessor_config.json", sampling_rate=8000),
        "ASTFeatureExtractor with sampling_rate 8000: Input should be 16000",
    ),
    "no decision": (
        lambda folder: save(folder, "hubert", problem_type="regression"),
        "'regression'; expected a classifier of two or more labels",
    ),
    "not trained": (
        _headless,
        "has no trained weights for classifier.bias and 3 more; expected a trained classifier",
    ),
    "no match": (
        lambda folder: _change(save(folder, "whisper"), "preprocessor_config.json", chunk_length=3),
        "does not take what its feature extractor gives",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_used_is_told_in_one_line(what: str, tmp_path: Path) -> None:
    make, message = WRONG[what]
    given = make(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        from_pretrained(given)
    assert "\n" not in str(caught.value)


def test_without_transformers_or_the_hub_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> str:
        raise OSError("no connection\nat all")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(ModelError, match=r"no folder 'owner/model', and it cannot .*: no connection$"):
        from_pretrained("owner/model")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"pip install 'earmark\[hf\]'"):
        from_pretrained(tmp_path)


def test_a_broken_config_is_told(saved: Callable[[str], Path]) -> None:
    config = from_pretrained(saved("hubert")).config
    for network, message in [({}, "of type None"), ({"model_type": "bert"}, "cannot be built")]:
        values = config.model_dump() | {"network": {**config.network, "model_type": None} | network}
        with pytest.raises(ModelError, match=message):
            HuggingFaceClassifier(HuggingFaceConfig.model_validate(values))
