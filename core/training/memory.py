"""Memory that a training step frees is kept for the next step.

A step allocates and frees the same large tensors over and over. By default glibc hands each back to the kernel, which
clears every page anew when the next step touches it: on a CPU that costs up to a third of a step of a small network.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of mallopt(3)
_NEVER = -1
_USUAL_MMAP_THRESHOLD, _USUAL_MMAP_MAX = 32 * 2**20, 65536  # glibc's own threshold rises to 32 MiB by itself


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, the C library keeps what is freed; afterwards it gives it back. Does nothing where there is no glibc."""
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _USUAL_MMAP_MAX)
        library.mallopt(_MMAP_THRESHOLD, _USUAL_MMAP_THRESHOLD)
        library.mallopt(_TRIM_THRESHOLD, 2 * _USUAL_MMAP_THRESHOLD)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
