"""What a training step frees is kept for the next one, and given back in the end."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from core.training.memory import freed_memory_kept

HAS_GLIBC = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "mallopt")
pytestmark = pytest.mark.skipif(not HAS_GLIBC, reason="the C library is not glibc")
SIZE = 200_000_000


def resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def use_memory() -> None:
    torch.ones(SIZE // 4).sum()


def test_freed_memory_stays_until_the_end() -> None:
    before = resident_bytes()
    with freed_memory_kept():
        use_memory()
        assert resident_bytes() - before > 0.9 * SIZE
    assert resident_bytes() - before < 0.2 * SIZE


def test_memory_is_given_back_after_an_error() -> None:
    before = resident_bytes()
    with suppress(ZeroDivisionError), freed_memory_kept():
        use_memory()
        raise ZeroDivisionError
    assert resident_bytes() - before < 0.2 * SIZE
