"""AutoQ: one agent sets goals for layers, another gives their channels widths under these goals.

Lou, Guo, Kim, Liu and Jiang, "AutoQ: Automated Kernel-Wise Neural Network Quantization", ICLR 2020,
https://arxiv.org/abs/1902.05690. Its authors published no code: hyper-parameters and formulas that are not in the
descriptions of the settings are from memory of the paper, and what follows is a reconstruction.

The high level sees a layer as HAQ's agent does (core/search/agents/haq_environment.py) and names the goal g, a mean
width of the layer's weights, and the width of its activations. The low level goes through the layer's kernels, in the
groups that `bits.kernel_groups` of a job makes, and names a width a_j for each. Rewards, with eR the extrinsic one, for
the low level and for the high:

    iR = (1 - zeta) * -|g - mean_j a_j| + zeta * eR        eR = psi_acc * log(acc) - psi_cost * log(cost)

zeta rises over the episodes. Before the high level learns from an episode its goals are replaced, as in HIRO (Nachum
et al., NeurIPS 2018, https://arxiv.org/abs/1805.08296), by those that make what the low level did most likely: the one
that was set, the width that the layer had in the end, or one drawn around it.

What differs: a layer that the job decides as a whole has `channel_groups`, and gets the allowed width next to their
mean; the distance to the goal is per channel and not summed; where no accuracy is measured, minus the loss over the
first policy's stands for log(acc), and the cost on the axis over that at 8 bits for latency, energy and area; policies
are walked into the budget (core/search/walk.py) where AutoQ limits actions; widths begin at the least that is searched,
and not at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.hardware.kind import FloatArray, IntArray
from core.search.agents.haq_environment import FEATURES, PREVIOUS, SELECTOR, HaqEnvironment
from core.search.agents.noise import truncated_normal
from core.search.agents.reward import Reward
from core.search.agents.settings import DdpgSettings
from core.search.archive import Archive, shares
from core.search.budgets import budgets, cheapest, greatest_cost
from core.search.evaluator import EvaluationsSpent
from core.search.haq import original_cost
from core.search.problem import SearchProblem
from core.search.programme import Choice
from core.search.result import SearchResult
from core.search.strategy import SearchRun, StrategyCard
from core.search.walk import BudgetWalk

if TYPE_CHECKING:
    from core.search.agents.ddpg import Ddpg

LOW_FEATURES = FEATURES + 1  # a layer's, with the mean width so far, the goal, and the position of the group
DRAWN_GOALS = 8
COST_BITS = 8


class AutoqSettings(DdpgSettings):
    """Hyper-parameters; where the paper leaves one open, HAQ's."""

    mode: Literal["resource-constrained", "accuracy-guaranteed"] = Field(
        default="resource-constrained",
        description="psi_acc 1 and psi_cost 0 within each budget; or 2 and 0.5 within the job's limits alone",
    )
    channel_groups: int = Field(
        default=4,
        ge=1,
        le=64,
        description="of a layer without bits.kernel_groups: groups of channels, whose mean width it gets",
    )
    zeta_first: float = Field(default=0.1, ge=0, le=1, description="share of the extrinsic reward in the first episode")
    zeta_last: float = Field(default=0.8, ge=0, le=1, description="and in the last")
    relabel: bool = Field(default=True, description="replace goals by those that explain what was done, as in HIRO")
    warmup_episodes: int = Field(default=20, ge=0, le=10_000, description="episodes of random goals")
    replay: int = Field(default=2000, ge=1, le=1_000_000, description="transitions that each level remembers")
    updates_per_step: float = Field(
        default=0.1, ge=0, le=10, description="gradient steps of each level for a step of the high one"
    )
    reward_scale: float = Field(default=1.0, gt=0, le=1e6, description="of the extrinsic reward")


