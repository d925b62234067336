"""Means of a network's tensors without running it: what batch norms say of a layer's output, carried through the graph.

Behind a batch norm a channel is taken as normal with mean beta and deviation |gamma|. A clipped normal has

    E[clip(x, a, b)] = a Phi(p) + b (1 - Phi(q)) + mu (Phi(q) - Phi(p)) + sigma (phi(p) - phi(q)),
    p = (a - mu) / sigma,  q = (b - mu) / sigma,

of which ReLU is a = 0, b = infinity: Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.2.1 and appendix C.

Reconstructed: a sum of tensors is taken as normal and its parts as independent. Where no formula leads (max pools,
other functions, layers without a batch norm) the mean is left open, to be measured.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from core.graph.fold_batch_norm import Distribution, foldable_norm, norm_distribution, output_distribution
from core.graph.vocabulary import (
    ADD_FUNCTIONS,
    AVERAGE_TYPES,
    BATCH_NORM_TYPES,
    called_module,
    is_layer,
    is_sum_of_tensors,
)

LIMITS: dict[type[nn.Module], tuple[float, float]] = {nn.ReLU: (0.0, math.inf), nn.ReLU6: (0.0, 6.0)}
LIMIT_FUNCTIONS: dict[Any, tuple[float, float]] = {
    torch.relu: (0.0, math.inf), functional.relu: (0.0, math.inf), functional.relu6: (0.0, 6.0),
}  # fmt: skip
SAME_TYPES = (nn.Identity, nn.Dropout, nn.Dropout2d)
_PRODUCTS = frozenset({torch.mul, operator.mul})


@dataclass(frozen=True)
class Moments:
    """Of each channel [C], float64. `normal`: whether it is distributed so."""

    mean: Tensor
    variance: Tensor
    normal: bool


def clipped_normal(mean: Tensor, deviation: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of clip(x, low, high) for x normal: [C] each, float64. Deviations may be 0, limits infinite."""
    spread = deviation.clamp(min=1e-300)
    p, q = (low - mean) / spread, (high - mean) / spread
    below, above = _share_below(p), _share_below(-q)
    inside = 1 - below - above
    density_p, density_q = _density(p), _density(q)
    first = mean * inside + deviation * (density_p - density_q) + _weighted(low, below) + _weighted(high, above)
    second = (
        (mean.square() + deviation.square()) * inside
        + 2 * mean * deviation * (density_p - density_q)
        + deviation.square() * (_times_density(p, density_p) - _times_density(q, density_q))
        + _weighted(low * low, below)
        + _weighted(high * high, above)
    )
    return first, (second - first.square()).clamp(min=0)


def expected_moments(module: fx.GraphModule) -> dict[fx.Node, Moments]:
    """Of the tensors that the formulas reach. Shapes were propagated (`node.meta["shape"]`)."""
    return _Carrier(module).found()


