"""Reading, checking and writing sound files."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earmark import audio
from earmark.errors import AudioError, OutputError

RATE = 16000


def noise(frames: int = RATE, channels: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((frames, channels))


def sine(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


@pytest.mark.parametrize("ending", ["wav", "flac", "aiff", "au", "w64", "caf"])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_lossless_formats_give_the_mean_of_the_channels(tmp_path: Path, ending: str, channels: int) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(channels=channels), RATE, subtype="PCM_16")
    waveform, rate = audio.read(path)
    assert rate == RATE
    assert waveform.dtype == np.float32
    np.testing.assert_allclose(waveform, noise(channels=channels).mean(axis=1), atol=1 / 32768)


@pytest.mark.parametrize(("ending", "subtype"), [("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", None)])
def test_lossy_formats_are_read(tmp_path: Path, ending: str, subtype: str | None) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, sine(440, RATE), RATE, subtype=subtype)
    waveform, _ = audio.read(path)
    loudest = np.abs(np.fft.rfft(waveform)).argmax() * RATE / len(waveform)
    assert loudest == pytest.approx(440, abs=4)


def test_eight_channels_at_192_khz_come_down_to_the_wanted_rate(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.tile(sine(1000, 192000)[:, None], 8), 192000, subtype="PCM_24")
    waveform, rate = audio.read(path, RATE)
    assert rate == RATE
    assert len(waveform) == RATE // 2
    inner = slice(500, -500)  # the filter rings at the ends
    np.testing.assert_allclose(waveform[inner], sine(1000, RATE)[inner], atol=1e-4)


def test_resampling_removes_what_the_new_rate_cannot_hold() -> None:
    waveform = audio.to_mono_rate(sine(12000, 48000), 48000, RATE)
    assert np.abs(waveform[500:-500]).max() < 1e-4


def test_reading_twice_gives_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(44100, 2), 44100)
    np.testing.assert_array_equal(audio.read(path, RATE)[0], audio.read(path, RATE)[0])


@pytest.mark.parametrize("promise", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_wav_written_to_a_pipe_is_whole(tmp_path: Path, promise: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(), RATE)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", promise)
    path.write_bytes(data)
    assert len(audio.read(path)[0]) == RATE


def test_flac_without_a_length_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(40000), RATE)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # STREAMINFO starts at byte 8; its last 36 bits before the MD5 count the samples
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert len(audio.read(path)[0]) == 40000


@pytest.mark.parametrize(
    ("ending", "file_format", "subtype"),
    [
        ("wav", "WAV", "PCM_16"),
        ("wav", "WAV", "PCM_24"),
        ("wav", "WAV", "FLOAT"),
        ("wav", "RF64", "PCM_16"),
        ("w64", "W64", "PCM_16"),
        ("aiff", "AIFF", "PCM_16"),
        ("au", "AU", "PCM_16"),
        ("mp3", "MP3", "MPEG_LAYER_III"),
    ],
)
def test_truncation_tells_the_frames_expected_and_found(
    tmp_path: Path, ending: str, file_format: str, subtype: str
) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(32000), RATE, format=file_format, subtype=subtype)
    cut(path, 0.7)
    with pytest.raises(AudioError, match=r"truncated: \d+ of about \d+ frames") as caught:
        audio.read(path)
    words = str(caught.value).split("truncated: ")[1].split()
    assert int(words[0]) == pytest.approx(0.7 * 32000, rel=0.05)
    assert int(words[3]) == pytest.approx(32000, rel=0.002)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
@pytest.mark.parametrize(("ending", "subtype"), [("ogg", "VORBIS"), ("ogg", "OPUS"), ("flac", "PCM_16")])
def test_truncated_streams_are_refused(tmp_path: Path, ending: str, subtype: str, share: float) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(64000), RATE, subtype=subtype)
    cut(path, share)
    with pytest.raises(AudioError, match=f"a.{ending} (is truncated|cannot be read)"):
        audio.read(path)


def test_flac_cut_between_two_of_its_blocks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(64000), RATE)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\xff\xf8")])
    with pytest.raises(AudioError, match=r"truncated: \d+ of about 64000 frames"):
        audio.read(path)


def test_damage_in_the_middle_of_a_flac_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(64000), RATE)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20000] = bytes(20000)
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"truncated or damaged after about \d+ of 64000 frames"):
        audio.read(path)


@pytest.mark.parametrize("rate", [8000, RATE, 44100, 96000])
@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_a_stream_is_what_is_read_in_small_blocks(tmp_path: Path, rate: int, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(123_457, 2), rate)
    blocks = list(audio.stream(path, RATE))
    assert max(map(len, blocks)) <= 3 * 16384
    np.testing.assert_allclose(np.concatenate(blocks), audio.decode(path, RATE)[0], rtol=0, atol=1e-7)
    assert audio.duration(path) == pytest.approx(123_457 / rate)


@pytest.mark.parametrize("ending", ["wav", "aiff", "ogg"])
def test_a_stream_that_was_cut_off_is_refused_before_its_first_block(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(100_000), RATE)
    cut(path, 0.7)
    with pytest.raises(AudioError, match="truncated"):
        next(audio.stream(path, RATE))


def test_a_stream_counts_what_are_no_numbers(tmp_path: Path) -> None:
    samples = noise(100_000)[:, 0]
    samples[[50_000, 50_002, 90_000]] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    blocks = audio.stream(tmp_path / "a.wav", RATE)
    assert len(next(blocks)) > 0
    with pytest.raises(AudioError, match=r"a\.wav has 3 NaN or infinite samples, the first at 50000"):
        list(blocks)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"none\.wav does not exist.*check the path"):
        audio.read(tmp_path / "none.wav")


def test_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="is a folder; expected a sound file"):
        audio.read(tmp_path)


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"hello\n", "Format not recognised")])
def test_file_without_sound_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match=rf"a\.wav .*{message}"):
        audio.read(tmp_path / "a.wav")


def test_header_without_samples_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    with pytest.raises(AudioError, match=r"a\.wav holds no samples"):
        audio.read(tmp_path / "a.wav")


def test_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(), RATE)

    def refuse(*_: object, **__: object) -> None:  # the superuser may read everything, so chmod shows nothing
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match=r"a\.wav cannot be opened: Permission denied"):
        audio.read(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_counted_and_placed(tmp_path: Path, bad: float) -> None:
    samples = noise()[:, 0]
    samples[[5, 7]] = bad
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"a\.wav has 2 NaN or infinite samples, the first at 5"):
        audio.read(tmp_path / "a.wav")


def test_silence_passes_decode_but_not_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    assert not audio.decode(tmp_path / "a.wav")[0].any()
    with pytest.raises(AudioError, match=r"a\.wav is silent: all 16000 samples are zero"):
        audio.read(tmp_path / "a.wav")


@pytest.mark.parametrize("frames", [1, 799])
def test_shorter_than_50_ms_passes_decode_but_not_read(tmp_path: Path, frames: int) -> None:
    soundfile.write(tmp_path / "a.wav", noise(frames), RATE)
    assert len(audio.decode(tmp_path / "a.wav")[0]) == frames
    with pytest.raises(AudioError, match=rf"a\.wav has {frames} samples.*at least 50 ms"):
        audio.read(tmp_path / "a.wav")


def test_50_ms_is_enough(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(800), RATE)
    assert len(audio.read(tmp_path / "a.wav")[0]) == 800


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_and_arrays_agree(kind: torch.dtype) -> None:
    tensor = torch.from_numpy(noise(channels=2).T.copy()).to(kind).requires_grad_()
    expected = tensor.detach().float().numpy().mean(axis=0)
    np.testing.assert_allclose(audio.to_mono_rate(tensor, RATE), expected, atol=1e-6)
    np.testing.assert_allclose(audio.to_mono_rate(tensor.detach().float().numpy(), RATE), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("samples", "rate", "new_rate", "message"),
    [
        (np.zeros(100, np.int16), RATE, None, "waveform is int16.*divide by its full scale"),
        (torch.zeros(100, dtype=torch.int32), RATE, None, "waveform is int32"),
        (np.zeros((1, 2, 100)), RATE, None, r"shape \(1, 2, 100\)"),
        (np.zeros(0), RATE, None, r"shape \(0,\)"),
        (np.zeros((100, 2)), RATE, None, r"shape \(100, 2\).*transpose it"),
        (np.zeros(100), -1, None, "sample rate is -1 Hz"),
        (np.zeros(100), RATE, 0, "sample rate is 0 Hz"),
        (np.full(100, 1e300), RATE, None, "100 NaN or infinite samples"),
    ],
)
def test_bad_arrays_are_told(samples: np.ndarray, rate: int, new_rate: int | None, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        audio.to_mono_rate(samples, rate, new_rate)


@pytest.mark.parametrize(
    ("ending", "subtype", "step"),
    [("wav", "PCM_16", 2**-17 + 1e-9), ("flac", "PCM_24", 2**-23), ("wav", "FLOAT", 1e-8)],
)
def test_what_is_written_is_read_back(tmp_path: Path, ending: str, subtype: str, step: float) -> None:
    waveform = noise()[:, 0].astype(np.float32)
    audio.write(tmp_path / f"a.{ending}", torch.from_numpy(waveform), RATE, subtype)
    back, rate = audio.read(tmp_path / f"a.{ending}")
    assert rate == RATE
    np.testing.assert_allclose(back, waveform, atol=2 * step)


def test_too_loud_is_clipped_in_integers_and_kept_in_floats(tmp_path: Path) -> None:
    waveform = np.concatenate([np.linspace(-3, 3, 1000), sine(440, RATE)])
    audio.write(tmp_path / "a.wav", waveform, RATE)
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav")[0], waveform.clip(-1, 1), atol=2**-14)
    audio.write(tmp_path / "b.wav", waveform, RATE, "FLOAT")
    np.testing.assert_allclose(audio.read(tmp_path / "b.wav")[0], waveform, atol=1e-6)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros((2, 100)), r"shape \(2, 100\)"),
        (np.full(100, np.nan), "100 NaN"),
        (np.zeros(9, int), "int64"),
    ],
)
def test_bad_waveforms_are_not_written(tmp_path: Path, waveform: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        audio.write(tmp_path / "a.wav", waveform, RATE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "rate", "subtype"),
    [("a.xyz", RATE, "PCM_16"), ("a", RATE, "PCM_16"), ("a.ogg", RATE, "PCM_16"), ("a.wav", 0, "PCM_16")],
)
def test_impossible_formats_are_told(tmp_path: Path, name: str, rate: int, subtype: str) -> None:
    with pytest.raises(OutputError, match=f"cannot write .*{name} as {subtype} at {rate} Hz: ."):
        audio.write(tmp_path / name, noise()[:, 0], rate, subtype)
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere is not a folder"):
        audio.write(tmp_path / "nowhere" / "a.wav", noise()[:, 0], RATE)


@pytest.mark.skipif(
    "EARMARK_DATA" not in os.environ, reason="EARMARK_DATA names the folder of real recordings"
)
def test_real_recordings_are_read_and_refused_when_cut(tmp_path: Path) -> None:
    root = Path(os.environ["EARMARK_DATA"])
    paths = [
        *sorted((root / "esc10" / "audio").glob("*.ogg"))[:8],
        *sorted((root / "ambient").rglob("*.wav")),
    ]
    assert len(paths) > 8
    for path in paths:
        waveform, _ = audio.read(path, RATE)
        assert waveform.any()
        (tmp_path / path.name).write_bytes(path.read_bytes())
        cut(tmp_path / path.name, 0.6)
        with pytest.raises(AudioError, match="truncated"):
            audio.read(tmp_path / path.name)


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    path = tmp_path / "huge.wav"
    soundfile.write(path, np.full(8000, 1e37, np.float32), 8000, subtype="FLOAT")
    for read in (audio.read, lambda path: list(audio.stream(path, 4000))):
        with pytest.raises(
            AudioError, match=rf"{path} has samples as large as 1e\+37; expected at most 1e\+06"
        ):
            read(path)
    with pytest.raises(AudioError, match="waveform has samples as large as 2e"):
        audio.to_mono_rate(np.full(800, 2e6), 8000)


def test_samples_without_a_header_are_no_sound(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(1000))
    with pytest.raises(AudioError, match=r"a\.raw cannot be read"):
        audio.read(tmp_path / "a.raw")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match=r"pipe\.wav is not a regular file; expected a sound file"):
        audio.read(tmp_path / "pipe.wav")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xe9t\xe9.wav")
    with pytest.raises(AudioError, match=r"\ufffdt.*does not exist"):
        audio.read(path)
    soundfile.write(os.fsencode(path), np.full(800, 0.5), 8000)
    assert len(audio.read(path)[0]) == 800
    audio.write_blocks(path, [np.zeros(5, np.float32)], 8000, 5, "PCM_16")
    with pytest.raises(AudioError, match=r"\ufffdt.*has 5 samples") as caught:
        audio.read(path)
    str(caught.value).encode()
