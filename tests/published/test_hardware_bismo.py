"""BISMO against the table published with HAQ (CVPR 2019) and the latencies of its Table 3."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.hardware_bismo import CLOUD_V1_MS
from benchmarks.networks import mobilenet_v1, mobilenet_v2
from core.hardware.kinds.bismo import KIND
from core.hardware.targets import load_targets

WIDTHS = range(1, 9)
PAIRS = ((1, 1), (2, 2), (4, 4), (4, 6), (6, 4), (6, 6), (2, 8), (8, 2), (8, 8))
# Layers of MobileNet-V2 in HAQ's published table: cycles for 16 images at PAIRS (weights, activations).
PUBLISHED_CYCLES = {
    0: (200720, 401600, 804608, 1207584, 805632, 1209504, 1608320, 408608, 1620752),
    1: (401408, 802880, 1606016, 2408928, 1606272, 2409248, 3211488, 803264, 3212832),
    3: (200784, 402112, 1222848, 1825936, 1834176, 2738704, 1615488, 1225760, 4860688),
    6: (50304, 116944, 458544, 689056, 687792, 1033504, 456416, 467728, 1824992),
    12: (12720, 43024, 159792, 233552, 239664, 350288, 153712, 163184, 614512),
    33: (10416, 35408, 129072, 193584, 187472, 281168, 129136, 122992, 491632),
    43: (47040, 96960, 202560, 302400, 212160, 315840, 384960, 169920, 436800),
    52: (5000, 10001, 20006, 20010, 30006, 30010, 10007, 40003, 40021),
}
# HAQ, Table 3, edge, MobileNet-V2: milliseconds of one image at uniform widths.
EDGE_MS = {8: 115.84, 6: 82.49, 5: 66.94, 4: 52.15}


def cycle_table(target_name: str) -> np.ndarray:
    """Cycles [layer, w - 1, a - 1] of MobileNet-V2."""
    target = load_targets()[target_name]
    simulated = KIND.simulate(target, mobilenet_v2(), WIDTHS, WIDTHS).latency_s * target.clock_hz
    assert np.abs(simulated - np.rint(simulated)).max() < 1e-6
    return np.rint(simulated).astype(np.int64)


@pytest.fixture(scope="module")
def cloud() -> np.ndarray:
    return cycle_table("bismo-cloud")


@pytest.mark.parametrize("layer", PUBLISHED_CYCLES)
def test_every_published_row_is_met_to_the_cycle(cloud: np.ndarray, layer: int) -> None:
    assert tuple(cloud[layer, w - 1, a - 1] for w, a in PAIRS) == PUBLISHED_CYCLES[layer]


@pytest.mark.parametrize(("layer", "repeats"), [(6, 2), (12, 3), (33, 3), (43, 3)])
def test_layers_of_the_same_shape_cost_the_same(cloud: np.ndarray, layer: int, repeats: int) -> None:
    alike = [position for position in range(len(cloud)) if np.array_equal(cloud[position], cloud[layer])]
    assert len(alike) == repeats


@pytest.mark.parametrize(
    ("w", "a", "cycles"), [(2, 2, 7_063_425), (4, 4, 15_716_150), (8, 8, 39_624_933), (6, 4, 17_851_686)]
)
def test_the_published_sums_over_all_53_layers(cloud: np.ndarray, w: int, a: int, cycles: int) -> None:
    assert cloud.shape == (53, 8, 8)
    assert cloud[:, w - 1, a - 1].sum() == cycles


def test_the_published_smallest_and_largest_entry(cloud: np.ndarray) -> None:
    assert (cloud.min(), cloud.max()) == (3184, 4_860_688)


@pytest.mark.parametrize(("bits", "cycles", "ms"), [(8, 37_964_160, "189.82"), (4, 14_891_536, "74.46")])
def test_table_3_cloud_to_the_printed_digit(cloud: np.ndarray, bits: int, cycles: int, ms: str) -> None:
    total = int(cloud[1:52, bits - 1, bits - 1].sum())
    assert total == cycles
    assert f"{total / load_targets()['bismo-cloud'].clock_hz * 1e3:.2f}" == ms


@pytest.mark.parametrize("bits", CLOUD_V1_MS)
def test_mobilenet_v1_of_table_3_cloud_to_the_printed_digit_with_nothing_adjusted(bits: int) -> None:
    target = load_targets()["bismo-cloud"]
    seconds = KIND.simulate(target, mobilenet_v1(), [bits], [bits]).latency_s[1:-1].sum()
    assert f"{seconds * 1e3:.2f}" == f"{CLOUD_V1_MS[bits]:.2f}"


@pytest.mark.parametrize("bits", EDGE_MS)
def test_table_3_edge_within_three_permille(bits: int) -> None:
    total = cycle_table("bismo-edge")[1:52, bits - 1, bits - 1].sum()
    ms = total / load_targets()["bismo-edge"].clock_hz * 1e3
    assert ms == pytest.approx(EDGE_MS[bits], rel=3e-3)
