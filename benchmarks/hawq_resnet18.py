"""HAWQ-V3's published programme for ResNet-18: 19 layers, 4 or 8 bits (Zhen-Dong/HAWQ, ILP.ipynb). Facts only."""

from __future__ import annotations

import numpy as np

# Mean Hessian trace, ||W - Q(W)||^2 at 8 and at 4 bits, weights, multiply-accumulates, milliseconds on a T4.
TRACES = (
    0.06857826, 0.03162379, 0.03298575, 0.01205663, 0.02222431, 0.00596336, 0.06931772, 0.00807129, 0.00372905,
    0.00530698, 0.00209011, 0.00737569, 0.00210454, 0.00151197, 0.00158041, 0.00078146, 0.00451841, 0.00098745,
    0.00072944,
)  # fmt: skip
ERROR_8 = (
    0.0235, 0.0125, 0.0102, 0.0082, 0.0145, 0.0344, 0.0023, 0.0287, 0.0148, 0.0333, 0.0682, 0.0027, 0.0448, 0.0336,
    0.0576, 0.1130, 0.0102, 0.0947, 0.0532,
)  # fmt: skip
ERROR_4 = (
    6.7430, 3.9691, 3.3281, 2.6796, 4.7277, 10.5966, 0.6827, 9.0942, 4.8857, 10.7599, 21.7546, 0.8603, 14.5324,
    10.9651, 18.7706, 36.4044, 3.1572, 29.6994, 17.4016,
)  # fmt: skip
PARAMETERS = (
    36864, 36864, 36864, 36864, 73728, 147456, 8192, 147456, 147456, 294912, 589824, 32768, 589824, 589824, 1179648,
    2359296, 131072, 2359296, 2359296,
)  # fmt: skip
MACS = (
    115605504, 115605504, 115605504, 115605504, 57802752, 115605504, 6422528, 115605504, 115605504, 57802752, 115605504,
    6422528, 115605504, 115605504, 57802752, 115605504, 6422528, 115605504, 115605504,
)  # fmt: skip
MS_4 = (
    0.21094404, 0.21092674, 0.21104113, 0.21086851, 0.13642465, 0.19167506, 0.02532183, 0.19148203, 0.19142914,
    0.11395316, 0.20556011, 0.01917474, 0.20566918, 0.20566509, 0.13185102, 0.22287786, 0.01790088, 0.22304611,
    0.22286099,
)  # fmt: skip
MS_8 = (
    0.36189111, 0.36211718, 0.31141909, 0.30454471, 0.19184896, 0.38948934, 0.0334169, 0.38904905, 0.3892859,
    0.19134735, 0.34307431, 0.02802354, 0.34313329, 0.34310756, 0.21117103, 0.37376585, 0.02896843, 0.37398187,
    0.37405185,
)  # fmt: skip
TIES = ((4, 6), (9, 11), (14, 16))  # the downsample layer and the first layer of its block
BITS = (4, 8)
SHARES = (0.25, 0.5, 0.75)  # of the way from all 4 to all 8 bits


def losses() -> np.ndarray:
    """Trace x squared error, [19, 2] at 4 and 8 bits."""
    return np.array(TRACES)[:, None] * np.stack([ERROR_4, ERROR_8], axis=1)


def costs() -> dict[str, np.ndarray]:
    """[19, 2] at 4 and 8 bits: size in bits, bit operations, latency in units of 10 ps (the published digits)."""
    bits = np.array(BITS)
    latency = np.rint(np.stack([MS_4, MS_8], axis=1) * 1e8).astype(np.int64)
    return {
        "size": np.array(PARAMETERS)[:, None] * bits,
        "bit operations": np.array(MACS)[:, None] * bits**2,
        "latency": latency,
    }


def budget(cost: np.ndarray, share: float) -> int:
    """HAWQ-V3's budget: that share of the way from the cheapest to the dearest."""
    low, high = (int(total) for total in cost.sum(axis=0))
    return low + int((high - low) * share)


def groups() -> tuple[tuple[int, ...], ...]:
    """Ties first, then each other layer alone, in order of the first layer."""
    tied = {layer for tie in TIES for layer in tie}
    return tuple(sorted([*TIES, *((layer,) for layer in range(len(TRACES)) if layer not in tied)]))
