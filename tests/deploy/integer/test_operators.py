"""Each operator in a small network: executor, deploy mode, compiled C and onnxruntime agree to the bit."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from deploy_networks import uniform_policy
from torch import Tensor, nn
from torch.nn import functional

from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.deploy.c_source.write import FLAGS, input_bytes, write_c_source
from core.deploy.integer.build import build_program
from core.deploy.integer.deploy_mode import DeployMode
from core.deploy.integer.executor import IntegerExecutor
from core.deploy.integer.program import IntegerProgram, Product, Resample, Rounding
from core.deploy.onnx_integer.write import export_onnx_integer
from core.errors import UnsupportedModel
from core.graph.build_inventory import build_inventory
from core.graph.checkpoint import trace
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice

SHAPE = (3, 9, 7)
Body = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """`body` calls the parts; `stem` is a convolution to six channels."""

    def __init__(self, body: Body, *parts: nn.Module) -> None:
        super().__init__()
        self.body, self.parts = body, nn.ModuleList(parts)
        self.stem, self.after, self.flatten = nn.Conv2d(3, 6, 3, 1, 1), nn.LazyConv2d(4, 1), nn.Flatten()
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)

    def scores(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.flatten(self.pool(torch.relu(self.after(x)))))
        return scores


def behind(operation: Callable[[Tensor], Tensor]) -> Net:
    """stem -> the operation -> a convolution -> scores."""
    return Net(lambda net, x: net.scores(operation(net.stem(x))))


def module(layer: nn.Module) -> Net:
    return Net(lambda net, x: net.scores(net.parts[0](net.stem(x))), layer)


def squeeze(net: Net, x: Tensor) -> Tensor:
    y = torch.relu(net.stem(x))
    gate = torch.sigmoid(net.parts[1](torch.relu(net.parts[0](functional.adaptive_avg_pool2d(y, 1)))))
    return net.scores(torch.mul(y, gate))


def attention(net: Net, x: Tensor) -> Tensor:
    """Two heads, queries and keys of three channels; a ReLU in place of the softmax."""
    parts = torch.permute(torch.reshape(net.parts[0](x), (-1, 3, 2, 3, 63)), (0, 1, 2, 4, 3))
    query, key, value = parts[:, 0], parts[:, 1], parts[:, 2]
    weights = torch.relu(torch.div(torch.matmul(query, torch.permute(key, (0, 1, 3, 2))), 3.0))
    together = torch.reshape(torch.permute(torch.matmul(weights, value), (0, 1, 3, 2)), (-1, 6, 9, 7))
    return net.scores(together)


def spatial_gate(net: Net, x: Tensor) -> Tensor:
    y = torch.relu(net.stem(x))
    both = torch.cat([torch.mean(y, [1], True), torch.amax(y, [1], True), torch.amin(y, [1], True)], 1)
    return net.scores(torch.mul(y, torch.sigmoid(net.parts[0](both))))


NETWORKS: dict[str, Callable[[], Net]] = {
    "squeeze and excitation": lambda: Net(squeeze, nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)),
    "attention": lambda: Net(attention, nn.Conv2d(3, 18, 3, 1, 1)),
    "a spatial gate": lambda: Net(spatial_gate, nn.Conv2d(3, 1, 3, 1, 1)),
    "a gated half": lambda: behind(lambda y: torch.mul(y[:, :3], torch.sigmoid(y[:, 3:]))),
    "doubled": lambda: module(nn.Upsample(scale_factor=2, mode="bilinear")),
    "odd corners": lambda: module(nn.Upsample((7, 16), mode="bilinear", align_corners=True)),
    "odd sizes": lambda: module(nn.Upsample((17, 5), mode="bilinear")),
    "a factor that is no fraction": lambda: module(nn.Upsample(scale_factor=1.7, mode="bilinear")),
    "nearest to odd sizes": lambda: module(nn.Upsample((13, 5))),
    "resized at the end": lambda: Net(
        lambda net, x: net.parts[0](net.stem(x)), nn.Upsample(scale_factor=3, mode="bilinear", align_corners=True)
    ),
    "average over the edge": lambda: module(nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
    "average of what is there": lambda: module(nn.AvgPool2d((3, 4), (2, 1), (1, 2), count_include_pad=False)),
    "average by another number": lambda: module(nn.AvgPool2d(3, 2, divisor_override=5)),
    "uneven averages": lambda: module(nn.AdaptiveAvgPool2d((4, 3))),
    "uneven maxima": lambda: module(nn.AdaptiveMaxPool2d((4, 3))),
    "maximum over the edge": lambda: module(nn.MaxPool2d((3, 2), (2, 3), (1, 0), (1, 2), ceil_mode=True)),
    "sum": lambda: Net(lambda net, x: net.parts[0](torch.sum(torch.relu(net.stem(x)), [2, 3])), nn.Linear(6, 3)),
    "ReLU before its norm": lambda: Net(
        lambda net, x: net.scores(net.parts[0](torch.relu(net.stem(x)))), nn.BatchNorm2d(6)
    ),
    "function before a norm": lambda: Net(
        lambda net, x: net.scores(net.parts[0](functional.hardswish(net.stem(x)))), nn.BatchNorm2d(6)
    ),
    "slopes per channel": lambda: module(nn.PReLU(6, 0.3)),
    "maximum and minimum": lambda: behind(lambda y: torch.maximum(y[:, :3], torch.minimum(y[:, 3:], y[:, 1:4]))),
    "the same twice": lambda: behind(lambda y: torch.add(y, y)),
    "subtraction": lambda: behind(lambda y: torch.sub(torch.relu(y), torch.sigmoid(y))),
    "sum with its average": lambda: behind(lambda y: torch.add(y, functional.adaptive_avg_pool2d(y, 1))),
    "concatenated, then padded": lambda: behind(
        lambda y: functional.pad(torch.cat([torch.relu(y) * 10.0, torch.sigmoid(y), y], 1), (1, 0, 2, 1))
    ),
    "padded unevenly": lambda: behind(lambda y: functional.pad(torch.sigmoid(y), (1, 0, 2, 1))),
    "mirrored edges": lambda: module(nn.ReflectionPad2d((1, 2, 3, 0))),
    "repeated edges": lambda: module(nn.ReplicationPad2d((1, 2, 3, 0))),
    "edges of a number": lambda: module(nn.ConstantPad2d((1, 2, 3, 0), -0.7)),
    "one channel": lambda: behind(lambda y: torch.unsqueeze(y[:, 2], 1)),
    "an image padded first": lambda: Net(lambda net, x: net.scores(net.stem(functional.pad(x, (1, 2, 0, 3))))),
    "an image flattened first": lambda: Net(lambda net, x: net.parts[0](net.flatten(x)), nn.Linear(189, 3)),
    "an image normalised first": lambda: Net(lambda net, x: net.scores(net.stem(torch.div(torch.sub(x, 0.4), 0.3)))),
    "an image beside its features": lambda: Net(lambda net, x: net.scores(torch.cat([x, net.stem(x)], 1))),
    "a clamp at the end": lambda: Net(lambda net, x: torch.clamp(net.stem(x) * 255.0, 0.0, 255.0)),
    "a function at the end": lambda: Net(lambda net, x: torch.tanh(net.stem(x))),
    "a maximum of a function at the end": lambda: Net(
        lambda net, x: functional.max_pool2d(functional.leaky_relu(net.stem(x)), 2)
    ),
    "a written GELU": lambda: behind(lambda y: y * 0.5 * (1.0 + torch.erf(y / math.sqrt(2.0)))),
    "a square": lambda: behind(lambda y: y * (2.0 * y)),
    "a quotient": lambda: behind(lambda y: y / (1.0 + torch.abs(y)) + torch.reciprocal(torch.exp(y) + 1.0)),
}
IN_C = (
    "squeeze and excitation", "attention", "odd sizes", "average over the edge", "maximum over the edge",
    "mirrored edges", "slopes per channel",
)  # fmt: skip


class Case:
    def __init__(self, make: Callable[[], Net], weights: int = 8, activations: int = 8, method: str = "lsq") -> None:
        torch.manual_seed(2)
        network = make().eval()
        with torch.inference_mode():
            network(torch.zeros(1, *SHAPE))
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, -1.0, 1.5)
                layer.get_buffer("running_var").uniform_(0.3, 1.2)
        traced = trace(network)
        self.loaded = LoadedModel(traced, build_inventory(traced, SHAPE, "test"))
        self.images = torch.randn(12, *SHAPE) * torch.randn(12, 1, 1, 1).exp()
        self.policy = uniform_policy(self.loaded, weights, activations)
        calibration = calibrate(self.loaded, [self.images])
        self.model = quantize(
            self.loaded, self.policy, calibration, QuantizerChoice(method=method, granularity="channel")
        )

    def program(self, rounding: Rounding = "dyadic") -> IntegerProgram:
        return build_program(self.model, SHAPE, rounding=rounding)

    def trained(self) -> np.ndarray:
        with torch.inference_mode():
            scores: np.ndarray = self.model(self.images).numpy()
        return scores


@pytest.mark.parametrize("name", NETWORKS)
def test_integers_are_deploy_modes_and_onnxruntimes_and_within_what_is_proven(name: str, tmp_path: Path) -> None:
    case = Case(NETWORKS[name])
    program, images, trained = case.program(), case.images.numpy(), case.trained()
    executor = IntegerExecutor(program)
    executed = executor(images)
    assert np.array_equal(executed, DeployMode(program)(images))
    assert np.abs(executed - trained).max() < 0.02 * np.abs(trained).max()
    values = executor.run(program.input_grid.codes(images), frozenset(program.tensors) - {program.input})
    for tensor, found in values.items():
        assert program.tensors[tensor].shape == found.shape[1:]
        assert program.tensors[tensor].low <= found.min()
        assert found.max() <= program.tensors[tensor].high
    export_onnx_integer(program, case.policy, tmp_path / "integer.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "integer.onnx", providers=["CPUExecutionProvider"])
    expected = values[program.output].astype(np.float32) * np.float32(program.output_scale)
    assert np.array_equal(session.run(None, {"image": images})[0], expected)


@pytest.mark.parametrize("name", ["squeeze and excitation", "attention", "odd corners", "average over the edge"])
@pytest.mark.parametrize(("weights", "activations"), [(4, 4), (1, 2)])
def test_few_bits_and_both_roundings(name: str, weights: int, activations: int) -> None:
    case = Case(NETWORKS[name], weights, activations, "hadq")
    images, trained = case.images.numpy(), case.trained()
    for rounding in ("dyadic", "gemmlowp"):
        program = case.program(rounding)
        executed = IntegerExecutor(program)(images)
        assert np.array_equal(executed, DeployMode(program)(images))
        assert np.abs(executed - trained).max() < 0.1 * np.abs(trained).max()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: install gcc or clang")
@pytest.mark.parametrize("name", IN_C)
def test_compiled_integers_are_the_executors(name: str, tmp_path: Path) -> None:
    case = Case(NETWORKS[name], 5, 6)
    program = case.program()
    codes = program.input_grid.codes(case.images.numpy())
    source = write_c_source(program, tmp_path)
    files = [str(tmp_path / file) for file in ("network.c", "main.c")]
    compiled = subprocess.run(
        ["cc", *FLAGS, "-o", str(tmp_path / "network"), *files], capture_output=True, text=True, check=False
    )
    assert compiled.returncode == 0, compiled.stderr
    output = subprocess.run([tmp_path / "network"], input=input_bytes(codes, source), capture_output=True, check=True)
    expected = IntegerExecutor(program).run(codes)[program.output]
    assert np.array_equal(np.frombuffer(output.stdout, np.int32).reshape(expected.shape), expected)


def test_products_read_eight_bits_and_interpolation_says_its_fractional_bits() -> None:
    products = [each for each in Case(NETWORKS["attention"]).program().operations if isinstance(each, Product)]
    assert [each.kind for each in products] == ["matrices", "matrices"]
    doubled, odd = (
        [each for each in Case(NETWORKS[name]).program().operations if isinstance(each, Resample)]
        for name in ("doubled", "odd sizes")
    )
    assert [each.unit for each in doubled] == [4, 4]  # a quarter and three quarters, exactly
    assert {each.unit for each in odd} == {2**12}
    for each in (*doubled, *odd):
        assert (each.weights.sum(1) == each.unit).all()


def test_a_constant_image_stays_constant_when_it_is_resized() -> None:
    program = Case(NETWORKS["resized at the end"]).program()
    codes = np.full((1, *SHAPE), program.input_grid.codes(np.array([0.5], np.float32))[0], np.int32)
    # behind the border of the convolution
    inner = IntegerExecutor(program).run(codes)[program.output][0, :, 5:-5, 5:-5]
    assert (inner == inner[:, :1, :1]).all()


def test_what_has_no_integer_form_is_named_with_its_line() -> None:
    case = Case(lambda: behind(lambda y: torch.softmax(y, 1)))
    with pytest.raises(UnsupportedModel, match=r"softmax \(integer/test_operators.py line \d+\): "):
        case.program()


def test_sums_that_32_bits_do_not_hold_are_refused_by_name() -> None:
    def long_sum(net: Net, x: Tensor) -> Tensor:
        many = torch.reshape(functional.interpolate(torch.relu(net.stem(x)), scale_factor=30), (-1, 6, 63 * 900))
        scores: Tensor = net.parts[0](torch.matmul(many, torch.permute(many, (0, 2, 1))))
        return scores

    with pytest.raises(UnsupportedModel, match=r"matmul .*do not fit 32-bit accumulators"):
        Case(lambda: Net(long_sum, nn.Linear(6, 3))).program()
