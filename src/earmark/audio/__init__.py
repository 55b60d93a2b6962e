"""Read any sound file as one channel at the wanted rate, check it, and write one whole or not at all."""

from earmark.audio.checks import SHORTEST, Waveform, check, check_file, named, silent
from earmark.audio.reading import decode, duration, read, stream, to_mono_rate
from earmark.audio.writing import subtype_for, write, write_blocks

__all__ = [
    "SHORTEST",
    "Waveform",
    "check",
    "check_file",
    "decode",
    "duration",
    "named",
    "read",
    "silent",
    "stream",
    "subtype_for",
    "to_mono_rate",
    "write",
    "write_blocks",
]
