"""Systolic arrays: SCALE-Sim's closed form against arrays clocked cycle by cycle, traffic by what fits, widths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networks import conv, linear
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.kinds.systolic import KIND
from core.hardware.layer_values import layer_values, packed_bits
from core.hardware.target import Target
from core.hardware.targets import load_targets
from tests.hardware.layers import any_layer, convolution, linear_over, transposed

TARGETS = [target for target in load_targets().values() if target.kind == "systolic"]
DATAFLOWS = ("weight-stationary", "output-stationary", "input-stationary")
BYTES = 1 << 30


def changed(name: str, **parameters: Any) -> Target:
    """A shipped target with other parameters."""
    target = load_targets()[name]
    return target.model_copy(update={"parameters": {**target.parameters, **parameters}})


def unstalled(dataflow: str, rows: int, columns: int, **parameters: Any) -> Target:
    """An array that its memories never hold up."""
    buffers = {f"{name}_buffer_bytes": BYTES for name in ("activation", "weight", "output")}
    shape = {"dataflow": dataflow, "array_rows": rows, "array_columns": columns, "dram_bytes_per_s": 1e17}
    return changed("scale-sim-32x32", **buffers, **shape, **parameters)


def cycles(target: Target, layer: Layer, w: int = 8, a: int = 8) -> float:
    assert target.clock_hz is not None
    return float(KIND.simulate(target, [layer], [w], [a]).latency_s[0, 0, 0] * target.clock_hz)


def clocked_stationary(held: np.ndarray, streamed: np.ndarray) -> tuple[np.ndarray, int]:
    """streamed [T, r] through held [r, c], one clock edge at a time: the results [T, c], and the edges it took."""
    (rows, columns), steps = held.shape, len(streamed)
    weights, moving, sums = (np.zeros((rows, columns)) for _ in range(3))
    clock, results, left = 0, np.zeros((steps, columns)), steps * columns
    for row in held[::-1]:  # loaded from above, one row per edge
        weights = np.vstack([row, weights[:-1]])
        clock += 1
    while left:
        step = clock - rows
        entering = [streamed[step - row, row] if 0 <= step - row < steps else 0.0 for row in range(rows)]
        moving = np.hstack([np.array(entering)[:, None], moving[:, :-1]])
        sums = np.vstack([np.zeros(columns), sums[:-1]]) + moving * weights
        for column in range(columns):
            done = step - (rows - 1) - column
            if 0 <= done < steps:
                results[done, column] = sums[-1, column]
                left -= 1
        clock += 1
    return results, clock


def clocked_output(left: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, int]:
    """left [r, T] by top [T, c] with the sums in place, and then shifted out row by row."""
    (rows, steps), columns = left.shape, top.shape[1]
    across, down, sums = (np.zeros((rows, columns)) for _ in range(3))
    for clock in range(steps + rows + columns - 2):
        enter_left = [left[row, clock - row] if 0 <= clock - row < steps else 0.0 for row in range(rows)]
        enter_top = [top[clock - column, column] if 0 <= clock - column < steps else 0.0 for column in range(columns)]
        across = np.hstack([np.array(enter_left)[:, None], across[:, :-1]])
        down = np.vstack([np.array(enter_top), down[:-1]])
        sums = sums + across * down
    return sums, steps + rows + columns - 2 + rows


def padded(matrix: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return np.pad(matrix, [(0, -matrix.shape[0] % rows), (0, -matrix.shape[1] % columns)])


def reference(dataflow: str, a: np.ndarray, w: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, int]:
    """The product a [M, K] w [K, N] fold by fold on a clocked array, and its cycles."""
    if dataflow == "input-stationary":
        product, clock = reference("weight-stationary", w.T, a.T, rows, columns)
        return product.T, clock
    clock, product = 0, np.zeros((a.shape[0], w.shape[1]))
    if dataflow == "output-stationary":
        left, top = padded(a, rows, 1), padded(w, 1, columns)
        product = np.zeros((left.shape[0], top.shape[1]))
        for i in range(0, left.shape[0], rows):
            for j in range(0, top.shape[1], columns):
                product[i : i + rows, j : j + columns], took = clocked_output(
                    left[i : i + rows], top[:, j : j + columns]
                )
                clock += took
        return product[: a.shape[0], : w.shape[1]], clock
    held, streamed = padded(w, rows, columns), padded(a, 1, rows)
    product = np.zeros((a.shape[0], held.shape[1]))
    for i in range(0, held.shape[0], rows):
        for j in range(0, held.shape[1], columns):
            part, took = clocked_stationary(held[i : i + rows, j : j + columns], streamed[:, i : i + rows])
            product[:, j : j + columns] += part
            clock += took
    return product[:, : w.shape[1]], clock


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@given(data=st.data())
@settings(deadline=None, max_examples=15)
def test_cycles_are_those_of_an_array_clocked_one_edge_at_a_time(dataflow: str, data: st.DataObject) -> None:
    rows, columns, m, k, n = (data.draw(st.integers(1, bound)) for bound in (5, 5, 12, 12, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    a, w = rng.integers(-8, 8, (m, k)).astype(float), rng.integers(-8, 8, (k, n)).astype(float)
    product, clock = reference(dataflow, a, w, rows, columns)
    assert np.array_equal(product, a @ w)
    assert cycles(unstalled(dataflow, rows, columns), linear_over(m, k, n)) == pytest.approx(clock, rel=1e-5)


@pytest.mark.parametrize(
    ("dataflow", "expected"),
    [
        ("weight-stationary", 5 * 2 * (64 + 32 + 196 - 2)),  # K = 144, N = 64, T = M = 196
        ("input-stationary", 5 * 7 * (64 + 32 + 64 - 2)),
        ("output-stationary", 7 * 2 * (64 + 32 + 144 - 2)),
    ],
)
def test_a_convolution_folds_as_in_scale_sim(dataflow: str, expected: int) -> None:
    assert cycles(unstalled(dataflow, 32, 32), conv("c", 16, 64, 3, 14)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@given(layer=any_layer())
@settings(deadline=None, max_examples=30)
def test_overlapping_folds_never_take_longer_and_never_beat_the_peak(dataflow: str, layer: Layer) -> None:
    plain, overlapped = (
        cycles(unstalled(dataflow, 16, 8, overlaps_folds=overlaps), layer) for overlaps in (False, True)
    )
    assert overlapped <= plain * (1 + 1e-9)
    assert overlapped * (1 + 1e-9) >= layer.macs / (16 * 8)


def test_16_bits_run_at_half_and_quarter_speed_on_the_tpu() -> None:
    dense = linear_over(8192, 4096, 4096)
    base = cycles(unstalled("weight-stationary", 256, 256), dense)
    rates = [
        cycles(unstalled("weight-stationary", 256, 256), dense, w, a) / base for w, a in ((8, 16), (16, 8), (16, 16))
    ]
    assert rates == pytest.approx([2, 2, 4], rel=1e-3)


def test_a_fully_connected_layer_waits_for_its_weights_on_the_tpu() -> None:
    target, layer = load_targets()["tpu-v1"], linear("fc", 4096, 4096)
    simulated = KIND.simulate(target, [layer], [8], [8])
    assert KIND.card.bounds[simulated.bound_by[0, 0, 0]] == "weights"
    assert simulated.latency_s[0, 0, 0] == pytest.approx(4096 * 4096 / 34e9, rel=0.02)


def test_a_large_product_comes_near_the_published_peak_of_the_tpu() -> None:
    target, layer = load_targets()["tpu-v1"], linear_over(256, 4096, 4096)
    seconds = KIND.simulate(target, [layer], [8], [8]).latency_s[0, 0, 0]
    assert 0.9 < 2 * layer.macs * target.batch / seconds / 92e12 <= 1


def dram_seconds(target: Target, layer: Layer, w: int = 8, a: int = 8) -> float:
    """With an infinitely fast array: traffic over bandwidth."""
    fast = target.model_copy(update={"clock_hz": 9e11})
    return float(KIND.simulate(fast, [layer], [w], [a]).latency_s[0, 0, 0])


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_what_fits_is_fetched_once_and_what_does_not_again(dataflow: str) -> None:
    layer, rate = linear_over(2048, 1024, 2048), 1e6
    large = changed("scale-sim-32x32", dataflow=dataflow, dram_bytes_per_s=rate,
                    **{f"{name}_buffer_bytes": BYTES for name in ("activation", "weight", "output")})  # fmt: skip
    small = changed("scale-sim-32x32", dataflow=dataflow, dram_bytes_per_s=rate)
    once = (2048 * 1024 + 1024 * 2048 + 2048 * 2048) / rate
    assert once < dram_seconds(large, layer) < 2 * once  # the first tiles are waited for
    assert dram_seconds(small, layer) > 4 * once


def test_a_stream_whose_sums_do_not_fit_is_cut_and_pays_a_fill_for_each_cut() -> None:
    layer = linear_over(1000, 64, 32)  # two row folds of 32; the buffer holds 256 rows of sums and 256 of the next
    target = unstalled("weight-stationary", 32, 32)
    small = target.model_copy(update={"parameters": {**target.parameters, "output_buffer_bytes": 2 * 256 * 32 * 4}})
    assert cycles(target, layer) == pytest.approx(2 * (1000 + 94), rel=1e-5)
    assert cycles(small, layer) == pytest.approx(2 * (1000 + 4 * 94), rel=1e-5)
    one_fold = linear_over(1000, 32, 32)  # its sums leave at once
    assert cycles(small, one_fold) == cycles(target, one_fold)


def test_energy_is_arithmetic_buffers_dram_and_time() -> None:
    m, k, n = 100, 64, 32
    energies = {"mac_j": 2e-12, "activation_buffer_j_per_bit": 3e-13, "weight_buffer_j_per_bit": 5e-13,
                "output_buffer_j_per_bit": 7e-13, "dram_j_per_bit": 11e-12, "static_w": 0.25}  # fmt: skip
    target = unstalled("weight-stationary", 32, 16, **energies)
    simulated = KIND.simulate(target, [linear_over(m, k, n)], [4], [8])
    buffers = m * k * 2 * 8 * 3e-13 + k * n * 4 * 5e-13 + m * n * 3 * 32 * 7e-13  # two column and two row folds
    dram = (m * k * 8 + k * n * 4 + m * n * 8) * 11e-12
    expected = m * k * n * 2e-12 + buffers + dram + 0.25 * simulated.latency_s[0, 0, 0]
    assert simulated.energy_j[0, 0, 0] == pytest.approx(expected)


def test_buffers_are_read_as_often_as_each_dataflow_passes_over_them() -> None:
    m, k, n, bit = 100, 64, 32, 1e-12
    times = {"weight-stationary": (2, 1, 3), "output-stationary": (2, 4, 1), "input-stationary": (1, 7, 3)}
    for dataflow, counts in times.items():
        for buffer, values, count in zip(
            ("activation", "weight", "output"), (m * k * 8, k * n * 8, m * n * 32), counts, strict=True
        ):
            free = {f"{name}_buffer_j_per_bit": 0 for name in ("activation", "weight", "output")}
            target = unstalled(
                dataflow, 32, 16, **free | {f"{buffer}_buffer_j_per_bit": bit}, mac_j=0, dram_j_per_bit=0
            )
            joules = KIND.simulate(target, [linear_over(m, k, n)], [8], [8]).energy_j[0, 0, 0]
            assert joules == pytest.approx(values * count * bit), (dataflow, buffer)


def test_the_tpus_ridge_point_is_the_published_one() -> None:
    roof = KIND.envelope(load_targets()["tpu-v1"], 8, 8)
    assert roof.bytes_per_s is not None
    assert roof.macs_per_s / roof.bytes_per_s == pytest.approx(1350, rel=0.01)


def test_kept_activations_cost_no_dram_until_they_outgrow_the_buffer() -> None:
    layer = conv("c", 64, 64, 3, 56)
    kept = changed("tpu-v1", keeps_weights=True, dram_bytes_per_s=1.0)
    assert dram_seconds(kept, layer) < 1e-3
    assert dram_seconds(kept, conv("c", 64, 64, 3, 224)) > 1e6


def test_narrow_values_share_words_that_none_straddles() -> None:
    assert packed_bits([1, 2, 3, 4, 5, 8, 9, 16, 17], 8).tolist() == [1, 2, 4, 4, 8, 8, 16, 16, 24]
    assert packed_bits([3, 5, 32], 32).tolist() == pytest.approx([3.2, 32 / 6, 32])


def test_distinct_inputs_of_every_kind_of_layer() -> None:
    layers = [
        convolution(8, 4, (3, 3), (10, 12)),
        convolution(8, 4, (1, 1), (10, 12), stride=(2, 2)),
        convolution(6, 12, (3, 3), (10, 12), groups=6),
        transposed(4, 8, (2, 2), (5, 5)),
        linear_over(7, 8, 3),
    ]
    values = layer_values(layers)
    assert values.inputs.ravel().tolist() == [8 * 120, 8 * 30, 6 * 120, 100, 56]
    assert values.gathered.ravel().tolist() == [8 * 9 * 120, 8 * 30, 6 * 9 * 120, 100, 56]
    assert values.outputs.ravel().tolist() == [480, 120, 12 * 120, 800, 21]


@given(layer=any_layer(), target=st.sampled_from(TARGETS))
@settings(deadline=None, max_examples=40)
def test_no_layer_is_faster_than_the_array_at_its_peak(layer: Layer, target: Target) -> None:
    seconds = KIND.simulate(target, [layer], [8, 16], [8, 16]).latency_s[0]
    peaks = [[KIND.envelope(target, w, a).macs_per_s for a in (8, 16)] for w in (8, 16)]
    assert (seconds * (1 + 1e-9) >= layer.macs * target.batch / np.array(peaks)).all()


@pytest.mark.parametrize(
    ("name", "dataflow"),
    [("weight_buffer_bytes", "weight-stationary"), ("activation_buffer_bytes", "input-stationary"),
     ("output_buffer_bytes", "output-stationary")],
)  # fmt: skip
def test_a_buffer_too_small_for_two_tiles_is_refused_with_what_would_do(name: str, dataflow: str) -> None:
    with pytest.raises(InvalidInput, match=rf"{name} cannot hold two tiles .* \d+ bytes or more would"):
        KIND.check(changed("scale-sim-32x32", dataflow=dataflow, **{name: 64}))


def test_facts_give_the_published_peaks() -> None:
    peaks = {target.id: KIND.facts(target)[0].value / 1e12 for target in TARGETS}
    assert peaks["tpu-v1"] == pytest.approx(92, abs=0.5)
    assert peaks["edge-tpu"] == pytest.approx(4, abs=0.1)
    assert peaks["dpu-b4096"] == pytest.approx(4096 * 300e6 / 1e12)
