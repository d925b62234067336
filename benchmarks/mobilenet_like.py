"""A small MobileNetV2 for Fashion-MNIST, whose weights are kept. Run: python -m benchmarks.mobilenet_like DATA

Trains the network that tests/published/test_post_training_equalization.py quantizes, on the first 20,000 images, and
writes its weights in half precision. DATA holds `fashion_mnist/fashion_mnist.npz`.
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, fx, nn
from torch.nn import functional

from core.graph.architectures.mobilenet_v2 import InvertedResidual
from core.graph.build_inventory import build_inventory
from core.graph.changed_network import described_again
from core.graph.fold_batch_norm import keep_distribution, output_distribution
from core.graph.layer_weight import layer_bias, scale_channels
from core.graph.loaded_model import LoadedModel
from core.graph.shared_scales import shared_scales
from core.graph.vocabulary import called_layer

WEIGHTS = Path(__file__).parents[1] / "docs" / "results" / "mobilenet_like.safetensors"
SHAPE = (1, 28, 28)
MEAN, DEVIATION = 0.286, 0.353
TRAINED_ON, EPOCHS, BATCH = 20_000, 6, 128
RATE = 0.1


class MobileNetLike(nn.Module):
    """Stem, five inverted residuals, head, classifier; ReLU6 throughout. x: N, 1, 28, 28 -> N, 10."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        blocks = [
            InvertedResidual(inputs, outputs, stride, expansion)
            for inputs, outputs, stride, expansion in (
                (16, 16, 1, 1), (16, 24, 2, 4), (24, 24, 1, 4), (24, 32, 2, 4), (32, 32, 1, 4),
            )
        ]  # fmt: skip
        head = nn.Sequential(nn.Conv2d(32, 96, 1, bias=False), nn.BatchNorm2d(96), nn.ReLU6())
        self.features = nn.Sequential(stem, *blocks, head)
        self.pool, self.flatten, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores for each class."""
        scores: Tensor = self.classifier(self.flatten(self.pool(self.features(x))))
        return scores


def mobilenet_like(weights: Path = WEIGHTS) -> LoadedModel:
    """The trained network."""
    network = MobileNetLike()
    network.load_state_dict({name: value.to(_type_of(value)) for name, value in load_file(weights).items()})
    traced = fx.symbolic_trace(network.eval())
    return LoadedModel(traced, build_inventory(traced, SHAPE, "Fashion-MNIST, benchmarks/mobilenet_like.py"))


def images(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """`train` or `test`: N, 1, 28, 28 float32 as the network reads them, and labels N."""
    with np.load(folder / "fashion_mnist" / "fashion_mnist.npz") as file:
        pixels: NDArray[np.uint8] = file[f"{split}_x"]
        labels: NDArray[np.uint8] = file[f"{split}_y"]
    x = (pixels.astype(np.float32)[:, None] / 255 - MEAN) / DEVIATION
    return torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64))


def with_uneven_channels(loaded: LoadedModel, octaves: int, seed: int = 0) -> LoadedModel:
    """A copy that computes the same to the bit, whose channels are multiplied by powers of two, up to `octaves` of them
    either way, which the layers that read them take back. Depthwise networks trained on ImageNet are as uneven.

    `loaded` has its batch norms folded, and no ReLU6.
    """
    module = copy.deepcopy(loaded.module)
    found, chance = shared_scales(module), np.random.default_rng(seed)
    scale = np.where(found.free, 2.0 ** chance.integers(-octaves, octaves, len(found.free), endpoint=True), 1.0)
    for scales in found.layers:
        layer, written = called_layer(module, scales.node), torch.from_numpy(scale[scales.writes])
        scale_channels(layer, outputs=written, inputs=torch.from_numpy(1 / scale[scales.reads]))
        layer_bias(layer).mul_(written.float())
        if (distribution := output_distribution(module, scales.node)) is not None:
            keep_distribution(scales.node, distribution.scaled(written))
    return described_again(loaded, module)


def train(folder: Path) -> nn.Module:
    """SGD with momentum 0.9, one cycle."""
    torch.manual_seed(0)
    x, labels = (each[:TRAINED_ON] for each in images(folder, "train"))
    network = MobileNetLike()
    optimiser = torch.optim.SGD(network.parameters(), RATE, momentum=0.9, weight_decay=1e-4, nesterov=True)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        for chosen in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            loss = functional.cross_entropy(network(x[chosen]), labels[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        sys.stdout.write(f"epoch {epoch + 1}: loss {loss.item():.3f}\n")
        sys.stdout.flush()
    return network.eval()


def _type_of(value: Tensor) -> torch.dtype:
    return torch.float32 if value.is_floating_point() else value.dtype


def main() -> int:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    folder = parser.parse_args().data
    network = train(folder)
    x, labels = images(folder, "test")
    with torch.inference_mode():
        right = sum(
            int((network(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), labels.split(500), strict=True)
        )
    sys.stdout.write(f"{right / len(x):.4f} of the test images\n")
    state = {name: each.half() if each.is_floating_point() else each for name, each in network.state_dict().items()}
    save_file(state, WEIGHTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
