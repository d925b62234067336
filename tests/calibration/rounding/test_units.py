"""Blocks found from graphs: by what is connected, not by names."""

from __future__ import annotations

import torch
from small_networks import small_network
from torch import Tensor, fx, nn

from core.calibration.rounding.units import blocks, cut_points, single_layers
from core.graph.architectures.cifar_resnet import CifarResNet
from core.graph.architectures.mobilenet_v2 import MobileNetV2


def layers_of_blocks(module: nn.Module) -> list[tuple[str, ...]]:
    return [unit.layers for unit in blocks(fx.symbolic_trace(module))]


def test_resnet_20_has_a_stem_nine_blocks_of_two_and_a_head() -> None:
    found = layers_of_blocks(CifarResNet(3))
    assert found[0] == ("conv1",)
    assert found[-1] == ("linear",)
    assert found[1:-1] == [
        (f"layer{stage}.{block}.conv1", f"layer{stage}.{block}.conv2") for stage in (1, 2, 3) for block in range(3)
    ]


def test_a_block_ends_behind_the_relu_of_its_sum() -> None:
    module = small_network().module
    stem, block, head = blocks(module)
    assert block.layers == ("first", "second")
    assert (block.entry.name, block.exit.name) == ("relu_stem", "relu_sum")
    assert stem.exit is block.entry
    assert head.layers == ("classifier",)


def test_single_layers_end_behind_batch_norm_and_activation_but_not_behind_the_sum() -> None:
    exits = {unit.layers[0]: unit.exit.name for unit in single_layers(small_network().module)}
    assert exits == {"stem": "relu_stem", "first": "relu_first", "second": "second_norm", "classifier": "classifier"}


def test_mobilenet_v2_has_its_17_inverted_residuals_with_and_without_a_shortcut() -> None:
    found = layers_of_blocks(MobileNetV2(0.35))
    assert found[0] == ("features.0.0",)
    assert found[-2:] == [("features.18.0",), ("classifier.1",)]
    assert len(found) == 1 + 17 + 2
    assert [len(layers) for layers in found[1:-2]] == [2] + [3] * 16
    assert all(len({name.split(".")[1] for name in layers}) == 1 for layers in found[1:-2])


class Fire(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.squeeze = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(torch.max_pool2d(torch.relu(self.stem(x)), 2)))
        return self.head(torch.cat([torch.relu(self.left(x)), torch.relu(self.right(x))], 1))


def test_a_fire_module_is_one_block_with_its_squeeze() -> None:
    assert layers_of_blocks(Fire()) == [("stem",), ("squeeze", "left", "right"), ("head",)]


def test_a_chain_without_joins_falls_into_single_layers() -> None:
    chain = nn.Sequential(*(part for _ in range(6) for part in (nn.Linear(2, 2), nn.ReLU())), nn.Linear(2, 2))
    assert layers_of_blocks(chain) == [(f"{position}",) for position in range(0, 13, 2)]


class Wide(nn.Module):
    """A sum of so many branches that one block would hold too many layers, as in a dense block."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[0](x)
        total = x
        for layer in list(self.layers)[1:-1]:
            total = torch.add(total, layer(x))
        return self.layers[15](total)


def test_a_block_of_too_many_layers_falls_into_single_layers() -> None:
    assert [len(layers) for layers in layers_of_blocks(Wide())] == [1] * 16


def test_cut_points_are_the_tensors_that_everything_behind_them_comes_from() -> None:
    names = [node.name for node in cut_points(small_network().module)]
    assert names[:5] == ["x", "stem", "stem_norm", "relu_stem", "add"]


def test_every_layer_is_in_exactly_one_unit() -> None:
    for module in (fx.symbolic_trace(MobileNetV2(0.35)), fx.symbolic_trace(Wide()), small_network().module):
        names = [unit.layers[0] for unit in single_layers(module)]
        assert sorted(name for unit in blocks(module) for name in unit.layers) == sorted(names)
