"""Pooling and resizing."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from core.deploy.onnx_nodes.call import Call
from core.errors import UnsupportedModel

_WINDOW = ("kernel_size", "stride", "padding")


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int | float) else (int(value[0]), int(value[1]))


def _setting(call: Call, position: int, name: str, default: Any) -> Any:
    """Of the module, or of the function's arguments (the input is argument 0)."""
    return call.argument(position, name, default) if call.module is None else getattr(call.module, name, default)


def _window(call: Call) -> dict[str, Any]:
    kernel, stride, padding = (_setting(call, position, name, None) for position, name in enumerate(_WINDOW, 1))
    return {
        "kernel_shape": _pair(kernel),
        "strides": _pair(kernel if stride in (None, ()) else stride),
        "pads": [*_pair(padding or 0), *_pair(padding or 0)],
    }


def emit_max_pool(call: Call) -> None:
    """nn.MaxPool2d, functional.max_pool2d."""
    dilation, ceil = _setting(call, 4, "dilation", 1), _setting(call, 5, "ceil_mode", False)
    call.emit("MaxPool", call.input, **_window(call), dilations=_pair(dilation), ceil_mode=int(ceil))


def emit_average_pool(call: Call) -> None:
    """nn.AvgPool2d, functional.avg_pool2d."""
    if _setting(call, 6, "divisor_override", None) is not None:
        raise UnsupportedModel(f"average pool {call.name} divides by a number of its own, which ONNX has not")
    ceil, padded = _setting(call, 4, "ceil_mode", False), _setting(call, 5, "count_include_pad", True)
    call.emit("AveragePool", call.input, **_window(call), ceil_mode=int(ceil), count_include_pad=int(padded))


def _adaptive(call: Call, whole: str, window: str) -> None:
    size = _setting(call, 1, "output_size", None)
    wanted = [size, size] if size is None or isinstance(size, int) else list(size)
    if wanted == [1, 1]:
        call.emit(whole, call.input)
        return
    given = call.shape[2:]
    targets = [extent if target is None else target for target, extent in zip(wanted, given, strict=True)]
    if any(extent % target for target, extent in zip(targets, given, strict=True)):
        raise UnsupportedModel(
            f"adaptive pool {call.name} goes from {given} to {targets}: its windows differ in size, which ONNX has not",
            hint="use an input size that the output size divides",
        )
    kernel = [extent // target for target, extent in zip(targets, given, strict=True)]
    call.emit(window, call.input, kernel_shape=kernel, strides=kernel)


def emit_adaptive_average_pool(call: Call) -> None:
    """To one value per channel, or to a size that divides the input's."""
    _adaptive(call, "GlobalAveragePool", "AveragePool")


def emit_adaptive_max_pool(call: Call) -> None:
    """To one value per channel, or to a size that divides the input's."""
    _adaptive(call, "GlobalMaxPool", "MaxPool")


def emit_resize(call: Call) -> None:
    """nn.Upsample, functional.interpolate: nearest and bilinear."""
    size, factor = _setting(call, 1, "size", None), _setting(call, 2, "scale_factor", None)
    mode = str(_setting(call, 3, "mode", "nearest"))
    if mode not in ("nearest", "bilinear"):
        raise UnsupportedModel(f"{call.name} resizes by {mode} interpolation, which is not exported yet")
    corners = bool(_setting(call, 4, "align_corners", None))
    settings = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if mode == "bilinear":
        place = "align_corners" if corners else "half_pixel"
        settings = {"mode": "linear", "coordinate_transformation_mode": place}
    if size is not None:
        call.emit(
            "Resize",
            call.input,
            "",
            "",
            call.integers("sizes", _pair(size)),
            axes=[2, 3],
            **cast(dict[str, Any], settings),
        )
        return
    factors = [float(factor)] * 2 if isinstance(factor, int | float) else [float(each) for each in factor]
    call.emit("Resize", call.input, "", call.floats("scales", [1, 1, *factors]), **cast(dict[str, Any], settings))


def emit_pixel_shuffle(call: Call) -> None:
    """Channels to pixels; the order of ONNX's CRD mode is torch's."""
    upscale = cast(nn.PixelShuffle, call.module).upscale_factor
    call.emit("DepthToSpace", call.input, blocksize=int(upscale), mode="CRD")
