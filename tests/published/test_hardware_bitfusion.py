"""Bit Fusion against the results that its simulator publishes, and against HAQ's Tables 4 and 5 (CVPR 2019)."""

from __future__ import annotations

from math import ceil

import pytest

from benchmarks.bitfusion_networks import NETWORKS, Quantized
from benchmarks.hardware_bitfusion import (
    HAQ_ENERGY_MJ,
    HAQ_FREE,
    HAQ_LATENCY_MS,
    HAQ_PAIRS,
    PUBLISHED,
    energy_mj,
    summed,
)
from benchmarks.networks import mobilenet_v1
from core.hardware.kinds.bitfusion import KIND, count_layers
from core.hardware.kinds.bitfusion_search import NAMES
from core.hardware.target import Target
from core.hardware.targets import load_targets

EYERISS = load_targets()["bitfusion-eyeriss"]
HAQ = load_targets()["bitfusion-haq"]
# Rows of results/bitfusion-eyeriss-sim-sweep.csv at 192 bits a cycle, in the order of `Counters`: cycles, stalls, and
# bits read from and written to the weights', the inputs' and the outputs' buffer, and the DRAM.
LAYERS = {
    ("AlexNet", "conv1_a"): (
        3746423, 406823, 13493145600, 282624, 13493145600, 421660800, 297369600, 297369600, 570628224, 148684800,
    ),
    ("AlexNet", "conv2_a"): (
        5018849, 1249, 41104179200, 3276800, 41104179200, 462422016, 411041792, 411041792, 671219712, 205520896,
    ),
    ("AlexNet", "conv4_b"): (
        2436097, 403969, 16647192576, 5308416, 16647192576, 231211008, 231211008, 231211008, 352124928, 115605504,
    ),
    ("AlexNet", "fc1"): (
        3545090, 2365442, 9663676416, 603979776, 9663676416, 1179648, 75497472, 75497472, 642908160, 37748736,
    ),
    ("AlexNet", "fc3"): (
        398679, 136535, 1073741824, 67108864, 1073741824, 1048576, 8388608, 8388608, 72351744, 4194304,
    ),
    ("SVHN", "conv0"): (367979, 335211, 28311552, 4096, 226492416, 3538944, 67108864, 67108864, 37097472, 33554432),
    ("SVHN", "conv2"): (177409, 29953, 301989888, 98304, 301989888, 409600, 33554432, 33554432, 17285120, 16777216),
    ("CIFAR10", "conv5"): (
        510636, 215724, 4831838208, 4718592, 4831838208, 26214400, 67108864, 67108864, 64487424, 33554432,
    ),
    ("CIFAR10", "fc8"): (513, 449, 327680, 20480, 327680, 32768, 21504, 21504, 69632, 16384),
    ("LeNet-5", "conv1"): (205635, 835, 419430400, 131072, 419430400, 13107200, 16777216, 16777216, 21626880, 8388608),
    ("VGG-7", "fc1"): (99671, 83287, 268435456, 16777216, 268435456, 262144, 2097152, 2097152, 18087936, 1048576),
    ("RESNET-18", "conv3_1_a"): (
        1104555, 903851, 1644167168, 131072, 1644167168, 6422528, 205520896, 205520896, 109314048, 102760448,
    ),
    ("RESNET-18", "conv5_2_b"): (
        3614180, 1508, 29595009024, 37748736, 29595009024, 169869312, 411041792, 411041792, 413138944, 205520896,
    ),
    ("LSTM", "matmul"): (
        337175, 231383, 866648064, 54165504, 866648064, 6770688, 110231552, 110231552, 62836736, 1900544,
    ),
}  # fmt: skip
# The same file's rows of SVHN at 4096 bits a cycle, where buffers grow with the columns: 2 KiB of weights, 512 bytes of
# outputs and 1 KiB of inputs each.
WIDER = {
    (64, "fc8"): (87, 23, 163840, 10240, 163840, 16384, 37888, 37888, 59392, 32768),
    (128, "fc7"): (788, 276, 16777216, 1048576, 16777216, 16384, 1048576, 1048576, 1589248, 524288),
    (256, "conv0"): (66401, 50017, 28311552, 4096, 226492416, 3538944, 167772160, 167772160, 137760768, 134217728),
    (256, "fc6"): (1360, 336, 67108864, 4194304, 67108864, 65536, 8912896, 8912896, 4784128, 524288),
}


def layer_of(network: str, name: str) -> Quantized:
    (found,) = (quantized for quantized in NETWORKS[network] if quantized.layer.name == name)
    return found


