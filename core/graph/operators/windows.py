"""Windows of convolutions and pools: kernel, stride, dilation and padding of a node, in one form.

ONNX gives padding as numbers or as `auto_pad`; SAME_UPPER and SAME_LOWER make the output ceil(input / stride).
"""

from __future__ import annotations

from dataclasses import dataclass

from core.graph.operators.operation import Operation, Traced

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Two spatial dimensions each; `begin` and `end` are the padding before and behind."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    begin: Pair
    end: Pair

    @property
    def symmetric(self) -> bool:
        """Whether both sides are padded alike."""
        return self.begin == self.end

    @property
    def torch_padding(self) -> tuple[int, int, int, int]:
        """Left, right, top, bottom."""
        return (self.begin[1], self.end[1], self.begin[0], self.end[0])

    def output(self, size: Pair, *, ceil: bool = False) -> Pair:
        """Output height and width for an input of `size`."""
        return _pair([self._output(size[axis], axis, ceil) for axis in (0, 1)])

    def _output(self, size: int, axis: int, ceil: bool) -> int:
        reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        room = size + self.begin[axis] + self.end[axis] - reach
        if not ceil:
            return room // self.stride[axis] + 1
        count = -(-room // self.stride[axis]) + 1
        starts_in_end_padding = (count - 1) * self.stride[axis] >= size + self.begin[axis]
        return count - 1 if starts_in_end_padding else count


def read_window(operation: Operation, x: Traced, kernel: list[int] | None) -> Window:
    """The window of a node that slides over x: N, C, H, W."""
    if kernel is None or len(kernel) != 2 or len(x.shape) != 4:
        operation.refuse(f"only two spatial dimensions are supported; its input is {list(x.shape)}")
    stride = _positive(operation, "strides")
    dilation = _positive(operation, "dilations")
    if min(kernel) < 1:
        operation.refuse(f"kernel_shape is {kernel}")
    begin, end = _padding(operation, x, kernel, stride, dilation)
    return Window(_pair(kernel), _pair(stride), _pair(dilation), _pair(begin), _pair(end))


def _positive(operation: Operation, name: str) -> list[int]:
    values: list[int] = operation.attribute(name, [1, 1])
    if len(values) != 2 or min(values) < 1:
        operation.refuse(f"{name} is {values}")
    return values


def _padding(
    operation: Operation, x: Traced, kernel: list[int], stride: list[int], dilation: list[int]
) -> tuple[list[int], list[int]]:
    mode = operation.attribute("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads: list[int] = operation.attribute("pads", [0, 0, 0, 0])
        if len(pads) != 4 or min(pads) < 0:
            operation.refuse(f"pads is {pads}")
        return pads[:2], pads[2:]
    if mode == "VALID":
        return [0, 0], [0, 0]
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        operation.refuse(f"auto_pad {mode} is not known")
    total = [_same(x.shape[2 + axis], kernel[axis], stride[axis], dilation[axis]) for axis in (0, 1)]
    smaller, larger = [amount // 2 for amount in total], [amount - amount // 2 for amount in total]
    return (smaller, larger) if mode == "SAME_UPPER" else (larger, smaller)


def _same(size: int, kernel: int, stride: int, dilation: int) -> int:
    output = -(-size // stride)
    return max(0, (output - 1) * stride + (kernel - 1) * dilation + 1 - size)


def _pair(values: list[int]) -> Pair:
    return (int(values[0]), int(values[1]))
