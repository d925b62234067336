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

# Howard et al., "MobileNets", 2017, Table 1: channels behind each pointwise layer, and stride of the depthwise before.
MOBILENET_V1_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


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


def mobilenet_v1(resolution: int = 224, classes: int = 1000) -> list[Layer]:
    """MobileNet-V1 of width 1.0: 28 layers, in execution order. Its last depthwise layer has stride 1: the stride of 2
    that the table prints contradicts its own sizes.
    """
    layers, channels, size = [conv("conv0", 3, 32, 3, resolution, stride=2)], 32, resolution // 2
    for block, (outputs, stride) in enumerate(MOBILENET_V1_BLOCKS):
        layers.append(conv(f"block{block}.depthwise", channels, channels, 3, size, stride=stride, groups=channels))
        size //= stride
        layers.append(conv(f"block{block}.pointwise", channels, outputs, 1, size))
        channels = outputs
    return [*layers, linear("classifier", channels, classes)]


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


# He et al., "Deep Residual Learning", CVPR 2016, Table 1: blocks of each stage; a bottleneck widens its output by 4.
RESNET_18_BLOCKS, RESNET_50_BLOCKS = (2, 2, 2, 2), (3, 4, 6, 3)
RESNET_WIDTHS = (64, 128, 256, 512)

# Iandola et al., "SqueezeNet", arXiv:1602.07360, Table 1: squeeze and expand channels of fire2 to fire9.
FIRE_MODULES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
FIRE_SIZES = (54, 54, 54, 27, 27, 27, 27, 13)

# Howard et al., "Searching for MobileNetV3", ICCV 2019, Tables 1 and 2: kernel, expansion, channels, squeeze, stride.
MOBILENET_V3_LARGE_BLOCKS = (
    (3, 16, 16, False, 1),
    (3, 64, 24, False, 2),
    (3, 72, 24, False, 1),
    (5, 72, 40, True, 2),
    (5, 120, 40, True, 1),
    (5, 120, 40, True, 1),
    (3, 240, 80, False, 2),
    (3, 200, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 480, 112, True, 1),
    (3, 672, 112, True, 1),
    (5, 672, 160, True, 2),
    (5, 960, 160, True, 1),
    (5, 960, 160, True, 1),
)
MOBILENET_V3_SMALL_BLOCKS = (
    (3, 16, 16, True, 2),
    (3, 72, 24, False, 2),
    (3, 88, 24, False, 1),
    (5, 96, 40, True, 2),
    (5, 240, 40, True, 1),
    (5, 240, 40, True, 1),
    (5, 120, 48, True, 1),
    (5, 144, 48, True, 1),
    (5, 288, 96, True, 2),
    (5, 576, 96, True, 1),
    (5, 576, 96, True, 1),
)


