"""HAQ: its action map, its states, its quirks, and its agent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.networks import mobilenet_v2
from core.errors import InvalidSpecification
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from core.policy import LayerBits, Policy
from core.search.agents.haq_environment import Decision, HaqEnvironment, action_of, bits_of
from core.search.agents.noise import truncated_normal
from core.search.agents.reward import Reward
from core.search.budgets import greatest_cost, least_cost
from core.search.haq import HAQ, HaqSettings, HaqWalk, original_cost
from core.search.problem import choice_of
from core.search.uniform import uniform_policy
from tests.search.problems import RESIDUAL, build, run_of

# mit-han-lab/haq, README: MobileNetV2 at "0.6x latency", weight and activation bits of 53 layers.
README_POLICY = (
    "8,-1 7,7 5,6 4,6 5,6 5,7 5,6 7,4 4,6 4,6 7,7 5,6 4,6 7,3 5,7 4,7 7,3 5,7 4,7 7,7 4,7 4,7 6,4 6,7 4,7 7,4 6,7 5,7 "
    "7,4 6,7 5,7 7,4 6,7 6,7 6,4 5,7 6,7 6,4 5,7 6,7 7,7 4,7 7,7 7,7 4,7 7,7 7,7 4,7 7,7 7,7 4,7 7,7 8,8"
)


@pytest.mark.parametrize(
    ("action", "least", "most", "bits"),
    [
        (1.0, 2, 8, 8),  # 8.5 goes to the even 8
        (0.0, 2, 8, 2),  # 1.5 goes to the even 2
        (1.0, 1, 8, 8),
        (0.0, 1, 8, 1),  # 0.5 goes to 0, which is out of the range
        (1.0, 2, 7, 7),  # 7.5 goes to 8, which is out of the range
        (0.0, 3, 7, 3),  # 2.5 goes to 2
        (1 / 7, 2, 8, 2),  # 2.5: halves go to the even width
        (2 / 7, 2, 8, 4),  # 3.5
        (0.5, 2, 8, 5),
        (0.3, 4, 4, 4),
    ],
)
def test_actions_name_widths_as_published(action: float, least: int, most: int, bits: int) -> None:
    assert bits_of(action, least, most) == bits


@given(action=st.floats(0, 1), least=st.integers(1, 8), more=st.integers(0, 7))
def test_no_action_leaves_the_range(action: float, least: int, more: int) -> None:
    bits = bits_of(action, least, least + more)
    assert least <= bits <= least + more
    assert Decision(0, np.arange(least, least + more + 1), least, least + more).named(action) == bits


def test_of_widths_that_may_be_taken_the_nearest_is() -> None:
    decision = Decision(0, np.array([2, 4, 8]), 2, 8)
    actions = [float(action_of(width, 2, 8)) for width in range(2, 9)]
    assert [int(decision.bits[decision.value(action)]) for action in actions] == [2, 2, 4, 4, 4, 8, 8]


@given(least=st.integers(1, 8), more=st.integers(0, 7))
def test_each_width_has_an_action_in_its_middle(least: int, more: int) -> None:
    widths = np.arange(least, least + more + 1)
    assert bits_of(action_of(widths, least, least + more), least, least + more).tolist() == widths.tolist()


def test_a_layer_takes_two_steps_weights_first_and_a_shared_tensor_one() -> None:
    environment = HaqEnvironment(build())
    genes = [environment.genes.each[each.gene] for each in environment.decisions]
    assert [(gene.layer, gene.side) for gene in genes] == [
        (1, "weights"), (1, "activations"), (2, "weights"), (2, "activations"), (3, "weights"),
        (4, "weights"), (4, "activations"),
    ]  # fmt: skip


def test_states_are_the_ten_features_from_0_to_1() -> None:
    environment = HaqEnvironment(build())
    first = environment.state(0, 1.0)
    assert first.shape == (10,)
    # left: not depthwise, 16 of 3..32 channels in, 32 of 10..32 out, stride 2 of 0..2, kernel 3 of 1..3
    assert first[:5] == pytest.approx([0, 13 / 29, 1, 1, 1])
    assert first[7:] == pytest.approx([1 / 5, 1, 1])
    assert environment.state(1, 0.5)[8:] == pytest.approx([0.5, 0])
    last = environment.state(6, 1.0)
    assert last[0] == 1  # depthwise
    states, following = environment.states(np.zeros(7, dtype=np.int64))
    assert states.shape == following.shape == (7, 10)
    assert np.array_equal(states[1:], following[:-1])
    assert following[0, 8] == pytest.approx(2 / 8)


def test_constant_features_stay_as_they_are() -> None:
    environment = HaqEnvironment(build(RESIDUAL[2:3], quantizer={"first_last": "searched"}))
    assert environment.state(0, 1.0)[[1, 2, 4]].tolist() == [32, 32, 3]


def test_noise_stays_within_its_bounds_and_around_its_mean() -> None:
    generator = np.random.default_rng(0)
    drawn = np.array([truncated_normal(0.5, 0.2, generator) for _ in range(2000)])
    assert 0 <= drawn.min() < drawn.max() <= 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert truncated_normal(0.9, 0.0, generator) == 0.9


def test_the_reward_is_a_tenth_of_the_accuracy_or_the_loss_over_the_first() -> None:
    error = Reward("error", 2.0)
    assert error.of(0.25) - error.of(0.35) == pytest.approx(2.0 * 0.1 * 10)
    loss = Reward("loss")
    assert [loss.of(4.0), loss.of(1.0)] == [-1.0, -0.25]


def searched() -> dict[str, object]:
    return {"quantizer": {"first_last": "searched"}, "search": {"points": 2}}


def ends(problem, settings: HaqSettings, budget: int, bits: int) -> list[tuple[int, int]]:  # type: ignore[no-untyped-def]
    start = choice_of(uniform_policy(RESIDUAL, bits, first_last="searched"), problem.layers, problem.axes)
    w, a = HaqWalk(problem, settings, budget).within(start.w[None], start.a[None])
    return [(problem.axes[0][w[0, end]], problem.axes[1][a[0, end]]) for end in (0, -1)]


def test_the_ends_are_pinned_only_in_policies_that_are_walked() -> None:
    problem = build(**searched())
    wide, narrow = greatest_cost(problem), int(original_cost(problem, 7) * 3 / 4)
    published = HaqSettings()
    assert ends(problem, published, wide, 7) == [(7, 7), (7, 7)]  # within the budget: never pinned
    assert ends(problem, published, narrow, 7) == [(8, 8), (8, 8)]
    assert ends(problem, HaqSettings(ends="always"), wide, 7) == [(8, 8), (8, 8)]
    assert (8, 8) not in ends(problem, HaqSettings(ends="never"), narrow, 7)


def test_the_first_layer_can_be_charged_one_bit_less_as_published() -> None:
    problem = build(**searched())
    first = problem.counted[problem.axis].values[0, -1]
    assert first[-2] < first[-1]
    budget = int(original_cost(problem, 8)) - int(first[-1] - first[-2])
    start = choice_of(uniform_policy(RESIDUAL, 8), problem.layers, problem.axes)
    for charge, walked in (("published", False), ("as-run", True)):
        settings = HaqSettings.model_validate({"first_layer_charge": charge})
        w, a = HaqWalk(problem, settings, budget).within(start.w[None], start.a[None])
        assert (not np.array_equal([w[0], a[0]], [start.w, start.a])) == walked


def test_a_budget_can_be_a_share_of_the_cost_at_a_width() -> None:
    problem = build(search={"points": 5})
    result = HAQ.search(problem, run_of(problem, limit=30, preserve_ratio=0.6, hidden=8))
    assert len(result.points) == 1
    full = problem.evaluate(uniform_policy(RESIDUAL, 8))["costs"]["bismo-cloud"]["latency_s"]
    assert result.points[0].axis_cost <= 0.6 * full
    float32 = HAQ.search(problem, run_of(problem, limit=30, preserve_ratio=0.6, float_bits=32, hidden=8))
    assert float32.points[0].predicted_loss < result.points[0].predicted_loss


def test_a_share_below_what_can_be_reached_is_refused_with_what_can() -> None:
    problem = build()
    least = float(least_cost(problem) / original_cost(problem, 8))
    with pytest.raises(InvalidSpecification) as refused:
        HAQ.search(problem, run_of(problem, preserve_ratio=least * 0.9))
    assert f"{least:.4g}" in refused.value.hint


def test_with_accuracy_guaranteed_no_policy_is_walked_into_a_budget() -> None:
    problem = build(search={"points": 3})
    result = HAQ.search(problem, run_of(problem, limit=60, mode="accuracy-guaranteed", hidden=8, warmup_episodes=60))
    assert result.evaluations == 60  # random policies differ: a walk would make many equal
    assert len(result.points) >= 2


def test_an_agent_does_better_at_the_end_than_in_its_warm_up() -> None:
    constraint = {"metric": "latency", "target": "bismo-cloud", "relative_to": "uniform-8", "at_most": 0.7}
    problem = build(search={"points": 1, "constraints": [constraint]})
    settings = {"hidden": 32, "updates_per_step": 0.5, "noise_decay": 0.95}
    rewards = [step.reward for step in HAQ.search(problem, run_of(problem, limit=120, **settings)).steps]
    assert np.mean(rewards[-30:]) > np.mean(rewards[:20])


# Computed from the shipped table: both are what the README calls 0.6.
RATIO_AS_RUN, RATIO_AS_CHARGED = 0.5965, 0.5914


def test_the_readme_policy_costs_what_the_table_says() -> None:
    layers = mobilenet_v2()
    bits = [tuple(int(each) for each in pair.split(",")) for pair in README_POLICY.split()]
    assert len(bits) == len(layers) == 53

    def policy(input_bits: int) -> Policy:
        widths = zip(layers, bits, strict=True)
        return Policy(
            layers={
                layer.name: LayerBits(weights=w, activations=input_bits if a == -1 else a) for layer, (w, a) in widths
            }
        )

    table = cost_table(load_targets()["bismo-cloud"], layers)
    full = table.cost(uniform_policy(layers, 8)).latency_s
    # The table's units are cycles of 5 ns; HAQ's own index for "-1 bits" charges the input at 7 bits.
    assert full / 5e-9 == pytest.approx(39_624_933)
    assert table.cost(policy(8)).latency_s / full == pytest.approx(RATIO_AS_RUN, abs=1e-4)
    assert table.cost(policy(7)).latency_s / full == pytest.approx(RATIO_AS_CHARGED, abs=1e-4)
