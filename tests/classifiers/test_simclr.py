"""SimCLR: the objective as it is written, views that differ, every layout of sounds, an encoder."""

from __future__ import annotations

import io
import math
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.classifiers.encoder import begin_with, is_encoder, save_encoder
from earmark.classifiers.simclr.objective import nt_xent
from earmark.classifiers.simclr.training import SimclrRecipe, SimclrStep, train_simclr
from earmark.classifiers.simclr.views import Views, draw_views
from earmark.cli.main import app
from earmark.data.segments import InMemory, OnDisk, recordings_of
from earmark.data.shards import Shards, shards_of
from earmark.data.vggsound import read_vggsound
from earmark.errors import DataError, ModelError

RATE = 16_000


def network(seed: int = 0, **form: object) -> Cnn14:
    torch.manual_seed(seed)
    return Cnn14(Cnn14Config(labels=("a", "b"), seconds=0.5, **({"width": 0.0625, "dropout": 0.0} | form)))


def flac(seconds: float, seed: int) -> bytes:
    content = io.BytesIO()
    sound = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    soundfile.write(content, sound, RATE, format="FLAC")
    return content.getvalue()


def shard(path: Path, keys: list[str], seconds: float = 1.0) -> Path:
    with tarfile.open(path, "w") as archive:
        for seed, key in enumerate(keys):
            for name, content in ((f"{key}.flac", flac(seconds, seed)), (f"{key}.txt", b"about it")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


# --- objective and views ------------------------------------------------------------------------------------


def test_nt_xent_is_equation_1() -> None:
    torch.manual_seed(0)
    one, two = torch.randn(5, 7), torch.randn(5, 7)
    loss, right = nt_xent(one, two, 0.3)
    views = torch.cat([one, two])
    similar = [[float(F.cosine_similarity(a, b, dim=0)) / 0.3 for b in views] for a in views]
    losses = [
        -math.log(math.exp(row[(i + 5) % 10]) / sum(math.exp(v) for k, v in enumerate(row) if k != i))
        for i, row in enumerate(similar)
    ]
    assert float(loss) == pytest.approx(sum(losses) / 10, rel=1e-5)
    nearest = [max((k for k in range(10) if k != i), key=row.__getitem__) for i, row in enumerate(similar)]
    assert float(right) == pytest.approx(sum(k == (i + 5) % 10 for i, k in enumerate(nearest)) / 10)


def test_views_are_two_pieces_of_one_sound_and_hang_on_their_seed_alone() -> None:
    sounds = InMemory([torch.sin(torch.arange(RATE) * 0.1 * (k + 1)) for k in range(4)])
    index, seeds = torch.arange(4), torch.arange(4) + 100
    first, second = draw_views(sounds, index, seeds, [], Views(), 4000)
    assert first.shape == second.shape == (4, 4000)
    assert not torch.allclose(first, second)
    again, _ = draw_views(sounds, index[2:], seeds[2:], [], Views(), 4000)
    assert torch.equal(again, first[2:])
    plain = Views(mixing=0, noise=0, gain_db=0)
    clean, _ = draw_views(sounds, index, seeds, [], plain, 4000)
    assert torch.allclose(clean.abs().amax(1), torch.ones(4))


def test_threads_draw_the_same_views(tmp_path: Path) -> None:
    for number in range(6):
        tone = 0.3 * np.sin(0.1 * (number + 1) * np.arange(RATE))
        soundfile.write(tmp_path / f"{number}.flac", tone, RATE)
    sounds = OnDisk(sorted(tmp_path.glob("*.flac")), RATE)
    given = sounds, torch.arange(6), torch.arange(6) + 7, [], Views(), 4000
    with ThreadPoolExecutor(3) as threads:
        for alone, together in zip(draw_views(*given), draw_views(*given, threads)):
            assert torch.equal(alone, together)


def test_it_learns_to_tell_sounds_apart(tmp_path: Path) -> None:
    time = torch.arange(RATE) / RATE
    sounds = InMemory([torch.sin(2 * torch.pi * 150 * 1.25**k * time) for k in range(12)])
    recipe = SimclrRecipe.model_validate(
        {
            "width": 0.0625,
            "views": {"seconds": 0.5, "bands": 0, "filter_db": 0, "mixing": 0, "noise_db": [20, 30]},
        }
        | {"loop": {"epochs": 30, "batch_size": 12, "learning_rate": 3e-3}}
    )
    learner = network()
    log = train_simclr(learner, sounds, [], recipe, tmp_path)
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    assert log[-1]["right"] > log[0]["right"]


def test_the_step_leaves_the_head_of_the_network_alone() -> None:
    learner = network()
    step = SimclrStep(learner, SimclrRecipe(width=0.0625))
    step(torch.randn(4, 8000), torch.randn(4, 8000))["loss"].backward()
    assert learner.head.weight.grad is None
    assert learner.blocks[0].conv1.weight.grad is not None


# --- sounds -------------------------------------------------------------------------------------------------


def test_pieces_of_files_are_those_of_memory(tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / f"{seed}.flac").write_bytes(flac(1, seed))
    paths = sorted(tmp_path.iterdir())
    memory, disk = recordings_of(paths, RATE), recordings_of(paths, RATE, most=0)
    assert (type(memory), type(disk)) == (InMemory, OnDisk)
    for place in range(3):
        pieces = [one.piece(place, 5000, torch.Generator().manual_seed(7)) for one in (memory, disk)]
        assert torch.allclose(*pieces, atol=1e-4)
    assert disk.piece(0, 3 * RATE, torch.Generator()).shape == (3 * RATE,)


def test_vggsound_is_read_as_its_authors_laid_it_out(tmp_path: Path) -> None:
    rows = 'a,30,"dog, barking",train\nb,1,rain,test\ngone,5,rain,train\n-c,100,rain,train\n'
    (tmp_path / "vggsound.csv").write_text(rows)
    (tmp_path / "audio").mkdir()
    for name in ("a_000030.wav", "b_000001.flac", "-c_000100.mp3"):
        (tmp_path / "audio" / name).touch()
    assert [(clip.name, clip.label) for clip in read_vggsound(tmp_path)] == [
        ("a_000030", "dog, barking"),
        ("-c_000100", "rain"),
    ]
    assert len(read_vggsound(tmp_path, None)) == 3
    (tmp_path / "vggsound.csv").write_text("a,thirty,dog,train\n")
    with pytest.raises(DataError, match="line 1: 'a,thirty,dog,train'; expected id, start"):
        read_vggsound(tmp_path)
    (tmp_path / "vggsound.csv").write_text("x,30,dog,train\n")
    with pytest.raises(DataError, match="none of the 1 sounds"):
        read_vggsound(tmp_path)


def test_every_sound_of_a_shard_comes_once(tmp_path: Path) -> None:
    pytest.importorskip("webdataset", reason="webdataset is not installed: pip install 'earmark[shards]'")
    paths = [shard(tmp_path / f"{k}.tar", [f"{k}-{n}" for n in range(5)]) for k in range(3)]
    shards = Shards(shards_of(tmp_path), RATE, 4000)
    pieces = list(shards.pieces(paths, torch.Generator().manual_seed(0)))
    assert len(pieces) == 15
    assert {piece.shape for piece in pieces} == {(4000,)}
    assert shards.broken == {}
    mine, theirs = (shards.share(torch.Generator().manual_seed(3), rank, 2) for rank in (0, 1))
    assert sorted([*mine, *theirs]) == paths
    with pytest.raises(DataError, match="3 shards for 4 processes"):
        shards.share(torch.Generator(), 0, 4)


def test_a_corrupt_shard_is_named_and_passed_over(tmp_path: Path) -> None:
    pytest.importorskip("webdataset", reason="webdataset is not installed: pip install 'earmark[shards]'")
    good, bad = shard(tmp_path / "good.tar", ["a", "b"]), tmp_path / "bad.tar"
    bad.write_bytes(b"\x01" * 3000)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(shard(tmp_path / "x.tar", ["c", "d"]).read_bytes()[:9000])
    wrong = tmp_path / "wrong.tar"
    with tarfile.open(wrong, "w") as archive:
        info = tarfile.TarInfo("w.flac")
        info.size = 8
        archive.addfile(info, io.BytesIO(b"no sound"))
    shards = Shards([good, bad, cut, wrong], RATE, 4000)
    pieces = list(shards.pieces(shards.paths, torch.Generator()))
    assert len(pieces) >= 2
    assert {"bad.tar", "wrong.tar/w"} <= set(shards.broken)
    with pytest.raises(DataError, match="no sound in 1 shards can be read"):
        list(shards.pieces([bad], torch.Generator()))


# --- the encoder, and the commands --------------------------------------------------------------------------


def test_an_encoder_is_all_but_the_head(tmp_path: Path) -> None:
    learner, fresh = network(0), network(1)
    save_encoder(learner, tmp_path)
    assert is_encoder(tmp_path)
    head = fresh.head.weight.clone()
    begin_with(fresh, tmp_path)
    assert torch.equal(fresh.head.weight, head)
    learner.eval(), fresh.eval()
    features = learner.features(learner.spectrogram(torch.randn(2, 8000)))
    assert torch.equal(fresh.embed(features), learner.embed(features))
    logits, _ = learner.representations(features)
    assert torch.allclose(logits, learner.head(learner.embed(features)))


def test_an_encoder_of_another_form_or_a_damaged_one_is_told(tmp_path: Path) -> None:
    save_encoder(network(), tmp_path)
    with pytest.raises(ModelError, match=r"has width 0\.0625; expected the recipe's"):
        begin_with(network(width=0.125), tmp_path)
    (tmp_path / "encoder.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be read"):
        begin_with(network(), tmp_path)


@pytest.mark.parametrize("layout", ["folder", "vggsound", "shards"])
def test_the_command_learns_from_every_layout(tmp_path: Path, layout: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    if layout == "shards":
        pytest.importorskip("webdataset", reason="webdataset is not installed")
        for number in range(2):
            shard(data / f"{number}.tar", ["a", "b", "c"])
    else:
        for seed in range(5):
            (data / f"x{seed}_000001.flac").write_bytes(flac(1, seed))
    if layout == "vggsound":
        (data / "vggsound.csv").write_text("".join(f"x{seed},1,dog,train\n" for seed in range(5)))
    out = tmp_path / "encoder"
    command = ["train", "simclr", "--data", str(data), "--out", str(out), "--set", "width=0.0625"]
    more = ("views.seconds=0.5", "loop.epochs=1", "loop.batch_size=3", "steps=2")
    done = CliRunner().invoke(app, [*command, *(part for one in more for part in ("--set", one))])
    assert done.exit_code == 0, done.output
    assert is_encoder(out)
    assert f"--init {out}" in done.output


def test_a_folder_without_sounds_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["train", "simclr", "--data", str(tmp_path), "--out", str(tmp_path / "o")])
    assert done.exit_code == 1
    assert "holds 0 sounds" in done.output
