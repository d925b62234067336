"""The training that widths fall out of: weights by SGD, widths beside them, cost in the loss.

Every step: the widths as shares, the loss of a batch through the network that they stand for, the expected costs, the
sum of both as the method says, one step of everything. What is drawn follows from seed, point and epoch. A loss that is
no number, or explodes, ends the training with the widths of the step before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.data.dataset import Labels
from core.jobs.specification import TrainingChoice
from core.search.learned.hard_policy import Wishes
from core.search.learned.settings import TrainedSettings
from core.search.learned.trainable import TrainableNetwork
from core.search.strategy import Progress
from core.tasks.classification import loss as classification_loss
from core.training.batches import Images, shuffled_batches, steps_in_an_epoch
from core.training.divergence import bad_loss
from core.training.memory import freed_memory_kept
from core.training.optimiser import Optimiser
from core.training.schedule import rate_factor


class LearnedWidths(nn.Module, ABC):
    """A network with widths that are learned; one subclass for each method. `rate`: of Adam for `width_parameters`."""

    rate: float

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What is trained: images N, C, H, W to scores N, classes."""

    def width_parameters(self) -> list[nn.Parameter]:
        """What stands for widths and for nothing else; none where quantizers hold them."""
        return []

    @abstractmethod
    def decide(self, progress: float) -> Tensor:
        """Set the network to the widths of this step, and return its costs as shares of the limits [K]."""

    @abstractmethod
    def objective(self, loss: Tensor, costs: Tensor) -> Tensor:
        """What is made less; the first cost is the budget's."""

    def before_step(self) -> None:
        """Change gradients, where a method does."""

    def after_step(self, costs: Tensor) -> None:
        """Bring widths back to where they may be."""

    def wishes(self) -> Wishes:
        """What the widths stand for now."""
        raise NotImplementedError


@dataclass(frozen=True)
class Trained:
    """What a training ended with; `loss` is the mean of its last epoch, `cost` a share of the budget."""

    wishes: Wishes
    loss: float
    cost: float
    diverged: str | None = None


class DrawnImages:
    """Some images of a split, drawn once."""

    def __init__(self, source: Images, count: int, seed: int) -> None:
        self._source = source
        drawn = np.random.default_rng(seed).permutation(len(source))[:count]
        self._indices: NDArray[np.int64] = np.sort(drawn)

    @property
    def labels(self) -> Labels:
        """Of the drawn images."""
        return self._source.labels[self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def batches(
        self, batch_size: int, indices: NDArray[np.integer[Any]] | None = None
    ) -> Iterator[tuple[NDArray[np.float32], Labels]]:
        """As a split gives them."""
        return self._source.batches(batch_size, self._indices if indices is None else self._indices[indices])


def train_widths(
    widths: LearnedWidths,
    network: TrainableNetwork,
    settings: TrainedSettings,
    seed: tuple[int, int],
    reporter: Progress | None,
) -> Trained:
    """`seed`: the job's, and the position of the point."""
    training = _Training(widths, network, settings, seed, reporter)
    device = training.device
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        freed_memory_kept(),
    ):
        return training.run()


class _Training:
    def __init__(
        self,
        widths: LearnedWidths,
        network: TrainableNetwork,
        settings: TrainedSettings,
        seed: tuple[int, int],
        reporter: Progress | None,
    ) -> None:
        self.widths, self.settings, self.seed, self.reporter = widths, settings, seed, reporter
        self.device = next(network.loaded.module.parameters()).device
        self.choice = TrainingChoice(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            quantizer_rate=getattr(settings, "quantizer_rate", TrainingChoice().quantizer_rate),
        )
        self.train = DrawnImages(network.train, settings.images, seed[0])
        self.optimiser = Optimiser(widths.network, self.choice)
        own = widths.width_parameters()
        self.own = torch.optim.Adam(own, lr=widths.rate) if own else None
        self.steps = steps_in_an_epoch(self.train, self.choice)
        self.first_loss: float | None = None

    def run(self) -> Trained:
        """All epochs."""
        self.widths.network.train()
        wishes, loss, cost = self.widths.wishes(), float("nan"), float("nan")
        for epoch in range(1, self.settings.epochs + 1):
            chance = np.random.default_rng([*self.seed, epoch])
            torch.manual_seed(int(chance.integers(2**62)))
            losses, costs = [], []
            for step, batch in enumerate(shuffled_batches(self.train, self.choice, chance, self.device)):
                done = (epoch - 1 + step / self.steps) / self.settings.epochs
                found = self._step(batch.x, batch.labels, done, epoch)
                if isinstance(found, str):
                    return Trained(wishes, loss, cost, found)
                losses.append(found[0])
                costs.append(found[1])
                wishes, loss, cost = self.widths.wishes(), float(np.mean(losses)), float(np.mean(costs))
                if self.reporter is not None:
                    message = f"epoch {epoch} of {self.settings.epochs}, loss {found[0]:.3f}, cost {found[1]:.1%}"
                    self.reporter.progress(done, message)
        return Trained(wishes, loss, cost)

    def _step(self, x: Tensor, labels: Tensor, done: float, epoch: int) -> tuple[float, float] | str:
        """Loss and cost, or why training cannot go on; then nothing was changed."""
        costs = self.widths.decide(done)
        scores = self.widths.network(x)
        loss = classification_loss(scores, labels)
        self.widths.objective(loss, costs).backward()  # type: ignore[no-untyped-call]
        value = loss.item()
        self.first_loss = value if self.first_loss is None else self.first_loss
        diverged = bad_loss(value, self.first_loss, scores.shape[1], epoch)
        if diverged is not None:
            return diverged
        self.widths.before_step()
        for parameter in self.widths.network.parameters():
            if parameter.grad is None:  # of a quantizer that this step had no share of
                parameter.grad = torch.zeros_like(parameter)
        self.optimiser.step(done)
        if self.own is not None:
            for group in self.own.param_groups:
                group["lr"] = self.widths.rate * rate_factor(self.choice, done)
            self.own.step()
            self.own.zero_grad(set_to_none=True)
        self.widths.after_step(costs.detach())
        return value, costs[0].item()
