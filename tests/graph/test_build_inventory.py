"""The inventory: shapes, multiply-accumulates, reads, signs, ties; and what load_model does to a classifier's end."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from torch import Tensor, nn

from core.errors import UnsupportedFormat, UnsupportedModel
from core.graph.build_inventory import build_inventory
from core.graph.checkpoint import trace
from core.graph.load import load_model
from core.graph.vocabulary import cannot_be_negative
from tests.graph.onnx_networks import network, run_onnxruntime, values, write

node = helper.make_node


def inventory_of(module: nn.Module, shape=(3, 8, 8)):
    return build_inventory(trace(module.eval()), shape, "test")


def test_a_layer_is_described_completely():
    convolution = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2)
    layer = inventory_of(nn.Sequential(convolution, nn.BatchNorm2d(6)), (4, 9, 8)).layers[0]
    assert layer.model_dump() == {
        "name": "0", "kind": "conv2d", "input_shape": (4, 9, 8), "output_shape": (6, 5, 7),
        "weight_shape": (6, 2, 3, 2), "stride": (2, 1), "padding": (1, 0, 1, 0), "groups": 2,
        "macs": 6 * 5 * 7 * 2 * 3 * 2, "parameters": 72, "bias_parameters": 6, "reads": "input_1",
        "reads_signed": True, "batch_norm": "1", "tied_with": (),
    }  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 3), groups=st.integers(1, 3), kernel=st.integers(1, 3), stride=st.integers(1, 2),
    padding=st.integers(0, 2), size=st.integers(5, 9), transposed=st.booleans(),
)  # fmt: skip
def test_multiply_accumulates_are_those_that_a_loop_would_do(
    channels, groups, kernel, stride, padding, size, transposed
):
    """Counted by running with ones on an unpadded image: each product adds one."""
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    module = kind(channels * groups, 2 * groups, kernel, stride, groups=groups, bias=False)
    nn.init.ones_(module.weight)
    inventory = inventory_of(nn.Sequential(module), (channels * groups, size, size))
    counted = int(module(torch.ones(1, channels * groups, size, size)).sum().item())
    assert inventory.total_macs == counted
    padded = kind(channels * groups, 2 * groups, kernel, stride, padding, groups=groups, bias=False)
    if not transposed:
        output = padded(torch.ones(1, channels * groups, size, size))
        layer = inventory_of(nn.Sequential(padded), (channels * groups, size, size)).layers[0]
        assert layer.macs == output.numel() * channels * kernel * kernel


def test_linear_layers_count_every_position():
    assert inventory_of(nn.Sequential(nn.Flatten(2), nn.Linear(64, 5))).total_macs == 3 * 64 * 5


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x))


def test_weights_that_are_used_twice_are_refused():
    with pytest.raises(UnsupportedModel, match="conv is applied more than once"):
        inventory_of(Shared())


def test_a_network_without_layers_is_refused():
    with pytest.raises(UnsupportedModel, match="no quantizable layer"):
        inventory_of(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)))


SIGNS = [
    (nn.ReLU(), False), (nn.ReLU6(), False), (nn.Sigmoid(), False), (nn.Hardsigmoid(), False),
    (nn.Hardtanh(0, 4), False), (nn.Hardtanh(-1, 1), True), (nn.Tanh(), True), (nn.LeakyReLU(), True),
    (nn.Hardswish(), True), (nn.Identity(), True),
]  # fmt: skip
KEEPERS = [
    nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Dropout(), nn.Identity(), nn.Upsample(scale_factor=2),
    nn.ConstantPad2d(1, 0.0), nn.PixelShuffle(1),
]  # fmt: skip


@pytest.mark.parametrize(("activation", "signed"), SIGNS, ids=str)
@pytest.mark.parametrize("keeper", KEEPERS, ids=lambda value: type(value).__name__)
def test_signedness_follows_the_producer(activation, signed, keeper):
    inventory = inventory_of(nn.Sequential(nn.Conv2d(3, 4, 1), activation, keeper, nn.Conv2d(4, 2, 1)))
    assert [layer.reads_signed for layer in inventory.layers] == [True, signed]


FUNCTIONS = {
    "sum of two": (lambda x: torch.add(torch.relu(x), torch.abs(x)), False),
    "sum with signed": (lambda x: torch.add(torch.relu(x), x), True),
    "difference": (lambda x: torch.sub(torch.relu(x), torch.abs(x)), True),
    "minus a number": (lambda x: torch.add(torch.relu(x), -1.0), True),
    "plus a number": (lambda x: torch.add(torch.relu(x), 1.0), False),
    "times a negative": (lambda x: torch.mul(torch.relu(x), -2.0), True),
    "negated": (lambda x: torch.neg(torch.relu(x)), True),
    "concatenated": (lambda x: torch.cat([torch.relu(x), torch.abs(x)], 1), False),
    "concatenated with signed": (lambda x: torch.cat([torch.relu(x), x], 1), True),
    "sliced and padded": (lambda x: nn.functional.pad(torch.relu(x)[:, :, ::2], (0, 0, 1, 1)), False),
    "padded with a negative": (lambda x: nn.functional.pad(torch.relu(x), (1, 1), "constant", -1.0), True),
    "mean": (lambda x: torch.mean(torch.relu(x), [-1, -2]), False),
    "clamped": (lambda x: torch.clamp(x, 0.0, 3.0), False),
    "clamped below": (lambda x: torch.clamp(x, -1.0, 3.0), True),
    "reshaped": (lambda x: torch.reshape(torch.relu(x), (-1, 3, 64)), False),
    "maximum": (lambda x: torch.maximum(torch.relu(x), torch.abs(x)), False),
    "signed alone": (lambda x: torch.reshape(x, (-1, 3, 64)), True),
}


class Applied(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_tensor_called_unsigned_never_has_a_negative_value(name):
    function, signed = FUNCTIONS[name]
    module = trace(Applied(function))
    last = next(iter(reversed(module.graph.nodes))).args[0]
    assert (last not in cannot_be_negative(module)) == signed
    lowest = min(float(module(torch.randn(2, 3, 8, 8)).min()) for _ in range(20))
    assert (lowest < 0) == signed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def classifier(*end, weight=(5, 192)):
    nodes = [node("Flatten", ["x"], ["a"]), node("Gemm", ["a", "fc.weight"], ["b"], transB=1), *end]
    return network(nodes, {"fc.weight": values(*weight)}, opset=13, outputs=(nodes[-1].output[0],))


def test_a_final_softmax_is_taken_away_and_said_so(path):
    model = classifier(node("Softmax", ["b"], ["y"]))
    loaded = load_model(write(model, path), None)
    images = values(1, 3, 8, 8)
    scores = loaded.module(torch.from_numpy(images)).detach()
    expected = run_onnxruntime(model, images)[0]
    np.testing.assert_allclose(torch.softmax(scores, 1).numpy(), expected, rtol=1e-5)
    assert abs(scores.sum().item() - 1) > 1e-3
    assert "softmax" in loaded.inventory.warnings[0]
    assert not any("softmax" in name.lower() for name, _ in loaded.module.named_modules())


def test_scores_with_two_spare_dimensions_are_flattened(path):
    nodes = [node("Conv", ["x", "w"], ["a"]), node("GlobalAveragePool", ["a"], ["y"])]
    loaded = load_model(write(network(nodes, {"w": values(5, 3, 1, 1)}, opset=13), path), None)
    assert loaded.inventory.classes == 5
    assert loaded.module(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_a_network_that_is_no_classifier_has_no_classes_and_says_so(path):
    model = network([node("Conv", ["x", "w"], ["y"])], {"w": values(5, 3, 3, 3)}, opset=13)
    inventory = load_model(write(model, path), None).inventory
    assert inventory.classes == 0
    assert inventory.warnings == (
        "this is not a classifier: its output is 5 x 6 x 6, not one score per class; it can be costed, not evaluated",
    )


def test_a_batch_that_ends_up_elsewhere_is_refused(path):
    nodes = [node("Conv", ["x", "w"], ["a"]), node("Transpose", ["a"], ["y"], perm=[1, 0, 2, 3])]
    model = network(nodes, {"w": values(5, 3, 3, 3)}, opset=13)
    with pytest.raises(UnsupportedModel, match="treats its batch"):
        load_model(write(model, path), None)


def test_an_architecture_named_for_an_onnx_file_is_not_used_and_said_so(path):
    model = classifier()
    assert "'resnet20' was not used" in load_model(write(model, path), "resnet20").inventory.warnings[0]


def test_the_source_tells_opset_and_producer(path):
    model = classifier()
    model.producer_name, model.producer_version = "pytorch", "2.1"
    inventory = load_model(write(model, path), None).inventory
    assert inventory.source == "ONNX opset 13, pytorch 2.1"
    assert inventory.classes == 5
    assert inventory.layers[0].name == "fc"
    assert not inventory.layers[0].bias_parameters


def test_other_files_are_refused_before_they_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"\x80\x04pickled")
    with pytest.raises(UnsupportedFormat, match="pickle"):
        load_model(tmp_path / "a", None)
