"""HAQ: an agent names the widths of one layer after another, and learns from what the whole policy loses.

Wang, Liu, Lin, Lin and Han, "HAQ: Hardware-Aware Automated Quantization with Mixed Precision", CVPR 2019,
https://arxiv.org/abs/1811.08886, as the code at https://github.com/mit-han-lab/haq has it: ten features of a layer
(core/search/agents/haq_environment.py), two steps per layer, DDPG (core/search/agents/ddpg.py), exploration from a
truncated normal whose width falls by `noise_decay` with each episode, the walk into the budget (core/search/walk.py),
and one reward for every step of an episode. What the replay holds are the actions as the agent named them, before the
walk.

What differs, each by a setting where there is one: a reward from a predicted loss (core/search/agents/reward.py); fewer
gradient steps than one per transition; an agent of its own for each budget, with an equal share of the evaluations; a
policy that was seen before costs no evaluation, but is an episode; transitions hold their next state, so that HAQ's
dummy transition between episodes is not needed; the network's input, which HAQ does not quantize again, has 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from core.errors import InvalidSpecification
from core.hardware.kind import IntArray
from core.search.agents.haq_environment import FEATURES, HaqEnvironment
from core.search.agents.noise import truncated_normal
from core.search.agents.reward import Reward
from core.search.agents.settings import DdpgSettings
from core.search.archive import Archive, shares
from core.search.budgets import budgets, cheapest, greatest_cost, least_cost
from core.search.evaluator import EvaluationsSpent
from core.search.genes import going_with
from core.search.metrics import count
from core.search.problem import SearchProblem
from core.search.programme import Choice, Limit, Programme
from core.search.result import SearchResult
from core.search.strategy import SearchRun, StrategyCard
from core.search.walk import BudgetWalk

if TYPE_CHECKING:
    from core.search.agents.ddpg import Ddpg

END_BITS = 8


class HaqSettings(DdpgSettings):
    """HAQ's hyper-parameters, published defaults unless a description says otherwise."""

    mode: Literal["resource-constrained", "accuracy-guaranteed"] = Field(
        default="resource-constrained",
        description="walk each policy into the budget; or only into the job's limits, with a tenth of the inverse cost "
        "ratio in the reward",
    )
    preserve_ratio: float | None = Field(
        default=None, gt=0, description="one budget, as a share of the cost at float_bits, in place of the job's points"
    )
    float_bits: int = Field(default=8, ge=1, le=32, description="width of all layers that cost ratios relate to")
    warmup_episodes: int = Field(
        default=20, ge=0, le=10_000, description="episodes of random actions; one more is drawn"
    )
    replay_episodes: int = Field(default=128, ge=1, le=10_000, description="episodes that are remembered")
    updates_per_step: float = Field(
        default=0.1,
        ge=0,
        le=10,
        description="gradient steps per transition; published: 1, which takes minutes for each budget",
    )
    baseline: float = Field(default=0.5, ge=0, lt=1, description="of the running mean reward, the share that stays")
    reward_scale: float = Field(
        default=1.0,
        gt=0,
        le=1e6,
        description="of the reward: a tenth of the accuracy in percent, or minus the predicted loss over the first one",
    )
    remember: Literal["proposed", "walked"] = Field(
        default="proposed", description="the actions that are learned from: as named (published), or after the walk"
    )
    ends: Literal["in-walk", "always", "never"] = Field(
        default="in-walk",
        description="where the first and the last layer are searched, when they are set to 8 bits: only in policies "
        "that have to be walked (published), in all, or in none",
    )
    first_layer_charge: Literal["as-run", "published"] = Field(
        default="as-run",
        description="what the walk takes the first layer's 8-bit input to cost: itself, or 7 bits as in HAQ's table; "
        "policies that then break a limit are no points",
    )


