"""The recipe of the paper's authors: logits and masks of the originals, and whatever may be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from earmark.classifiers.speechbrain import import_classifier, read_label_encoder
from earmark.errors import ModelError
from earmark.explainers.lmac.original import import_psi
from earmark.model import Model, load_model, save_model
from originals import GOLDENS, LABELS, assert_equal, sound, weights, write_recipe

PSI = "psi_model.ckpt"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small training; not to be changed."""
    return write_recipe(tmp_path_factory.mktemp("recipe"))


def check(folder: Path, size: str) -> None:
    classifier = import_classifier(folder)
    explainer = import_psi(folder / PSI, classifier)
    for golden in GOLDENS[size]["answers"]:
        waveform = sound(16000, golden["seconds"])
        stft = classifier.spectrogram(waveform)
        with torch.no_grad():
            heard = classifier.hear(stft)
            mask = explainer.masks(stft, torch.tensor([0]), heard)
        assert_equal(heard.features.transpose(1, 2), golden["features"])
        for ours, theirs in zip(heard.representations[-4:], golden["maps"], strict=True):
            assert_equal(ours.transpose(2, 3), theirs)
        assert_equal(heard.logits, golden["logits"])
        assert torch.equal(classifier(waveform), heard.logits)
        frames = golden["mask_shape"][1]
        original = mask[..., :frames].transpose(1, 2)
        assert list(original.shape) == golden["mask_shape"]
        assert_equal(original, golden["mask"])
        assert original.mean().item() == pytest.approx(golden["mask_mean"], abs=1e-4)
        assert mask.shape == stft.shape
        # What the original leaves out at the end is like its last frame.
        assert (mask[..., frames:] == mask[..., frames - 1 : frames]).all()


def test_equals_the_original(recipe: Path) -> None:
    check(recipe, "speechbrain")


@pytest.mark.slow
def test_the_full_size_equals_the_original(tmp_path: Path) -> None:
    folder = write_recipe(tmp_path, "speechbrain_full")
    decoder = import_psi(folder / PSI, import_classifier(folder)).decoder  # type: ignore[attr-defined]
    assert sum(parameter.numel() for parameter in decoder.parameters()) == pytest.approx(236.7e6, rel=1e-3)
    check(folder, "speechbrain_full")


def test_is_saved_and_loaded_as_it_is(recipe: Path, tmp_path: Path) -> None:
    classifier = import_classifier(recipe)
    assert classifier.labels == LABELS
    explainer = import_psi(recipe / PSI, classifier)
    save_model(Model("recipe", classifier, {"lmac": explainer}), tmp_path)
    loaded = load_model(tmp_path)
    stft = classifier.spectrogram(sound(16000, 0.7))
    target = torch.tensor([0])
    assert loaded.explainers["lmac"].scale == "log1p"
    assert torch.allclose(loaded.classifier(sound(16000, 0.7)), classifier(sound(16000, 0.7)), atol=1e-5)
    assert torch.allclose(
        loaded.explainers["lmac"].masks(stft, target), explainer.masks(stft, target), atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("embedding_model.ckpt", None, r"embedding_model\.ckpt is missing"),
        ("classifier.ckpt", "hello", r"classifier\.ckpt is damaged"),
        ("label_encoder.txt", None, r"label_encoder\.txt cannot be read: No such file"),
        ("label_encoder.txt", "'dog' => 0\n", r"has 1 labels, .*classifier\.ckpt has 50 classes"),
        ("label_encoder.txt", "dog\ncat\n", r"has the line 'dog'; expected a label encoder"),
        ("label_encoder.txt", "os.system('x') => 0\n", r"has the line"),
        ("label_encoder.txt", "'dog' => 0\n'cat' => 2\n", r"does not number its labels"),
        ("label_encoder.txt", "", r"does not number its labels"),
    ],
)
def test_bad_files(name: str, text: str | None, message: str, tmp_path: Path) -> None:
    folder = write_recipe(tmp_path)
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(ModelError, match=message):
        import_classifier(folder)


@pytest.mark.parametrize(("folder", "message"), [("none", "none is missing"), ("file", "file is a file")])
def test_what_is_no_folder(folder: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=rf"{message}; expected a folder with embedding_model\.ckpt"):
        import_classifier(tmp_path / folder)


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    folder = write_recipe(tmp_path)
    shapes = GOLDENS["speechbrain"]["shapes"]
    body = weights(shapes["embedding_model.ckpt"])
    body["extra"] = body.pop("norm0.bias")
    torch.save(body, folder / "embedding_model.ckpt")
    with pytest.raises(ModelError, match=r"embedding_model\.ckpt lacks norm0\.bias"):
        import_classifier(folder)
    torch.save({"w.weight": torch.zeros(50, 128)}, folder / "classifier.ckpt")
    torch.save(weights(shapes["embedding_model.ckpt"]), folder / "embedding_model.ckpt")
    with pytest.raises(ModelError, match=r"classifier\.ckpt lacks bias, weight"):
        import_classifier(folder)


def test_a_decoder_of_another_network_is_named(recipe: Path, tmp_path: Path) -> None:
    psi = weights(GOLDENS["speechbrain"]["shapes"][PSI])
    del psi["convt4.bias"]
    torch.save(psi, tmp_path / PSI)
    with pytest.raises(ModelError, match=r"psi_model\.ckpt lacks convt4\.bias"):
        import_psi(tmp_path / PSI, import_classifier(recipe))


def test_labels_are_read_by_their_index(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\"dog's bark\" => 1\n'rain => wind' => 0\n================\n'starting_index' => 0\n")
    assert read_label_encoder(path) == ("rain => wind", "dog's bark")
