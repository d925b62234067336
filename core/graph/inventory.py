"""What a network consists of, as plain records that can be stored and shown. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LayerKind = Literal["conv2d", "conv_transpose2d", "linear"]


class Layer(BaseModel):
    """One quantizable layer. Shapes are those of one sample, without the batch dimension."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: LayerKind
    input_shape: tuple[int, ...]  # C, H, W or features
    output_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]  # O, I/groups, kh, kw or O, I
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    groups: int = 1
    macs: int = Field(description="multiply-accumulates for one sample")
    parameters: int = Field(description="number of weights, without the bias")
    bias_parameters: int = 0
    reads: str = Field(description="name of the tensor it reads; its activation quantizer sits there")
    reads_signed: bool = Field(description="whether that tensor can be negative")
    batch_norm: str | None = Field(default=None, description="the batch norm that follows directly")
    tied_with: tuple[str, ...] = Field(default=(), description="layers that read the same tensor, itself excluded")

    @property
    def depthwise(self) -> bool:
        """Whether each input channel is convolved on its own."""
        return self.kind == "conv2d" and self.groups > 1 and self.groups == self.input_shape[0]

    @property
    def takes_batch_norm(self) -> bool:
        """Whether a batch norm can stand behind it: its output channels come first, not last as over a sequence."""
        return self.kind != "linear" or len(self.output_shape) == 1

    @property
    def output_channels(self) -> int:
        """Channels of the output."""
        return self.output_shape[0]

    @property
    def weight_channels(self) -> int:
        """Channels whose weights can have a width of their own; a transposed convolution has them second, once for all
        of its groups.
        """
        return self.weight_shape[1 if self.kind == "conv_transpose2d" else 0]


class Inventory(BaseModel):
    """A network's layers in execution order, and where they came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(description="for example 'ONNX opset 17, pytorch 2.1' or 'safetensors, resnet20'")
    input_shape: tuple[int, int, int]  # C, H, W
    input_layout: Literal["NCHW", "NHWC"] = "NCHW"
    classes: int
    layers: tuple[Layer, ...]
    total_parameters: int
    total_macs: int
    batch_norms: int = Field(default=0, description="batch norms with running statistics, wherever they stand")
    warnings: tuple[str, ...] = ()

    def layer(self, name: str) -> Layer:
        """The layer of that name; KeyError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    def without_batch_norm(self) -> tuple[Layer, ...]:
        """Layers that no batch norm follows, but for the last, whose output are the scores."""
        return tuple(layer for layer in self.layers[:-1] if layer.batch_norm is None)

    def activation_groups(self) -> list[tuple[str, ...]]:
        """Names of the layers that share activation bits, in execution order."""
        groups: dict[str, list[str]] = {}
        for layer in self.layers:
            groups.setdefault(layer.reads, []).append(layer.name)
        return [tuple(names) for names in groups.values()]