class Haq:
    """The strategy."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""
        return StrategyCard(
            id="haq",
            title="HAQ (reinforcement learning)",
            paper="Wang et al., HAQ, CVPR 2019",
            link="https://arxiv.org/abs/1811.08886",
            reconstruction_notes="As its code, with one gradient step for ten transitions in place of ten, and "
            "a reward from the predicted loss where accuracy is not evaluated. Layers that read one tensor are decided "
            "once. Each budget trains an agent of its own.",
            evaluates=True,
            settings_schema=HaqSettings.model_json_schema(),
        )

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """The best of all episodes within each budget."""
        settings = HaqSettings.model_validate(dict(run.settings))
        archive, asked = Archive(problem, run), _asked(problem, settings)
        guaranteed = settings.mode == "accuracy-guaranteed"
        otherwise = cheapest(problem)
        archive.ask(otherwise.w[None], otherwise.a[None])
        searched = [greatest_cost(problem)] if guaranteed else asked[len(asked) > 1 :]  # the first holds this one alone
        episodes = np.diff([0, *shares(archive.left, len(searched))]).tolist()
        first = len(asked) - len(searched)
        for position, (budget, share) in enumerate(zip(searched, episodes, strict=True), start=first):
            search = _Episodes(problem, run, settings, archive, budget)
            try:
                search.run(share, None if guaranteed else position, 1 if guaranteed else len(asked))
            except EvaluationsSpent:
                break
        warm = min(settings.warmup_episodes + 1, episodes[-1])
        note = f"{episodes[-1]} episodes for each agent, {warm} of them with random actions"
        return archive.result(asked, [note])


def _asked(problem: SearchProblem, settings: HaqSettings) -> list[int]:
    if settings.preserve_ratio is None:
        return budgets(problem)
    original, least = original_cost(problem, settings.float_bits), least_cost(problem)
    budget = int(Fraction(repr(settings.preserve_ratio)) * original)
    if budget < least:
        raise InvalidSpecification(
            f"no policy costs {settings.preserve_ratio:g} of the network at {settings.float_bits} bits",
            hint=f"the least that can be reached is {float(least / original):.4g}",
        )
    return [budget]


def original_cost(problem: SearchProblem, bits: int) -> Fraction:
    """What every layer costs on the axis at one width, first and last included, in the axis' counts."""
    axis = problem.axis
    table = problem.tables[axis.target] if axis.target else next(iter(problem.tables.values()))
    counted = count(axis, table.at((bits,), (bits,)))
    return int(counted.values.sum()) * counted.quantum / problem.counted[axis].quantum


class _Episodes:
    """One agent and its budget."""

    def __init__(
        self, problem: SearchProblem, run: SearchRun, settings: HaqSettings, archive: Archive, budget: int
    ) -> None:
        self.run_, self.settings, self.archive, self.problem = run, settings, archive, problem
        self.environment = HaqEnvironment(problem)
        self.walk = HaqWalk(problem, settings, budget)
        self.reward = Reward(run.evaluator.tells, settings.reward_scale)
        self.original = float(original_cost(problem, settings.float_bits))
        self.generator = np.random.default_rng([run.seed, budget])
        self.best, self.due = np.inf, 0.0

    def run(self, episodes: int, position: int | None, agents: int) -> None:
        """That many episodes, each walked, asked about and learned from."""
        if not self.environment.decisions:
            self._ask(np.zeros(0, dtype=np.int64))
            return
        agent = self._agent()
        for episode in range(episodes):
            values, actions = self._propose(agent, episode)
            reward, walked = self._ask(values)
            if self.settings.remember == "walked":
                values, actions = walked, self.environment.actions(walked)
            self._learn(agent, values, actions, reward, episode)
            self.archive.step(self.best, reward=reward, budget=position)
            if self.run_.reporter is not None and episode % 10 == 0:
                done = (position or 0) / agents + (episode + 1) / episodes / agents
                self.run_.reporter.progress(min(1.0, done), f"episode {episode + 1} of {episodes}")

    def _agent(self) -> Ddpg:
        from core.search.agents.ddpg import Ddpg, DdpgSettings  # noqa: PLC0415 - torch, which cards do not need
        from core.search.agents.replay import Replay  # noqa: PLC0415

        names = ("hidden", "actor_rate", "critic_rate", "discount", "tau", "batch", "baseline")
        chosen: dict[str, Any] = {name: getattr(self.settings, name) for name in names}
        replay = Replay(self.settings.replay_episodes * len(self.environment.decisions), FEATURES)
        return Ddpg(FEATURES, DdpgSettings(**chosen), replay, self.run_.seed)

    def _propose(self, agent: Ddpg, episode: int) -> tuple[IntArray, np.ndarray[Any, Any]]:
        """Values of the genes, and the actions [T] that named them."""
        after = episode - self.settings.warmup_episodes
        sigma = self.settings.noise * self.settings.noise_decay**after
        values, actions, previous = np.zeros(len(self.environment.decisions), dtype=np.int64), [], 1.0
        for step, decision in enumerate(self.environment.decisions):
            if after <= 0:
                action = float(self.generator.random())
            else:
                mean = agent.act(self.environment.state(step, previous))
                action = truncated_normal(mean, sigma, self.generator)
            actions.append(action)
            values[decision.gene] = decision.value(action)
            previous = float(decision.bits[values[decision.gene]] / decision.most)
        return values, np.array(actions)

    def _ask(self, values: IntArray) -> tuple[float, IntArray]:
        """The reward, and the values of the genes after the walk."""
        genes = self.environment.genes
        w, a = self.walk.within(*genes.decode(values[None]))
        loss = float(self.archive.ask(w, a)[0])
        self.best = min(self.best, loss)
        reward = self.reward.of(loss)
        if self.settings.mode == "accuracy-guaranteed":
            reward += 0.1 * self.original / max(1.0, float(self.archive.cost(w, a)[0]))
        return reward, genes.encode(w, a)[0]

    def _learn(self, agent: Ddpg, values: IntArray, actions: np.ndarray[Any, Any], reward: float, episode: int) -> None:
        states, following = self.environment.states(values)
        terminal = np.zeros(len(states), dtype=np.float32)
        terminal[-1] = 1
        rewards = np.full(len(states), reward, dtype=np.float32)
        agent.replay.add(states, actions.astype(np.float32), following, rewards, terminal)
        if episode >= self.settings.warmup_episodes:
            self.due += self.settings.updates_per_step * len(states)
            agent.update(int(self.due))
            self.due -= int(self.due)


