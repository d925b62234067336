"""Every kind of grid that a method may have comes out of the ONNX and the packed file as it went in, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from core.deploy.onnx_qdq import export_onnx_qdq
from core.deploy.packed import export_packed
from core.deploy.packed_reader import PackedFile, read_packed
from core.graph.build_inventory import build_inventory
from core.graph.quantized_layers import quantized_layer
from core.policy import LayerBits, Policy
from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer
from core.quantizers.site_range import ActivationGrid

INPUTS, OUTPUTS = 6, 5
SHAPE = (OUTPUTS, INPUTS, 1, 1)


class FixedGrid(ActivationQuantizer):
    """An activation quantizer that is nothing but its grid."""

    def __init__(self, bits: int, grid: ActivationGrid) -> None:
        super().__init__(bits, signed=True)
        self._grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._grid.values(self._grid.codes(x.numpy())))

    def grid(self) -> ActivationGrid:
        return self._grid


class FixedIntegers(WeightQuantizer):
    """A weight quantizer that hands out what it was given."""

    def __init__(self, integers: QuantizedTensor) -> None:
        super().__init__(8, integers.axis)
        self._integers = integers

    def forward(self, weight: Tensor) -> Tensor:
        return self._integers.dequantize()

    def integers(self, weight: Tensor) -> QuantizedTensor:
        return self._integers


class _OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.flatten = nn.Conv2d(INPUTS, OUTPUTS, 1, bias=False), nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        return self.flatten(self.layer(x))


def _network(weights: nn.Module, activations: nn.Module) -> tuple[fx.GraphModule, Any]:
    """x -> activation quantizer -> a convolution of one pixel."""
    traced = fx.symbolic_trace(_OneLayer())
    inventory = build_inventory(traced, (INPUTS, 1, 1), "test")
    traced.layer = quantized_layer(traced.layer, weights)
    traced.add_module("activation_quantizers", nn.ModuleDict({"x": activations}))
    layer = next(node for node in traced.graph.nodes if node.target == "layer")
    with traced.graph.inserting_before(layer):
        site = traced.graph.call_module("activation_quantizers.x", (layer.args[0],))
    layer.update_arg(0, site)
    traced.recompile()
    return traced.eval(), inventory


def _written(weights: nn.Module, activations: nn.Module, x: Tensor, folder: Path) -> tuple[Tensor, PackedFile]:
    """What the ONNX file puts out for x [N, INPUTS], and the packed file."""
    x = x.view(-1, INPUTS, 1, 1)
    model, inventory = _network(weights, activations)
    policy = Policy(layers={"layer": LayerBits(weights=8, activations=8)})
    export_onnx_qdq(model, inventory, policy, folder / "m.onnx")
    export_packed(model, inventory, policy, folder / "m.safetensors")
    session = onnxruntime.InferenceSession(folder / "m.onnx", providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": x.numpy()})
    with torch.inference_mode():
        assert torch.equal(torch.from_numpy(result), model(x)), "onnxruntime differs from torch"
    return torch.from_numpy(result), read_packed(folder / "m.safetensors")


def _permutation() -> FixedIntegers:
    """A weight that only copies: its products and sums are exact."""
    codes = torch.eye(OUTPUTS, INPUTS, dtype=torch.int32).view(SHAPE)
    return FixedIntegers(QuantizedTensor.of_one_width(codes, torch.tensor(1.0), None, 8, (-128, 127)))


@st.composite
def grids(draw: st.DrawFn) -> tuple[int, ActivationGrid]:
    """Any grid and its bits."""
    bits = draw(st.sampled_from([1, 2, 3, 4, 6, 8]))
    scale = float(np.float32(draw(st.floats(1e-3, 3))))
    offset = float(np.float32(draw(st.sampled_from([0.0, -0.37, 1.25]))))
    low = draw(st.sampled_from([0, -(2 ** (bits - 1))]))
    high, zero_point = low + 2**bits - 1, draw(st.integers(low, low + 2**bits - 1))
    base = {"scale": scale, "offset": offset, "low": low, "high": high, "zero_point": zero_point}
    kind = draw(st.sampled_from(["nearest", "up", "thresholds", "levels"]))
    if kind in ("nearest", "up"):
        return bits, ActivationGrid(**base, rounding=kind)
    count = 2**bits if kind == "thresholds" else draw(st.integers(2, 2**bits))
    steps = draw(st.lists(st.floats(0.01, 1), min_size=count - 1, max_size=count - 1))
    thresholds = tuple(map(float, np.cumsum(steps, dtype=np.float32) - np.float32(1)))
    levels: tuple[int, ...] = ()
    if kind == "levels":
        levels = tuple(int(code) for code in np.cumsum([low, *range(1, count)]))
        base |= {"low": levels[0], "high": levels[-1]}
    return bits, ActivationGrid(**base, thresholds=thresholds, levels=levels)


@settings(max_examples=80, deadline=None)
@given(grid=grids(), seed=st.integers(0, 2**31))
def test_any_activation_grid(
    grid: tuple[int, ActivationGrid], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bits, expected = grid
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, INPUTS, generator=generator) * expected.scale * 2**bits
    edges = torch.tensor([*expected.thresholds, *torch.arange(-3, 4) * expected.scale / 2, 1e30, -1e30])
    x.flatten()[: len(edges)] = edges[: x.numel()]
    result, file = _written(_permutation(), FixedGrid(bits, expected), x, tmp_path_factory.mktemp("grid"))
    assert len(result.unique()) <= 2**bits
    found = file.activations["x"]
    np.testing.assert_array_equal(found.codes(x.numpy()), expected.codes(x.numpy()))
    np.testing.assert_array_equal(found.values(found.codes(x.numpy()))[:, :OUTPUTS], result)


def test_infinity_gets_the_outermost_levels(tmp_path: Path) -> None:
    grid = ActivationGrid(scale=0.5, low=0, high=3, thresholds=(0.1, 0.2, 0.7))
    x = torch.full((2, INPUTS, 1, 1), torch.inf)
    x[1] = -torch.inf
    model, inventory = _network(_permutation(), FixedGrid(2, grid))
    export_onnx_qdq(model, inventory, Policy(layers={"layer": LayerBits(weights=8, activations=2)}), tmp_path / "m")
    assert model(x).unique().tolist() == [0, 1.5]
    session = onnxruntime.InferenceSession(tmp_path / "m", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": x.numpy()})[0], model(x).numpy())


@st.composite
def weights(draw: st.DrawFn) -> tuple[int, QuantizedTensor]:
    """Any weight grid and its bits: one scale or one per channel, steps 1 and 2, offsets, levels."""
    bits = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    axis = draw(st.sampled_from([None, 0]))
    scale = torch.rand(() if axis is None else (OUTPUTS,), generator=generator) + 0.01
    offset = torch.randn(scale.shape, generator=generator) if draw(st.booleans()) else None
    field = torch.randint(0, 2**bits, SHAPE, generator=generator, dtype=torch.int32)
    kind = draw(st.sampled_from(["signed", "unsigned", "odd", "levels", "large levels"]))
    if kind in ("levels", "large levels"):
        factor = 1 if kind == "levels" else 4_000
        levels = (torch.arange(2**bits, dtype=torch.int32).square() - 2 ** (bits - 1)) * factor
        limits = (int(levels[0]), int(levels[-1]))
        codes = levels[field.long()]
        return bits, QuantizedTensor.of_one_width(codes, scale, axis, bits, limits, offset=offset, levels=levels)
    step = 2 if kind == "odd" else 1
    low = {"signed": -(2 ** (bits - 1)), "unsigned": 0, "odd": -(2**bits - 1)}[kind]
    limits = (low, low + step * (2**bits - 1))
    codes = low + step * field
    return bits, QuantizedTensor.of_one_width(codes, scale, axis, bits, limits, offset=offset, step=step)


@settings(max_examples=80, deadline=None)
@given(weight=weights())
def test_any_weight_grid(weight: tuple[int, QuantizedTensor], tmp_path_factory: pytest.TempPathFactory) -> None:
    bits, integers = weight
    columns, file = _written(
        FixedIntegers(integers), nn.Identity(), torch.eye(INPUTS), tmp_path_factory.mktemp("weight")
    )
    assert torch.equal(columns.T, integers.dequantize().flatten(1))
    layer = file["layer"]
    np.testing.assert_array_equal(layer.values(), integers.dequantize())
    np.testing.assert_array_equal(layer.codes(), integers.codes)
    assert len(layer.packed) == -(-OUTPUTS * INPUTS * bits // 8)


def test_a_batch_of_channels_with_grids_of_every_kind_is_exact(tmp_path: Path) -> None:
    """Widths 0 to 8, odd and plain, in one layer: one container for all."""
    fields = torch.arange(OUTPUTS * INPUTS, dtype=torch.int32).view(OUTPUTS, INPUTS)
    bits, step = torch.tensor([0, 1, 2, 4, 8]), torch.tensor([1, 2, 2, 2, 1])
    low, high = torch.tensor([0, -1, -3, -15, -128]), torch.tensor([0, 1, 3, 15, 127])
    codes = low[:, None] + step[:, None] * (fields % 2 ** bits[:, None])
    scale, offset = torch.rand(OUTPUTS) + 0.1, torch.zeros(OUTPUTS)
    grid = [each.to(torch.int32) for each in (bits, low, high, step)]
    integers = QuantizedTensor(codes.to(torch.int32).view(SHAPE), scale, offset, 0, *grid)
    columns, file = _written(FixedIntegers(integers), nn.Identity(), torch.eye(INPUTS), tmp_path)
    assert torch.equal(columns.T, integers.dequantize().flatten(1))
    np.testing.assert_array_equal(file["layer"].codes(), integers.codes)
    assert file["layer"].bits.tolist() == bits.tolist()


def test_equal_tables_of_levels_are_stored_once(tmp_path: Path) -> None:
    levels = torch.tensor([-4, -1, 0, 3], dtype=torch.int32)
    codes = levels[torch.randint(0, 4, SHAPE)]
    integers = QuantizedTensor.of_one_width(codes, torch.tensor(0.5), None, 2, (-4, 3), levels=levels)
    grid = ActivationGrid(scale=1, low=-4, high=3, thresholds=(-2.0, -0.5, 1.0), levels=(-4, -1, 0, 3))
    _, file = _written(FixedIntegers(integers), FixedGrid(2, grid), torch.randn(9, INPUTS).round(), tmp_path)
    assert file.activations["x"].levels == (-4, -1, 0, 3)
    assert file["layer"].levels is not None
    assert (tmp_path / "m.safetensors").read_bytes().count(b"[-4,-1,0,3]") == 1
