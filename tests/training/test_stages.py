"""The policies on the way, as numbers: nothing is trained here."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.jobs.specification import TrainingChoice
from core.policy import LayerBits, Policy
from core.training.stages import THE_POLICY, Stage, Widths, policies_on_the_way

BLOCKS = [("b", "c"), ("a",), ("d",)]


def policy(**weights: int | tuple[int, ...]) -> Policy:
    return Policy(layers={name: LayerBits(weights=bits, activations=4) for name, bits in weights.items()})


MIXED = policy(a=8, b=2, c=3, d=32)


def way(mixed: Policy = MIXED, widths: Widths | None = None, **recipe: object) -> list[Stage]:
    return policies_on_the_way(mixed, TrainingChoice.model_validate({"epochs": 12, **recipe}), BLOCKS, widths)


def weights(stages: list[Stage]) -> list[str]:
    """The widths of all layers, stage by stage: `-` is float."""
    return [
        " ".join("-" if each.weights == 32 else str(each.weights) for each in stage.policy.layers.values())
        for stage in stages
    ]


def test_without_stages_the_policy_is_trained_for_all_epochs() -> None:
    assert way() == [Stage(THE_POLICY, MIXED, 12, ("a", "b", "c", "d"))]


def test_progressive_bits_give_no_layer_fewer_than_the_stage_and_none_fewer_than_the_policy() -> None:
    stages = way(progressive_bits=(5, 3))
    assert weights(stages) == ["8 5 5 -", "8 3 3 -", "8 2 3 -"]
    assert [stage.policy.layers["b"].activations for stage in stages] == [5, 4, 4]
    assert [stage.title for stage in stages] == ["at least 5 bits", "at least 3 bits", THE_POLICY]


def test_a_width_that_changes_nothing_is_no_stage() -> None:
    assert weights(way(policy(a=4), progressive_bits=(5, 4, 3))) == ["5", "4"]
    assert way(policy(a=4), progressive_bits=(4, 3))[0].title == THE_POLICY


def test_channels_with_widths_of_their_own_are_widened_one_by_one_and_pruned_ones_stay_pruned() -> None:
    stages = way(policy(a=(0, 1, 4, 6)), progressive_bits=(5,))
    assert stages[0].policy.layers["a"].weights == (0, 5, 5, 6)


def test_a_method_without_the_width_takes_the_next_wider_one_or_its_widest() -> None:
    stages = way(policy(a=2, b=4), Widths((1, 2, 4), (4, 8)), progressive_bits=(5, 3))
    assert weights(stages) == ["4 4", "4 4", "2 4"]
    assert [stage.policy.layers["a"].activations for stage in stages] == [8, 4, 4]


def test_blocks_are_quantized_one_after_the_other_and_the_rest_is_float() -> None:
    stages = way(block_order="most-sensitive-first")
    assert weights(stages) == ["- 2 3 -", "8 2 3 -", "8 2 3 -"]
    assert [stage.policy.layers["d"].activations for stage in stages] == [32, 32, 4]
    assert [stage.layers for stage in stages] == [("b", "c"), ("a",), ("d",)]
    assert [stage.title for stage in stages] == [f"{THE_POLICY}, {number} of 3 blocks" for number in (1, 2)] + [
        THE_POLICY
    ]


def test_both_together_reach_each_width_block_by_block() -> None:
    stages = way(policy(a=2, b=2, c=2, d=2), progressive_bits=(5,), block_order="most-sensitive-first")
    assert weights(stages) == ["- 5 5 -", "5 5 5 -", "5 5 5 5", "5 2 2 5", "2 2 2 5", "2 2 2 2"]
    assert [stage.epochs for stage in stages] == [2] * 6


def test_epochs_are_shared_equally_and_later_stages_get_what_is_left_over() -> None:
    assert [stage.epochs for stage in way(policy(a=2), epochs=11, progressive_bits=(5, 4, 3))] == [2, 3, 3, 3]


def test_more_stages_than_epochs_are_taken_in_larger_steps() -> None:
    stages = way(policy(a=2, b=2, c=2, d=2), epochs=2, block_order="most-sensitive-first")
    assert weights(stages) == ["2 2 2 -", "2 2 2 2"]
    assert stages[0].layers == ("a", "b", "c")
    assert weights(way(policy(a=2), epochs=1, progressive_bits=(5, 4))) == ["2"]


@given(
    st.lists(st.sampled_from([0, 1, 2, 3, 4, 8, 16, 32]), min_size=4, max_size=4),
    st.lists(st.sampled_from([8, 6, 5, 4, 3, 2]), unique=True, max_size=4),
    st.sampled_from(["together", "most-sensitive-first"]),
    st.integers(1, 30),
)
def test_every_way_ends_at_the_policy_and_bits_only_fall(
    bits: list[int], widths: list[int], order: str, epochs: int
) -> None:
    goal = policy(**dict(zip("abcd", bits, strict=True)))
    stages = way(goal, epochs=epochs, progressive_bits=tuple(sorted(widths, reverse=True)), block_order=order)
    assert stages[-1].policy == goal
    assert sum(stage.epochs for stage in stages) == epochs
    assert all(stage.epochs >= 1 and stage.layers for stage in stages[1:])
    for earlier, later in pairwise(stages):
        assert earlier.policy != later.policy
        for name in "abcd":
            before, after = earlier.policy.layers[name], later.policy.layers[name]
            assert before.weights >= after.weights  # type: ignore[operator]
            assert before.activations >= after.activations


@pytest.mark.parametrize("order", ["together", "most-sensitive-first"])
def test_joins_keep_their_bits(order: str) -> None:
    mixed = Policy(layers=MIXED.layers, residual_bits=8)
    assert {stage.policy.residual_bits for stage in way(mixed, progressive_bits=(5,), block_order=order)} == {8}
