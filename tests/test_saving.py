"""Names that no two results share, files that appear in an order that tells no lie, and one run at a time."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from earmark.errors import OutputError
from earmark.saving import distinct, publish, reserved, safe_stem, stems_of_labels

LONG = "x" * 300


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["dog", "dog.a"], ["b", "a.b"]),
        ([f"{LONG}1", f"{LONG}2"], ["rain", "wind"]),
        (["ü" * 200, "ü" * 201], [LONG, LONG + "y", "é", "e\N{COMBINING ACUTE ACCENT}"]),
        (["a", "A", "a-2"], ["...", "", " "]),
    ],
)
def test_no_two_results_share_a_name(names: list[str], labels: list[str]) -> None:
    stems = list(distinct(safe_stem(f"{name}.wav") for name in names))
    results = [result for stem in stems for result in stems_of_labels(stem, labels)]
    assert len({result.casefold() for result in results}) == len(names) * len(labels)
    for (stem, _), result in zip(product(stems, labels), results, strict=True):
        assert result.startswith(f"{stem}.")
        assert len(f".{result}.timeline.csv".encode()) < 255


def test_the_json_is_there_only_with_all_it_speaks_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made").mkdir()
    endings = ("listen.wav", "rest.wav", "json")
    for name in [*(f"made/a.{end}" for end in endings), "a.json", "a.listen.wav", "a.timeline.csv", "b.json"]:
        (tmp_path / name).write_text(name)
    made = [tmp_path / "made" / f"a.{end}" for end in endings]
    replace = Path.replace

    def stopping(self: Path, target: Path) -> Path:
        if self.name == "a.rest.wav":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            publish(made, tmp_path)
    assert not (tmp_path / "a.json").exists()
    assert publish(made[1:], tmp_path)[-1].read_text() == "made/a.json"
    assert {file.name for file in tmp_path.iterdir()} == {"made", "b.json", *(f"a.{end}" for end in endings)}


def test_one_run_at_a_time(tmp_path: Path) -> None:
    busy = pytest.raises(OutputError, match=r"another run is at work on night\.\* in")
    with reserved(tmp_path, "night"), reserved(tmp_path, "day"), busy, reserved(tmp_path, "night"):
        pass
    (tmp_path / ".night.lock").touch()  # as a killed run leaves it
    with reserved(tmp_path, "night"):
        pass
    assert not list(tmp_path.iterdir())
