"""Writes one C function per operation of an integer program.

Weights are packed in their bits, lowest bit first, channel after channel, each channel starting at a whole byte; a
channel is unpacked once into a row that all positions use. Tensors have the smallest type that holds their limits, and
share one static block of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.deploy.c_source.literals import array, number, per_channel, smallest_type
from core.deploy.integer.multiplier import FixedPoint, Integers
from core.deploy.integer.program import (
    IntegerProgram,
    Lookup,
    Move,
    Multiply,
    Operation,
    Pool,
    Product,
    Requantize,
    Resample,
    Scale,
    Threshold,
)


@dataclass
class Source:
    """`data`: constants; `functions`: one per operation; `calls`: the body of the network."""

    program: IntegerProgram
    data: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    largest_row: int = 1

    def constant(self, name: str, values: Any, kind: str | None = None) -> str:
        """Define an array, of the smallest type unless one is given; its name."""
        self.data.append(array(name, values, kind))
        return name

    def channel_value(self, name: str, values: Integers, index: str) -> str:
        """An expression for a value per channel."""
        definition, expression = per_channel(name, values, index)
        if definition:
            self.data.append(definition)
        return expression

    def type_of(self, tensor: str) -> str:
        """The C type of a tensor's elements."""
        facts = self.program.tensors[tensor]
        return smallest_type(facts.low, facts.high)

    def count(self, tensor: str) -> int:
        """How many elements a tensor has."""
        return int(np.prod(self.program.tensors[tensor].shape))


def emit(source: Source, position: int, operation: Operation) -> str:
    """Add the function of an operation; its name."""
    name = f"op{position}"
    parameters = [f"const {source.type_of(tensor)} *x{at}" for at, tensor in enumerate(operation.inputs)]
    parameters.append(f"{source.type_of(operation.output)} *y")
    body = _BODIES[type(operation)](source, name, operation)
    comment = operation.source.replace("*/", "")
    source.functions.append(
        f"/* {comment} */\nstatic void {name}({', '.join(parameters)})\n{{\n{_indented(body)}\n}}\n"
    )
    return name


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else line for line in text.strip("\n").splitlines())


def pack_rows(fields: NDArray[np.int64], bits: Integers) -> tuple[NDArray[np.uint8], Integers]:
    """[O, n] unsigned fields -> bytes, and where each channel starts; a channel takes whole bytes."""
    rows, starts, at = [], [], 0
    for row, width in zip(fields, bits, strict=True):
        stream = (row[:, None] >> np.arange(int(width))) & 1
        packed = np.packbits(stream.astype(np.uint8).reshape(-1), bitorder="little")
        rows.append(packed)
        starts.append(at)
        at += len(packed)
    whole = np.concatenate(rows) if at else np.zeros(1, np.uint8)
    return whole, np.array(starts, np.int64)


def _unpacking(source: Source, name: str, operation: Multiply) -> str:
    """C lines that fill `row` with the codes of output channel `o`, and the number of weights per channel."""
    codes = operation.codes.reshape(len(operation.codes), -1).astype(np.int64)
    count = codes.shape[1]
    source.largest_row = max(source.largest_row, count)
    low, step, widths = _ranges(codes, operation.bits)
    if (widths > operation.bits).any() and len(values := np.unique(codes)) <= 2 ** int(operation.bits.min()):
        widths, fields = operation.bits, np.searchsorted(values, codes)
        table = source.constant(f"{name}_levels", values)
        decode = f"{table}[bf_field({name}_weights, at, bits)]"
    else:
        fields = (codes - low[:, None]) // step[:, None]
        lowest, apart = source.channel_value(f"{name}_low", low, "o"), source.channel_value(f"{name}_step", step, "o")
        decode = f"(int32_t)bf_field({name}_weights, at, bits) * {apart} + {lowest}"
    packed, starts = pack_rows(fields, widths)
    source.constant(f"{name}_weights", packed, "uint8_t")
    start = source.channel_value(f"{name}_start", starts * 8, "o")
    bits = source.channel_value(f"{name}_bits", widths, "o")
    return (
        f"uint32_t at = (uint32_t){start};\nconst uint32_t bits = {bits};\n"
        f"for (i = 0; i < {count}; i++, at += bits)\n    row[i] = {decode};"
    )


