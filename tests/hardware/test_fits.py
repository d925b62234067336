"""What a target's memories hold, and what a policy puts into them."""

from __future__ import annotations

import pytest

from benchmarks.networks import conv, linear
from core.errors import Infeasible
from core.hardware.cost_table import cost_table
from core.hardware.fits import layers_that_fit, misfits
from core.hardware.target import Memory, Target
from core.hardware.targets import load_targets
from core.policy import LayerBits, Policy
from tests.search.problems import RESIDUAL, build, exact

SMALL = (conv("conv", 4, 8, 3, 10), linear("fc", 100, 10))  # 288 and 1000 weights; 1200 and 110 activations


def with_memories(*memories: Memory, **changes: object) -> Target:
    target = load_targets()["bismo-edge"]
    supports = target.supports.model_copy(update={"memories": memories, **changes})
    return target.model_copy(update={"id": "small", "supports": supports})


def uniform(bits: int, layers: tuple = SMALL) -> Policy:
    return Policy(layers={layer.name: LayerBits(weights=bits, activations=bits) for layer in layers})


FLASH = Memory(name="flash", holds="network-weights", size_bytes=700)
SRAM = Memory(name="SRAM", holds="layer-activations", size_bytes=700)
ON_CHIP = Memory(name="weight buffer", holds="layer-weights", size_bytes=500)


def test_each_memory_is_checked_for_what_it_holds() -> None:
    found = misfits(with_memories(FLASH, SRAM, ON_CHIP), SMALL, uniform(8))
    assert [(each.memory, each.layer, each.needed_bytes) for each in found] == [
        ("flash", None, 1288),
        ("SRAM", "conv", 1200),
        ("weight buffer", "fc", 1000),
    ]
    assert str(found[1]) == "activations of 'conv': 1,200 bytes, SRAM holds 700"


def test_what_fits_exactly_fits() -> None:
    assert misfits(with_memories(FLASH, SRAM, ON_CHIP), SMALL, uniform(4)) == ()


def test_weights_are_counted_at_the_widths_they_run_as() -> None:
    eight_only = with_memories(FLASH, pairs=((8, 8),))
    assert [each.needed_bytes for each in misfits(eight_only, SMALL, uniform(2))] == [1288]


def test_channels_and_pruned_layers_count_what_they_are() -> None:
    policy = Policy(
        layers={
            "conv": LayerBits(weights=(0,) * 4 + (8,) * 4, activations=8),
            "fc": LayerBits(weights=0, activations=8),
        }
    )
    tight = Memory(name="flash", holds="network-weights", size_bytes=143)
    assert [each.needed_bytes for each in misfits(with_memories(tight), SMALL, policy)] == [144]


def test_a_cost_names_what_does_not_fit() -> None:
    cost = cost_table(with_memories(SRAM), SMALL).cost(uniform(8))
    assert [(each.layer, each.needed_bytes) for each in cost.misfits] == [("conv", 1200)]


def test_activations_count_all_images_of_a_pass() -> None:
    twice = with_memories(SRAM).model_copy(update={"batch": 2})
    assert layers_that_fit(with_memories(SRAM), SMALL, [8], [4]).ravel().tolist() == [True, True]
    assert layers_that_fit(twice, SMALL, [8], [4]).ravel().tolist() == [False, True]


def test_a_search_stays_within_every_memory() -> None:
    weights = sum(layer.parameters for layer in RESIDUAL)
    flash = Memory(name="flash", holds="network-weights", size_bytes=weights * 5 // 8)
    sram = Memory(name="SRAM", holds="layer-activations", size_bytes=10_000)  # `left` at 8 bits: 6,144
    target = with_memories(flash, sram)
    problem = build(extra={"small": target}, targets=("small",), search={"points": 3})
    for point in exact(problem).points:
        assert misfits(target, RESIDUAL, point.policy) == ()
    assert [str(each) for each in problem.constraints] == [f"size at most {flash.size_bytes:.6g} B (flash of small)"]


def test_a_layer_that_fits_nowhere_is_named_with_its_bytes() -> None:
    target = with_memories(Memory(name="SRAM", holds="layer-activations", size_bytes=4_000))
    with pytest.raises(Infeasible, match=r"layer 'stem' does not fit .* 4,864 bytes, SRAM holds 4,000"):
        build(extra={"small": target}, targets=("small",))
