"""AutoQ: one agent sets goals for layers, another gives their channels widths under these goals.

Lou, Guo, Kim, Liu and Jiang, "AutoQ: Automated Kernel-Wise Neural Network Quantization", ICLR 2020,
https://arxiv.org/abs/1902.05690. Its authors published no code: hyper-parameters and formulas that are not in the
descriptions of the settings are from memory of the paper, and what follows is a reconstruction.

The high level sees a layer as HAQ's agent does (core/search/agents/haq_environment.py) and names the goal g, a mean
width of the layer's weights, and the width of its activations. The low level goes through the layer's `channel_groups`
and names a width a_j for each. Rewards, with eR the extrinsic one, for the low level and for the high:

    iR = (1 - zeta) * -|g - mean_j a_j| + zeta * eR        eR = psi_acc * log(acc) - psi_cost * log(cost)

zeta rises over the episodes. Before the high level learns from an episode its goals are replaced, as in HIRO (Nachum
et al., NeurIPS 2018, https://arxiv.org/abs/1805.08296), by those that make what the low level did most likely: the one
that was set, the width that the layer had in the end, or one drawn around it.

What differs: predictions are of whole layers, so that a layer gets the allowed width next to the mean of its groups;
the distance to the goal is per channel and not summed; where no accuracy is measured, -loss / (the first policy's loss)
stands for log(acc), and the cost on the axis over that at 8 bits for latency, energy and area; policies are walked into
the budget (core/search/walk.py) where AutoQ limits actions; widths begin at the least that is searched, and not at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from core.hardware.kind import FloatArray, IntArray
from core.search.agents.haq_environment import FEATURES, PREVIOUS, SELECTOR, Decision, HaqEnvironment
from core.search.agents.noise import truncated_normal
from core.search.agents.reward import Reward
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


class AutoqSettings(BaseModel):
    """Hyper-parameters; where the paper leaves one open, HAQ's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["resource-constrained", "accuracy-guaranteed"] = Field(
        default="resource-constrained",
        description="psi_acc 1 and psi_cost 0 within each budget; or 2 and 0.5 within the job's limits alone",
    )
    channel_groups: int = Field(
        default=4, ge=1, le=64, description="groups of a layer's channels that get a width each"
    )
    zeta_first: float = Field(default=0.1, ge=0, le=1, description="share of the extrinsic reward in the first episode")
    zeta_last: float = Field(default=0.8, ge=0, le=1, description="and in the last")
    relabel: bool = Field(default=True, description="replace goals by those that explain what was done, as in HIRO")
    warmup_episodes: int = Field(default=20, ge=0, le=10_000, description="episodes of random goals")
    noise: float = Field(default=0.5, ge=0, le=10, description="standard deviation of the first action after those")
    noise_decay: float = Field(default=0.99, gt=0, le=1, description="what an episode multiplies it by")
    hidden: int = Field(default=300, ge=4, le=2000, description="width of both hidden layers; published: 400 and 300")
    actor_rate: float = Field(default=1e-4, gt=0, le=1, description="learning rate of the actors")
    critic_rate: float = Field(default=1e-3, gt=0, le=1, description="learning rate of the critics")
    discount: float = Field(default=1.0, ge=0, le=1, description="of the next step's value")
    tau: float = Field(default=0.01, gt=0, le=1, description="share of the networks that their targets take each step")
    batch: int = Field(default=64, ge=1, le=4096, description="transitions of a gradient step")
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
            reconstruction_notes="A reconstruction: there is no published code. Groups of channels get widths under a "
            "layer's goal, and the layer the allowed width next to their mean, for predictions are of whole layers. "
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


