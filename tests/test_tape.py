"""What a stopped run left is taken up only if it is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file

from earmark import recording
from earmark.api import prepare
from earmark.explaining import Request
from earmark.model import Model
from earmark.recording import explain_recording


def _state(folder: Path, **changes: object) -> None:
    path = folder / "state.safetensors"
    state = load_file(path) | changes
    save_file({name: value for name, value in state.items() if value is not None}, path)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no state at all": lambda folder: (folder / "state.safetensors").write_bytes(b"xx"),
    "a state without figures": lambda folder: _state(folder, figures=None),
    "another request's state": lambda folder: _state(folder, key=torch.zeros(16, dtype=torch.uint8)),
    "no journal": lambda folder: (folder / "journal.jsonl").unlink(),
    "a journal of zeros": lambda folder: (folder / "journal.jsonl").write_bytes(bytes(10000)),
    "a journal that is no text": lambda folder: (folder / "journal.jsonl").write_bytes(b"\xff\n" * 5000),
    "less sound": lambda folder: _cut(folder / "0.sound.f32"),
    "no columns": lambda folder: (folder / "0.columns.f32").unlink(),
}


@pytest.fixture
def stopped(
    tiny: Model, sound_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Request, Path, Path]:
    """Return a request, a recording, and the folder that a run left after two of four windows."""
    monkeypatch.setattr("earmark.explaining.AT_ONCE", 2)
    monkeypatch.setattr(recording, "draw", lambda *_: None)
    monkeypatch.setattr(recording, "new_figure", lambda: Figure(figsize=(1, 1)))
    request, path = prepare(tiny, scores=False), sound_file("a.wav", seconds=3.3)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain_recording(request, path, tmp_path / "out", progress=stop)
    (left,) = (tmp_path / "out").iterdir()
    return request, path, left


@pytest.mark.parametrize("damage", ["", *DAMAGES])
def test_what_is_damaged_is_made_anew(damage: str, stopped: tuple[Request, Path, Path]) -> None:
    request, path, left = stopped
    if damage:
        DAMAGES[damage](left)
    done: list[int] = []
    recorded = explain_recording(request, path, left.parent, progress=lambda number, _: done.append(number))
    assert done == ([2, 4] if damage else [4])
    assert len(recorded.values["timeline"]) == 4
    assert {file.name for file in left.parent.iterdir()} == {file.name for file in recorded.files}


def test_a_damaged_folder_ends_with_the_sound_of_an_unbroken_run(stopped: tuple[Request, Path, Path]) -> None:
    request, path, left = stopped
    _cut(left / "0.sound.f32")
    sounds = [
        explain_recording(request, path, folder).files[0].read_bytes()
        for folder in (left.parent, left.parent.parent / "anew")
    ]
    assert sounds[0] == sounds[1]