class Autoq:
    """The strategy."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""
        return StrategyCard(
            id="autoq",
            title="AutoQ (hierarchical reinforcement learning)",
            paper="Lou et al., AutoQ, ICLR 2020",
            link="https://arxiv.org/abs/1902.05690",
            reconstruction_notes="A reconstruction: there is no published code. Groups of kernels get widths under a "
            "layer's goal; a layer that the job decides as a whole gets the allowed width next to the mean of such. "
            "Goals are replaced as in HIRO once for each episode. HAQ's walk stands for AutoQ's limits on actions.",
            evaluates=True,
            settings_schema=AutoqSettings.model_json_schema(),
        )

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """The best of all episodes within each budget."""
        settings = AutoqSettings.model_validate(dict(run.settings))
        archive, asked, otherwise = Archive(problem, run), budgets(problem), cheapest(problem)
        archive.ask(otherwise.w[None], otherwise.a[None])
        guaranteed = settings.mode == "accuracy-guaranteed"
        searched = [greatest_cost(problem)] if guaranteed else asked[len(asked) > 1 :]  # the first holds this one alone
        episodes = np.diff([0, *shares(archive.left, len(searched))]).tolist()
        first = len(asked) - len(searched)
        for position, (budget, share) in enumerate(zip(searched, episodes, strict=True), start=first):
            try:
                _Episodes(problem, run, settings, archive, (budget, otherwise)).run(
                    share, None if guaranteed else position, 1 if guaranteed else len(asked)
                )
            except EvaluationsSpent:
                break
        return archive.result(asked, [f"{episodes[-1]} episodes for each pair of agents"])


@dataclass(frozen=True)
class _Step:
    """One step of the high level: the decisions that follow from it, a layer's rows of kernels or one tensor."""

    side: Literal["weights", "activations"]
    decisions: tuple[int, ...]


@dataclass
class _Proposal:
    """An episode: values of the genes; actions [T] of the high level, of which `goals` [N] set goals, and the mean
    widths [N] that were named under them; states [M, 11] and actions [M] of the low level, each under the goal that
    `under` [M] names.
    """

    values: IntArray
    high: FloatArray
    goals: IntArray
    means: FloatArray
    low_states: NDArray[np.float32]
    low_actions: FloatArray
    under: IntArray


@dataclass
class _Low:
    """What the low level saw and did in one layer, and the mean of the widths that it named."""

    states: list[NDArray[np.float32]]
    actions: list[float]
    mean: float


