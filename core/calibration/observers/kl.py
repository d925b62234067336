"""KL: the threshold whose clipped and rounded histogram tells most about the whole one.

Migacz, "8-bit Inference with TensorRT", GTC 2017, https://on-demand.gputechconf.com/gtc/2017/presentation/
s7310-8-bit-inference-with-tensorrt.pdf, and MXNet's open implementation of it. For every threshold T:

    slice  the bins within [-T, T] (within [0, T] where nothing is negative, or where one bit keeps nothing that is;
           within the tensor's own range on an affine grid)
    p      the slice, with the outliers on either side added to its end bins
    q      the slice WITHOUT outliers, merged evenly into 2^b buckets, each spread evenly over its bins that are not
           empty; a bin that only outliers fill has q = 1e-4 of a count
    least over T of  KL(p / sum p || q / sum q)

A q built from p would hold the outliers too, and clipping would look harmless. The widest slice is a candidate: it
clips nothing. What is ours: 2048 bins on each side of zero, or the histogram's own where it has fewer; 256 thresholds,
from a bin for each level up; of equal ones the widest; exact zeros are left out, since every grid holds them exactly.
Sums over buckets come from running sums over bins, so that a threshold costs as much as it has buckets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.calibration.grids import GridKind
from core.calibration.observers.observed import Observed
from core.calibration.observers.observer import Limits, Observer, ObserverCard, ObserverSettings

BINS = 2048  # on each side of zero
THRESHOLDS = 256
NEARLY_NOTHING = 1e-4  # counts of a bin that only outliers fill
EQUAL = 1e-9  # nats
ROWS_AT_ONCE, SUMS_AT_ONCE = 256, 2**18

CARD = ObserverCard(
    id="kl",
    title="KL divergence",
    paper="Migacz, 8-bit Inference with TensorRT, GTC 2017",
    link="https://on-demand.gputechconf.com/gtc/2017/presentation/s7310-8-bit-inference-with-tensorrt.pdf",
    summary="Clips where the histogram of the rounded tensor is closest to that of the tensor. Made for 8 bits and "
    "many values: a channel of a few weights keeps its whole range.",
    odd_tensors="A tensor with one value, or none but zero, keeps its whole range; a huge value leaves few bins for "
    "the others.",
)


@dataclass(frozen=True)
class _Bins:
    """Counts of K rows in bins of equal width around zero, and running sums over the bins, from 0 to 2 BINS."""

    width: Tensor  # K
    counts: Tensor  # K, 2 BINS
    sums: Tensor  # 3, K, 2 BINS + 1: of counts, of bins that are not empty, of c log c
    first: Tensor  # K: the first bin of the row's range, and the first behind it
    end: Tensor


def limits(observed: Observed, bits: int, kind: GridKind, settings: ObserverSettings) -> Limits:
    """The best threshold of each row, but not beyond its extremes."""
    parts = zip(*(_rows(observed, rows, bits, kind) for rows in _split(len(observed.values))), strict=True)
    lower, upper = (torch.cat(part) for part in parts)
    return lower, upper


def _split(rows: int) -> list[slice]:
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, rows, ROWS_AT_ONCE)]


def _rows(observed: Observed, rows: slice, bits: int, kind: GridKind) -> Limits:
    minimum, maximum = observed.minimum[rows], observed.maximum[rows]
    found = _bins(observed, rows)
    one_sided = kind == "unsigned" or (kind == "symmetric" and bits == 1)
    starts, ends = _slices(found, 2**bits, kind, one_sided)
    size = max(1, SUMS_AT_ONCE // (starts.shape[1] * (2**bits + 1)))
    divergence = torch.cat(
        [
            _divergence(found, start, end, 2**bits, one_sided)
            for start, end in zip(torch.split(starts, size), torch.split(ends, size), strict=True)
        ]
    )
    later = EQUAL * torch.arange(len(divergence), device=divergence.device)[:, None]
    best = (divergence + later).argmin(0)[None]
    start, end = starts.gather(0, best)[0], ends.gather(0, best)[0]
    lower = torch.maximum((start - BINS) * found.width, minimum.double())
    upper = torch.minimum((end - BINS) * found.width, maximum.double())
    return lower.to(minimum.dtype), upper.to(maximum.dtype)


def _bins(observed: Observed, rows: slice) -> _Bins:
    values, counts = observed.values[rows].double(), observed.counts[rows].double()
    minimum, maximum = observed.minimum[rows].double(), observed.maximum[rows].double()
    reach = torch.maximum(maximum, -minimum)
    reach = torch.where(reach > 0, reach, 1.0)
    own = observed.bin_width[rows].double()  # merged by powers of two, so that no bin is split
    merged = own * torch.exp2((reach / (BINS * own.clamp_min(1e-300))).log2().ceil().clamp_min(0))
    width = torch.where(own > 0, merged, reach / BINS)
    position = (values / width[:, None]).floor().long().add_(BINS).clamp_(0, 2 * BINS - 1)
    found = torch.zeros(len(values), 2 * BINS, dtype=torch.float64, device=values.device)
    found.scatter_add_(1, position, counts * (values != 0))
    sums = torch.stack([found, (found > 0).double(), torch.xlogy(found, found)]).cumsum(2)
    running = torch.cat([torch.zeros_like(sums[..., :1]), sums], 2)
    first = (minimum.clamp_max(0) / width).floor().long().add_(BINS).clamp_(0, BINS)
    end = (maximum.clamp_min(0) / width).ceil().long().add_(BINS).clamp_(BINS, 2 * BINS)
    return _Bins(width, found, running, first, end)


def _slices(found: _Bins, levels: int, kind: GridKind, one_sided: bool) -> tuple[Tensor, Tensor]:
    """First bin and the bin behind the last, of every threshold, C, K, from the widest on."""
    reach = found.end - BINS if one_sided else torch.maximum(found.end - BINS, BINS - found.first)
    fewest = torch.minimum(reach, torch.full_like(reach, levels if one_sided else (levels + 1) // 2)).clamp_min(1)
    shares = torch.linspace(1, 0, THRESHOLDS, dtype=torch.float64, device=reach.device)[:, None]
    reaches = (fewest + shares * (reach - fewest)).round().long().clamp_min(1)
    starts = torch.full_like(reaches, BINS) if one_sided else BINS - reaches
    ends = BINS + reaches
    if kind == "affine":
        starts, ends = torch.maximum(starts, found.first), torch.minimum(ends, found.end)
    return starts, torch.maximum(ends, starts + 1)


def _divergence(found: _Bins, starts: Tensor, ends: Tensor, levels: int, one_sided: bool) -> Tensor:
    """KL(p || q) in nats, C, K; infinite where the slice holds nothing, 0 where the row does."""
    edges = starts[..., None] + (ends - starts)[..., None] * torch.arange(levels + 1, device=starts.device) // levels
    mass, bins = (_at(sums, edges).diff() for sums in found.sums[:2])
    inside = mass.sum(-1)
    total = found.sums[0, :, -1]
    before_all = found.sums[0, :, BINS] if one_sided else torch.zeros_like(total)
    below = _at(found.sums[0], starts[..., None])[..., 0] - before_all
    above = total - _at(found.sums[0], ends[..., None])[..., 0]
    log_q = torch.where(mass > 0, mass / bins.clamp_min(1), 1.0).log()
    cross = (mass * log_q).sum(-1)
    entropy = _at(found.sums[2], ends[..., None])[..., 0] - _at(found.sums[2], starts[..., None])[..., 0]
    missing = torch.zeros_like(inside)
    alone = ends - starts == 1
    for outliers, place, bucket in ((below, starts, 0), (torch.where(alone, 0, above), ends - 1, -1)):
        own = _at(found.counts, place[..., None])[..., 0]
        empty = (own == 0) & (outliers > 0)
        missing += empty * NEARLY_NOTHING
        cross += outliers * torch.where(empty, torch.full_like(own, NEARLY_NOTHING).log(), log_q[..., bucket])
        entropy += torch.xlogy(own + outliers, own + outliers) - torch.xlogy(own, own)
    everything = inside + below + above
    divergence = (entropy - cross) / everything - everything.log() + (inside + missing).log()
    divergence = torch.where(inside > 0, divergence, torch.inf)
    return torch.where(everything > 0, divergence, 0.0)


def _at(sums: Tensor, positions: Tensor) -> Tensor:
    """Of sums (K, ...) those at positions (C, K, E)."""
    rows = torch.arange(len(sums), device=sums.device)[:, None]
    return sums[rows, positions]


OBSERVER = Observer(CARD, limits)
