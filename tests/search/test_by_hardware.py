"""What hardware alone would choose: within the latency of uniform widths, inside its memories, and told apart."""

from __future__ import annotations

import pytest

from benchmarks.networks import conv, linear, mobilenet_v2
from core.figures.policies_by_target import policies_report
from core.graph.inventory import Inventory, Layer
from core.hardware.fits import misfits
from core.hardware.target import Target
from core.hardware.targets import load_targets
from core.search.by_hardware import early_half_gap, hardware_choice


def inventory(layers: list[Layer]) -> Inventory:
    parameters, macs = sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers)
    return Inventory(source="made up", input_shape=(3, 32, 32), classes=10, layers=tuple(layers),
                     total_parameters=parameters, total_macs=macs)  # fmt: skip


SMALL = inventory([
    conv("stem", 3, 32, 3, 32), conv("depthwise", 32, 32, 3, 32, groups=32), conv("pointwise", 32, 64, 1, 32),
    conv("last", 64, 64, 3, 16), linear("head", 64, 10),
])  # fmt: skip


@pytest.mark.parametrize("name", ["bismo-edge", "bismo-cloud", "bitfusion", "scale-sim-32x32"])
def test_a_choice_keeps_the_latency_of_uniform_widths_and_to_widths_that_run(name: str) -> None:
    target = load_targets()[name]
    found = hardware_choice(target, SMALL, 4)
    assert found is not None
    assert 0 < found.latency_s <= found.budget_s * (1 + 1e-7)
    for bits in found.policy.layers.values():
        assert isinstance(bits.weights, int)
        assert target.supports.allows(bits.weights, bits.activations)
    assert not misfits(target, SMALL.layers, found.policy)


def test_layers_that_read_one_tensor_keep_one_width() -> None:
    tied = [layer.model_copy(update={"reads": "both"}) if layer.name in ("pointwise", "last") else layer
            for layer in SMALL.layers]  # fmt: skip
    found = hardware_choice(load_targets()["bismo-edge"], inventory(tied), 4)
    assert found is not None
    assert found.policy.layers["pointwise"].activations == found.policy.layers["last"].activations


def test_a_network_that_no_memory_holds_has_no_choice() -> None:
    tiny = load_targets()["cortex-m4"]
    memories = tuple(memory.model_copy(update={"size_bytes": 1}) for memory in tiny.supports.memories)
    full: Target = tiny.model_copy(update={"supports": tiny.supports.model_copy(update={"memories": memories})})
    assert hardware_choice(full, SMALL, 4) is None
    report = policies_report([full, load_targets()["bismo-edge"]], SMALL, 4)
    assert [row["policy"] is None for row in report["targets"]] == [True, False]
    assert len(report["figures"]["policies"]["data"]) == 2


def test_pointwise_layers_keep_more_activation_bits_beside_depthwise_ones_on_edge_than_on_cloud() -> None:
    network, gaps = inventory(mobilenet_v2()), {}
    for name in ("bismo-edge", "bismo-cloud"):
        found = hardware_choice(load_targets()[name], network, 4)
        assert found is not None
        means = early_half_gap(found.policy, network)
        assert means is not None
        gaps[name] = means[0] - means[1]
    assert gaps["bismo-edge"] > gaps["bismo-cloud"] > 0


def test_a_network_without_depthwise_layers_has_no_gap() -> None:
    plain = inventory([layer for layer in SMALL.layers if not layer.depthwise])
    found = hardware_choice(load_targets()["bismo-edge"], plain, 4)
    assert found is not None
    assert early_half_gap(found.policy, plain) is None
