"""Every operator that the importer and the architectures produce: torch and onnxruntime compute the same."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from deploy_networks import SHAPE, load, uniform_policy
from torch import Tensor, fx, nn
from torch.nn import functional

from core.deploy.onnx_nodes.registry import FUNCTIONS, MODULES
from core.deploy.onnx_qdq import export_onnx_qdq
from core.graph.build_inventory import propagate_shapes


def _norm(kind: Callable[..., nn.Module], **settings: Any) -> nn.Module:
    norm = kind(3, **settings)
    for values in norm.state_dict().values():
        if values.is_floating_point():
            nn.init.uniform_(values, 0.3, 1.7)
    return norm


LAYERS: list[nn.Module] = [
    nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 0.7), nn.LeakyReLU(0.2), nn.ELU(0.7), nn.CELU(0.6), nn.SELU(),
    nn.PReLU(), nn.PReLU(3), nn.Threshold(0.3, 0.0), nn.Softsign(), nn.Mish(), nn.Sigmoid(), nn.Hardsigmoid(),
    nn.Tanh(), nn.SiLU(), nn.Hardswish(), nn.GELU(), nn.GELU("tanh"), nn.Softplus(), nn.Softmax(1), nn.Softmax(-1),
    nn.LogSoftmax(1), _norm(nn.BatchNorm2d), nn.BatchNorm2d(3, affine=False), _norm(nn.InstanceNorm2d, affine=True),
    nn.InstanceNorm2d(3), nn.LocalResponseNorm(3, 0.1, 0.6, 1.2), nn.Identity(), nn.Dropout(), nn.Dropout2d(),
    nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((2, 3), dilation=2), nn.MaxPool2d(5, 3, ceil_mode=True),
    nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveAvgPool2d((4, 6)), nn.AdaptiveMaxPool2d(1), nn.AdaptiveMaxPool2d((None, 3)),
    nn.Upsample(scale_factor=2), nn.Upsample((18, 24), mode="bilinear"),
    nn.Upsample((23, 23), mode="bilinear", align_corners=True), nn.Flatten(), nn.Flatten(2), nn.Unflatten(1, (3, 1)),
    nn.ZeroPad2d((1, 2, 3, 4)), nn.ConstantPad2d((-1, 0, 2, -2), 0.5), nn.ConstantPad2d(1, -math.inf),
    nn.ReflectionPad2d((1, 2, 3, 1)), nn.ReplicationPad2d(2),
]  # fmt: skip
CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "add": lambda x: torch.add(x, torch.relu(x)),
    "add number": lambda x: x + 1.5,
    "sub": lambda x: torch.sub(2.0 * x, functional.relu(x)),
    "mul": lambda x: torch.mul(x, torch.sigmoid(x)),
    "div": lambda x: torch.div(x, 3.0) / (x * x + 1.0),
    "pow": lambda x: torch.pow(torch.abs(x), 1.5),
    "maximum": lambda x: torch.minimum(torch.maximum(x, torch.neg(x)), torch.exp(x)),
    "matmul": lambda x: torch.matmul(x, x) @ x,
    "cat": lambda x: torch.cat([x, torch.tanh(x), x], 1),
    "mean": lambda x: torch.mean(x, [2, 3], True),
    "sum": lambda x: torch.sum(x, [2], False),
    "amax": lambda x: torch.amax(x, 1),
    "amin": lambda x: torch.amin(x, [1, -1], True),
    "clamp": lambda x: torch.clamp(x, -math.inf, 0.4) + torch.clamp(x, min=-0.2),
    "relu6": lambda x: functional.relu6(x * 5.0),
    "activations": lambda x: functional.silu(x) + functional.gelu(x) + functional.leaky_relu(x, 0.3),
    "hardswish": functional.hardswish,
    "softmax": lambda x: torch.softmax(x, 1) + functional.log_softmax(x, dim=-1),
    "logarithm": lambda x: torch.log(torch.sqrt(torch.abs(x) + 1.0)),
    "methods": lambda x: x.sigmoid().mean(3, keepdim=True).view(-1, 6, 6).permute(0, 2, 1),
    "trigonometric": lambda x: torch.sin(x) * torch.cos(x) + torch.erf(x) + torch.sign(x),
    "rounding": lambda x: torch.floor(x * 3.0) + torch.ceil(x) + torch.round(x * 2.0),
    "reciprocal": lambda x: torch.reciprocal(torch.abs(x) + 0.5),
    "max_pool2d": lambda x: functional.max_pool2d(x, 2),
    "avg_pool2d": lambda x: functional.avg_pool2d(x, 2, stride=1),
    "adaptive_avg_pool2d": lambda x: functional.adaptive_avg_pool2d(x, 1),
    "interpolate": lambda x: functional.interpolate(x, scale_factor=2.0, mode="nearest"),
    "flatten": lambda x: torch.flatten(x, 1),
    "flatten in part": lambda x: torch.flatten(x, 1, 2),
    "reshape": lambda x: torch.reshape(x, (-1, 9, 4, 12)),
    "permute": lambda x: torch.permute(x, (0, 3, 1, 2)),
    "squeeze": lambda x: torch.squeeze(torch.unsqueeze(x, 2), 2),
    "slices": lambda x: x[:, :, ::2, 1:-1:3],
    "a slice from the end": lambda x: x[..., -4:],
    "a number": lambda x: x[:, 1],
    "the last": lambda x: x[:, :, -1],
    "pad": lambda x: functional.pad(x, (0, 0, 1, 0, 2, 1)),
    "pad with a value": lambda x: functional.pad(x, (1, 1), "constant", 0.7),
    "flip": lambda x: torch.flip(x, (2, 3)),
}
# Functions that no case above can name: the same as another one's, or with a test of their own.
ELSEWHERE = {operator.iadd, operator.sub, operator.matmul, torch.log_softmax, functional.softmax, torch.index_select}


class _Call(nn.Module):
    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def _compare(network: nn.Module, path: Path) -> fx.GraphModule:
    torch.manual_seed(5)
    traced = fx.symbolic_trace(network.eval())
    propagate_shapes(traced, SHAPE)
    loaded = load("residual")
    export_onnx_qdq(traced, loaded.inventory, uniform_policy(loaded, 8, 8), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        x = torch.randn(batch, *SHAPE)
        with torch.inference_mode():
            expected = traced(x).numpy()
        np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], expected, rtol=2e-5, atol=2e-5)
    return traced


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_modules(layer: nn.Module, tmp_path: Path) -> None:
    _compare(_Call(layer), tmp_path / "m.onnx")


@pytest.mark.parametrize("name", list(CALLS))
def test_functions(name: str, tmp_path: Path) -> None:
    _compare(_Call(CALLS[name]), tmp_path / "m.onnx")


class _Indexed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("chosen", torch.tensor([2, 0, 2]))
        self.register_buffer("factors", torch.rand(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.index_select(x, 1, self.chosen) * self.factors


def test_constants_in_the_graph(tmp_path: Path) -> None:
    _compare(_Indexed(), tmp_path / "m.onnx")


class _Shuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(torch.reshape(x, (-1, 12, 6, 6)))


def test_pixel_shuffle(tmp_path: Path) -> None:
    _compare(_Shuffle(), tmp_path / "m.onnx")


def test_every_entry_of_the_tables_is_tried_here() -> None:
    tried_modules = {type(layer) for layer in LAYERS} | {nn.PixelShuffle, nn.BatchNorm1d}
    assert set(MODULES) <= tried_modules
    tried = set(ELSEWHERE)
    for call in CALLS.values():
        tried |= {node.target for node in fx.symbolic_trace(_Call(call)).graph.nodes if node.op == "call_function"}
    missing = {getattr(function, "__name__", str(function)) for function in set(FUNCTIONS) - tried}
    assert not missing
