"""HAQ's policies: [weight bits, activation bits] of every quantizable layer, in order.

Wang et al. 2019, "HAQ: Hardware-Aware Automated Quantization with Mixed Precision",
https://arxiv.org/abs/1811.08886; what `strategy` of https://github.com/mit-han-lab/haq holds
(lib/env/linear_quantize_env.py), as a NumPy array [layers, 2] or as the list that the search prints. Its weight-only
search (lib/env/quantize_env.py) has one number for a layer: activations are float then.

-1 leaves a tensor as it is: float, but for the image that the first layer reads, which "is already 8 bit" there.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from core.deploy.foreign.widths import joined, one_width, width, wrong_count
from core.errors import BrokenFile, InvalidInput
from core.graph.inventory import Inventory
from core.policy import FLOAT_BITS, LayerBits, Policy

MAGIC = b"\x93NUMPY"
UNTOUCHED = -1
IMAGE_BITS = 8
RESIDUAL_BITS = 16  # HAQ says nothing about joins; this is our own default
_MOST_LAYERS = 100_000
_SAVED = "save it anew: numpy.save('policy.npy', numpy.array([[8, 8], [4, 4], ...])), a row for each layer"
# NumPy parses a header as Python, and once more as Python 2 wrote it.
_BROKEN_HEADER = (ValueError, TypeError, KeyError, SyntaxError, TokenError, OverflowError, RecursionError, MemoryError)


def haq_policy(inventory: Inventory, policy: Policy) -> bytes:
    """The .npy file, int64 [layers, 2]. Raises InvalidInput naming a layer whose channels differ."""
    rows = []
    for layer in inventory.layers:
        bits = policy.layers[layer.name]
        rows.append([one_width(layer, bits, "HAQ"), bits.activations])
    array = np.array(rows, np.int64)
    floating = array == FLOAT_BITS
    floating[0, 1] = False  # there -1 would be read as 8
    array[floating] = UNTOUCHED
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def read_haq_file(data: bytes, inventory: Inventory) -> tuple[Policy, list[str]]:
    """From a .npy file; nothing in it is ever unpickled."""
    return read_haq_rows(_array(data).tolist(), inventory)


def read_haq_rows(rows: Sequence[Any], inventory: Inventory) -> tuple[Policy, list[str]]:
    """From pairs, or from one number for each layer."""
    if len(rows) != len(inventory.layers):
        raise wrong_count(len(rows), inventory, "the HAQ policy")
    layers = {}
    for position, (row, layer) in enumerate(zip(rows, inventory.layers, strict=True)):
        weights, activations = _pair(row, layer.name)
        image = position == 0 and activations == UNTOUCHED
        layers[layer.name] = LayerBits(
            weights=_bits(weights, f"the weights of {layer.name}"),
            activations=IMAGE_BITS if image else _bits(activations, f"what {layer.name} reads"),
        )
    return joined(inventory, layers, RESIDUAL_BITS)


def _pair(row: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(row, list | tuple):
        return row, FLOAT_BITS
    if len(row) != 2:
        raise InvalidInput(f"the HAQ policy has {len(row)} numbers for {name}", hint="give weight and activation bits")
    return row[0], row[1]


def _bits(value: Any, where: str) -> int:
    return FLOAT_BITS if value == UNTOUCHED else width(value, where)


def _array(data: bytes) -> NDArray[Any]:
    """Read by hand: np.load would make room for whatever size a header claims."""
    file = io.BytesIO(data)
    try:
        reader = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = reader(file)
    except _BROKEN_HEADER as error:
        raise BrokenFile(f"the .npy file has no sound header: {error!s:.200}", hint=_SAVED) from error
    if dtype.kind not in "iuf":
        raise BrokenFile(f"the .npy file holds {dtype}, not numbers, and nothing is unpickled", hint=_SAVED)
    if len(shape) not in (1, 2) or any(size > _MOST_LAYERS for size in shape):
        raise BrokenFile(f"the .npy file has the shape {list(shape)!s:.80}, not [layers, 2]", hint=_SAVED)
    values = data[file.tell() :]
    if len(values) != math.prod(shape) * dtype.itemsize:
        raise BrokenFile("the .npy file is shorter or longer than its header says", hint=_SAVED)
    return np.frombuffer(values, dtype).reshape(shape, order="F" if fortran_order else "C")
