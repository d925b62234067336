"""Layers of published networks, built from their architecture, for benchmarks and published checks. No weights."""

from __future__ import annotations

from core.graph.inventory import Layer

# Sandler et al., "MobileNetV2", CVPR 2018, Table 2: expansion, channels, repeats, stride of the first.
MOBILENET_V2_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def conv(name: str, inputs: int, outputs: int, kernel: int, size: int, *, stride: int = 1, groups: int = 1) -> Layer:
    """A convolution with "same" padding on a square input of `size` pixels per side."""
    out = -(-size // stride)
    weights = outputs * (inputs // groups) * kernel**2
    return Layer(
        name=name,
        kind="conv2d",
        input_shape=(inputs, size, size),
        output_shape=(outputs, out, out),
        weight_shape=(outputs, inputs // groups, kernel, kernel),
        stride=(stride, stride),
        groups=groups,
        macs=weights * out**2,
        parameters=weights,
        reads=f"input of {name}",
        reads_signed=False,
    )


def linear(name: str, inputs: int, outputs: int) -> Layer:
    """A fully connected layer."""
    return Layer(
        name=name,
        kind="linear",
        input_shape=(inputs,),
        output_shape=(outputs,),
        weight_shape=(outputs, inputs),
        macs=inputs * outputs,
        parameters=inputs * outputs,
        bias_parameters=outputs,
        reads=f"input of {name}",
        reads_signed=False,
    )


def mobilenet_v2(resolution: int = 224, classes: int = 1000) -> list[Layer]:
    """MobileNet-V2 of width 1.0: 53 layers, in execution order."""
    layers = [conv("conv0", 3, 32, 3, resolution, stride=2)]
    channels, size = 32, resolution // 2
    for block, (expansion, outputs, repeats, first_stride) in enumerate(MOBILENET_V2_BLOCKS):
        for repeat in range(repeats):
            stride, hidden, name = (first_stride if repeat == 0 else 1), channels * expansion, f"block{block}.{repeat}"
            if expansion > 1:
                layers.append(conv(f"{name}.expand", channels, hidden, 1, size))
            layers.append(conv(f"{name}.depthwise", hidden, hidden, 3, size, stride=stride, groups=hidden))
            size //= stride
            layers.append(conv(f"{name}.project", hidden, outputs, 1, size))
            channels = outputs
    return [*layers, conv("conv1", channels, 1280, 1, size), linear("classifier", 1280, classes)]
