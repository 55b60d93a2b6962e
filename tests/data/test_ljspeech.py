"""LJSpeech's layout."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earmark.data.ljspeech import read_ljspeech
from earmark.errors import DataError

# Quotes as the real table has them: opened at the start of a text, closed in a later utterance or never.
LINES = ('LJ002-0002|"Go," he said.|"Go," he said.', 'LJ001-0001|"Mr. 2|"Mister two', "LJ003-0001||", "")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "wavs").mkdir()
    table(tmp_path, "\n".join(LINES))
    for level, name in enumerate(("LJ001-0001", "LJ002-0002", "LJ003-0001", "LJ009-0001"), 1):
        soundfile.write(tmp_path / "wavs" / f"{name}.wav", np.full(2205, level / 8), 22050, subtype="FLOAT")
    return tmp_path


def table(root: Path, text: str) -> None:
    (root / "metadata.csv").write_text(text, encoding="utf-8")


def test_utterances_come_in_the_order_of_the_table_whatever_its_quotes(root: Path) -> None:
    speech = read_ljspeech(str(root), 22050)
    assert list(speech) == ["LJ002-0002", "LJ001-0001", "LJ003-0001"]
    assert [float(waveform[0]) for waveform in speech.values()] == [2 / 8, 1 / 8, 3 / 8]
    assert {(waveform.dtype, len(waveform)) for waveform in speech.values()} == {(torch.float32, 2205)}


def test_windows_line_ends_change_nothing(root: Path) -> None:
    table(root, "LJ001-0001|a|a\r\n\r\nLJ003-0001|b|b\r\n")
    assert list(read_ljspeech(root, 8000)) == ["LJ001-0001", "LJ003-0001"]


def test_rate_is_the_one_asked_for(root: Path) -> None:
    speech = read_ljspeech(root, 16000)["LJ001-0001"]
    assert len(speech) == 1600
    assert speech[800].item() == pytest.approx(1 / 8, abs=1e-4)


def test_the_first_few_need_no_others(root: Path) -> None:
    (root / "wavs" / "LJ003-0001.wav").unlink()
    assert list(read_ljspeech(root, 8000, most=2)) == ["LJ002-0002", "LJ001-0001"]


def test_missing_files_are_counted_and_named(root: Path) -> None:
    (root / "wavs" / "LJ001-0001.wav").unlink()
    (root / "wavs" / "LJ003-0001.wav").unlink()
    with pytest.raises(DataError, match=r"2 of 3 .* missing, the first is .*LJ001-0001\.wav.*keithito\.com"):
        read_ljspeech(root, 8000)


def test_file_that_is_no_sound_is_named(root: Path) -> None:
    (root / "wavs" / "LJ001-0001.wav").write_text("hello")
    with pytest.raises(DataError, match=r"LJ001-0001\.wav cannot be read"):
        read_ljspeech(root, 8000)


def test_missing_table_tells_the_layout_and_where_to_get_the_set(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_ljspeech(tmp_path, 8000)
    message = str(caught.value)
    assert (
        f"{tmp_path / 'metadata.csv'} does not exist; expected metadata.csv and the folder wavs/" in message
    )
    assert "Ito & Johnson, The LJ Speech Dataset, 2017" in message
    assert "keithito.com/LJ-Speech-Dataset" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "metadata.csv has no line; expected id|text"),
        ("LJ001-0001|a|a\nLJ001-0002,b,b\n", "line 2 is 'LJ001-0002,b,b'; expected id|text"),
        ("|a|a\n", "line 1 is '|a|a'; expected id|text"),
    ],
)
def test_bad_tables_are_told(root: Path, text: str, message: str) -> None:
    table(root, text)
    with pytest.raises(DataError) as caught:
        read_ljspeech(root, 8000)
    assert message in str(caught.value)


def test_table_that_is_no_text_is_told(root: Path) -> None:
    (root / "metadata.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match=r"metadata\.csv cannot be read"):
        read_ljspeech(root, 8000)
