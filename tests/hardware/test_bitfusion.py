"""Bit Fusion beyond the published networks: the search against trying everything, and what holds for any layer."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from math import ceil, log2, prod

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.networks import conv, linear, mobilenet_v1
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.kinds.bitfusion import KIND, BitFusionParameters, as_convolution, count_layers
from core.hardware.kinds.bitfusion_search import FusionEnergies, count
from core.hardware.kinds.bitfusion_tiling import Convolution, FusionArray
from core.hardware.parameters import read_parameters
from core.hardware.target import Target
from core.hardware.targets import load_targets
from tests.hardware.layers import any_layer, convolution, linear_over, transposed

WIDTHS = range(1, 9)
TARGETS = [load_targets()[name] for name in ("bitfusion", "bitfusion-eyeriss", "bitfusion-haq", "bitfusion-stripes")]
EYERISS = TARGETS[1]
SMALL = FusionArray(4, 2, 2, 8, 32, 24.0, 2048.0, 1024.0, 1024.0)
ENERGIES = FusionEnergies(1.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.5)
CHANGES = {"act": "bwhi", "wgt": "io", "out": "bwho"}  # loops over images, columns, rows, inputs, outputs


def sizes_up_to(whole: int, unit: int = 1) -> list[int]:
    return [min(unit << power, whole) for power in range(ceil(log2(ceil(whole / unit))) + 1)]


def streamed(tile: int, changes: str, trips: dict[str, int], order: tuple[str, ...], room: float) -> tuple[int, int]:
    """One loop after the other, from the innermost: bits brought in, and the most that stays."""
    moved = kept = tile
    stays = True
    for loop in reversed(order):
        if loop in changes or not stays:
            moved *= trips[loop]
        if stays and loop in changes:
            stays = moved <= room
            kept = moved if stays else kept
    return moved, kept


def everything_tried(layer: Convolution, array: FusionArray, w: int, a: int) -> tuple[float, float]:
    """Fewest cycles, and the least energy among those, over all tilings and all 120 orders."""
    lanes = array.lanes(w) * array.lanes(a)
    step = array.rows * lanes
    pixels = zip(sizes_up_to(max(layer.width, layer.height)), sizes_up_to(max(layer.width, layer.height)), strict=True)
    outputs = sizes_up_to(layer.outputs, 1 if layer.lowered else array.columns)
    best = (float("inf"), float("inf"))
    whole = {"b": layer.batch, "w": layer.width, "h": layer.height, "i": layer.inputs, "o": layer.outputs}
    for b, (across, down), i, o in product(sizes_up_to(layer.batch), pixels, sizes_up_to(layer.inputs), outputs):
        size = {"b": b, "w": min(across, layer.width), "h": min(down, layer.height), "i": i, "o": o}
        trips = {loop: ceil(whole[loop] / size[loop]) for loop in whole}
        window = prod(
            kernel + (size[side] - 1) * stride
            for kernel, stride, side in zip(layer.kernel, layer.stride, "hw", strict=True)
        )
        area = size["w"] * size["h"]
        columns = ceil(o / array.columns) * array.columns
        pixels_in = area * layer.taps if layer.lowered and not layer.depthwise else window
        bits = {
            "act": b * pixels_in * (o if layer.depthwise else i) * a,
            "wgt": ceil(layer.taps * i / step) * step * o * w,
            "out": b * area * columns * array.accumulator_bits,
        }
        buffers = {"act": array.input_buffer_bits, "wgt": array.weight_buffer_bits, "out": array.output_buffer_bits}
        if any(bits[name] > buffers[name] / 2 for name in bits):
            continue
        deep = ceil(layer.taps * i / step) if layer.lowered else layer.taps * ceil(i / step)
        compute = prod(trips.values()) * b * area * columns // array.columns * deep
        products = prod(trips.values()) * b * area * o * i * layer.taps
        changes = CHANGES | ({"act": "bwho"} if layer.depthwise else {})
        for order in permutations("bwhio"):
            streams = {
                name: streamed(tile, changes[name], trips, order, buffers[name] / 2) for name, tile in bits.items()
            }
            moved, kept = ({name: stream[side] for name, stream in streams.items()} for side in (0, 1))
            first, last = sum(kept.values()), kept["out"]
            between = sum(moved.values()) + moved["out"] - first - last
            per_cycle = array.bandwidth_bits_per_cycle
            cycles = max(compute, ceil(between / per_cycle)) + ceil(first / per_cycle) + ceil(last / per_cycle)
            still = array.accumulator_bits * products / (i * layer.taps)  # outputs stand still in the array
            energy = (
                compute * ENERGIES.core_j_per_cycle
                + products * (w * ENERGIES.weight_read_j + a * ENERGIES.input_read_j)
                + moved["wgt"] * ENERGIES.weight_write_j
                + moved["act"] * ENERGIES.input_write_j
                + (still + moved["out"]) * (ENERGIES.output_read_j + ENERGIES.output_write_j)
                + (sum(moved.values()) + moved["out"]) * ENERGIES.dram_j
            )
            best = min(best, (cycles, energy))
    return best


@st.composite
def small_layer(draw: st.DrawFn) -> Convolution:
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (1, 3)]))
    height, width = draw(st.sampled_from([(1, 1), (4, 4), (5, 5), (3, 6)]))
    batch, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    stride = draw(st.sampled_from([(1, 1), (2, 1)]))
    if draw(st.booleans()):
        return Convolution(batch, height, width, 1, outputs, kernel, stride, lowered=True, depthwise=True)
    return Convolution(batch, height, width, draw(st.integers(1, 18)), outputs, kernel, stride, draw(st.booleans()))


@given(layer=small_layer(), w=st.integers(1, 8), a=st.integers(1, 8))
@example(layer=Convolution(2, 4, 4, 40, 9, (3, 3)), w=8, a=8)
@example(layer=Convolution(2, 3, 6, 18, 9, (1, 3), (2, 1)), w=4, a=2)
@settings(deadline=None, max_examples=25)
def test_the_search_finds_what_trying_everything_finds(layer: Convolution, w: int, a: int) -> None:
    found = count(layer, SMALL, ENERGIES, (w,), (a,))
    assert (found.cycles[0, 0], found.energy_j(ENERGIES)[0, 0]) == pytest.approx(everything_tried(layer, SMALL, w, a))


@pytest.mark.parametrize(
    ("weights", "activations", "factor"),
    [(8, 8, 1), (5, 8, 1), (4, 8, 2), (3, 6, 2), (4, 4, 4), (2, 4, 8), (1, 3, 8), (2, 2, 16), (1, 1, 16),
     (16, 16, 1 / 4), (9, 8, 1 / 2), (32, 32, 1 / 16), (16, 2, 2)],
)  # fmt: skip
def test_units_fuse_to_the_next_power_of_two_and_wider_operands_pass_in_slices(
    weights: int, activations: int, factor: float
) -> None:
    layer = conv("c", 1024, 32, 1, 16)
    cycles = count_layers(EYERISS, [layer], [weights], [activations])
    assert (cycles.cycles - cycles.stall_cycles)[0, 0, 0] == 16 * 16 * 16 * 64 / factor
    peak = KIND.envelope(EYERISS, weights, activations).macs_per_s
    assert peak == 512 * 500e6 * factor


@given(layer=any_layer(), target=st.sampled_from(TARGETS))
@settings(deadline=None, max_examples=25)
def test_no_layer_is_faster_than_its_array_nor_than_its_traffic(layer: Layer, target: Target) -> None:
    times, run = as_convolution(layer, target.batch, target.parameters["lowered_channels"])
    counters = count_layers(target, [layer], (2, 8), (3, 8))
    for w, a in product((2, 8), (3, 8)):
        cell = 0, (2, 8).index(w), (3, 8).index(a)
        peak = KIND.envelope(target, w, a).macs_per_s / target.clock_hz
        assert counters.cycles[cell] >= layer.macs * target.batch / peak
        bits = counters.dram_read_bits[cell] + counters.dram_write_bits[cell]
        assert counters.cycles[cell] >= bits / target.parameters["bandwidth_bits_per_cycle"]
        assert counters.weight_write_bits[cell] >= layer.parameters * w
        assert counters.dram_write_bits[cell] >= 32 * times * run.batch * run.height * run.width * run.outputs


@given(layer=any_layer())
@settings(deadline=None, max_examples=20)
def test_a_wider_memory_is_never_slower(layer: Layer) -> None:
    wider = EYERISS.model_copy(update={"parameters": {**EYERISS.parameters, "bandwidth_bits_per_cycle": 384}})
    both = [KIND.simulate(target, [layer], (2, 4, 8), (4, 8)).latency_s for target in (EYERISS, wider)]
    assert (both[0] >= both[1]).all()


# Layers of MobileNet-V1 that a step to one more bit makes cheaper, at some width of the other operand: by target and
# quantity, then by the operand and its bits before the step. dw and pw: depthwise and pointwise layer of a block.
CHEAPER: dict[tuple[str, str], dict[tuple[str, int], str]] = {
    ("bitfusion-haq", "cycles"): {
        ("activations", 1): "6.pw 12.pw",
        ("weights", 1): "12.pw classifier",
        ("weights", 2): "conv0 0.dw 0.pw 1.dw 1.pw 2.dw 3.dw 4.dw 5.dw 6.dw 11.dw 12.dw",
        ("weights", 4): "conv0 0.dw 0.pw 1.dw 2.dw 3.dw 4.dw 5.dw 6.dw 11.dw 12.dw",
    },
    ("bitfusion-haq", "energy"): {
        ("weights", 3): "12.pw classifier",
        ("weights", 5): "11.pw",
        ("weights", 6): "11.pw 12.pw classifier",
        ("weights", 7): "classifier",
    },
    ("bitfusion-eyeriss", "cycles"): {
        ("weights", 2): "conv0 0.dw 0.pw 1.dw 1.pw 2.dw 2.pw 3.dw 3.pw 4.dw 5.dw 6.dw 11.dw 12.dw",
        ("weights", 4): "conv0 0.dw 0.pw 1.dw 1.pw 2.dw 3.dw 4.dw 5.dw 6.dw 11.dw 12.dw",
    },
    ("bitfusion-eyeriss", "energy"): {
        ("activations", 6): "12.pw",
        ("activations", 7): "4.pw 5.pw 6.pw 11.pw 12.pw",
        ("weights", 2): "5.dw 6.dw 11.dw 12.dw",
        ("weights", 4): "3.dw 4.dw 5.dw 6.dw 11.dw 12.dw",
        ("weights", 5): "12.pw",
        ("weights", 6): "11.pw 12.pw",
        ("weights", 7): "5.pw",
    },
}


def different_layers(layers: list[Layer]) -> list[Layer]:
    """The first of each shape."""
    return list({as_convolution(layer, 16, 4): layer for layer in reversed(layers)}.values())[::-1]


def cheaper_steps(costs: np.ndarray) -> list[tuple[str, int, tuple[int, ...], float]]:
    """Operand, bits before the step, position [L, W, A] and what is gained."""
    steps = []
    for axis, operand in ((1, "weights"), (2, "activations")):
        gained = -np.diff(costs, axis=axis)
        cells = np.argwhere(gained > 1e-9 * np.take(costs, range(7), axis=axis))
        steps += [(operand, int(cell[axis]) + 1, tuple(cell), float(gained[tuple(cell)])) for cell in cells]
    return steps


@pytest.mark.parametrize(("name", "quantity"), CHEAPER)
def test_every_layer_that_more_bits_make_cheaper_is_known(name: str, quantity: str) -> None:
    target, layers = load_targets()[name], different_layers(mobilenet_v1())
    counters = count_layers(target, layers, WIDTHS, WIDTHS)
    energies = read_parameters(target, BitFusionParameters).energies()
    costs = counters.cycles if quantity == "cycles" else counters.energy_j(energies)
    found: dict[tuple[str, int], dict[int, str]] = {}
    for operand, bits, cell, _ in cheaper_steps(costs):
        short = layers[cell[0]].name.replace("block", "").replace("pointwise", "pw").replace("depthwise", "dw")
        found.setdefault((operand, bits), {})[cell[0]] = short
    listed = {step: " ".join(short for _, short in sorted(names.items())) for step, names in sorted(found.items())}
    assert listed == CHEAPER[name, quantity]
    assert not KIND.card.monotone


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.id)
def test_more_bits_save_cycles_for_the_two_reasons_of_the_card_only(target: Target) -> None:
    layers, p = different_layers(mobilenet_v1()), target.parameters
    counters = count_layers(target, layers, WIDTHS, WIDTHS)
    halves = (p["weight_buffer_bytes"] + p["input_buffer_bytes"] + 2 * p["output_buffer_bytes"]) * 8 / 2
    for operand, bits, _, gained in cheaper_steps(counters.cycles):
        more_products = bits in (2, 4)
        longer_fill = gained <= halves / p["bandwidth_bits_per_cycle"]
        assert more_products or longer_fill, (operand, bits)


def test_layers_as_convolutions() -> None:
    assert as_convolution(conv("c", 8, 16, 3, 10, stride=2), 4, 4) == (
        1, Convolution(4, 5, 5, 8, 16, (3, 3), (2, 2)),
    )  # fmt: skip
    assert as_convolution(conv("c", 3, 16, 3, 10), 4, 4)[1].lowered
    assert as_convolution(conv("c", 8, 16, 3, 10, groups=2), 4, 2) == (2, Convolution(4, 10, 10, 4, 8, (3, 3)))
    depthwise = Convolution(4, 10, 10, 1, 40, (3, 3), lowered=True, depthwise=True)
    assert as_convolution(conv("c", 40, 40, 3, 10, groups=40), 4, 0) == (1, depthwise)
    assert as_convolution(convolution(8, 6, (1, 7), (9, 5), stride=(1, 2)), 2, 4) == (
        1, Convolution(2, 9, 3, 8, 6, (1, 7), (1, 2)),
    )  # fmt: skip
    assert as_convolution(linear("fc", 8, 10), 4, 4) == (1, Convolution(4, 1, 1, 8, 10))
    assert as_convolution(linear_over(7, 8, 10), 4, 4) == (1, Convolution(28, 1, 1, 8, 10))
    up = transposed(8, 16, (4, 4), (5, 6), groups=2)
    assert as_convolution(up, 4, 4) == (2, Convolution(4, 5, 6, 4, 128))


def test_groups_run_one_after_another() -> None:
    grouped, one = conv("g", 128, 128, 3, 14, groups=4), conv("c", 32, 32, 3, 14)
    both = KIND.simulate(EYERISS, [grouped, one], [4], [8])
    assert both.latency_s[0] == 4 * both.latency_s[1]
    assert both.energy_j[0] == pytest.approx(4 * both.energy_j[1])


def test_each_column_takes_a_channel_of_a_depthwise_layer() -> None:
    cycles = count_layers(EYERISS, [conv("dw", 64, 64, 3, 14, groups=64)], [8, 4], [8])
    assert (cycles.cycles - cycles.stall_cycles).ravel().tolist() == [16 * 14 * 14 * 2] * 2  # 9 taps on 16 rows
    assert cycles.input_write_bits[0, 0, 0] >= 16 * 64 * 14 * 14 * 8  # each channel is read, not one for all


def test_a_kernel_that_outgrows_its_buffer_is_brought_in_for_each_tile() -> None:
    small = EYERISS.model_copy(update={"parameters": {**EYERISS.parameters, "weight_buffer_bytes": 1024}})
    layer = conv("large", 64, 64, 31, 62)
    ours, usual = (count_layers(target, [layer], [8], [8]) for target in (small, EYERISS))
    assert np.isfinite(ours.cycles).all()
    assert ours.weight_write_bits > usual.weight_write_bits


def test_bounds_are_the_array_or_the_largest_stream() -> None:
    layers = [
        conv("square", 512, 512, 3, 14),
        conv("first", 32, 64, 1, 112),
        linear("fc", 4096, 4096),
        conv("last", 1024, 8, 1, 28),
    ]
    simulated = KIND.simulate(EYERISS, layers, [2, 8], [2, 8])
    names = np.array(KIND.card.bounds)[simulated.bound_by]
    assert [names[0, 1, 1], names[1, 0, 0], names[2, 0, 0]] == ["compute", "write-back", "weights"]
    assert names[3, 0, 1] == "activations"


def test_tiles_of_channels_run_at_their_widest() -> None:
    layer = linear("fc", 1024, 64)  # two tiles of 32 channels
    by_width = KIND.simulate(EYERISS, [layer], WIDTHS, [8]).latency_s[0, :, 0]
    mixed = KIND.simulate_channels(EYERISS, layer, [2] * 63 + [8], 8).latency_s[0, 0, 0]
    assert mixed == pytest.approx((by_width[1] + by_width[7]) / 2)
    assert KIND.simulate_channels(EYERISS, layer, [0] * 64, 8).latency_s == 0
    assert (
        KIND.simulate_channels(EYERISS, layer, [4] * 64, 8).latency_s
        == KIND.simulate(EYERISS, [layer], [4], [8]).latency_s
    )


def test_layers_of_one_shape_are_searched_once() -> None:
    layers = [conv(f"c{i}", 64, 64, 3, 28) for i in range(50)]
    one = KIND.simulate(EYERISS, layers[:1], WIDTHS, WIDTHS)
    all_alike = KIND.simulate(EYERISS, layers, WIDTHS, WIDTHS)
    assert (all_alike.latency_s == one.latency_s).all()
    assert (all_alike.energy_j == one.energy_j).all()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("array_rows", 0, "array_rows"),
        ("dram_j_per_bit", -1, "dram_j_per_bit"),
        ("bandwidth_bits_per_cycle", 0, "bandwidth_bits_per_cycle"),
        ("output_buffer_bytes", 255, "output_buffer_bytes is 255; two tiles of this array need at least 256"),
        ("weight_buffer_bytes", 1000, "need at least 1024"),
        ("narrowest_bits", 16, "give at most widest_bits, 8"),
    ],
)
def test_arrays_that_cannot_be_built_are_refused(name: str, value: float, said: str) -> None:
    broken = EYERISS.model_copy(update={"parameters": {**EYERISS.parameters, name: value}})
    with pytest.raises(InvalidInput, match=said):
        KIND.check(broken)


def test_energies_decide_only_between_tilings_of_as_many_cycles() -> None:
    layer = Convolution(4, 7, 7, 64, 48, (3, 3))
    free = count(layer, SMALL, replace(ENERGIES, dram_j=0.0), (4,), (4,))
    dear = count(layer, SMALL, replace(ENERGIES, dram_j=100.0), (4,), (4,))
    assert free.cycles == dear.cycles
    assert dear.dram_read_bits + dear.dram_write_bits <= free.dram_read_bits + free.dram_write_bits
