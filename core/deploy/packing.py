"""Packs codes of b bits without a wasted bit. Reading is in `packed_reader`, which stands alone.

Layout of n unsigned codes of b bits, in ceil(n b / 8) bytes: the first 8 floor(n / 8) codes as b bit planes (plane k
holds bit k of every code, eight codes to a byte, the first in the lowest bit), lowest plane first, as bit-serial
hardware reads them; then the last n mod 8 codes one after another, lowest bit first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.deploy.packed_reader import packed_size

_CHUNK = 1 << 16  # codes that stay in the processor's cache while all their planes are taken

Codes = NDArray[np.uint8] | NDArray[np.uint16]


def pack_codes(codes: Codes, bits: int) -> NDArray[np.uint8]:
    """1-D unsigned codes below 2^bits -> bytes. Widths 1 to 8 take uint8, 16 takes uint16."""
    if len(codes) and int(codes.max()) >> bits:
        raise ValueError(f"a code of {int(codes.max())} does not fit in {bits} bits")
    packed = np.empty(packed_size(len(codes), bits), np.uint8)
    groups, tail = divmod(len(codes), 8)
    planes = packed[: groups * bits].reshape(bits, groups)
    whole = codes[: groups * 8]
    _pack_planes(whole.astype(np.uint8, copy=False), planes[:8])
    if bits > 8:
        _pack_planes((whole >> 8).astype(np.uint8), planes[8:])
    if tail:
        stream = (codes[groups * 8 :, None] >> np.arange(bits)) & 1
        packed[groups * bits :] = np.packbits(stream.astype(np.uint8).ravel(), bitorder="little")
    return packed


def _pack_planes(codes: NDArray[np.uint8], planes: NDArray[np.uint8]) -> None:
    """8 n codes -> planes [b, n]."""
    for start in range(0, len(codes), _CHUNK):
        part = codes[start : start + _CHUNK]
        place = slice(start // 8, (start + len(part)) // 8)
        for bit, plane in enumerate(planes):
            plane[place] = np.packbits(part & np.uint8(1 << bit), bitorder="little")


def pack_channels(codes: Codes, bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    """[C, n] codes, one width per channel, none for 0 bits. Channels of one width go together, widths ascending."""
    parts = [np.zeros(0, np.uint8)]
    for width in sorted({int(width) for width in bits if width}):
        chosen = codes[bits == width].ravel()
        parts.append(pack_codes(chosen.astype(np.uint8 if width <= 8 else np.uint16, copy=False), width))
    return np.concatenate(parts)
