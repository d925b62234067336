"""Which channels of which layers may be multiplied by a factor that later layers take back.

Every channel of every tensor gets the name of its scale. Positively homogeneous functions (f(s x) = s f(x) for s > 0:
ReLU, leaky ReLU, PReLU, pools, interpolation, moves) hand it on; a layer reads one and starts another; a sum makes its
operands' channels one, so that all who write and all who read them are scaled together; concatenation, slices and zero
padding of channels carry them along. Whatever else reads a channel (the network's output, sigmoid, ReLU6, a batch norm
that is not folded) fixes its scale, and so does the image.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn import functional

from core.graph.layer_weight import output_channels
from core.graph.vocabulary import (
    called_layer,
    called_module,
    is_layer,
    is_sum_of_tensors,
    pad_value,
)

Scales = NDArray[np.int64]  # by channel
HOMOGENEOUS_TYPES = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample,
)  # fmt: skip
HOMOGENEOUS_FUNCTIONS: frozenset[Callable[..., Any]] = frozenset(
    {
        torch.relu, functional.relu, functional.leaky_relu, functional.max_pool2d, functional.avg_pool2d,
        functional.adaptive_avg_pool2d, functional.interpolate,
    }
)  # fmt: skip
_PRODUCTS = frozenset({torch.mul, operator.mul})


@dataclass(frozen=True)
class LayerScales:
    """A layer, and the scales of the channels that it reads and computes."""

    name: str
    node: fx.Node
    reads: Scales
    writes: Scales


@dataclass(frozen=True)
class SharedScales:
    """All layers in execution order; scales are numbers from 0. `free`[s]: whether scale s may be chosen."""

    layers: tuple[LayerScales, ...]
    free: NDArray[np.bool_]


def shared_scales(module: fx.GraphModule) -> SharedScales:
    """Of a graph whose shapes were propagated (`node.meta["shape"]`)."""
    return _Finder(module).found()


class _Finder:
    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        self.parents: list[int] = []
        self.fixed: list[bool] = []
        self.scales: dict[fx.Node, Scales] = {}
        self.layers: list[tuple[fx.Node, Scales, Scales]] = []

    def found(self) -> SharedScales:
        for node in self.module.graph.nodes:
            self._visit(node)
        roots = np.array([self._root(each) for each in range(len(self.parents))], np.int64)
        fixed = np.zeros(len(roots), np.bool_)
        np.logical_or.at(fixed, roots, np.array(self.fixed, np.bool_))
        numbers = np.unique(roots, return_inverse=True)[1]
        layers = tuple(
            LayerScales(str(node.target), node, numbers[reads], numbers[writes]) for node, reads, writes in self.layers
        )
        written, read = (np.zeros(len(roots), np.bool_) for _ in range(2))
        for layer in layers:
            written[layer.writes], read[layer.reads] = True, True
        free = written & read
        free[numbers[fixed[roots]]] = False
        return SharedScales(layers, free[: numbers.max(initial=-1) + 1])

    def _visit(self, node: fx.Node) -> None:
        carried = self._carried(node)
        if carried is None:
            for source in node.all_input_nodes:
                self._fix(self.scales.get(source))
            shape = node.meta.get("shape", ())
            carried = self._new(shape[1] if len(shape) > 1 else 0, fixed=True)
        self.scales[node] = carried

    def _carried(self, node: fx.Node) -> Scales | None:
        """The scales of the node's channels; None where they are fixed, and those of what it reads as well."""
        if node.op == "get_attr":
            return self._new(0, fixed=True)
        if node.op not in ("call_module", "call_function") or not node.all_input_nodes:
            return None
        source = node.all_input_nodes[0]
        if is_layer(self.module, node):
            return self._through_layer(node, source)
        if is_sum_of_tensors(node):
            return self._sum(node)
        if node.op == "call_module":
            return self._through_module(node, source)
        return self._through_function(node, source)

    def _through_layer(self, node: fx.Node, source: fx.Node) -> Scales | None:
        layer = called_layer(self.module, node)
        if isinstance(layer, nn.Linear) and len(source.meta["shape"]) != 2:
            return None
        writes = self._new(output_channels(layer))
        self.layers.append((node, self.scales[source], writes))
        return writes

    def _sum(self, node: fx.Node) -> Scales | None:
        first, second = node.all_input_nodes[0], node.all_input_nodes[-1]
        if first.meta["shape"] != second.meta["shape"] or node.kwargs.get("alpha", 1) <= 0:  # type: ignore[operator]
            return None
        for one, other in zip(self.scales[first], self.scales[second], strict=True):
            self.parents[self._root(int(one))] = self._root(int(other))
        return self.scales[second]

    def _through_module(self, node: fx.Node, source: fx.Node) -> Scales | None:
        module = called_module(self.module, node)
        if isinstance(module, HOMOGENEOUS_TYPES):
            return self.scales[source]
        if isinstance(module, nn.Flatten):
            return self._flattened(node, source)
        if isinstance(module, nn.ConstantPad2d) and module.value == 0:
            return self.scales[source]
        return None

    def _through_function(self, node: fx.Node, source: fx.Node) -> Scales | None:
        target: Any = node.target
        if target in HOMOGENEOUS_FUNCTIONS:
            return self.scales[source]
        if target in _PRODUCTS:
            return self._times_constant(node)
        if target in (torch.flatten, torch.reshape, torch.squeeze):
            return self._flattened(node, source)
        if target is torch.mean and len(node.meta["shape"]) > 1 and _over_positions(node):
            return self.scales[source]
        rules: dict[Any, Callable[[fx.Node, fx.Node], Scales | None]] = {
            torch.cat: self._beside_each_other,
            operator.getitem: self._sliced,
            functional.pad: self._padded,
            torch.index_select: self._selected,
        }
        return rules[target](node, source) if target in rules else None

    def _times_constant(self, node: fx.Node) -> Scales | None:
        tensors = [each for each in node.all_input_nodes if each.op != "get_attr"]
        if len(tensors) != 1 or tensors[0].meta["shape"] != node.meta["shape"]:
            return None
        return self.scales[tensors[0]]

    def _flattened(self, node: fx.Node, source: fx.Node) -> Scales | None:
        """Each channel's positions become features of their own, next to each other."""
        before, after = source.meta["shape"], node.meta["shape"]
        if len(before) < 2 or len(after) != 2 or int(np.prod(before[1:])) != after[1]:
            return None
        return np.repeat(self.scales[source], int(np.prod(before[2:])))

    def _beside_each_other(self, node: fx.Node, source: fx.Node) -> Scales | None:
        axis: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if axis % len(node.meta["shape"]) != 1:
            return None
        parts: Any = node.args[0]
        return np.concatenate([self.scales[part] for part in parts])

    def _sliced(self, node: fx.Node, source: fx.Node) -> Scales | None:
        index: Any = node.args[1]
        parts = list(index) if isinstance(index, tuple) else [index]
        if not all(isinstance(part, slice) for part in parts) or parts[0] != slice(None):
            return None
        return self.scales[source][parts[1]] if len(parts) > 1 else self.scales[source]

    def _padded(self, node: fx.Node, source: fx.Node) -> Scales | None:
        """Channels of zeros may have any scale."""
        if pad_value(node) != 0:
            return None
        amounts: Any = node.args[1] if len(node.args) > 1 else node.kwargs["pad"]
        at = 2 * (len(node.meta["shape"]) - 2)
        before, after = tuple(amounts[at : at + 2]) or (0, 0)
        if any(amounts[at + 2 :]) or min(before, after) < 0:
            return None
        return np.concatenate([self._new(before), self.scales[source], self._new(after)])

    def _selected(self, node: fx.Node, source: fx.Node) -> Scales | None:
        axis, index = node.args[1], node.args[2]
        if axis != 1 or not isinstance(index, fx.Node) or index.op != "get_attr":
            return None
        chosen: Scales = operator.attrgetter(str(index.target))(self.module).cpu().numpy()
        return self.scales[source][chosen]

    def _new(self, count: int, *, fixed: bool = False) -> Scales:
        start = len(self.parents)
        self.parents.extend(range(start, start + count))
        self.fixed.extend([fixed] * count)
        return np.arange(start, start + count)

    def _fix(self, scales: Scales | None) -> None:
        for each in () if scales is None else scales:
            self.fixed[each] = True

    def _root(self, scale: int) -> int:
        while self.parents[scale] != scale:
            self.parents[scale] = self.parents[self.parents[scale]]
            scale = self.parents[scale]
        return scale


def _over_positions(node: fx.Node) -> bool:
    dimensions: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    rank = len(node.all_input_nodes[0].meta["shape"])
    chosen = [dimensions] if isinstance(dimensions, int) else list(dimensions or [0])
    return all(each % rank > 1 for each in chosen)
