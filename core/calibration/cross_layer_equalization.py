"""Cross-layer equalization: the ranges of a layer's channels are evened out, and the next layers take the factors back.

Nagel, van Baalen, Blankevoort, Welling 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
https://arxiv.org/abs/1906.04721, section 4.1 and appendix A. With r1 the range of a channel's weights where it is
computed and r2 the range of the weights that read it,

    s = sqrt(r1 r2) / r2,    W1 <- W1 / s,    b1 <- b1 / s,    W2 <- W2 s,

which brings both ranges to sqrt(r1 r2); the layers are gone through again until no factor moves by more than 2e-7.

Reconstructed: where several layers write or read a channel (sums, branches, concatenation) r1 and r2 are the largest
of theirs and all are scaled together; the paper has chains of two and three layers. A channel counts as dead, and is
left alone, where its range is less than float32 can tell beside the largest of its layer.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from core.errors import InvalidInput
from core.graph.changed_network import described_again
from core.graph.fold_batch_norm import keep_distribution, output_distribution
from core.graph.layer_weight import grouped_weight, scale_channels
from core.graph.loaded_model import LoadedModel
from core.graph.shared_scales import LayerScales, SharedScales, shared_scales
from core.graph.vocabulary import called_layer

CONVERGED = 2e-7  # of a factor, relative, over a whole round
MOST_ROUNDS = 1000
DEAD_SHARE = float(np.finfo(np.float32).eps)
RangeKind = Literal["symmetric", "asymmetric"]
Doubles = NDArray[np.float64]


@dataclass
class _Extent:
    """Largest and smallest weight by group, output, input [G, O/G, I/G], as if all scales were 1.

    For symmetric ranges `high` is the largest magnitude, and `low`, which would be zero, is left out.
    """

    scales: LayerScales
    high: Doubles
    low: Doubles | None

    def of_outputs(self, scale: Doubles) -> Doubles:
        """[O]: the range of each output channel's weights."""
        read = scale[self.scales.reads].reshape(self.high.shape[0], 1, self.high.shape[2])
        ranges: Doubles = (self.high * read).max(2)
        if self.low is not None:
            ranges = ranges - (self.low * read).min(2)
        return ranges.reshape(-1) / scale[self.scales.writes]

    def of_inputs(self, scale: Doubles) -> Doubles:
        """[I]: the range of the weights that read each input channel."""
        written = scale[self.scales.writes].reshape(*self.high.shape[:2], 1)
        ranges: Doubles = (self.high / written).max(1)
        if self.low is not None:
            ranges = ranges - (self.low / written).min(1)
        return ranges.reshape(-1) * scale[self.scales.reads]


def equalize(loaded: LoadedModel, *, ranges: RangeKind = "symmetric") -> LoadedModel:
    """A copy that computes the same. `loaded` has its batch norms folded.

    `ranges`: max|w|, or the distance from the smallest weight to the largest, zero included.

    Raises:
        InvalidInput: where no two layers stand so that a factor could pass from one to the other.
    """
    module = copy.deepcopy(loaded.module)
    found = _free_scales(module)
    scale = _balanced([_extent(module, layer, ranges) for layer in found.layers], found)
    for layer in found.layers:
        _apply(module, layer, scale)
    return described_again(loaded, module)


def check_equalizable(loaded: LoadedModel) -> None:
    """Raises InvalidInput as `equalize` does."""
    _free_scales(loaded.module)


def _free_scales(module: fx.GraphModule) -> SharedScales:
    found = shared_scales(module)
    if not found.free.any():
        raise InvalidInput(
            "no two layers of this network can be equalized: nothing but ReLU, pools and sums may stand between them",
            hint="turn equalization off; a scale for each output channel does most of what it does",
        )
    return found


def _extent(module: fx.GraphModule, scales: LayerScales, ranges: RangeKind) -> _Extent:
    weight = grouped_weight(called_layer(module, scales.node)).double().cpu()
    high, low = weight.amax(3).clamp(min=0).numpy(), weight.amin(3).clamp(max=0).numpy()
    if ranges == "symmetric":
        return _Extent(scales, np.maximum(high, -low), None)
    return _Extent(scales, high, low)


def _balanced(extents: list[_Extent], found: SharedScales) -> Doubles:
    """The factor of each scale: a tensor's channel becomes itself over it."""
    scale = np.ones(len(found.free))
    steps = [step for position in range(len(extents)) if len((step := _step(position, extents, found)).chosen)]
    for _ in range(MOST_ROUNDS):
        before = scale.copy()
        for step in steps:
            scale[step.chosen] *= _factors(scale, step)
        if np.abs(np.log(scale / before)).max() < CONVERGED:
            break
    return scale


@dataclass
class _Step:
    """Scales that are set together, and all who write and read them."""

    chosen: NDArray[np.int64]
    writers: list[_Extent]
    readers: list[_Extent]


def _step(position: int, extents: list[_Extent], found: SharedScales) -> _Step:
    """For the free scales that this layer is the first to write."""
    chosen = np.unique(extents[position].scales.writes)
    for earlier in extents[:position]:
        chosen = np.setdiff1d(chosen, earlier.scales.writes)
    chosen = chosen[found.free[chosen]]
    writers = [each for each in extents if np.isin(each.scales.writes, chosen).any()]
    readers = [each for each in extents if np.isin(each.scales.reads, chosen).any()]
    return _Step(chosen, writers, readers)


def _factors(scale: Doubles, step: _Step) -> Doubles:
    first, second = np.zeros_like(scale), np.zeros_like(scale)
    for each in step.writers:
        np.maximum.at(first, each.scales.writes, _without_dead(each.of_outputs(scale)))
    for each in step.readers:
        np.maximum.at(second, each.scales.reads, _without_dead(each.of_inputs(scale)))
    r1, r2 = first[step.chosen], second[step.chosen]
    alive = (r1 > 0) & (r2 > 0)
    return np.sqrt(np.divide(r1, r2, out=np.ones_like(r1), where=alive))


def _without_dead(ranges: Doubles) -> Doubles:
    return np.where(ranges > DEAD_SHARE * ranges.max(initial=0.0), ranges, 0.0)


def _apply(module: fx.GraphModule, scales: LayerScales, scale: Doubles) -> None:
    layer = called_layer(module, scales.node)
    written = torch.from_numpy(1 / scale[scales.writes])
    scale_channels(layer, outputs=written, inputs=torch.from_numpy(scale[scales.reads]))
    if layer.bias is not None:
        bias = layer.bias.detach()
        bias.copy_(bias.double() * written.to(bias.device))
    if (distribution := output_distribution(module, scales.node)) is not None:
        keep_distribution(scales.node, distribution.scaled(written))
