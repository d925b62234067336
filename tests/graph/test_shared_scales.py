"""Which channels may be scaled, and together with which others."""

from __future__ import annotations

import numpy as np
import torch
from deploy_networks import load
from random_networks import as_loaded
from torch import Tensor, nn
from torch.nn import functional

from core.graph.fold_batch_norm import fold_batch_norms
from core.graph.shared_scales import SharedScales, shared_scales


def scales_of(network: nn.Module) -> SharedScales:
    return shared_scales(as_loaded(network).module)


def named(found: SharedScales, name: str) -> tuple[np.ndarray, np.ndarray]:
    layer = next(layer for layer in found.layers if layer.name == name)
    return layer.reads, layer.writes


def test_the_image_and_the_output_keep_their_scale() -> None:
    found = scales_of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    assert not found.free[named(found, "0")[0]].any()
    assert found.free[named(found, "0")[1]].all()
    assert np.array_equal(named(found, "0")[1], named(found, "2")[0])
    assert not found.free[named(found, "2")[1]].any()


def test_a_function_with_a_limit_fixes_what_it_reads_and_what_it_computes() -> None:
    for function in (nn.ReLU6(), nn.Sigmoid(), nn.Hardswish(), nn.Hardtanh()):
        found = scales_of(nn.Sequential(nn.Conv2d(3, 4, 1), function, nn.Conv2d(4, 2, 1)))
        assert not found.free.any()


def test_all_that_meet_in_a_sum_are_one_scale() -> None:
    found = shared_scales(fold_batch_norms(load("residual")).module)
    stem, second = named(found, "stem")[1], named(found, "second")[1]
    assert np.array_equal(stem, second[4:12])  # between the channels of zeros
    assert np.array_equal(named(found, "first")[0], stem)
    assert np.array_equal(named(found, "classifier")[0], second)
    assert found.free[second].all()


def test_a_sum_with_something_fixed_is_fixed() -> None:
    class WithImage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.add(self.first(x), x))

    assert not scales_of(WithImage()).free.any()


def test_slices_concatenation_and_flattening_carry_channels_along() -> None:
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 2, 1), nn.Linear(5 * 16, 2)
            self.leaky = nn.LeakyReLU(0.2)

        def forward(self, x: Tensor) -> Tensor:
            joined = torch.cat([functional.relu(self.left(x)), self.leaky(self.right(x))], 1)
            return self.last(torch.flatten(functional.max_pool2d(joined[:, 1:], 2), 1))

    found = scales_of(Moved())
    left, right = named(found, "left")[1], named(found, "right")[1]
    assert np.array_equal(named(found, "last")[0], np.repeat([*left[1:], *right], 16))
    assert found.free[left[1:]].all()
    assert not found.free[left[0]]  # nobody reads it


def test_a_reader_of_another_kind_fixes_the_scale() -> None:
    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return torch.mul(self.second(x), torch.sigmoid(x))

    assert not scales_of(Watched()).free.any()
