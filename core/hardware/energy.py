"""Energy of arithmetic and of memories: published tables, and how they scale to other widths and sizes. No torch.

Joules everywhere. Three tables, each with its source; they do not agree where they overlap, and no kind mixes them
without saying so in its target's sources:
- `HOROWITZ`: Horowitz, "Computing's Energy Problem", ISSCC 2014, 45 nm, 0.9 V. Energies as quoted by several public
  documents that agree; areas recalled, not verified.
- `ALADDIN`: the 40 nm tables of Aladdin as the Accelergy plug-in ships them (github.com/Accelergy-Project/
  accelergy-aladdin-plug-in, data/*.csv): 32-bit operators at 1 ns and at 5 ns.
- `CACTI`: SRAM banks at 45 nm with a 4-byte port, as in BitFusion's simulator (github.com/hsharma35/bitfusion,
  sram/cacti_sweep.csv); joules per access of 32 bits.

Stated scaling, ours: an adder's energy is linear in its width and a multiplier's in the product of its two widths,
between and below the widths of a table; at those widths the table is met. A memory's energy per bit is interpolated
between the sizes of a table on logarithmic axes; a larger memory is banks of the largest size, without the wires
between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from core.hardware.kind import FloatArray

PICO = 1e-12
NANO = 1e-9


@dataclass(frozen=True)
class Operator:
    """One operation of a table. `area_um2` is None where no table gives it."""

    energy_j: float
    area_um2: float | None
    source: str


@dataclass(frozen=True)
class Bank:
    """One SRAM bank with a 4-byte port: joules per bit read and written, watts of leakage."""

    size_bytes: int
    read_j_per_bit: float
    write_j_per_bit: float
    leakage_w: float
    area_mm2: float
    source: str


_HOROWITZ = "Horowitz, ISSCC 2014, 45 nm, 0.9 V (area recalled, not verified)"
HOROWITZ: dict[str, Operator] = {
    name: Operator(picojoules * PICO, area, _HOROWITZ)
    for name, picojoules, area in (
        ("int8 add", 0.03, 36.0),
        ("int16 add", 0.05, 67.0),
        ("int32 add", 0.1, 137.0),
        ("fp16 add", 0.4, 1360.0),
        ("fp32 add", 0.9, 4184.0),
        ("int8 multiply", 0.2, 282.0),
        ("int16 multiply", 1.0, None),
        ("int32 multiply", 3.1, 3495.0),
        ("fp16 multiply", 1.1, 1640.0),
        ("fp32 multiply", 3.7, 7700.0),
    )
}
# 64-bit accesses of a cache, picojoules; only the 8 KiB figure is verified.
HOROWITZ_CACHES_J_PER_BIT: dict[int, float] = {
    size: picojoules * PICO / 64 for size, picojoules in ((8 << 10, 10.0), (32 << 10, 20.0), (1 << 20, 100.0))
}

_ALADDIN = "Aladdin, 40 nm, as in Accelergy's plug-in, 32 bits, clock period {}"
ALADDIN: dict[str, Operator] = {
    f"{name}, {period}": Operator(picojoules * PICO, area, _ALADDIN.format(period))
    for name, period, picojoules, area in (
        ("int32 add", "1 ns", 0.21, 278.0),
        ("int32 add", "5 ns", 0.0857, 179.0),
        ("int32 multiply", "1 ns", 12.68, 6350.0),
        ("int32 multiply", "5 ns", 8.63, 4600.0),
        ("fp32 add", "1 ns", 16.68, 4360.0),
        ("fp32 add", "5 ns", 7.93, 2060.0),
        ("fp32 multiply", "1 ns", 35.3, 4360.0),
        ("fp32 multiply", "5 ns", 24.4, 2060.0),
        ("register bit", "1 ns", 0.009, 5.98),
        ("shift", "1 ns", 0.417, 250.0),
        ("bitwise", "1 ns", 0.018, 50.4),
        ("compare", "1 ns", 0.0295, 71.0),
        ("count", "1 ns", 0.251, 496.0),
    )
}

_CACTI = "CACTI, 45 nm, 4-byte port, as in BitFusion's simulator (sram/cacti_sweep.csv)"
CACTI: tuple[Bank, ...] = tuple(
    Bank(size, read * NANO / 32, write * NANO / 32, leakage_mw * 1e-3, area, _CACTI)
    for size, read, write, leakage_mw, area in (
        (128, 0.000684, 0.000925, 0.250, 0.00150),
        (512, 0.00106, 0.00234, 1.03, 0.00760),  # one port for reads and writes
        (1 << 10, 0.00113, 0.00330, 1.79, 0.00882),
        (2 << 10, 0.00190, 0.00364, 3.23, 0.0151),
        (4 << 10, 0.00343, 0.00431, 7.30, 0.0301),
        (8 << 10, 0.00639, 0.00556, 13.7, 0.0575),
        (16 << 10, 0.00998, 0.00842, 27.1, 0.109),
    )
)

DRAM_J_PER_BIT: dict[str, tuple[float, str]] = {
    "bitfusion": (15 * PICO, "BitFusion's simulator, default argument"),
    "horowitz, low": (1300 * PICO / 64, "Horowitz, ISSCC 2014, 1.3 nJ for 64 bits"),
    "horowitz, high": (2600 * PICO / 64, "Horowitz, ISSCC 2014, 2.6 nJ for 64 bits"),
}

_WIDTHS = (8, 16, 32)


def add_j(bits: ArrayLike) -> FloatArray:
    """One integer addition at any width, 45 nm: linear between Horowitz's widths and below them.

    >>> float(add_j(8)), float(add_j(4))
    (3e-14, 1.5e-14)
    """
    return _between([HOROWITZ[f"int{width} add"].energy_j for width in _WIDTHS], list(_WIDTHS), bits)


def multiply_j(weight_bits: ArrayLike, activation_bits: ArrayLike) -> FloatArray:
    """One integer multiplication, 45 nm: linear in the product of the widths between Horowitz's and below them.

    >>> float(multiply_j(8, 8)), float(multiply_j(4, 4))
    (2e-13, 5e-14)
    """
    products = np.asarray(weight_bits) * np.asarray(activation_bits)
    energies = [HOROWITZ[f"int{width} multiply"].energy_j for width in _WIDTHS]
    return _between(energies, [width * width for width in _WIDTHS], products)


def multiply_accumulate_j(
    weight_bits: ArrayLike, activation_bits: ArrayLike, accumulator_bits: ArrayLike = 32
) -> FloatArray:
    """One integer multiply and one addition at the accumulator's width, 45 nm; widths broadcast."""
    return multiply_j(weight_bits, activation_bits) + add_j(accumulator_bits)