def _ranges(codes: NDArray[np.int64], bits: Integers) -> tuple[Integers, Integers, Integers]:
    """Per channel: the lowest code, the distance of codes, and the width that their fields take (1 where all agree)."""
    low, high = codes.min(1), codes.max(1)
    step = np.array([max(int(np.gcd.reduce(row - least)), 1) for row, least in zip(codes, low, strict=True)])
    needed = np.ceil(np.log2((high - low) // step + 1)).astype(np.int64)
    return low, step, np.maximum(bits, np.maximum(needed, 1))


def _multiply(source: Source, name: str, operation: Multiply) -> str:
    unpack = _unpacking(source, name, operation)
    bias = operation.bias
    has_offset = bool(operation.offset.any())
    total = f"acc * {1 << operation.shift}" if operation.shift else "acc"
    if has_offset:
        total += f" + sum * {source.channel_value(f'{name}_offset', operation.offset, 'o')}"
    if bias.any():
        place = "o" if bias.ndim == 1 else "(o * OH + h) * OW + w"
        total += f" + {source.channel_value(f'{name}_bias', bias.reshape(-1), place)}"
    store = f"({source.type_of(operation.output)})({total})"
    write = _linear if operation.kind == "linear" else _convolution
    return write(source, operation, unpack, store, has_offset)


def _linear(source: Source, operation: Multiply, unpack: str, store: str, has_offset: bool) -> str:
    outputs, inputs = operation.codes.shape
    positions = source.count(operation.inputs[0]) // inputs
    sums = "\n            sum += v;" if has_offset else ""
    return f"""
int32_t o, i, p;
for (o = 0; o < {outputs}; o++) {{
{_indented(unpack)}
    for (p = 0; p < {positions}; p++) {{
        int32_t acc = 0{", sum = 0" if has_offset else ""};
        for (i = 0; i < {inputs}; i++) {{
            const int32_t v = (int32_t)x0[p * {inputs} + i] - {number(operation.zero)};
            acc += v * row[i];{sums}
        }}
        y[p * {outputs} + o] = {store};
    }}
}}"""


def _convolution(source: Source, operation: Multiply, unpack: str, store: str, has_offset: bool) -> str:
    """One text for both directions: which input pixel a tap reads differs."""
    window = operation.window
    outputs, per_group, rows, columns = operation.codes.shape
    _, high, wide = source.program.tensors[operation.inputs[0]].shape
    _, out_high, out_wide = source.program.tensors[operation.output].shape
    top, left, _, _ = window.padding
    (down, right), (dilate_down, dilate_right) = window.stride, window.dilation
    if operation.kind == "conv2d":
        places = f"h * {down} - {top} + k * {dilate_down}", f"w * {right} - {left} + l * {dilate_right}"
        inside = f"r >= 0 && r < {high} && c >= 0 && c < {wide}"
        pixel = f"r * {wide} + c"
    else:
        places = f"h + {top} - k * {dilate_down}", f"w + {left} - l * {dilate_right}"
        whole = f"r % {down} == 0 && c % {right} == 0"
        inside = f"r >= 0 && c >= 0 && {whole} && r / {down} < {high} && c / {right} < {wide}"
        pixel = f"r / {down} * {wide} + c / {right}"
    place = f"const int32_t r = {places[0]}, c = {places[1]};"
    sums = "\n                            sum += v;" if has_offset else ""
    return f"""
enum {{ OH = {out_high}, OW = {out_wide} }};
int32_t o, i, h, w, k, l;
for (o = 0; o < {outputs}; o++) {{
    const int32_t first = o / {outputs // operation.groups} * {per_group};
{_indented(unpack)}
    for (h = 0; h < OH; h++)
        for (w = 0; w < OW; w++) {{
            int32_t acc = 0{", sum = 0" if has_offset else ""};
            for (k = 0; k < {rows}; k++)
                for (l = 0; l < {columns}; l++) {{
                    {place}
                    if ({inside})
                        for (i = 0; i < {per_group}; i++) {{
                            const int32_t v =
                                (int32_t)x0[(first + i) * {high * wide} + {pixel}] - {number(operation.zero)};
                            acc += v * row[(i * {rows} + k) * {columns} + l];{sums}
                        }}
                }}
            y[(o * OH + h) * OW + w] = {store};
        }}
}}"""


def _channel_loop(shape: tuple[int, ...], axis: int, inner: str) -> str:
    """Over all elements `e`, with the channel `c` along `axis`."""
    total = int(np.prod(shape))
    behind = int(np.prod(shape[axis + 1 :]))
    channel = f"const int32_t c = e / {behind} % {shape[axis]};\n    " if shape else ""
    used = channel if "[c" in inner or "(c" in inner else ""
    return f"int32_t e;\nfor (e = 0; e < {total}; e++) {{\n    {used}{inner}\n}}"


def _requantize(source: Source, name: str, operation: Requantize) -> str:
    shape = source.program.tensors[operation.output].shape
    if operation.dyadic is not None:
        form = operation.dyadic
        parts = [
            f"((int64_t)x{at}[{_position(source, tensor, shape)}] - {number(zero)})"
            f" * {source.channel_value(f'{name}_m{at}', row, 'c')}"
            for at, (tensor, zero, row) in enumerate(
                zip(operation.inputs, operation.zeros, form.multiplier, strict=True)
            )
        ]
        parts.append(source.channel_value(f"{name}_a", form.addend, "c"))
        shift = source.channel_value(f"{name}_s", form.shift, "c")
        value = f"bf_floor_shift({' + '.join(parts)}, {shift})"
    else:
        value = _fixed_point_value(source, name, operation)
    target = source.type_of(operation.output)
    limits = f"{number(operation.low)}, {number(operation.high)}"
    inner = f"y[e] = ({target})bf_clip({value} + {number(operation.zero)}, {limits});"
    return _channel_loop(shape, operation.axis, inner)


def _position(source: Source, tensor: str, shape: tuple[int, ...]) -> str:
    """Where a tensor that is the same for all channels holds what belongs to element `e`."""
    own = source.program.tensors[tensor].shape
    if own == shape:
        return "e"
    axis = next(at for at, (extent, whole) in enumerate(zip(own, shape, strict=True)) if extent != whole)
    behind = int(np.prod(shape[axis + 1 :]))
    return f"e / {shape[axis] * behind} * {behind} + e % {behind}"


def _fixed_point_value(source: Source, name: str, operation: Requantize) -> str:
    def applied(argument: str, label: str, form: FixedPoint) -> str:
        parts = (("m", form.multiplier), ("l", form.left), ("r", form.right))
        numbers = [source.channel_value(f"{name}_{label}{part}", values, "c") for part, values in parts]
        return f"bf_fixed_point({argument}, {', '.join(numbers)})"

    terms = []
    for at, (zero, form) in enumerate(zip(operation.zeros, operation.fixed_point, strict=True)):
        argument = f"((int64_t)x{at}[e] - {number(zero)}) * {number(1 << operation.join_shift)}"
        if at == 0 and operation.constant.any():
            argument += f" + {source.channel_value(f'{name}_k', operation.constant, 'c')}"
        terms.append(applied(argument, str(at), form))
    total = " + ".join(terms)
    return total if operation.join is None else applied(total, "j", operation.join)


def _threshold(source: Source, name: str, operation: Threshold) -> str:
    """Binary search: the number of thresholds that are reached."""
    shape = source.program.tensors[operation.output].shape
    rows, count = operation.thresholds.shape
    limits = source.constant(f"{name}_limits", operation.thresholds)
    table = source.constant(f"{name}_table", operation.table)
    base = f"(c * {count})" if rows > 1 else "0"
    inner = (
        f"int32_t from = 0, to = {count};\n    while (from < to) {{\n"
        f"        const int32_t middle = (from + to) / 2;\n"
        f"        if ({limits}[{base} + middle] <= x0[e])\n            from = middle + 1;\n"
        f"        else\n            to = middle;\n    }}\n"
        f"    y[e] = ({source.type_of(operation.output)}){table}[from];"
    )
    return _channel_loop(shape, operation.axis, inner)


def _lookup(source: Source, name: str, operation: Lookup) -> str:
    shape = source.program.tensors[operation.output].shape
    rows, entries = operation.table.shape
    table = source.constant(f"{name}_table", operation.table)
    place = f"bf_clip((int64_t)x0[e] - {number(operation.low)}, 0, {entries - 1})"
    index = f"(c * {entries}) + {place}" if rows > 1 else place
    inner = f"y[e] = ({source.type_of(operation.output)}){table}[{index}];"
    return _channel_loop(shape, operation.axis, inner)


def _scale(source: Source, name: str, operation: Scale) -> str:
    shape = source.program.tensors[operation.output].shape
    factor, addend = (
        source.channel_value(f"{name}_{part}", values, "c")
        for part, values in (("factor", operation.factor), ("addend", operation.addend))
    )
    lines = [f"int64_t v = (int64_t)x0[e] * {factor} + {addend};"]
    for sign, part, values in (("<", "low", operation.low), (">", "high", operation.high)):
        if values is not None:
            limit = source.channel_value(f"{name}_{part}", values, "c")
            lines.append(f"    v = v {sign} {limit} ? {limit} : v;")
    lines.append(f"    y[e] = ({source.type_of(operation.output)})v;")
    return _channel_loop(shape, operation.axis, "\n".join(lines))


def _pool(source: Source, name: str, operation: Pool) -> str:
    window = operation.window
    channels, high, wide = source.program.tensors[operation.inputs[0]].shape
    _, out_high, out_wide = source.program.tensors[operation.output].shape
    top, left, _, _ = window.padding
    (down, right), (dilate_down, dilate_right) = window.stride, window.dilation
    if operation.kind == "max":
        start, take = "INT32_MIN", "if ((int32_t)x0[at] > value)\n                            value = (int32_t)x0[at];"
    else:
        start, take = "0", f"value += (int32_t)x0[at] - {number(operation.zero)};"
    return f"""
int32_t o, h, w, k, l;
for (o = 0; o < {channels}; o++)
    for (h = 0; h < {out_high}; h++)
        for (w = 0; w < {out_wide}; w++) {{
            int32_t value = {start};
            for (k = 0; k < {window.kernel[0]}; k++)
                for (l = 0; l < {window.kernel[1]}; l++) {{
                    const int32_t r = h * {down} - {top} + k * {dilate_down};
                    const int32_t c = w * {right} - {left} + l * {dilate_right};
                    if (r >= 0 && r < {high} && c >= 0 && c < {wide}) {{
                        const int32_t at = (o * {high} + r) * {wide} + c;
                        {take}
                    }}
                }}
            y[(o * {out_high} + h) * {out_wide} + w] = ({source.type_of(operation.output)})value;
        }}"""


def _product(source: Source, name: str, operation: Product) -> str:
    """Positions in both operands follow from that of the result; a dimension of length 1 stays at its start."""
    shapes = [source.program.tensors[tensor].shape for tensor in operation.inputs]
    shape = source.program.tensors[operation.output].shape
    zeros = [number(zero) for zero in operation.zeros]
    total, kind = int(np.prod(shape)), source.type_of(operation.output)
    if operation.kind == "values":
        at = [_broadcast_index(each, shape, range(len(shape))) for each in shapes]
        factors = " * ".join(f"((int32_t)x{n}[{at[n]}] - {zeros[n]})" for n in (0, 1))
        return f"int32_t e;\nfor (e = 0; e < {total}; e++)\n    y[e] = ({kind})({factors});"
    inner, columns = shapes[0][-1], shapes[1][-1]
    outer = range(len(shape) - 2)
    row = " + ".join(
        filter(None, [_broadcast_index(shapes[0], shape, outer), f"e / {columns} % {shape[-2]} * {inner}"])
    )
    column = " + ".join(filter(None, [_broadcast_index(shapes[1], shape, outer), f"e % {columns}"]))
    return f"""
int32_t e, k;
for (e = 0; e < {total}; e++) {{
    int32_t acc = 0;
    for (k = 0; k < {inner}; k++)
        acc += ((int32_t)x0[{row} + k] - {zeros[0]}) * ((int32_t)x1[{column} + k * {columns}] - {zeros[1]});
    y[e] = ({kind})acc;
}}"""


def _broadcast_index(of: tuple[int, ...], shape: tuple[int, ...], axes: Iterable[int]) -> str:
    """The position in a tensor, along some of its axes, of element `e` of one of the larger `shape`."""
    parts = [
        f"e / {int(np.prod(shape[axis + 1 :]))} % {shape[axis]} * {int(np.prod(of[axis + 1 :]))}"
        for axis in axes
        if of[axis] > 1
    ]
    return " + ".join(parts) or "0"


def _resample(source: Source, name: str, operation: Resample) -> str:
    shape, axis = source.program.tensors[operation.inputs[0]].shape, operation.axis
    output, taps = operation.weights.shape
    outer, inner = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
    places = source.constant(f"{name}_places", operation.places.reshape(-1))
    weights = source.constant(f"{name}_weights", operation.weights.reshape(-1))
    kind = source.type_of(operation.output)
    return f"""
int32_t p, o, e, t;
for (p = 0; p < {outer}; p++)
    for (o = 0; o < {output}; o++)
        for (e = 0; e < {inner}; e++) {{
            int32_t acc = 0;
            for (t = 0; t < {taps}; t++) {{
                const int32_t place = (p * {shape[axis]} + {places}[o * {taps} + t]) * {inner} + e;
                acc += ((int32_t)x0[place] - {number(operation.zero)}) * {weights}[o * {taps} + t];
            }}
            y[(p * {output} + o) * {inner} + e] = ({kind})acc;
        }}"""


def _move(source: Source, name: str, operation: Move) -> str:
    """Every move is a table of where each output element comes from; runs of neighbours are copied in loops."""
    target = source.type_of(operation.output)
    if operation.kind == "concat":
        return _concat(source, operation, target)
    origin = origins(operation, source.program.tensors[operation.inputs[0]].shape)
    if np.array_equal(origin.reshape(-1), np.arange(origin.size)):
        return f"int32_t e;\nfor (e = 0; e < {origin.size}; e++)\n    y[e] = ({target})x0[e];"
    table = source.constant(f"{name}_from", origin.reshape(-1))
    value = f"({target})x0[{table}[e]]"
    if (origin < 0).any():
        value = f"{table}[e] < 0 ? ({target}){number(operation.zero)} : {value}"
    return f"int32_t e;\nfor (e = 0; e < {origin.size}; e++)\n    y[e] = {value};"


def origins(operation: Move, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The position in the input of every output element; -1 where a pad writes."""
    index = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    numbers = operation.numbers
    moves: dict[str, Callable[[], NDArray[np.int64]]] = {
        "reshape": lambda: index.reshape(numbers),
        "permute": lambda: index.transpose(numbers),
        "slice": lambda: index[tuple(slice(*numbers[at : at + 3]) for at in range(0, len(numbers), 3))],
        "pad": lambda: np.pad(index, list(zip(numbers[::2], numbers[1::2], strict=True)), constant_values=-1),
        "repeat": lambda: _repeated(index, numbers),
        "pixel-shuffle": lambda: _shuffled(index, numbers[0]),
        "select": lambda: index.take(numbers[1:], numbers[0]),
        "flip": lambda: np.flip(index, numbers),
    }
    return np.ascontiguousarray(moves[operation.kind]())


def _repeated(index: NDArray[np.int64], factors: tuple[int, ...]) -> NDArray[np.int64]:
    for axis, factor in enumerate(factors):
        index = index.repeat(factor, axis)
    return index


def _shuffled(index: NDArray[np.int64], factor: int) -> NDArray[np.int64]:
    channels, high, wide = index.shape
    parts = index.reshape(channels // factor**2, factor, factor, high, wide).transpose(0, 3, 1, 4, 2)
    return parts.reshape(channels // factor**2, high * factor, wide * factor)


def _concat(source: Source, operation: Move, target: str) -> str:
    axis = operation.numbers[0]
    shapes = [source.program.tensors[name].shape for name in operation.inputs]
    runs = [int(np.prod(shape[axis:])) for shape in shapes]
    outer, whole = int(np.prod(shapes[0][:axis])), sum(runs)
    lines, start = ["int32_t p, e;"], 0
    for at, run in enumerate(runs):
        lines.append(
            f"for (p = 0; p < {outer}; p++)\n    for (e = 0; e < {run}; e++)\n"
            f"        y[p * {whole} + {start} + e] = ({target})x{at}[p * {run} + e];"
        )
        start += run
    return "\n".join(lines)


_BODIES: dict[type[Operation], Callable[[Source, str, Any], str]] = {
    Multiply: _multiply,
    Requantize: _requantize,
    Threshold: _threshold,
    Lookup: _lookup,
    Scale: _scale,
    Pool: _pool,
    Product: _product,
    Resample: _resample,
    Move: _move,
}
