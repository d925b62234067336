"""An FPGA core with img2col: what OHQ reports of single layers, its four steps, and what must hold for any layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from benchmarks.networks import conv, linear, mobilenet_v2, resnet18, resnet50
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.gemm import output_channels
from core.hardware.kinds.fpga_core import KIND, steps
from core.hardware.layer_values import layer_values
from core.hardware.target import Target
from core.hardware.targets import load_targets
from tests.hardware.layers import any_layer

TARGET = load_targets()["oqa-zynq7020"]
WIDTHS = range(1, 33)


def changed(**parameters: Any) -> Target:
    """The shipped target with other parameters."""
    return TARGET.model_copy(update={"parameters": {**TARGET.parameters, **parameters}})


def cycles(layer: Layer, bits: int = 8, target: Target = TARGET) -> float:
    return float(steps(target, [layer], [bits], [bits]).cycles[0, 0, 0])


def watts(layer: Layer, bits: int = 8) -> float:
    return float(steps(TARGET, [layer], [bits], [bits]).power_w[0, 0, 0])


@pytest.mark.parametrize("network", [resnet18, resnet50, mobilenet_v2])
def test_cycles_follow_the_input_feature_map_and_not_the_parameters(network: Any) -> None:
    layers = network()
    counted, values = steps(TARGET, layers, [8], [8]).cycles[:, 0, 0], layer_values(layers)
    assert spearmanr(counted, values.inputs.ravel()).statistic > 0.3
    assert spearmanr(counted, values.weights.ravel()).statistic < 0


def test_four_times_the_parameters_cost_less_than_four_times_the_pixels() -> None:
    small = cycles(conv("c", 64, 64, 3, 14))
    assert cycles(conv("c", 64, 256, 3, 14)) < cycles(conv("c", 64, 64, 3, 28))
    assert cycles(conv("c", 64, 64, 3, 28)) > 3 * small


def test_depthwise_layers_follow_the_channel_count_more_than_ordinary_ones() -> None:
    """At one size of the input feature map: 16 times the channels on maps of a sixteenth."""
    few_depthwise, many_depthwise = conv("d", 64, 64, 3, 28, groups=64), conv("d", 1024, 1024, 3, 7, groups=1024)
    few, many = conv("c", 64, 64, 3, 28), conv("c", 1024, 64, 3, 7)
    growth = cycles(many) / cycles(few)
    assert cycles(many_depthwise) / cycles(few_depthwise) > 1.2 * growth


def test_power_follows_the_parallel_scale_and_grows_more_slowly_at_large_sizes() -> None:
    by_columns = np.array([watts(conv("c", 128, outputs, 1, 14)) for outputs in (32, 64, 96, 128, 256)])
    growth = np.diff(by_columns)
    assert (growth[:3] > 0).all()
    assert (np.diff(growth) < 0).all()
    assert growth[-1] == 0  # beyond the side of a tile
    assert watts(conv("d", 128, 128, 3, 14, groups=128)) < by_columns[0]


def test_energy_is_power_times_time() -> None:
    layers = resnet18()
    simulated, counted = KIND.simulate(TARGET, layers, [4, 8], [5]), steps(TARGET, layers, [4, 8], [5])
    assert simulated.energy_j == pytest.approx(simulated.latency_s * counted.power_w)
    assert 0.15 < counted.power_w.min() < counted.power_w.max() <= 1.54


def test_the_steps_of_one_layer_by_hand() -> None:
    target = changed(
        multipliers=100, weight_bits_per_cycle=64, feature_bits_per_cycle=16, depthwise_bits_per_cycle=8,
        img2col_entries_per_cycle=2, post_process_cycles=10,
    )  # fmt: skip
    dense = steps(target, [conv("c", 16, 200, 3, 20)], [4], [8])
    assert dense.compute.item() == max(200 * 16 * 9 * 400 / 100, 400 * 16 * 9 / 2)
    assert dense.weight_transfer.item() == 200 * 16 * 9 * 4 / 64
    assert dense.feature_transfer.item() == 16 * 400 * 8 / 16
    assert dense.write_back.item() == 200 * 400 * 8 / 16
    assert dense.post_process.item() == 4 * 2 * 10  # 400 pixels and 200 channels in tiles of 128
    depthwise = steps(target, [conv("d", 16, 16, 3, 20, groups=16)], [4], [8])
    assert depthwise.compute.item() == 16 * 9 * 400 / 100
    assert depthwise.feature_transfer.item() == 16 * 400 * 8 / 8
    assert depthwise.post_process.item() == 16 * 4 * 10


def test_what_fits_into_block_ram_comes_once_and_what_does_not_comes_again() -> None:
    layer = conv("c", 512, 512, 3, 56)  # 12.8 Mb of features and 18.9 Mb of weights at 8 bits
    ample = steps(changed(bram_bits=64_000_000), [layer], [8], [8])
    short = steps(TARGET, [layer], [8], [8])
    assert ample.weight_transfer.item() == layer.parameters * 8 / 84
    again = short.weight_transfer.item() / ample.weight_transfer.item()
    assert round(again, 9) == -(-512 * 56 * 56 * 8 // (5_160_960 - 128**2 * (8 + 8 + 32)))
    assert short.feature_transfer.item() == ample.feature_transfer.item()


@given(layer=any_layer())
@settings(deadline=None, max_examples=100)
def test_fewer_bits_never_cost_more(layer: Layer) -> None:
    simulated = KIND.simulate(TARGET, [layer], WIDTHS, WIDTHS)
    for cost in (simulated.latency_s, simulated.energy_j):
        assert (np.diff(cost, axis=1) >= 0).all()
        assert (np.diff(cost, axis=2) >= 0).all()
        assert (cost > 0).all()


def test_images_run_one_after_another() -> None:
    layers = [conv("c", 512, 512, 3, 56), linear("fc", 4096, 4096)]
    one = KIND.simulate(TARGET, layers, [8], [8])
    many = KIND.simulate(TARGET.model_copy(update={"batch": 8}), layers, [8], [8])
    assert many.latency_s == pytest.approx(8 * one.latency_s)
    assert many.energy_j == pytest.approx(8 * one.energy_j)


@given(layer=any_layer(), data=st.data())
@settings(deadline=None, max_examples=50)
def test_mixed_channels_cost_between_their_narrowest_and_their_widest(layer: Layer, data: st.DataObject) -> None:
    low, high = sorted(data.draw(st.tuples(st.integers(4, 8), st.integers(4, 8))))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    widths = rng.integers(low, high + 1, output_channels(layer))
    mixed = KIND.simulate_channels(TARGET, layer, widths.tolist(), 5)
    assert KIND.simulate_channels(TARGET, layer, rng.permutation(widths).tolist(), 5).latency_s == mixed.latency_s
    ends = KIND.simulate(TARGET, [layer], [low, high], [5]).latency_s[0, :, 0]
    assert ends[0] * (1 - 1e-12) <= mixed.latency_s.item() <= ends[1] * (1 + 1e-12)


def test_channels_of_one_width_are_the_plain_layer() -> None:
    layer = conv("c", 64, 200, 3, 14)
    channels, plain = KIND.simulate_channels(TARGET, layer, [6] * 200, 5), KIND.simulate(TARGET, [layer], [6], [5])
    assert (channels.latency_s, channels.energy_j, channels.bound_by) == (
        pytest.approx(plain.latency_s), pytest.approx(plain.energy_j), plain.bound_by
    )  # fmt: skip


def test_pruned_channels_leave_a_smaller_layer() -> None:
    pruned = KIND.simulate_channels(TARGET, conv("c", 64, 64, 3, 14), [0] * 32 + [4] * 32, 4)
    assert pruned.latency_s == KIND.simulate(TARGET, [conv("c", 64, 32, 3, 14)], [4], [4]).latency_s
    assert KIND.simulate_channels(TARGET, linear("fc", 4, 2), [0, 0], 4).latency_s == 0


def test_every_step_can_be_the_longest() -> None:
    layers = [conv("c", 64, 64, 3, 56), conv("p", 320, 16, 1, 56), conv("e", 16, 96, 1, 112), linear("fc", 2048, 1000)]
    depthwise = conv("d", 960, 960, 3, 2, groups=960)
    names = np.array(KIND.card.bounds)[KIND.simulate(TARGET, [*layers, depthwise], [8], [8]).bound_by[:, 0, 0]]
    assert names.tolist() == ["compute", "activations", "write-back", "weights", "fixed"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("tile_side", 0), ("feature_bits_per_cycle", -1), ("power_exponent", 2), ("post_process_cycles", "some")],
)
def test_impossible_parameters_are_named(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=name):
        KIND.check(changed(**{name: value}))


def test_block_ram_that_holds_no_tile_is_refused() -> None:
    with pytest.raises(InvalidInput, match="holds no tile of 128 x 128"):
        KIND.check(changed(bram_bits=1_000_000))


def test_the_shipped_target_says_what_the_core_runs() -> None:
    assert TARGET.supports.weight_bits == TARGET.supports.activation_bits == (4, 5, 6, 7, 8)
    assert KIND.facts(TARGET)[0].value == 44e9
    assert KIND.envelope(TARGET, 8, 8).macs_per_s == 44e9