def resnet18(resolution: int = 224, classes: int = 1000) -> list[Layer]:
    """ResNet-18: 21 layers, in execution order; projections stand after the block that they go around."""
    layers, channels, size = [conv("conv1", 3, 64, 7, resolution, stride=2)], 64, resolution // 4
    for stage, (width, repeats) in enumerate(zip(RESNET_WIDTHS, RESNET_18_BLOCKS, strict=True)):
        for repeat in range(repeats):
            stride, name = (2 if stage > 0 and repeat == 0 else 1), f"layer{stage + 1}.{repeat}"
            layers.append(conv(f"{name}.conv1", channels, width, 3, size, stride=stride))
            layers.append(conv(f"{name}.conv2", width, width, 3, size // stride))
            if channels != width:
                layers.append(conv(f"{name}.downsample", channels, width, 1, size, stride=stride))
            channels, size = width, size // stride
    return [*layers, linear("fc", channels, classes)]


def resnet50(resolution: int = 224, classes: int = 1000) -> list[Layer]:
    """ResNet-50 with the stride on the 3 x 3 convolution, as in torchvision: 54 layers, in execution order."""
    layers, channels, size = [conv("conv1", 3, 64, 7, resolution, stride=2)], 64, resolution // 4
    for stage, (width, repeats) in enumerate(zip(RESNET_WIDTHS, RESNET_50_BLOCKS, strict=True)):
        for repeat in range(repeats):
            stride, name = (2 if stage > 0 and repeat == 0 else 1), f"layer{stage + 1}.{repeat}"
            layers.append(conv(f"{name}.conv1", channels, width, 1, size))
            layers.append(conv(f"{name}.conv2", width, width, 3, size, stride=stride))
            layers.append(conv(f"{name}.conv3", width, 4 * width, 1, size // stride))
            if repeat == 0:
                layers.append(conv(f"{name}.downsample", channels, 4 * width, 1, size, stride=stride))
            channels, size = 4 * width, size // stride
    return [*layers, linear("fc", channels, classes)]


def with_bias(layer: Layer) -> Layer:
    """The layer with a bias for each output channel."""
    return layer.model_copy(update={"bias_parameters": layer.weight_shape[0]})


def squeezenet(classes: int = 1000) -> list[Layer]:
    """SqueezeNet 1.0 at 224 x 224 without padding in its first layer, as in torchvision: 26 layers."""
    first = conv("conv1", 3, 96, 7, 218, stride=2)  # 109 pixels per side, those of 224 without padding
    layers, channels = [first.model_copy(update={"input_shape": (3, 224, 224)})], 96
    for fire, ((squeeze, expand), size) in enumerate(zip(FIRE_MODULES, FIRE_SIZES, strict=True), start=2):
        layers.append(conv(f"fire{fire}.squeeze", channels, squeeze, 1, size))
        layers.append(conv(f"fire{fire}.expand1x1", squeeze, expand, 1, size))
        layers.append(conv(f"fire{fire}.expand3x3", squeeze, expand, 3, size))
        channels = 2 * expand
    return [with_bias(layer) for layer in (*layers, conv("conv10", channels, classes, 1, FIRE_SIZES[-1]))]


def _eighths(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _mobilenet_v3(
    blocks: tuple[tuple[int, int, int, bool, int], ...], head: tuple[int, int], resolution: int, classes: int
) -> list[Layer]:
    layers, channels, size = [conv("conv0", 3, 16, 3, resolution, stride=2)], 16, resolution // 2
    for block, (kernel, hidden, outputs, squeezed, stride) in enumerate(blocks):
        name = f"block{block}"
        if hidden != channels:
            layers.append(conv(f"{name}.expand", channels, hidden, 1, size))
        layers.append(conv(f"{name}.depthwise", hidden, hidden, kernel, size, stride=stride, groups=hidden))
        size //= stride
        if squeezed:
            inner = _eighths(hidden / 4)
            layers.append(with_bias(conv(f"{name}.squeeze", hidden, inner, 1, 1)))
            layers.append(with_bias(conv(f"{name}.excite", inner, hidden, 1, 1)))
        layers.append(conv(f"{name}.project", hidden, outputs, 1, size))
        channels = outputs
    last, wide = head
    layers.append(conv("conv1", channels, last, 1, size))
    return [*layers, linear("classifier.0", last, wide), linear("classifier.1", wide, classes)]


def mobilenet_v3_large(resolution: int = 224, classes: int = 1000) -> list[Layer]:
    """MobileNet-V3 Large with its squeeze-and-excite layers: 64 layers, in execution order."""
    return _mobilenet_v3(MOBILENET_V3_LARGE_BLOCKS, (960, 1280), resolution, classes)


def mobilenet_v3_small(resolution: int = 224, classes: int = 1000) -> list[Layer]:
    """MobileNet-V3 Small with its squeeze-and-excite layers: 54 layers, in execution order."""
    return _mobilenet_v3(MOBILENET_V3_SMALL_BLOCKS, (576, 1024), resolution, classes)