@dataclass(frozen=True)
class _Ends:
    """The programme with 8 bits in the first and the last layer, and what these layers then have."""

    programme: Programme
    choice: Choice
    rows: tuple[int, int]


class HaqWalk:
    """The walk with HAQ's treatment of the first and the last layer."""

    def __init__(self, problem: SearchProblem, settings: HaqSettings, budget: int) -> None:
        limits, otherwise = problem.limits_within(budget), cheapest(problem)
        if settings.first_layer_charge == "published":
            limits = tuple(_undercharged(limit, problem) for limit in limits)
        self._always = settings.ends == "always"
        self._free = BudgetWalk(problem.programme, limits, otherwise)
        self._ends = None if settings.ends == "never" else _with_ends(problem)
        programme = problem.programme if self._ends is None else self._ends.programme
        self._pinned = BudgetWalk(programme, limits, otherwise)

    def within(self, w: IntArray, a: IntArray) -> tuple[IntArray, IntArray]:
        """Positions [N, L] within the limits."""
        if self._ends is None:
            return self._free.within(w, a)
        w, a = w.copy(), a.copy()
        walks = np.ones(len(w), dtype=bool) if self._always else ~self._free.holds(w, a)
        w[walks], a[walks] = self._pinned.within(*_pinned(self._ends, w[walks], a[walks]))
        return w, a


def _undercharged(limit: Limit, problem: SearchProblem) -> Limit:
    """HAQ marks the first layer's input with -1 bits, which reads its table one entry before 8 bits."""
    axis = problem.axes[1]
    if END_BITS not in axis or END_BITS - 1 not in axis:
        return limit
    costs = limit.costs.copy()
    costs[0, :, axis.index(END_BITS)] = costs[0, :, axis.index(END_BITS - 1)]
    return replace(limit, costs=costs)


def _with_ends(problem: SearchProblem) -> _Ends | None:
    """None where an end cannot have 8 bits, or its widths are not searched anyway."""
    programme, axes = problem.programme, problem.axes
    if END_BITS not in axes[0] or END_BITS not in axes[1]:
        return None
    w, a = axes[0].index(END_BITS), axes[1].index(END_BITS)
    allowed = programme.allowed.copy()
    last = next(row for row, unit in enumerate(problem.units) if len(problem.layers) - 1 in unit)
    for end in (0, last):
        only = np.zeros_like(allowed[end])
        only[w, a] = allowed[end, w, a]
        allowed[end] = only
    for group in programme.groups:
        allowed[list(group)] &= allowed[list(group)].any(axis=1).all(axis=0)
    if not allowed.any(axis=(1, 2)).all() or (allowed == programme.allowed).all():
        return None
    narrowed = replace(programme, allowed=allowed)
    return _Ends(narrowed, narrowed.cheapest(np.zeros_like(narrowed.layer_loss)), (0, last))


def _pinned(ends: _Ends, w: IntArray, a: IntArray) -> tuple[IntArray, IntArray]:
    programme = ends.programme
    w, a = w.copy(), a.copy()
    for group in programme.groups:
        if set(ends.rows) & set(group):
            a[:, list(group)] = ends.choice.a[list(group)]
    for end in ends.rows:
        w[:, end] = ends.choice.w[end]
    return going_with(programme, w, a), a


HAQ = Haq()
