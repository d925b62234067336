"""From a float graph to its inventory: shapes are propagated without computing, then each layer is described."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from core.errors import UnsupportedModel
from core.graph.inventory import Inventory, Layer, LayerKind
from core.graph.meta_calls import call_on_meta
from core.graph.vocabulary import (
    BATCH_NORM_TYPES,
    LayerModule,
    called_layer,
    called_module,
    cannot_be_negative,
    is_layer,
    layer_nodes,
)

KINDS: dict[type[nn.Module], LayerKind] = {
    nn.Conv2d: "conv2d",
    nn.ConvTranspose2d: "conv_transpose2d",
    nn.Linear: "linear",
}
NOT_A_CLASSIFIER = 0


class _Shapes(fx.Interpreter):
    """Runs the graph on the meta device, where tensors have shapes and no values."""

    def run_node(self, n: fx.Node) -> Any:
        """Note the shape of a tensor in `node.meta["shape"]`, batch dimension included."""
        value = super().run_node(n)
        if isinstance(value, Tensor):
            n.meta["shape"] = tuple(value.shape)
        return value

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Call with weightless copies of the parameters."""
        return call_on_meta(self.fetch_attr(target), args, kwargs)

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A constant's shape."""
        value = super().get_attr(target, args, kwargs)
        return value.to("meta") if isinstance(value, Tensor) else value


def propagate_shapes(module: fx.GraphModule, input_shape: tuple[int, ...], batch: int = 1) -> None:
    """Write `node.meta["shape"]` for `batch` images C, H, W. Raises UnsupportedModel where shapes do not fit."""
    interpreter = _Shapes(module)
    interpreter.extra_traceback = False
    try:
        with torch.no_grad():
            interpreter.run(torch.empty((batch, *input_shape), device="meta"))
    except (RuntimeError, ValueError, TypeError, IndexError) as problem:
        size = " x ".join(map(str, input_shape))
        raise UnsupportedModel(
            f"the network does not accept an input of {size}: {str(problem).splitlines()[0]}",
            hint="check the file in onnxruntime or PyTorch, or give the input size that the network was trained with",
        ) from problem


def build_inventory(
    module: fx.GraphModule,
    input_shape: tuple[int, int, int],
    source: str,
    layout: Literal["NCHW", "NHWC"] = "NCHW",
    warnings: tuple[str, ...] = (),
) -> Inventory:
    """Describe every quantizable layer, and note each in its node's `meta["layer"]`."""
    propagate_shapes(module, input_shape)
    nodes = list(layer_nodes(module))
    _check(nodes)
    unsigned = cannot_be_negative(module)
    layers = tuple(_layer(module, node, node.all_input_nodes[0] not in unsigned) for node in nodes)
    for node, layer in zip(nodes, layers, strict=True):
        node.meta["layer"] = layer
    classes = _classes(module)
    return Inventory(
        source=source,
        input_shape=input_shape,
        input_layout=layout,
        classes=classes,
        layers=layers,
        total_parameters=sum(parameter.numel() for parameter in module.parameters()),
        total_macs=sum(layer.macs for layer in layers),
        batch_norms=sum(_holds_statistics(called_module(module, node)) for node in module.graph.nodes),
        warnings=warnings if classes else (*warnings, _output_warning(module)),
    )


def _check(nodes: list[fx.Node]) -> None:
    if not nodes:
        raise UnsupportedModel(
            "the network has no quantizable layer: no convolution and no fully connected layer with constant weights",
            hint="upload a network with trained Conv, ConvTranspose, Gemm or MatMul layers",
        )
    names = [str(node.target) for node in nodes]
    for name in names:
        if names.count(name) > 1:
            raise UnsupportedModel(
                f"layer {name} is applied more than once with the same weights",
                hint="layers that share weights cannot get bits of their own; export the network unrolled",
            )


def _layer(module: fx.GraphModule, node: fx.Node, signed: bool) -> Layer:
    layer, source = called_layer(module, node), node.all_input_nodes[0]
    shape_in, shape_out = source.meta["shape"][1:], node.meta["shape"][1:]
    return Layer(
        name=str(node.target),
        kind=KINDS[type(layer)],
        input_shape=shape_in,
        output_shape=shape_out,
        weight_shape=tuple(layer.weight.shape),
        macs=_macs(layer, shape_in, shape_out),
        parameters=layer.weight.numel(),
        bias_parameters=0 if layer.bias is None else layer.bias.numel(),
        reads=source.name,
        reads_signed=signed,
        batch_norm=_following_batch_norm(module, node),
        tied_with=tuple(str(other.target) for other in source.users if other is not node and is_layer(module, other)),
        **_window(layer),
    )


def _window(layer: LayerModule) -> dict[str, Any]:
    if isinstance(layer, nn.Linear):
        return {}
    vertical, horizontal = (int(amount) for amount in layer.padding)
    return {
        "stride": tuple(layer.stride),
        "padding": (vertical, horizontal, vertical, horizontal),
        "groups": layer.groups,
    }


def _macs(layer: LayerModule, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> int:
    """Multiply-accumulates for one sample: each weight once per position that it is applied at."""
    if isinstance(layer, nn.Linear):
        positions = math.prod(shape_out[:-1])
    else:
        positions = math.prod((shape_in if isinstance(layer, nn.ConvTranspose2d) else shape_out)[1:])
    return positions * layer.weight.numel()


def _following_batch_norm(module: fx.GraphModule, node: fx.Node) -> str | None:
    readers = list(node.users)
    if len(readers) == 1 and isinstance(called_module(module, readers[0]), BATCH_NORM_TYPES):
        return str(readers[0].target)
    return None


def _holds_statistics(module: nn.Module | None) -> bool:
    return isinstance(module, BATCH_NORM_TYPES) and module.running_mean is not None and module.running_var is not None


def output_shapes(module: fx.GraphModule) -> list[tuple[int, ...]]:
    """Shapes of the graph's outputs, batch dimension included, once shapes were propagated."""
    output = next(iter(reversed(module.graph.nodes)))
    return [node.meta["shape"] for node in output.all_input_nodes]


def _classes(module: fx.GraphModule) -> int:
    shapes = output_shapes(module)
    return shapes[0][1] if len(shapes) == 1 and len(shapes[0]) == 2 else NOT_A_CLASSIFIER


def _output_warning(module: fx.GraphModule) -> str:
    shapes = " and ".join(" x ".join(map(str, shape[1:])) for shape in output_shapes(module))
    return f"this is not a classifier: its output is {shapes}, not one score per class; it can be costed, not evaluated"