@dataclass
class _Proposal:
    """An episode: values of the genes, actions [T] of the high level; states [N, K, 11] and actions [N, K] of the low
    one and its mean widths [N], for the N steps that set goals; `goals` [N] are these steps.
    """

    values: IntArray
    high: FloatArray
    goals: IntArray
    low_states: NDArray[np.float32]
    low_actions: FloatArray
    means: FloatArray


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
        self.sides = [self.environment.genes.each[each.gene].side for each in self.environment.decisions]
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
        values, actions, previous = np.zeros(len(self.sides), dtype=np.int64), np.zeros(len(self.sides)), 1.0
        goals, states, low_actions, means = [], [], [], []
        for step, decision in enumerate(self.environment.decisions):
            state = self.environment.state(step, previous)
            random = after <= 0
            action = float(self.generator.random()) if random else self._explored(high, state, sigma)
            actions[step] = action
            if self.sides[step] == "weights":
                seen, named, mean = self._groups(low, state, action, decision, sigma, random)
                values[decision.gene] = int(np.abs(decision.bits - mean).argmin())
                goals.append(step)
                states.append(seen)
                low_actions.append(named)
                means.append(mean)
            else:
                values[decision.gene] = decision.value(action)
            previous = float(decision.bits[values[decision.gene]] / decision.most)
        groups = self.settings.channel_groups
        return _Proposal(
            values,
            actions,
            np.array(goals, dtype=np.int64),
            np.array(states, dtype=np.float32).reshape(-1, groups, LOW_FEATURES),
            np.array(low_actions).reshape(-1, groups),
            np.array(means),
        )

    def _explored(self, agent: Ddpg, state: NDArray[np.float32], sigma: float) -> float:
        return truncated_normal(agent.act(state), sigma, self.generator)

    def _groups(
        self, low: Ddpg, state: NDArray[np.float32], goal: float, decision: Decision, sigma: float, random: bool
    ) -> tuple[list[NDArray[np.float32]], list[float], float]:
        """States, actions and mean width of a layer's channel groups; around the goal where actions are random."""
        states, actions, total, count = [], [], 0, self.settings.channel_groups
        for group in range(count):
            so_far = total / group / decision.most if group else goal
            states.append(np.concatenate([state, [np.float32(group / count)]]).astype(np.float32))
            states[-1][[PREVIOUS, SELECTOR]] = so_far, goal
            around = goal if random else low.act(states[-1])
            actions.append(truncated_normal(around, sigma, self.generator))
            total += decision.named(actions[-1])
        return states, actions, total / count

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
        count = self.settings.channel_groups
        decisions = [self.environment.decisions[step] for step in proposal.goals]
        goals = np.array(
            [_mean_bits(proposal.high[step], each) for step, each in zip(proposal.goals, decisions, strict=True)]
        )
        intrinsic = (zeta - 1) * np.abs(goals - proposal.means) + zeta * reward
        following = np.concatenate([proposal.low_states[:, 1:], proposal.low_states[:, -1:]], axis=1)
        terminal = np.zeros((len(goals), count), dtype=np.float32)
        terminal[:, -1] = 1
        low.replay.add(
            proposal.low_states.reshape(-1, LOW_FEATURES),
            proposal.low_actions.reshape(-1).astype(np.float32),
            following.reshape(-1, LOW_FEATURES),
            np.repeat(intrinsic, count).astype(np.float32),
            terminal.reshape(-1),
        )

    def _remember_high(self, high: Ddpg, low: Ddpg, proposal: _Proposal, walked: IntArray, reward: float) -> None:
        actions = proposal.high.copy()
        if self.settings.relabel and len(proposal.goals):
            reached = self.environment.actions(walked)
            actions = reached.copy()
            actions[proposal.goals] = self._relabelled(low, proposal, reached[proposal.goals])
        states, following = self.environment.states(walked if self.settings.relabel else proposal.values)
        terminal = np.zeros(len(states), dtype=np.float32)
        terminal[-1] = 1
        high.replay.add(
            states, actions.astype(np.float32), following, np.full(len(states), reward, dtype=np.float32), terminal
        )

    def _relabelled(self, low: Ddpg, proposal: _Proposal, reached: FloatArray) -> FloatArray:
        """[N]: of some goals, the one under which the low level's actor is nearest to what was done."""
        drawn = reached + self.generator.normal(0, self.settings.noise / 2, (DRAWN_GOALS, len(reached)))
        candidates = np.clip(np.concatenate([[proposal.high[proposal.goals], reached], drawn]), 0, 1)  # C, N
        states = np.repeat(proposal.low_states[None], len(candidates), axis=0)  # C, N, K, 11
        states[..., SELECTOR] = candidates[:, :, None]
        named = low.act_on(states.reshape(-1, LOW_FEATURES)).reshape(states.shape[:-1])
        distance = ((named - proposal.low_actions) ** 2).sum(axis=2)
        chosen: FloatArray = candidates[distance.argmin(axis=0), np.arange(len(reached))]
        return chosen

    def _learn(self, agents: tuple[Ddpg, Ddpg], episode: int) -> None:
        if episode < self.settings.warmup_episodes:
            return
        self.due += self.settings.updates_per_step * len(self.sides)
        for agent in agents:
            if len(agent.replay):
                agent.update(int(self.due))
        self.due -= int(self.due)


def _mean_bits(goal: float, decision: Decision) -> float:
    """The mean width that a goal from 0 to 1 stands for."""
    return decision.least + goal * (decision.most - decision.least)


AUTOQ = Autoq()
