"""What selects, orders or pads values without computing on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import nn

from core.deploy.onnx_nodes.call import Call
from core.errors import UnsupportedModel

END = 2**31 - 1  # a slice up to the end


def emit_flatten(call: Call) -> None:
    """nn.Flatten, torch.flatten."""
    if call.module is not None:
        module = cast(nn.Flatten, call.module)
        start, end = module.start_dim, module.end_dim
    else:
        start, end = call.argument(1, "start_dim", 0), call.argument(2, "end_dim", -1)
    rank = len(call.shape)
    if start == 1 and end in (-1, rank - 1):
        call.emit("Flatten", call.input, axis=1)
        return
    start, end = start % rank, end % rank
    call.emit("Reshape", call.input, call.integers("shape", [0] * start + [-1] + list(call.shape[end + 1 :])))


def emit_reshape(call: Call) -> None:
    """torch.reshape(x, shape), Tensor.view(*shape); the batch stays free where it is kept as first dimension."""
    shape = call.argument(1, "shape")
    sizes = list(shape) if isinstance(shape, tuple | list) else list(call.node.args[1:])
    if not all(isinstance(size, int) for size in sizes):
        raise UnsupportedModel(
            f"{call.name} computes its shape while it runs", hint="export the network with fixed shapes"
        )
    call.emit("Reshape", call.input, call.integers("shape", sizes))


def emit_unflatten(call: Call) -> None:
    """nn.Unflatten."""
    module = cast(nn.Unflatten, call.module)
    dimension = int(module.dim)
    before, after = call.shape[:dimension], call.shape[dimension + 1 :]
    sizes = [0 if not position else size for position, size in enumerate(before)]
    call.emit("Reshape", call.input, call.integers("shape", [*sizes, *cast(Any, module.unflattened_size), *after]))


def emit_permute(call: Call) -> None:
    """torch.permute(x, dims), x.permute(*dims)."""
    dims = call.argument(1, "dims")
    order: Sequence[Any] = dims if isinstance(dims, tuple | list) else call.node.args[1:]
    call.emit("Transpose", call.input, perm=[int(each) for each in order])


def emit_squeeze(call: Call) -> None:
    """torch.squeeze(x, dim)."""
    _with_axes(call, "Squeeze")


def emit_unsqueeze(call: Call) -> None:
    """torch.unsqueeze(x, dim)."""
    _with_axes(call, "Unsqueeze")


def _with_axes(call: Call, operator: str) -> None:
    dimension = call.argument(1, "dim")
    if dimension is None:
        raise UnsupportedModel(f"{call.name} names no dimension, so its result depends on the batch")
    axes = [dimension] if isinstance(dimension, int) else list(dimension)
    call.emit(operator, call.input, call.integers("axes", axes))


def emit_slice(call: Call) -> None:
    """x[:, :, ::2, 0]: slices, whole numbers and one ellipsis."""
    index = call.argument(1, "index")
    parts = list(index) if isinstance(index, tuple | list) else [index]
    if any(part is not Ellipsis and not isinstance(part, slice | int) for part in parts):
        raise UnsupportedModel(f"{call.name} selects by something other than numbers and slices")
    axes = _axes(parts)
    slices = [(axis, part) for axis, part in zip(axes, parts, strict=True) if isinstance(part, slice)]
    numbers = [(axis, part) for axis, part in zip(axes, parts, strict=True) if isinstance(part, int)]
    chosen = [(axis, part.start or 0, END if part.stop is None else part.stop, part.step or 1) for axis, part in slices]
    chosen = [each for each in chosen if each[1:] != (0, END, 1)]
    chosen += [(axis, number, END if number == -1 else number + 1, 1) for axis, number in numbers]
    value = _sliced(call, chosen)
    if numbers:
        value = call.step("squeezed", "Squeeze", value, call.integers("dropped", [axis for axis, _ in numbers]))
    call.emit("Identity", value)


def _sliced(call: Call, chosen: list[tuple[int, int, int, int]]) -> str:
    if not chosen:
        return call.input
    columns = zip(("axes", "starts", "ends", "steps"), zip(*chosen, strict=True), strict=True)
    constants = {name: call.integers(name, list(values)) for name, values in columns}
    order = ("starts", "ends", "axes", "steps")
    return call.step("sliced", "Slice", call.input, *[constants[name] for name in order])


def _axes(parts: list[Any]) -> list[int]:
    """Of each part; those behind an ellipsis count from the end."""
    if Ellipsis not in parts:
        return list(range(len(parts)))
    middle = parts.index(Ellipsis)
    return [position if position <= middle else position - len(parts) for position in range(len(parts))]


def emit_pad(call: Call) -> None:
    """functional.pad: pairs from the last dimension backwards."""
    pads = [int(each) for each in call.argument(1, "pad")]
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[call.argument(2, "mode", "constant")]
    _pad(call, pads, mode, call.argument(3, "value", None) or 0.0)


def emit_padding_layer(call: Call) -> None:
    """nn.ZeroPad2d, ConstantPad2d, ReflectionPad2d, ReplicationPad2d: left, right, top, bottom."""
    modes = {nn.ReflectionPad2d: "reflect", nn.ReplicationPad2d: "edge"}
    pads = [int(each) for each in cast(nn.ConstantPad2d, call.module).padding]
    mode = modes.get(cast(Any, type(call.module)), "constant")
    _pad(call, pads, mode, float(getattr(call.module, "value", 0.0)))


def emit_flip(call: Call) -> None:
    """torch.flip(x, dims)."""
    axes = [int(axis) for axis in call.argument(1, "dims")]
    columns = {"starts": -1, "ends": -END - 1, "axes": None, "steps": -1}
    limits = [call.integers(name, axes if value is None else [value] * len(axes)) for name, value in columns.items()]
    call.emit("Slice", call.input, *limits)


def emit_index_select(call: Call) -> None:
    """torch.index_select(x, dim, constant indices)."""
    call.emit("Gather", call.input, call.operand(2, "index"), axis=int(call.argument(1, "dim")))


def _pad(call: Call, pads: list[int], mode: str, value: float) -> None:
    """For all dimensions: onnxruntime's layout optimisation overlooks Pad's input `axes`, and then fails."""
    untouched = [0] * ((len(call.shape) or 4) - len(pads) // 2)
    before, after = ([*untouched, *reversed(side)] for side in (pads[0::2], pads[1::2]))
    amounts = call.integers("pads", [*before, *after])
    call.emit("Pad", call.input, amounts, call.floats("value", value), mode=mode)