def float_multiply_accumulate_j(bits: int) -> float:
    """One multiply and one addition of floats of 16 or 32 bits, 45 nm; KeyError at other widths."""
    return HOROWITZ[f"fp{bits} multiply"].energy_j + HOROWITZ[f"fp{bits} add"].energy_j


def sram_read_j_per_bit(size_bytes: ArrayLike) -> FloatArray:
    """Reading one bit of a buffer made of banks of that size; above 16 KiB, of banks of 16 KiB."""
    return _by_size([bank.read_j_per_bit for bank in CACTI], size_bytes)


def sram_write_j_per_bit(size_bytes: ArrayLike) -> FloatArray:
    """Writing one bit, as `sram_read_j_per_bit`."""
    return _by_size([bank.write_j_per_bit for bank in CACTI], size_bytes)


def _between(energies: list[float], at: list[int], x: ArrayLike) -> FloatArray:
    """Linear through zero and the table's points; beyond the last point in proportion to it."""
    asked = np.asarray(x, dtype=np.float64)
    inside = np.interp(asked, [0, *at], [0.0, *energies])
    return np.where(asked > at[-1], energies[-1] * asked / at[-1], inside)


def _by_size(energies: list[float], size_bytes: ArrayLike) -> FloatArray:
    sizes = np.log([bank.size_bytes for bank in CACTI])
    asked = np.log(np.asarray(size_bytes, dtype=np.float64))
    interpolated: FloatArray = np.exp(np.interp(asked, sizes, np.log(energies)))
    return interpolated
