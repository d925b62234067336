"""Benchmark networks of the BitFusion simulator: shapes, and bits of weights and activations of each layer.

https://github.com/hsharma35/bitfusion, `bitfusion/src/benchmarks/benchmarks.py`: the networks that its sweep runs
(AlexNet and ResNet-18 twice as wide, after Mishra et al., WRPN). Output sizes after pooling are those that its results
imply (`results/bitfusion-eyeriss-sim-sweep.csv`): 28 and 14 pixels per side behind AlexNet's first two, and 6 behind
its third (27 and 13 in the results at 4096 bits a cycle). ResNet-18 there has 1 x 1 in place of half of its 3 x 3
kernels, no shortcuts and no classifier.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.networks import conv, linear
from core.graph.inventory import Layer


@dataclass(frozen=True)
class Quantized:
    """A layer with the widths it runs at."""

    layer: Layer
    weight_bits: int
    activation_bits: int


Network = tuple[Quantized, ...]


def _at(bits: int, *layers: Layer) -> Network:
    """All layers at one width."""
    return tuple(Quantized(layer, bits, bits) for layer in layers)


def _unpadded_conv1(name: str) -> Layer:
    """AlexNet's first convolution: 55 pixels per side from 227."""
    return conv(name, 3, 96, 11, 220, stride=4).model_copy(update={"input_shape": (3, 227, 227)})


def alexnet() -> Network:
    """AlexNet, 2x wide, in two columns: 4 bits, first and last layer 8."""
    wide_first = _at(8, _unpadded_conv1("conv1_a"), _unpadded_conv1("conv1_b"))
    inner = [
        conv(f"{name}_{column}", inputs, outputs, kernel, size)
        for name, inputs, outputs, kernel, size in (
            ("conv2", 96, 256, 5, 28),
            ("conv3", 512, 384, 3, 14),
            ("conv4", 384, 384, 3, 14),
            ("conv5", 384, 256, 3, 14),
        )
        for column in "ab"
    ]
    inner += [linear("fc1", 6 * 6 * 512, 8192), linear("fc2", 8192, 8192)]
    return wide_first + _at(4, *inner) + _at(8, linear("fc3", 8192, 1000))


def lenet5() -> Network:
    """LeNet-5, wide: ternary weights and activations of 2 bits throughout."""
    convolutions = conv("conv0", 1, 32, 5, 32), conv("conv1", 32, 64, 5, 16)
    return _at(2, *convolutions, linear("fc1", 8 * 8 * 64, 512), linear("fc2", 512, 10))


def vgg7() -> Network:
    """VGG-7 for CIFAR-10 in two columns that are added: 2 bits throughout."""
    shapes = (("conv1", 3, 128, 32), ("conv2", 128, 256, 16), ("conv3", 256, 512, 8))
    layers = [conv(f"{name}_{column}", i, o, 3, size) for name, i, o, size in shapes for column in "ab"]
    return _at(2, *layers, linear("fc1", 4 * 4 * 512, 1024))


def _vgg_like(width: int) -> list[Layer]:
    """Six convolutions and three linear layers for 32 x 32 images."""
    sizes = (32, 32, 16, 16, 8, 8)
    channels = (3, width, width, 2 * width, 2 * width, 4 * width, 4 * width)
    convolutions = [conv(f"conv{i}", channels[i], channels[i + 1], 3, size) for i, size in enumerate(sizes)]
    flat = 4 * 4 * 4 * width
    return [*convolutions, linear("fc6", flat, 1024), linear("fc7", 1024, 1024), linear("fc8", 1024, 10)]


def cifar10() -> Network:
    """QNN for CIFAR-10: 2 bits, first layer 8."""
    first, *others = _vgg_like(128)
    return _at(8, first) + _at(2, *others)


def svhn() -> Network:
    """QNN for SVHN: 1 bit, and 8 bits for the image."""
    first, *others = _vgg_like(64)
    return (Quantized(first, 1, 8), *_at(1, *others))


def resnet18() -> Network:
    """ResNet-18, 2x wide: 4 bits, first layer 8."""
    layers, inputs = [], 128
    for module, (outputs, size) in enumerate(((128, 56), (256, 28), (512, 14), (1024, 7)), start=2):
        for block in (1, 2):
            stride = outputs // inputs
            pointwise = conv(f"conv{module}_{block}_a", inputs, outputs, 1, size * stride, stride=stride)
            layers += [pointwise, conv(f"conv{module}_{block}_b", outputs, outputs, 3, size)]
            inputs = outputs
    return _at(8, conv("conv1_a", 3, 128, 7, 224, stride=2)) + _at(4, *layers)


def rnn() -> Network:
    """The product of a recurrent layer, once: 4 bits."""
    return _at(4, linear("matmul", 4096, 4096))


def lstm() -> Network:
    """The product of an LSTM's gates, once: 4 bits."""
    return _at(4, linear("matmul", 3600, 3600))


NETWORKS = {
    "AlexNet": alexnet(),
    "SVHN": svhn(),
    "CIFAR10": cifar10(),
    "LeNet-5": lenet5(),
    "VGG-7": vgg7(),
    "RESNET-18": resnet18(),
    "RNN": rnn(),
    "LSTM": lstm(),
}
