"""AutoQ: goals, channel groups under them, the two rewards, relabelling, and how near it comes to the optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.search.agents.ddpg import Ddpg, DdpgSettings
from core.search.agents.replay import Replay
from core.search.agents.reward import Reward
from core.search.archive import Archive
from core.search.autoq import AUTOQ, LOW_FEATURES, SELECTOR, AutoqSettings, _Episodes, _Proposal
from core.search.budgets import cheapest, greatest_cost
from tests.search.problems import build, run_of
from tests.search.test_kernel_groups import problem as kernel_problem

CONSTRAINT = {"metric": "latency", "target": "bismo-cloud", "relative_to": "uniform-8", "at_most": 0.7}
SMALL = {"hidden": 16, "channel_groups": 3}


def episodes(**changed: Any) -> _Episodes:
    problem = build(search={"points": 1})
    run = run_of(problem, limit=100)
    settings = AutoqSettings.model_validate({**SMALL, **changed})
    return _Episodes(problem, run, settings, Archive(problem, run), (greatest_cost(problem), cheapest(problem)))


def proposal(search: _Episodes, episode: int) -> tuple[_Proposal, Ddpg, Ddpg]:
    high, low = search._agent(10, 0), search._agent(LOW_FEATURES, 1)
    return search._propose(high, low, episode), high, low


def test_every_layer_has_a_goal_and_every_group_of_its_channels_a_width() -> None:
    search = episodes()
    found, _, _ = proposal(search, 0)
    assert found.low_states.shape == (4 * 3, LOW_FEATURES)
    assert found.under.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert [search.steps[position].side for position in found.goals] == ["weights"] * 4
    assert np.allclose(found.low_states[:, SELECTOR], found.high[found.goals][found.under])
    assert np.allclose(found.low_states[:, -1], np.tile([0, 1 / 3, 2 / 3], 4))


def test_a_layer_gets_the_width_next_to_the_mean_of_its_groups() -> None:
    search = episodes()
    found, _, _ = proposal(search, 0)
    for position, mean in zip(found.goals, found.means, strict=True):
        decision = search.environment.decisions[search.steps[position].decisions[0]]
        assert abs(decision.bits[found.values[decision.gene]] - mean) <= 0.5


def test_the_low_level_is_rewarded_for_reaching_its_goal_and_ever_more_for_the_whole() -> None:
    search = episodes()
    found, _, low = proposal(search, 0)
    found.means[:] = 2 + 6 * found.high[found.goals]  # the goals, in bits
    found.means[0] += 1.5
    for zeta in (0.1, 0.8):
        low.replay = Replay(2000, LOW_FEATURES)
        search._remember_low(low, found, zeta, -0.5)
        states, _, following, rewards, terminal = (each[:12] for each in low.replay._columns)
        assert rewards[:3, 0] == pytest.approx([(1 - zeta) * -1.5 + zeta * -0.5] * 3)
        assert rewards[3:, 0] == pytest.approx([zeta * -0.5] * 9, abs=1e-6)
        assert terminal[:, 0].tolist() == [0, 0, 1] * 4
        assert np.array_equal(following[[0, 1, 3]], states[[1, 2, 4]])


def test_a_goal_is_replaced_by_the_one_that_explains_what_was_done() -> None:
    search = episodes()
    found, _, low = proposal(search, 0)
    low.act_on = lambda states: states[:, SELECTOR]  # type: ignore[method-assign] - it does what it is told
    found.low_actions[:] = 0.25
    found.high[found.goals] = 0.9
    reached = np.full(4, 0.25)
    assert search._relabelled(low, found, reached) == pytest.approx(reached)
    found.high[found.goals] = 0.25
    assert search._relabelled(low, found, np.full(4, 0.9)) == pytest.approx(reached)


def test_kernels_of_a_layer_that_is_decided_in_groups_share_its_goal() -> None:
    problem = kernel_problem(4)
    run = run_of(problem, limit=60, **SMALL, warmup_episodes=10)
    settings = AutoqSettings.model_validate({**SMALL})
    search = _Episodes(problem, run, settings, Archive(problem, run), (greatest_cost(problem), cheapest(problem)))
    assert [len(step.decisions) for step in search.steps if step.side == "weights"] == [4, 4]
    found, _, _ = proposal(search, 0)
    assert np.bincount(found.under).tolist() == [4, 4]  # a width each: the groups are those of the job
    points = AUTOQ.search(problem, run).points
    assert any(isinstance(point.policy.layers["wide"].weights, tuple) for point in points)


def test_the_extrinsic_reward_is_the_logarithm_of_the_accuracy() -> None:
    assert Reward("error", 2.0).log_accuracy(0.5) == pytest.approx(2 * np.log(0.5))
    assert np.isfinite(Reward("error").log_accuracy(1.0))
    assert Reward("loss").log_accuracy(3.0) == -1


def test_with_accuracy_guaranteed_cheap_policies_are_rewarded() -> None:
    search = episodes(mode="accuracy-guaranteed")
    count = len(search.environment.decisions)
    search.reward.first = 1e9  # the loss hardly counts
    least, most = (search._ask(np.full(count, each))[0] for each in (0, 6))
    assert least > most
    result = AUTOQ.search(
        problem := build(search={"points": 3}), run_of(problem, limit=40, **SMALL, mode="accuracy-guaranteed")
    )
    assert len(result.points) >= 2


def test_the_replay_keeps_the_newest() -> None:
    replay = Replay(4, 1)
    for value in range(6):
        replay.add(*(np.full(1, value, dtype=np.float32) for _ in range(5)))
    assert len(replay) == 4
    assert sorted(replay._columns[1][:, 0].tolist()) == [2, 3, 4, 5]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_critic_learns_what_actions_are_worth_and_the_actor_follows(sign: int) -> None:
    replay, generator = Replay(500, 2), np.random.default_rng(0)
    actions = generator.random(500, dtype=np.float32)
    states = np.zeros((500, 2), dtype=np.float32)
    replay.add(states, actions, states, sign * actions, np.ones(500, dtype=np.float32))
    agent = Ddpg(2, DdpgSettings(hidden=32, actor_rate=1e-3), replay, seed=0)
    assert 0.3 < agent.act(states[0]) < 0.7
    agent.update(300)
    assert sign * (agent.act(states[0]) - 0.5) > 0.3
    assert agent.act(states[0]) == pytest.approx(float(agent.act_on(states[:1])[0]), abs=1e-5)


def test_an_agent_does_better_at_the_end_than_in_its_warm_up() -> None:
    problem = build(search={"points": 1, "constraints": [CONSTRAINT]})
    settings = {"hidden": 32, "updates_per_step": 0.5, "noise_decay": 0.95}
    rewards = [step.reward for step in AUTOQ.search(problem, run_of(problem, limit=120, **settings)).steps]
    assert np.mean(rewards[-30:]) > np.mean(rewards[:20])
