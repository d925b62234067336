"""DDPG as HAQ trains it: an actor that names a number from 0 to 1, and a critic that says what it is worth.

Lillicrap et al., "Continuous Control with Deep Reinforcement Learning", ICLR 2016, https://arxiv.org/abs/1509.02971
Wang et al., HAQ, CVPR 2019, https://arxiv.org/abs/1811.08886: layer sizes, rates, baseline and replay as its code has
them. The target of the critic is

    r - b + gamma * Q'(s', mu'(s')) * (1 - terminal)

with b the moving average of the mean reward of the batches. Widths of layers: `hidden`, two of them. Everything is
float32; states are [N, F], actions [N, 1].
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.search.agents.replay import Replay

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class DdpgSettings:
    """Names as in HAQ's code; `baseline` is the coefficient of the moving average, None for no baseline."""

    hidden: int = 300
    actor_rate: float = 1e-4
    critic_rate: float = 1e-3
    discount: float = 1.0
    tau: float = 0.01
    batch: int = 64
    baseline: float | None = 0.5


class Actor(nn.Module):
    """States [N, F] -> actions [N, 1] between 0 and 1."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, states: Tensor) -> Tensor:
        """[N, 1]."""
        actions: Tensor = torch.sigmoid(self.layers(states))
        return actions


class Critic(nn.Module):
    """States and actions -> values [N, 1]; the first layer adds what each of the two says."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.state, self.action = nn.Linear(features, hidden), nn.Linear(1, hidden)
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """[N, 1]."""
        values: Tensor = self.layers(self.state(states) + self.action(actions))
        return values


class Ddpg:
    """One agent. All that is drawn comes from `generator`; networks begin from `seed`."""

    def __init__(self, features: int, settings: DdpgSettings, replay: Replay, seed: int) -> None:
        self.settings, self.replay = settings, replay
        self._generator = np.random.default_rng([seed, 1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.actor, self.critic = Actor(features, settings.hidden), Critic(features, settings.hidden)
        self._target_actor, self._target_critic = copy.deepcopy(self.actor), copy.deepcopy(self.critic)
        self._actor_optimiser = torch.optim.Adam(self.actor.parameters(), settings.actor_rate, fused=True)
        self._critic_optimiser = torch.optim.Adam(self.critic.parameters(), settings.critic_rate, fused=True)
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = [
            ([*target.parameters()], [*source.parameters()])
            for target, source in ((self._target_actor, self.actor), (self._target_critic, self.critic))
        ]
        for target, _ in self._pairs:
            for parameter in target:
                parameter.requires_grad_(False)
        self._average: float | None = None
        self._weights: list[tuple[Vector, Vector]] = []
        self._refresh()

    def act(self, state: Vector) -> float:
        """What the actor names at one state [F]; in numpy, for one row is no work for torch."""
        values = state
        for position, (weight, bias) in enumerate(self._weights):
            values = weight @ values + bias
            if position < len(self._weights) - 1:
                values = np.maximum(values, 0)
        return float(1 / (1 + np.exp(-values[0])))

    def act_on(self, states: Vector) -> Vector:
        """What the actor names at many states [N, F]: [N]."""
        with torch.no_grad():
            actions: Vector = self.actor(torch.from_numpy(states)).numpy()[:, 0]
        return actions

    def update(self, steps: int) -> None:
        """That many gradient steps of critic and actor, each on a batch drawn from the replay."""
        for _ in range(steps):
            self._step()
        if steps:
            self._refresh()

    def _step(self) -> None:
        batch = self.replay.draw(self.settings.batch, self._generator)
        states, actions, next_states, rewards, terminal = (torch.from_numpy(each) for each in batch)
        with torch.no_grad():
            following = self._target_critic(next_states, self._target_actor(next_states)) * (1 - terminal)
            target = rewards - self._baseline(float(rewards.mean())) + self.settings.discount * following
        critic_loss = nn.functional.mse_loss(self.critic(states, actions), target)
        self._descend(critic_loss, self._critic_optimiser, self.critic)
        self.critic.requires_grad_(False)
        self._descend(-self.critic(states, self.actor(states)).mean(), self._actor_optimiser, self.actor)
        self.critic.requires_grad_(True)
        with torch.no_grad():
            for targets, sources in self._pairs:
                torch._foreach_lerp_(targets, sources, self.settings.tau)

    def _descend(self, loss: Tensor, optimiser: torch.optim.Optimizer, network: nn.Module) -> None:
        network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def _baseline(self, mean: float) -> float:
        """The moving average with this batch's mean reward in it."""
        share = self.settings.baseline
        if share is None:
            return 0.0
        self._average = mean if self._average is None else share * self._average + (1 - share) * mean
        return self._average

    def _refresh(self) -> None:
        linears = [each for each in self.actor.layers if isinstance(each, nn.Linear)]
        self._weights = [(each.weight.detach().numpy().copy(), each.bias.detach().numpy().copy()) for each in linears]
