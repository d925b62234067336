"""Real factors as integers: value * factor is (value * multiplier + half) >> shift, rounded once.

The dyadic form of HAWQ-V3 (Yao et al., https://arxiv.org/abs/2011.10680, section 3.2), and the fixed-point form of
gemmlowp (Jacob et al., https://arxiv.org/abs/1712.05877, section 2.2), which rounds twice: the high half of a doubled
32-bit product, then a division by a power of two, halves away from zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import UnsupportedModel

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

MULTIPLIER_BITS = 31
LARGEST_SHIFT = 62
SUM_BITS = 62  # a sum of products stays under 2^62, so that adding one half cannot overflow 64 bits


@dataclass(frozen=True)
class Dyadic:
    """`multiplier` [inputs, C] signed, `addend` [C] and `shift` [C]: (sum of multiplier * x + addend) >> shift.

    The addend holds a real constant and the half that makes the shift round to nearest, halves up.
    """

    multiplier: Integers
    addend: Integers
    shift: Integers


def dyadic(factors: Doubles, constant: Doubles, largest: Doubles) -> Dyadic:
    """`factors` [inputs, C] and `constant` [C] in units of the result; `largest` [inputs]: largest |x| of each input.

    The shift is the largest with which multipliers fit 32 bits and no sum of products leaves 63 bits.
    Raises UnsupportedModel where a factor is so large that it has none.
    """
    reach = (np.abs(factors) * largest[:, None]).sum(0) + np.abs(constant) + 1
    by_multiplier = MULTIPLIER_BITS - _exponent(np.abs(factors).max(0))
    shift = np.minimum(np.minimum(by_multiplier, SUM_BITS - _exponent(reach)), LARGEST_SHIFT)
    if (shift < 1).any():
        raise UnsupportedModel(
            f"a factor of {np.abs(factors).max():.3g} between two grids is too large for a 32-bit multiplier",
            hint="calibrate again, or give the tensors more bits",
        )
    unit = np.exp2(shift.astype(np.float64))
    half = np.int64(1) << (shift - 1)
    addend = np.rint(constant * unit).astype(np.int64) + half
    return Dyadic(np.rint(factors * unit).astype(np.int64), addend, shift)


def _exponent(values: Doubles) -> Integers:
    """The smallest e with |value| < 2^e."""
    exponents: Integers = np.frexp(values)[1].astype(np.int64)
    return exponents


@dataclass(frozen=True)
class FixedPoint:
    """gemmlowp's form of factors [C]: `multiplier` in [2^30, 2^31) or 0, negative for a negative factor.

    x * factor is rounding_shift(doubling_high_product(x << left, multiplier), right); one of `left`, `right` is 0.
    """

    multiplier: Integers
    left: Integers
    right: Integers


def fixed_point(factors: Doubles) -> FixedPoint:
    """The nearest multiplier and shifts."""
    mantissa, exponent = np.frexp(factors)
    multiplier = np.rint(mantissa * 2.0**31).astype(np.int64)
    grown = np.abs(multiplier) == 2**31
    multiplier, exponent = np.where(grown, multiplier // 2, multiplier), exponent + grown
    vanishing = exponent < -31  # less than half a step even for the largest 32-bit value
    multiplier = np.where(vanishing, 0, multiplier)
    exponent = np.where(vanishing | (multiplier == 0), 0, exponent).astype(np.int64)
    return FixedPoint(multiplier, np.maximum(exponent, 0), np.maximum(-exponent, 0))