def counters_of(target: Target, run: Quantized) -> tuple[int, ...]:
    counted = count_layers(target, [run.layer], [run.weight_bits], [run.activation_bits])
    return tuple(int(getattr(counted, name)[0, 0, 0]) for name in NAMES)


@pytest.mark.parametrize("network", PUBLISHED)
def test_the_published_networks_are_met_to_the_cycle_and_the_bit(network: str) -> None:
    ours, given = summed(EYERISS, NETWORKS[network]), PUBLISHED[network]
    for counter in ("cycles", "stall_cycles", "dram_read_bits", "dram_write_bits"):
        assert getattr(ours, counter) == getattr(given, counter), counter
    assert energy_mj(EYERISS, ours) == pytest.approx(given.energy_mj, rel=1e-3)


@pytest.mark.parametrize(("network", "name"), LAYERS)
def test_every_counter_of_published_layers_is_met(network: str, name: str) -> None:
    assert counters_of(EYERISS, layer_of(network, name)) == LAYERS[network, name]


@pytest.mark.parametrize(("columns", "name"), WIDER)
def test_arrays_of_more_columns_are_met_as_well(columns: int, name: str) -> None:
    update = {
        "array_columns": columns,
        "bandwidth_bits_per_cycle": 4096,
        "weight_buffer_bytes": columns * 2048,
        "input_buffer_bytes": columns * 1024,
        "output_buffer_bytes": columns * 512,
    }
    target = EYERISS.model_copy(update={"parameters": {**EYERISS.parameters, **update}})
    assert counters_of(target, layer_of("SVHN", name)) == WIDER[columns, name]


@pytest.mark.parametrize(
    ("network", "name", "cycles"),
    [
        ("AlexNet", "conv4_a", 16 * ceil(384 / 32) * 14 * 14 * 9 * ceil(384 / 64)),
        ("AlexNet", "conv2_a", 16 * 8 * 28 * 28 * 25 * 2),
        ("AlexNet", "fc3", 262_144),
        ("RNN", "matmul", 16 * (4096 // 32) * (4096 // 64)),
    ],
)
def test_the_array_works_as_many_cycles_as_its_formula_says(network: str, name: str, cycles: int) -> None:
    counters = dict(zip(NAMES, counters_of(EYERISS, layer_of(network, name)), strict=True))
    assert counters["cycles"] - counters["stall_cycles"] == cycles


def test_the_shares_of_energy_are_those_published() -> None:
    ours = summed(EYERISS, NETWORKS["AlexNet"])
    joules, p = energy_mj(EYERISS, ours) * 1e-3, EYERISS.parameters
    core = (ours.cycles - ours.stall_cycles) * p["core_j_per_cycle"] / joules
    dram = (ours.dram_read_bits + ours.dram_write_bits) * p["dram_j_per_bit"] / joules
    assert (round(core, 3), round(1 - core - dram, 3), round(dram, 3)) == (0.055, 0.143, 0.802)


def test_haqs_tables_4_and_5_within_five_percent_with_three_energies_fitted() -> None:
    assert HAQ.fit is not None
    assert HAQ.fit.parameters == HAQ_FREE
    simulated = KIND.simulate(HAQ, mobilenet_v1(), (4, 6, 8), (4, 6, 8))
    at = [((4, 6, 8).index(w), (4, 6, 8).index(a)) for w, a in HAQ_PAIRS]
    rows = iter(sorted(HAQ.fit.rows, key=lambda row: row.quantity, reverse=True))
    for costs, given in ((simulated.latency_s, HAQ_LATENCY_MS), (simulated.energy_j, HAQ_ENERGY_MJ)):
        ours = [costs.sum(axis=0)[cell] / HAQ.batch * 1e3 for cell in at]
        for value, goal in zip(ours, given, strict=True):
            assert value == pytest.approx(goal, rel=0.05)
            assert value / ours[0] == pytest.approx(goal / given[0], rel=0.05)
            assert next(rows).predicted == pytest.approx(value * HAQ.batch * 1e-3, rel=1e-4)


def test_haqs_latencies_follow_from_the_published_configuration_with_nothing_fitted() -> None:
    published = load_targets()["bitfusion"]
    same = [name for name in published.parameters if name not in (*HAQ_FREE, "sources")]
    assert all(HAQ.parameters[name] == published.parameters[name] for name in same)
    assert (HAQ.clock_hz, HAQ.batch) == (published.clock_hz, published.batch)
