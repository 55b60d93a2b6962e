"""Keep memory that was freed, as a network asks for as much again in the next moment."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h has them
_KEPT = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """Let this process hold on to up to a gigabyte that it has freed; return whether it does.

    By default glibc gives large blocks back to the system, which has to clear each page when it hands it out
    again: a fifth to a third of the time of a large network on a CPU. Programs call this once; a library that
    is imported must not, so `earmark` as a library does not.

    Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(name, _KEPT) for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
