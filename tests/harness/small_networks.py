"""Networks and images small enough to compute with in every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from core.graph.build_inventory import build_inventory
from core.graph.loaded_model import LoadedModel
from core.policy import LayerBits, Policy

CLASSES = 3


class SmallResidual(nn.Module):
    """Four layers: a stem, a residual block with a shortcut of its own width, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.first, self.first_norm = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.second, self.second_norm = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.relu_stem, self.relu_first, self.relu_sum = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.pool, self.flatten, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu_stem(self.stem_norm(self.stem(x)))
        y = self.second_norm(self.second(self.relu_first(self.first_norm(self.first(x)))))
        return self.classifier(self.flatten(self.pool(self.relu_sum(torch.add(x, y)))))


def small_network(seed: int = 0) -> LoadedModel:
    """Random weights, batch norms with statistics of their own."""
    torch.manual_seed(seed)
    network = SmallResidual().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.2, 0.2)
    traced = fx.symbolic_trace(network)
    return LoadedModel(traced, build_inventory(traced, (2, 6, 6), "test"))


class Images:
    """A split in memory. The class is which of three stripes is bright: easy to learn, and not at once."""

    def __init__(self, count: int, seed: int) -> None:
        chance = np.random.default_rng(seed)
        self.labels: NDArray[np.int64] = chance.integers(0, CLASSES, count)
        self.x = chance.normal(0, 0.5, (count, 2, 6, 6)).astype(np.float32)
        for image, label in zip(self.x, self.labels, strict=True):
            image[0, 2 * label : 2 * label + 2] += 1.0
            image[1, :, 2 * label : 2 * label + 2] -= 1.0

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self, batch_size: int, indices: NDArray[np.integer[Any]] | None = None
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        chosen = np.arange(len(self)) if indices is None else indices
        for start in range(0, len(chosen), batch_size):
            part = chosen[start : start + batch_size]
            yield self.x[part], self.labels[part]

    def tensors(self, batch_size: int = 64) -> list[tuple[Tensor, Tensor]]:
        return [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in self.batches(batch_size)]


def trained(loaded: LoadedModel, images: Images, steps: int = 60) -> LoadedModel:
    """The same network, fitted to the images."""
    module = loaded.module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    (x, y) = images.tensors(len(images))[0]
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()
    module.eval()
    return loaded


def uniform(loaded: LoadedModel, bits: int, residual_bits: int = 16) -> Policy:
    """Every layer at one width, first and last included."""
    names = [layer.name for layer in loaded.inventory.layers]
    layers = {name: LayerBits(weights=bits, activations=bits) for name in names}
    return Policy(layers=layers, residual_bits=residual_bits)


class Silent:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.fractions: list[float] = []
        self.metrics: list[tuple[str, float, int]] = []
        self.checkpoints: list[str] = []

    def progress(self, fraction: float, message: str = "") -> None:
        self.fractions.append(fraction)

    def metric(self, name: str, value: float, step: int) -> None:
        self.metrics.append((name, value, step))

    def checkpoint(self, name: str) -> None:
        self.checkpoints.append(name)
