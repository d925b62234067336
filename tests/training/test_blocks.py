"""Which layers form a block, and which block comes first."""

from __future__ import annotations

import torch
from small_networks import small_network, uniform
from torch import Tensor, fx, nn

from core.graph.architectures.cifar_resnet import CifarResNet
from core.graph.architectures.imagenet_resnet import Bottleneck, ImageNetResNet
from core.policy import LayerBits, Policy
from core.sensitivity.result import Sensitivity
from core.training.blocks import blocks_of, most_sensitive_first


def test_a_residual_block_is_what_lies_between_the_parting_and_the_sum() -> None:
    blocks = blocks_of(fx.symbolic_trace(CifarResNet(3)))
    assert blocks[0] == ("conv1",)
    assert blocks[1] == ("layer1.0.conv1", "layer1.0.conv2")
    assert blocks[-1] == ("linear",)
    assert len(blocks) == 11


def test_a_projected_shortcut_belongs_to_its_block() -> None:
    blocks = blocks_of(fx.symbolic_trace(ImageNetResNet(Bottleneck, (1, 1, 1, 1))))
    assert blocks[1] == ("layer1.0.conv1", "layer1.0.conv2", "layer1.0.conv3", "layer1.0.downsample.0")
    assert [len(block) for block in blocks] == [1, 4, 4, 4, 4, 1]


class Branches(nn.Module):
    """Two layers read one tensor without ever joining; a concatenation; a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = (nn.Conv2d(2, 2, 1) for _ in range(3))
        self.one, self.other, self.inner = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        joined = torch.cat([self.left(x), self.right(x)], 1)
        y = self.inner(joined)
        return self.one(y), self.other(y)


def test_branches_of_a_concatenation_and_readers_of_one_tensor_stay_together() -> None:
    assert blocks_of(fx.symbolic_trace(Branches())) == [("stem",), ("left", "right"), ("inner",), ("one", "other")]


def test_every_layer_is_in_one_block() -> None:
    loaded = small_network()
    blocks = blocks_of(loaded.module)
    assert sorted(name for block in blocks for name in block) == sorted(each.name for each in loaded.inventory.layers)
    assert blocks == [("stem",), ("first", "second"), ("classifier",)]


def sensitivity(weights: dict[str, float], activations: dict[str, float]) -> Sensitivity:
    by_bits = [{name: {2: loss, 8: 0.0} for name, loss in part.items()} for part in (weights, activations)]
    return Sensitivity(
        metric="direct", weights=by_bits[0], activations=by_bits[1], measured_weights={}, measured_activations={},
        weights_standard_errors={}, activations_standard_errors={}, images=1, seconds=0.0, budget_s=1.0,
    )  # fmt: skip


def test_the_block_with_the_largest_predicted_loss_comes_first() -> None:
    loaded = small_network()
    reads = {layer.name: layer.reads for layer in loaded.inventory.layers}
    blocks = blocks_of(loaded.module)
    losses = sensitivity(
        {"stem": 0.1, "first": 0.2, "second": 0.2, "classifier": 0.3}, {reads["classifier"]: 0.2, reads["first"]: 0.0}
    )
    ordered = most_sensitive_first(blocks, loaded.inventory, uniform(loaded, 2), losses)
    assert ordered == [("classifier",), ("first", "second"), ("stem",)]
    layers = {name: LayerBits(weights=8 if name == "classifier" else 2, activations=8) for name in reads}
    ordered = most_sensitive_first(blocks, loaded.inventory, Policy(layers=layers), losses)
    assert ordered == [("first", "second"), ("stem",), ("classifier",)], "at 8 bits the classifier costs nothing"


def test_channels_count_by_their_own_widths_and_equals_stay_in_order() -> None:
    loaded = small_network()
    blocks = blocks_of(loaded.module)
    losses = sensitivity({"stem": 0.1, "first": 0.1, "second": 0.0, "classifier": 0.0}, {})
    layers = dict(uniform(loaded, 2).layers) | {"stem": LayerBits(weights=(2, 2, 2, 8), activations=2)}
    assert most_sensitive_first(blocks, loaded.inventory, Policy(layers=layers), losses)[0] == ("first", "second")
    assert most_sensitive_first(blocks, loaded.inventory, uniform(loaded, 2), losses)[0] == ("stem",)
