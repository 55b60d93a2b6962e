"""`earmark import hf`: from a folder of transformers to a model folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from earmark.cli.import_hf import hf
from earmark.errors import ModelError
from earmark.model import load_model

transformers = pytest.importorskip("transformers", reason="pip install 'earmark[hf]'")


def test_writes_a_model_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = transformers.HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, id2label={0: "dog", 1: "rain"},
    )  # fmt: skip
    transformers.HubertForSequenceClassification(config).save_pretrained(tmp_path / "theirs")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "theirs")
    capsys.readouterr()
    hf(str(tmp_path / "theirs"), tmp_path / "ours", seconds=2.5, multi_label=True)
    said = capsys.readouterr()
    told, following = said.out.splitlines()
    assert told.startswith(
        f"{tmp_path / 'ours'}: 2 classes, several at once, heard 2.5 s at a time, explained "
    )
    assert following.startswith("next: ")
    assert not said.err
    model = load_model(tmp_path / "ours")
    assert model.classifier.labels == ("dog", "rain")
    assert model.classifier(torch.randn(1, 8000)).shape == (1, 2)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        hf(str(tmp_path / "nope"), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
