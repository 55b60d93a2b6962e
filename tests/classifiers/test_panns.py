"""PANNs: the originals' numbers, and whatever may be wrong with a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from earmark.classifiers.panns import Panns, PannsConfig, import_panns, read_labels
from earmark.errors import ModelError
from earmark.model import Model, load_model, save_model
from originals import GOLDENS, assert_equal, panns_state, sound, write_panns

CNN6: dict[str, Any] = {"labels": ("Speech", "Music", "Dog"), "architecture": "cnn6", "width": 1 / 16}
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what writes a checkpoint once."""
    folder = tmp_path_factory.mktemp("panns")

    def write(name: str) -> Path:
        path = folder / f"{name}.pth"
        return path if path.exists() else write_panns(path, name)

    return write


@pytest.mark.parametrize(
    "name", ["cnn6", "cnn10", "cnn14", "cnn14_16k", pytest.param("cnn14_full", marks=slow)]
)
def test_equals_the_original(name: str, checkpoints: Callable[[str], Path]) -> None:
    golden = GOLDENS["panns"][name]
    network = import_panns(checkpoints(name))
    waveform = sound(golden["rate"], golden["seconds"])
    assert network.spectrogram.sample_rate == golden["rate"]
    with torch.no_grad():
        features = network.features(network.spectrogram(waveform))
        logits, maps = network.representations(features)
        assert_equal((features - 100).transpose(1, 2), golden["features"], atol=2e-4)
        for ours, theirs in zip(maps, golden["maps"], strict=True):
            assert_equal(ours.transpose(2, 3), theirs)
        assert_equal(logits, golden["logits"])
        assert torch.equal(network(waveform), logits)


def test_is_saved_and_loaded_as_it_is(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    network = import_panns(checkpoints("cnn10"))
    assert (len(network.labels), network.labels[74], network.multi_label) == (527, "Dog", True)
    save_model(Model("cnn10", network), tmp_path)
    loaded = load_model(tmp_path).classifier
    waveform = sound(32000, 0.5)
    assert isinstance(loaded, Panns)
    assert loaded.config == network.config
    assert torch.allclose(loaded(waveform), network(waveform), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_and_prefixes_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {
        f"module.{name}": value.to(dtype) if value.is_floating_point() and "extractor" not in name else value
        for name, value in panns_state("cnn6").items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "bare.pth")
    network = import_panns(tmp_path / "bare.pth")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    weight = network.head.weight
    torch.testing.assert_close(weight, panns_state("cnn6")["fc_audioset.weight"].to(dtype).float())


HEAD = torch.zeros(3, 32)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"bn0.bias": None, "fc1.bias": None}, r"lacks bn0\.bias, fc1\.bias"),
    "no first kernel": ({"conv_block1.conv1.weight": None}, r"lacks conv_block1\.(bn2|conv1)"),
    "unknown": ({"att_block.att.weight": HEAD}, r"unknown weights att_block\.att\.weight"),
    "shape": ({"fc1.weight": HEAD}, r"fc1\.weight is \(3, 32\) instead of \(32, 32\)"),
    "type": ({"fc1.weight": torch.zeros(32, 32, dtype=torch.long)}, r"another type: fc1\.weight is int64"),
    "nan": ({"fc1.bias": torch.full((32,), torch.nan)}, r"no numbers: fc1\.bias"),
    "no tensor": ({"fc1.bias": [0.0]}, r"a list under 'fc1\.bias'"),
    "classes": ({"fc_audioset.bias": torch.zeros(3)}, r"3 classes, AudioSet has 527 names.*--labels"),
    "no front end": ({"logmel_extractor.melW": None}, r"lacks logmel_extractor\.melW"),
    "other mels": ({"logmel_extractor.melW": torch.zeros(513, 64)}, "mel filterbank of its own"),
    "other window": (
        {"spectrogram_extractor.stft.conv_real.weight": torch.ones(513, 1, 1024)},
        "window of its own",
    ),
    "8 kHz": (
        {"spectrogram_extractor.stft.conv_real.weight": torch.ones(129, 1, 256)},
        r"window of 256 samples; expected 1024",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_weights_are_named(name: str, tmp_path: Path) -> None:
    changes, message = BAD[name]
    path = write_panns(tmp_path / "bad.pth", **changes)
    with pytest.raises(ModelError, match=message) as caught:
        import_panns(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Hostile:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_pickle_of_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model": Hostile(tmp_path / "mark")}, tmp_path / "code.pth")
    with pytest.raises(ModelError, match=r"holds code \(.*\), which is not run"):
        import_panns(tmp_path / "code.pth")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged, or no file that torch saved"),
        (b"RIFF....WAVEfmt ", "damaged, or no file that torch saved"),
        (None, "is missing"),
        ([torch.zeros(2)], "holds a list"),
        ({"model": {}}, "lacks spectrogram_extractor"),
    ],
    ids=["empty", "a sound", "missing", "a list", "no weights"],
)
def test_what_is_no_checkpoint(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ModelError, match=message):
        import_panns(path)


