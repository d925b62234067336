"""Each ONNX operator gives what onnxruntime gives, in every version of its definition."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from core.graph.onnx_import import import_onnx
from core.graph.operators import OPERATORS
from tests.graph.onnx_networks import network, run_imported, run_reference, values, write

OPSETS = (7, 8, 9, 10, 11, 12, 13, 15, 18, 19, 21, 24, 26, 28)


@dataclass
class Case:
    """One node that reads x; `constants` are its further inputs in order, None where one is left out."""

    operator: str
    shape: tuple[int, ...] = (1, 3, 8, 8)
    constants: list[Any] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    positive: bool = False
    x_twice: bool = False
    since: int = 7
    until: int = 99

    def model(self, opset: int) -> onnx.ModelProto:
        given = {f"c{index}": array for index, array in enumerate(self.constants) if array is not None}
        names = [f"c{index}" if array is not None else "" for index, array in enumerate(self.constants)]
        inputs = ["x", "x"] if self.x_twice else ["x", *names]
        outputs = [f"y{index}" for index in range(self.outputs)]
        node = helper.make_node(self.operator, inputs, outputs, **self.attributes)
        return network([node], given, opset=opset, shape=self.shape, outputs=outputs)


def by_opset(since: int, before: Callable[[], Case], after: Callable[[], Case]) -> list[Case]:
    """An operator whose attribute became an input in opset `since`."""
    old, new = before(), after()
    old.until, new.since = since - 1, max(since, new.since)
    return [old, new]


def conv(weight, bias=None, shape=(1, 3, 8, 8), **attributes):
    return Case("Conv", shape, [weight] if bias is None else [weight, bias], attributes)


def axes_case(operator, axes, since, shape=(1, 3, 4, 5), **attributes):
    return by_opset(
        since,
        lambda: Case(operator, shape, attributes={"axes": axes, **attributes}),
        lambda: Case(operator, shape, [np.array(axes, np.int64)], attributes),
    )


def sliced(starts, ends, axes, steps=None):
    arrays = [np.array(part, np.int64) for part in (starts, ends, axes, steps or [1] * len(starts))]
    after = lambda: Case("Slice", (1, 3, 6, 7), arrays)  # noqa: E731
    if steps:
        return [Case("Slice", (1, 3, 6, 7), arrays, since=10)]
    return by_opset(
        10, lambda: Case("Slice", (1, 3, 6, 7), attributes={"starts": starts, "ends": ends, "axes": axes}), after
    )


def padded(pads, mode="constant", value=0.0):
    return by_opset(
        11,
        lambda: Case("Pad", attributes={"pads": pads, "mode": mode, "value": value}),
        lambda: Case("Pad", constants=[np.array(pads, np.int64), np.float32(value)], attributes={"mode": mode}),
    )


def clipped(low, high):
    bounds = [None if bound is None else np.array(bound, np.float32) for bound in (low, high)]
    given = {name: bound for name, bound in (("min", low), ("max", high)) if bound is not None}
    return by_opset(
        11,
        lambda: Case("Clip", attributes=given),
        lambda: Case("Clip", constants=bounds if high is not None else bounds[:1]),
    )


def resized(scales, shape=(1, 2, 5, 6), sizes=None, since=11, **attributes):
    roi = np.zeros(0, np.float32)
    given = [roi, np.array([1, 1, *scales], np.float32)] if scales else [roi, roi, np.array([1, 2, *sizes], np.int64)]
    return Case("Resize", shape, given, attributes, since=since)


def split_parts(sizes):
    return by_opset(
        13,
        lambda: Case("Split", (1, 5, 4, 4), attributes={"axis": 1, "split": sizes}, outputs=len(sizes)),
        lambda: Case("Split", (1, 5, 4, 4), [np.array(sizes, np.int64)], {"axis": 1}, outputs=len(sizes)),
    )


PLAIN = values(4, 3, 3, 3)
STATISTICS = [values(3), values(3), values(3), values(3, low=0.5, high=2.0)]
WINDOWS = [
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 0]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 2], "strides": [3, 1], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [3, 3], "strides": [3, 3], "auto_pad": "VALID"},
]
ODD = (1, 2, 7, 10)

CASES: list[Case] = [
    conv(PLAIN),
    conv(PLAIN, values(4), pads=[1, 1, 1, 1], strides=[2, 2]),
    conv(PLAIN, values(4), pads=[0, 1, 2, 1]),
    conv(PLAIN, auto_pad="SAME_UPPER", strides=[2, 2]),
    conv(PLAIN, auto_pad="SAME_LOWER", strides=[2, 2]),
    conv(PLAIN, auto_pad="VALID", dilations=[2, 1]),
    conv(values(6, 1, 3, 3), group=3, kernel_shape=[3, 3]),
    conv(values(2, 3, 1, 5), pads=[0, 2, 0, 2]),
    Case("ConvTranspose", constants=[values(3, 4, 3, 3), values(4)], attributes={"strides": [2, 2]}),
    Case(
        "ConvTranspose",
        constants=[values(3, 2, 2, 3)],
        attributes={"strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 1]},
    ),
    Case("ConvTranspose", (1, 4, 5, 5), [values(4, 3, 3, 3)], {"group": 2, "pads": [1, 1, 1, 1], "dilations": [2, 1]}),
    Case("Gemm", (1, 6), [values(6, 4), values(4)]),
    Case("Gemm", (1, 6), [values(4, 6), values(1, 4)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    Case("Gemm", (3, 6), [values(6, 4), values(1)]),
    Case("Gemm", (1, 6), [values(6, 4)], since=11),
    Case("MatMul", (1, 6), [values(6, 4)]),
    Case("MatMul", (1, 3, 4, 6), [values(6, 5)]),
    Case("MatMul", (1, 3, 4, 6), [values(1, 3, 6, 2)]),
    Case("BatchNormalization", constants=STATISTICS, attributes={"epsilon": 1e-3}),
    Case("BatchNormalization", (4, 3), STATISTICS),
    Case("BatchNormalization", (2, 3, 5), STATISTICS),
    Case("InstanceNormalization", constants=STATISTICS[:2]),
    Case("LRN", (1, 7, 4, 4), attributes={"size": 5, "alpha": 0.1, "beta": 0.5, "bias": 2.0}),
    Case("LRN", (1, 7, 4, 4), attributes={"size": 3}),
    Case("Relu"),
    Case("LeakyRelu", attributes={"alpha": 0.2}),
    Case("LeakyRelu"),
    Case("PRelu", constants=[values(3, 1, 1)]),
    Case("PRelu", constants=[values(1)]),
    *clipped(0.0, 6.0),
    *clipped(-0.25, 0.5),
    *clipped(0.0, None),
    *clipped(None, 0.25),
    *(Case(name) for name in ("Sigmoid", "Tanh", "Softplus", "Softsign", "Abs", "Neg", "Exp", "Floor", "Ceil", "Sign")),
    *(Case(name) for name in ("Erf", "Round", "Sin", "Cos", "HardSwish", "Mish", "HardSigmoid", "Identity", "Dropout")),
    *(Case(name, positive=True) for name in ("Sqrt", "Log", "Reciprocal")),
    Case("HardSigmoid", attributes={"alpha": 1 / 6, "beta": 0.5}),
    Case("Elu", attributes={"alpha": 0.7}),
    Case("Celu", attributes={"alpha": 0.7}),
    Case("Selu"),
    Case("Selu", attributes={"alpha": 1.5, "gamma": 1.2}),
    Case("Gelu"),
    Case("Gelu", attributes={"approximate": "tanh"}),
    Case("ThresholdedRelu", attributes={"alpha": 0.3}),
    *(Case(name, shape) for name in ("Softmax", "LogSoftmax") for shape in ((2, 6), (1, 3, 4, 5))),
    *(Case(name, (1, 3, 4, 5), attributes={"axis": axis}) for name in ("Softmax", "LogSoftmax") for axis in (1, 2, 3)),
    *(Case(name, x_twice=True) for name in ("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean")),
    *(Case(name, constants=[values(3, 1, 1, low=0.5)]) for name in ("Add", "Sub", "Mul", "Div")),
    *(Case(name, constants=[values(3, 1, 1)], since=8) for name in ("Max", "Min", "Sum")),
    *(Case(name, constants=[np.float32(1.5)]) for name in ("Add", "Sub", "Mul", "Div")),
    Case("Div", x_twice=True, positive=True),
    Case("Pow", constants=[np.float32(2.0)]),
    Case("Pow", constants=[np.float32(0.5)], positive=True),
    *(Case("MaxPool", ODD, attributes=window) for window in WINDOWS),
    *(Case("MaxPool", ODD, attributes={**window, "ceil_mode": 1}, since=10) for window in WINDOWS[:4]),
    Case("MaxPool", ODD, attributes={"kernel_shape": [2, 3], "dilations": [2, 1], "pads": [0, 0, 1, 2]}, since=10),
    *(
        Case("AveragePool", ODD, attributes={**window, "count_include_pad": counted})
        for window in WINDOWS
        for counted in (0, 1)
    ),
    *(
        Case("AveragePool", ODD, attributes={**window, "ceil_mode": 1, "count_include_pad": counted}, since=19)
        for window in WINDOWS[:4]
        for counted in (0, 1)
    ),
    *(Case(name, (2, 3, 5, 4)) for name in ("GlobalAveragePool", "GlobalMaxPool")),
    *axes_case("ReduceMean", [2, 3], 18),
    *axes_case("ReduceMean", [-1, -2], 18, keepdims=0),
    *axes_case("ReduceMean", [1], 18),
    *axes_case("ReduceMax", [2], 18),
    *axes_case("ReduceMin", [1, 3], 18, keepdims=0),
    *axes_case("ReduceSum", [3], 13),
    *axes_case("ReduceL2", [1], 18),
    *(Case("Flatten", (1, 3, 4, 5), attributes={"axis": axis}) for axis in (0, 1, 2, 3)),
    *(Case("Reshape", (2, 3, 4), [np.array(shape)]) for shape in ([2, 12], [0, -1], [-1, 4, 3], [2, 0, 2, 2])),
    Case("Transpose", (1, 3, 4, 5), attributes={"perm": [0, 2, 3, 1]}),
    *axes_case("Squeeze", [2], 13, shape=(1, 3, 1, 5)),
    *axes_case("Unsqueeze", [1, -1], 13, shape=(1, 3, 5)),
    *sliced([1], [3], [1]),
    *sliced([1, -3], [2**31, -1], [2, 3]),
    *sliced([0, 1], [6, 2**62], [2, 3], [2, 3]),
    *sliced([-1, 4], [-(2**62), 0], [1, 3], [-1, -2]),
    *split_parts([2, 3]),
    *split_parts([1, 1, 3]),
    Case("Split", (1, 6, 4, 4), attributes={"axis": 1}, outputs=2, until=17),
    Case("Split", (1, 5, 4, 4), attributes={"axis": 1, "num_outputs": 2}, outputs=2, since=18),
    *(Case("Gather", (1, 4, 5), [np.array(index)], {"axis": 1}) for index in (2, [0, 2], [3, -3, 1], [1])),
    *padded([0, 0, 1, 2, 0, 0, 3, 0]),
    *padded([0, 0, 1, 2, 0, 0, 3, 0], value=0.5),
    *padded([0, 0, 1, 2, 0, 0, 3, 1], mode="reflect"),
    *padded([0, 0, 1, 2, 0, 0, 3, 1], mode="edge"),
    *padded([0, 2, 0, 0, 0, 1, 0, 1]),
    *padded([0, 0, -1, 0, 0, 0, 0, -2]),
    Case("Pad", constants=[np.array([1, 2, 0, 1]), None, np.array([2, 3])], since=18),
    Case("DepthToSpace", (1, 8, 3, 2), attributes={"blocksize": 2}),
    *(
        Case("DepthToSpace", (1, 8, 3, 2), attributes={"blocksize": 2, "mode": mode}, since=11)
        for mode in ("DCR", "CRD")
    ),
    Case("SpaceToDepth", (1, 2, 6, 4), attributes={"blocksize": 2}),
    Case("Upsample", (1, 2, 3, 4), attributes={"scales": [1.0, 1.0, 2.0, 3.0], "mode": "nearest"}, until=8),
    *(
        Case("Upsample", (1, 2, 3, 4), [np.array([1, 1, 2, 2.5], np.float32)], {"mode": mode}, since=9, until=9)
        for mode in ("nearest", "linear")
    ),
    *(
        Case("Resize", (1, 2, 5, 6), [np.array([1, 1, 2, 1.7], np.float32)], {"mode": mode}, since=10, until=10)
        for mode in ("nearest", "linear")
    ),
    *(
        resized(scales, mode=mode, coordinate_transformation_mode=coordinates)
        for scales in ([2, 2], [3, 1.7], [0.5, 0.7])
        for mode in ("nearest", "linear")
        for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    ),
    *(
        resized(scales, mode="nearest", nearest_mode=rounding, coordinate_transformation_mode="asymmetric")
        for scales in ([2, 3], [1.7, 0.6])
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    resized(None, sizes=[10, 12], mode="nearest"),
    resized(None, sizes=[7, 4], mode="linear"),
    Case("Cast", attributes={"to": onnx.TensorProto.FLOAT}),
]


def exists(operator: str, opset: int) -> bool:
    try:
        return not onnx.defs.get_schema(operator, opset, "").deprecated
    except onnx.defs.SchemaError:
        return False


def parameters() -> list[Any]:
    found = []
    for number, case in enumerate(CASES):
        seen = set()
        for opset in OPSETS:
            if case.since <= opset <= case.until and exists(case.operator, opset):
                version = onnx.defs.get_schema(case.operator, opset, "").since_version
                if version not in seen:
                    found.append(pytest.param(case, opset, id=f"{case.operator}-{number}-opset{opset}"))
                seen.add(version)
    return found


@pytest.mark.parametrize(("case", "opset"), parameters())
def test_an_operator_computes_what_onnxruntime_computes(case, opset, tmp_path):
    images = values(*case.shape, low=0.1 if case.positive else -1.0, high=2.0)
    model = case.model(opset)
    if case.operator in ("Sign", "Round", "Floor", "Ceil"):
        images = images * 3
    compare_raw(model, tmp_path / "network.onnx", images)


def compare_raw(model, path, images):
    """`images` in the file's own shape, which for flat inputs differs from the module's."""
    imported = import_onnx(write(model, path))
    expected = run_reference(model, images)
    as_image = images if imported.image.layout == "NCHW" else images.transpose(0, 3, 1, 2)
    found = run_imported(imported, np.ascontiguousarray(as_image.reshape(len(images), *imported.image.shape)))
    assert [array.shape for array in found] == [array.shape for array in expected]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_every_operator_in_the_table_has_a_case():
    covered = {case.operator for case in CASES} | {"Concat", "Shape", "Size"}  # see test_onnx_import
    assert set(OPERATORS) == covered
