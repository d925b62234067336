"""How many MB of packed weights are packed and unpacked per second, for every width.

    python -m benchmarks.packing [--codes 33554432]

The bar is 200 MB/s each way on one core, counted in packed bytes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from core.deploy.packed_reader import packed_size, unpack_codes
from core.deploy.packing import pack_codes

REPEATS = 5
WIDTHS = (*range(1, 9), 16)


def _best_s(run: Callable[[], Any]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def megabytes_per_s(bits: int, count: int) -> tuple[float, float]:
    """Packed and unpacked, in packed bytes; the best of several."""
    dtype = np.uint8 if bits <= 8 else np.uint16
    codes = np.random.default_rng(bits).integers(0, 1 << bits, count, dtype=dtype)
    packed = pack_codes(codes, bits)
    megabytes = packed_size(count, bits) / 1e6
    return megabytes / _best_s(lambda: pack_codes(codes, bits)), megabytes / _best_s(
        lambda: unpack_codes(packed, bits, count)
    )


def main() -> None:
    """Print one line per width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codes", type=int, default=1 << 25)
    count = parser.parse_args().codes
    print("bits   pack MB/s  unpack MB/s   (best of 5, one core)")
    for bits in WIDTHS:
        pack, unpack = megabytes_per_s(bits, count)
        print(f"{bits:4d} {pack:11.0f} {unpack:12.0f}")


if __name__ == "__main__":
    main()