def test_a_network_that_decides_for_each_moment_is_refused(tmp_path: Path) -> None:
    path = write_panns(tmp_path / "Cnn14_DecisionLevelMax_mAP=0.385.pth")
    with pytest.raises(ModelError, match="each moment"):
        import_panns(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog\n\nrain, heavy\n# a remark\n", ("dog", "rain, heavy")),
        ('index,mid,display_name\n0,/m/1,"Male speech, man speaking"\n1,/m/2,Dog\n',
         ("Male speech, man speaking", "Dog")),
    ],
)  # fmt: skip
def test_labels_of_ones_own(text: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(text)
    assert read_labels(tmp_path / "labels.txt") == expected


def test_bad_labels(tmp_path: Path, checkpoints: Callable[[str], Path]) -> None:
    (tmp_path / "twice.txt").write_text("dog\ndog\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00d")
    for name, message in {
        "twice.txt": "'dog' twice",
        "binary.txt": "no UTF-8 text",
        "none.txt": "No such file",
    }.items():
        with pytest.raises(ModelError, match=message):
            import_panns(checkpoints("cnn6"), tmp_path / name)


def small() -> Panns:
    torch.manual_seed(0)
    return Panns(PannsConfig(**CNN6)).eval()


@pytest.mark.parametrize("samples", [1, 300, 513, 4000, 32000])
def test_any_length(samples: int) -> None:
    network = small()
    assert torch.isfinite(network(torch.randn(2, samples))).all()
    assert network.spectrogram(torch.randn(1, samples)).shape[2] == network.spectrogram.frames(samples)


def test_hears_a_sound_at_its_own_level() -> None:
    network, waveform = small(), torch.randn(1, 8000) / 10
    logits = network.logits(network.features(network.spectrogram(waveform)))
    assert torch.equal(network(waveform), logits)
    assert not torch.allclose(network(waveform / 10), logits)


def test_silence_is_zero_and_lies_under_everything() -> None:
    network = small()
    features = network.features(network.spectrogram(torch.stack([torch.zeros(8000), torch.randn(8000)])))
    assert features[0].abs().max() == 0
    assert features[1].min() > 0


def test_maps_lie_on_the_way_to_the_logits_and_gradients_reach_the_spectrum() -> None:
    network = small()
    stft = network.spectrogram(torch.randn(1, 8000)).requires_grad_()
    logits, maps = network.representations(network.features(stft))
    gradients: tuple[Tensor, ...] = torch.autograd.grad(logits[0, 0], [*maps, stft])
    for gradient in gradients:
        assert torch.isfinite(torch.view_as_real(gradient) if gradient.is_complex() else gradient).all()
        assert gradient.abs().sum() > 0


def test_the_height_of_its_maps_is_frequency() -> None:
    network = small()
    time = torch.arange(32000) / 32000
    for hertz, row in ((300, 0), (9000, 6)):
        tone = network.features(network.spectrogram(torch.sin(2 * torch.pi * hertz * time)[None]))
        silence = torch.zeros_like(tone)
        change = [
            one - two
            for one, two in zip(network.representations(tone)[1], network.representations(silence)[1])
        ]
        assert abs(int(change[2][0].abs().sum((0, 2)).argmax()) - row) <= 1


@pytest.mark.parametrize("architecture", ["cnn6", "cnn10"])
def test_a_frozen_copy_says_the_same(architecture: str) -> None:
    torch.manual_seed(0)
    network = Panns(PannsConfig(**CNN6 | {"architecture": architecture})).train()
    network(torch.randn(4, 16000))  # moves the batch statistics away from where they begin
    frozen, waveform = network.frozen(), torch.randn(2, 16000)
    assert network.training
    assert torch.allclose(frozen(waveform), network.eval()(waveform), atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in frozen.modules())


def test_each_band_lies_at_its_bins() -> None:
    network = small()
    warp = network.bands_to_bins()
    assert warp.sum(1).sub(1).abs().max() < 1e-6
    for band in (10, 30, 50, 63):
        assert abs(int(warp[:450, band].argmax()) - int(network.mel[band].argmax())) <= 1