class _Carrier:
    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        self.moments: dict[fx.Node, Moments] = {}

    def found(self) -> dict[fx.Node, Moments]:
        for node in self.module.graph.nodes:
            if (moments := self._of(node)) is not None:
                self.moments[node] = moments
        return self.moments

    def _of(self, node: fx.Node) -> Moments | None:
        if node.op not in ("call_module", "call_function") or not node.all_input_nodes:
            return None
        called = called_module(self.module, node)
        if is_layer(self.module, node) or isinstance(called, BATCH_NORM_TYPES):
            return self._known(node, called)
        if is_sum_of_tensors(node):
            return self._sum(node)
        if node.target is torch.cat:
            return self._beside_each_other(node)
        source = self.moments.get(node.all_input_nodes[0])
        return None if source is None else self._carried(node, called, source)

    def _known(self, node: fx.Node, called: nn.Module | None) -> Moments | None:
        if isinstance(called, BATCH_NORM_TYPES):
            return None if called.running_mean is None else _normal(norm_distribution(called))
        kept = output_distribution(self.module, node)
        return None if kept is None or foldable_norm(self.module, node) is not None else _normal(kept)

    def _carried(self, node: fx.Node, called: nn.Module | None, source: Moments) -> Moments | None:
        limits = LIMITS.get(type(called)) if called is not None else LIMIT_FUNCTIONS.get(node.target)
        if limits is not None:
            return _clipped(source, *limits)
        if isinstance(called, SAME_TYPES):
            return source
        if isinstance(called, AVERAGE_TYPES):
            return None if getattr(called, "padding", 0) else _not_normal(source)
        rules: dict[Any, Callable[[fx.Node, Moments], Moments | None]] = {
            nn.Flatten: _flattened,
            **dict.fromkeys((torch.flatten, torch.reshape, torch.squeeze), _flattened),
            torch.mean: _averaged,
            operator.getitem: _sliced,
            torch.index_select: self._selected,
            **dict.fromkeys(_PRODUCTS, self._scaled),
            **dict.fromkeys(ADD_FUNCTIONS, self._shifted),
        }
        rule = rules.get(node.target if called is None else type(called))
        return None if rule is None else rule(node, source)

    def _sum(self, node: fx.Node) -> Moments | None:
        parts = [self.moments.get(each) for each in node.args[:2] if isinstance(each, fx.Node)]
        first, second = parts
        if first is None or second is None or node.target not in ADD_FUNCTIONS or node.kwargs.get("alpha", 1) != 1:
            return None
        if first.mean.shape != second.mean.shape:
            return None
        return Moments(first.mean + second.mean, first.variance + second.variance, normal=True)

    def _beside_each_other(self, node: fx.Node) -> Moments | None:
        parts: Any = node.args[0]
        axis: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        found = [self.moments[part] for part in parts if part in self.moments]
        if len(found) < len(parts) or axis % len(node.meta["shape"]) != 1:
            return None
        mean, variance = (torch.cat([getattr(each, name) for each in found]) for name in ("mean", "variance"))
        return Moments(mean, variance, all(each.normal for each in found))

    def _selected(self, node: fx.Node, source: Moments) -> Moments | None:
        index = self._constant(node.args[2])
        if index is None or node.args[1] != 1:
            return None
        return Moments(source.mean[index], source.variance[index], source.normal)

    def _scaled(self, node: fx.Node, source: Moments) -> Moments | None:
        factor = self._per_channel(node, source)
        if factor is None:
            return None
        return Moments(source.mean * factor, source.variance * factor.square(), source.normal)

    def _shifted(self, node: fx.Node, source: Moments) -> Moments | None:
        addend = self._per_channel(node, source)
        return None if addend is None else Moments(source.mean + addend, source.variance, source.normal)

    def _per_channel(self, node: fx.Node, source: Moments) -> Tensor | None:
        constant = self._constant(node.args[1])
        if constant is None or constant.numel() != len(source.mean):
            return None
        return constant.double().reshape(-1)

    def _constant(self, argument: object) -> Tensor | None:
        if not isinstance(argument, fx.Node) or argument.op != "get_attr":
            return None
        found: Tensor = operator.attrgetter(str(argument.target))(self.module)
        return found.detach().cpu()


def _normal(distribution: Distribution) -> Moments:
    return Moments(distribution.mean, distribution.deviation.square(), normal=True)


def _not_normal(source: Moments) -> Moments:
    """An average over positions keeps the mean; its variance is at most that of its parts."""
    return Moments(source.mean, source.variance, normal=False)


def _clipped(source: Moments, low: float, high: float) -> Moments | None:
    if not source.normal:
        return None
    return Moments(*clipped_normal(source.mean, source.variance.sqrt(), low, high), normal=False)


def _flattened(node: fx.Node, source: Moments) -> Moments | None:
    """Each channel's positions are features of their own."""
    before, after = node.all_input_nodes[0].meta["shape"], node.meta["shape"]
    if len(after) != 2 or math.prod(before[1:]) != after[1]:
        return None
    positions = math.prod(before[2:])
    mean, variance = (each.repeat_interleave(positions) for each in (source.mean, source.variance))
    return Moments(mean, variance, source.normal)


def _averaged(node: fx.Node, source: Moments) -> Moments | None:
    dimensions: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    chosen = [dimensions] if isinstance(dimensions, int) else list(dimensions)
    rank = len(node.all_input_nodes[0].meta["shape"])
    return _not_normal(source) if all(each % rank > 1 for each in chosen) else None


def _sliced(node: fx.Node, source: Moments) -> Moments | None:
    """Of positions only."""
    index: Any = node.args[1]
    whole = isinstance(index, tuple) and index[:2] == (slice(None), slice(None))
    return source if whole and all(isinstance(part, slice) for part in index) else None


def _share_below(z: Tensor) -> Tensor:
    share: Tensor = torch.special.erfc(-z / math.sqrt(2)) / 2
    return share


def _density(z: Tensor) -> Tensor:
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


def _times_density(z: Tensor, density: Tensor) -> Tensor:
    return torch.where(density > 0, z * density, torch.zeros_like(density))


def _weighted(limit: float, share: Tensor) -> Tensor:
    return torch.zeros_like(share) if math.isinf(limit) else limit * share
