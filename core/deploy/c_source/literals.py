"""Numbers, arrays and types as C writes them."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import fill

import numpy as np
from numpy.typing import NDArray

from core.deploy.integer.multiplier import Integers

TYPES = (("int8_t", -(2**7), 2**7 - 1), ("uint8_t", 0, 2**8 - 1), ("int16_t", -(2**15), 2**15 - 1),
         ("uint16_t", 0, 2**16 - 1), ("int32_t", -(2**31), 2**31 - 1), ("int64_t", -(2**63), 2**63 - 1))  # fmt: skip
SIZES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "int64_t": 8}


def smallest_type(low: int, high: int) -> str:
    """The C type of fewest bytes that holds both."""
    return next(name for name, least, most in TYPES if least <= low and high <= most)


def number(value: int) -> str:
    """A constant; the smallest 32- and 64-bit numbers have no literal of their own."""
    if value == -(2**31):
        return "(-2147483647 - 1)"
    if abs(value) >= 2**31:
        return f"INT64_C({value})" if value > -(2**63) else "(-INT64_C(9223372036854775807) - 1)"
    return str(value)


def array(name: str, values: Iterable[int] | NDArray[np.integer], kind: str | None = None) -> str:
    """A static constant, of the smallest type unless one is given."""
    numbers = [int(value) for value in (values.reshape(-1) if isinstance(values, np.ndarray) else values)]
    kind = kind or smallest_type(min(numbers), max(numbers))
    body = fill(", ".join(map(number, numbers)), 110, initial_indent="    ", subsequent_indent="    ")
    return f"static const {kind} {name}[{len(numbers)}] = {{\n{body}\n}};\n"


def per_channel(name: str, values: Integers, index: str) -> tuple[str, str]:
    """Definition and expression of a value per channel: a number where all are the same, else an entry of an array."""
    if (values == values[0]).all():
        return "", number(int(values[0]))
    return array(name, values), f"{name}[{index}]"