class _Episodes:
    """One pair of agents and their budget."""

    def __init__(
        self,
        problem: SearchProblem,
        run: SearchRun,
        settings: AutoqSettings,
        archive: Archive,
        within: tuple[int, Choice],
    ) -> None:
        self.run_, self.settings, self.archive = run, settings, archive
        self.environment = HaqEnvironment(problem)
        self.walk = BudgetWalk(problem.programme, problem.limits_within(within[0]), within[1])
        self.reward = Reward(run.evaluator.tells, settings.reward_scale)
        self.original = float(original_cost(problem, COST_BITS))
        self.generator = np.random.default_rng([run.seed, within[0], 2])
        self.steps = _steps(problem, self.environment)
        self.best, self.due = np.inf, 0.0

    def run(self, episodes: int, position: int | None, agents: int) -> None:
        """That many episodes, each walked, asked about and learned from on both levels."""
        if not self.environment.decisions:
            self._ask(np.zeros(0, dtype=np.int64))
            return
        high, low = self._agent(FEATURES, 0), self._agent(LOW_FEATURES, 1)
        for episode in range(episodes):
            proposal = self._propose(high, low, episode)
            reward, walked = self._ask(proposal.values)
            share = episode / max(1, episodes - 1)
            zeta = self.settings.zeta_first + share * (self.settings.zeta_last - self.settings.zeta_first)
            self._remember_low(low, proposal, zeta, reward)
            self._remember_high(high, low, proposal, walked, reward)
            self._learn((high, low), episode)
            self.archive.step(self.best, reward=reward, budget=position)
            if self.run_.reporter is not None and episode % 10 == 0:
                done = (position or 0) / agents + (episode + 1) / episodes / agents
                self.run_.reporter.progress(min(1.0, done), f"episode {episode + 1} of {episodes}")

    def _agent(self, features: int, level: int) -> Ddpg:
        from core.search.agents.ddpg import Ddpg, DdpgSettings  # noqa: PLC0415 - torch, which cards do not need
        from core.search.agents.replay import Replay  # noqa: PLC0415

        names = ("hidden", "actor_rate", "critic_rate", "discount", "tau", "batch")
        chosen: dict[str, Any] = {name: getattr(self.settings, name) for name in names}
        return Ddpg(
            features, DdpgSettings(**chosen), Replay(self.settings.replay, features), 2 * self.run_.seed + level
        )

    def _propose(self, high: Ddpg, low: Ddpg, episode: int) -> _Proposal:
        after = episode - self.settings.warmup_episodes
        sigma = self.settings.noise * self.settings.noise_decay ** max(0, after)
        values = np.zeros(len(self.environment.decisions), dtype=np.int64)
        actions, previous, lows = np.zeros(len(self.steps)), 1.0, []
        for position, step in enumerate(self.steps):
            state = self.environment.state(step.decisions[0], previous)
            random = after <= 0
            action = float(self.generator.random()) if random else self._explored(high, state, sigma)
            actions[position] = action
            if step.side == "weights":
                lows.append(self._kernels(low, (state, action), step, values, None if random else sigma))
            else:
                decision = self.environment.decisions[step.decisions[0]]
                values[decision.gene] = decision.value(action)
            previous = self._width(step, values)
        goals = [position for position, step in enumerate(self.steps) if step.side == "weights"]
        states = [state for low_ in lows for state in low_.states]
        return _Proposal(
            values,
            actions,
            np.array(goals, dtype=np.int64),
            np.array([low_.mean for low_ in lows]),
            np.array(states, dtype=np.float32).reshape(-1, LOW_FEATURES),
            np.array([action for low_ in lows for action in low_.actions]),
            np.repeat(np.arange(len(lows)), [len(low_.actions) for low_ in lows]),
        )

    def _width(self, step: _Step, values: IntArray) -> float:
        """The mean width that a step led to, over the greatest."""
        decisions = [self.environment.decisions[each] for each in step.decisions]
        return float(np.mean([each.bits[values[each.gene]] / each.most for each in decisions]))

    def _explored(self, agent: Ddpg, state: NDArray[np.float32], sigma: float) -> float:
        return truncated_normal(agent.act(state), sigma, self.generator)

    def _kernels(
        self, low: Ddpg, told: tuple[NDArray[np.float32], float], step: _Step, values: IntArray, sigma: float | None
    ) -> _Low:
        """Widths for a layer's kernels, into `values`: around the goal where `sigma` is None, else as the actor says.

        A layer that is decided as a whole has `channel_groups` of them, and gets the allowed width next to their mean.
        """
        (state, goal), found = told, _Low([], [], 0.0)
        each_row = self.settings.channel_groups if len(step.decisions) == 1 else 1
        count, total = each_row * len(step.decisions), 0
        for row in step.decisions:
            decision, before = self.environment.decisions[row], total
            for _ in range(each_row):
                done = len(found.actions)
                seen = np.concatenate([state, [np.float32(done / count)]]).astype(np.float32)
                seen[[PREVIOUS, SELECTOR]] = (total / done / decision.most if done else goal), goal
                mean, spread = (goal, self.settings.noise) if sigma is None else (low.act(seen), sigma)
                action = truncated_normal(mean, spread, self.generator)
                total += decision.named(action)
                found.states.append(seen)
                found.actions.append(action)
            values[decision.gene] = int(np.abs(decision.bits - (total - before) / each_row).argmin())
        found.mean = total / count
        return found

    def _ask(self, values: IntArray) -> tuple[float, IntArray]:
        """The extrinsic reward, and the values of the genes after the walk."""
        genes = self.environment.genes
        w, a = self.walk.within(*genes.decode(values[None]))
        loss = float(self.archive.ask(w, a)[0])
        self.best = min(self.best, loss)
        ratio = max(1.0, float(self.archive.cost(w, a)[0])) / self.original
        guaranteed = self.settings.mode == "accuracy-guaranteed"
        psi_accuracy, psi_cost = (2.0, 0.5) if guaranteed else (1.0, 0.0)
        reward = psi_accuracy * self.reward.log_accuracy(loss) - psi_cost * self.settings.reward_scale * np.log(ratio)
        return float(reward), genes.encode(w, a)[0]

    def _remember_low(self, low: Ddpg, proposal: _Proposal, zeta: float, reward: float) -> None:
        """Every layer is an episode of its own."""
        if not len(proposal.goals):
            return
        goals = np.array([self._goal_bits(proposal.high[position], position) for position in proposal.goals])
        intrinsic = (zeta - 1) * np.abs(goals - proposal.means) + zeta * reward
        terminal = np.append(np.diff(proposal.under) > 0, True)
        following = np.where(terminal[:, None], proposal.low_states, np.roll(proposal.low_states, -1, axis=0))
        low.replay.add(
            proposal.low_states,
            proposal.low_actions.astype(np.float32),
            following,
            intrinsic[proposal.under].astype(np.float32),
            terminal.astype(np.float32),
        )

    def _goal_bits(self, goal: float, position: int) -> float:
        """The mean width that a goal from 0 to 1 stands for."""
        decision = self.environment.decisions[self.steps[position].decisions[0]]
        return decision.least + goal * (decision.most - decision.least)

    def _remember_high(self, high: Ddpg, low: Ddpg, proposal: _Proposal, walked: IntArray, reward: float) -> None:
        actions, values = proposal.high.copy(), proposal.values
        if self.settings.relabel:
            middles, values = self.environment.actions(walked), walked
            reached = np.array([middles[list(step.decisions)].mean() for step in self.steps])
            actions = reached.copy()
            actions[proposal.goals] = self._relabelled(low, proposal, reached[proposal.goals])
        widths = [1.0, *(self._width(step, values) for step in self.steps)]
        firsts = [step.decisions[0] for step in self.steps]
        states = np.stack([self.environment.state(first, width) for first, width in zip(firsts, widths, strict=False)])
        last = self.environment.state(firsts[-1], widths[-1])
        terminal = np.zeros(len(states), dtype=np.float32)
        terminal[-1] = 1
        rewards = np.full(len(states), reward, dtype=np.float32)
        high.replay.add(states, actions.astype(np.float32), np.concatenate([states[1:], last[None]]), rewards, terminal)

    def _relabelled(self, low: Ddpg, proposal: _Proposal, reached: FloatArray) -> FloatArray:
        """[N]: of some goals, the one under which the low level's actor is nearest to what was done."""
        if not len(reached):
            return reached
        drawn = reached + self.generator.normal(0, self.settings.noise / 2, (DRAWN_GOALS, len(reached)))
        candidates = np.clip(np.concatenate([[proposal.high[proposal.goals], reached], drawn]), 0, 1)  # C, N
        states = np.repeat(proposal.low_states[None], len(candidates), axis=0)  # C, M, 11
        states[..., SELECTOR] = candidates[:, proposal.under]
        named = low.act_on(states.reshape(-1, LOW_FEATURES)).reshape(states.shape[:-1])
        starts = np.flatnonzero(np.diff(proposal.under, prepend=-1))
        distance = np.add.reduceat((named - proposal.low_actions) ** 2, starts, axis=1)
        chosen: FloatArray = candidates[distance.argmin(axis=0), np.arange(len(reached))]
        return chosen

    def _learn(self, agents: tuple[Ddpg, Ddpg], episode: int) -> None:
        if episode < self.settings.warmup_episodes:
            return
        self.due += self.settings.updates_per_step * len(self.steps)
        for agent in agents:
            if len(agent.replay):
                agent.update(int(self.due))
        self.due -= int(self.due)


def _steps(problem: SearchProblem, environment: HaqEnvironment) -> list[_Step]:
    """One goal for each layer, whether it is one row of the programme or several groups of kernels."""
    found: dict[tuple[int, ...], list[int]] = {}
    steps: list[tuple[Literal["weights", "activations"], list[int]]] = []
    for position, decision in enumerate(environment.decisions):
        gene = environment.genes.each[decision.gene]
        unit = problem.units[gene.layer]
        if gene.side == "weights" and unit in found:
            found[unit].append(position)
            continue
        steps.append((gene.side, [position]))
        if gene.side == "weights":
            found[unit] = steps[-1][1]
    return [_Step(side, tuple(decisions)) for side, decisions in steps]


AUTOQ = Autoq()
