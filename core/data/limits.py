"""What a data set may ask of this machine before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on uploaded data. Sizes in bytes."""

    unpacked_bytes: int = 20 * 10**9  # all members of an archive, and all decoded images
    entries: int = 200_000  # members of an archive
    directory_bytes: int = 64 * 10**6  # of an archive's table of contents
    # Deflate can reach 1032:1. Images and arrays of them stay far below; labels do not, but they are small.
    ratio: int = 200
    ratio_from_bytes: int = 64 * 10**6
    member_bytes: int = 100 * 10**6  # one image file or manifest
    pixels: int = 50_000_000  # of one image
    classes: int = 65_536
    named: int = 5  # how many offenders a message names


DEFAULT_LIMITS = Limits()
