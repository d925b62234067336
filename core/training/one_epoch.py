"""One epoch: a shuffled pass over `train`, a step for every batch, watched for divergence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from core.jobs.specification import TrainingChoice
from core.training.absorbed_relus import without_absorbed_relus
from core.training.batches import Batch, Images, shuffled_batches, steps_in_an_epoch
from core.training.course import Course, Moment
from core.training.distillation import Teacher, distilled_loss
from core.training.divergence import bad_loss
from core.training.memory import freed_memory_kept
from core.training.mode import in_training_mode
from core.training.precision import quantizers_in_float32, scores


@dataclass(frozen=True)
class Passed:
    """`loss`: the mean over all batches, in nats. `diverged`: why the pass ended before its end."""

    loss: float
    first_loss: float
    diverged: str | None = None


@dataclass(frozen=True)
class EpochPass:
    """What stays the same from epoch to epoch. `report` is told the epoch, the steps done in it, and the last loss."""

    train: Images
    choice: TrainingChoice
    teacher: Teacher | None
    seed: int
    device: torch.device
    report: Callable[[int, int, float], None]

    def run(self, course: Course, moment: Moment, first_loss: float | None) -> Passed:
        """Train the network that stands in the course at that moment; `first_loss` of the training, if there was one.

        Random numbers follow from seed and epoch, and those of others are left alone.
        """
        chance = np.random.default_rng([self.seed, moment.epoch])
        with (
            torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []),
            quantizers_in_float32(course.network, self.choice),
            freed_memory_kept(),
        ):
            torch.manual_seed(int(chance.integers(2**62)))
            return self._steps(course, moment, chance, first_loss)

    def _steps(self, course: Course, moment: Moment, chance: np.random.Generator, first_loss: float | None) -> Passed:
        network = without_absorbed_relus(in_training_mode(course.network, self.choice))
        steps, total = steps_in_an_epoch(self.train, self.choice), 0.0
        for step, batch in enumerate(shuffled_batches(self.train, self.choice, chance, self.device)):
            loss, classes = self.backward(network, batch)
            course.optimiser.step((moment.done + step / steps) / moment.epochs)
            first_loss = loss if first_loss is None else first_loss
            diverged = bad_loss(loss, first_loss, classes, moment.epoch)
            if diverged is not None:
                return Passed(loss, first_loss, diverged)
            total += loss
            self.report(moment.epoch, step + 1, loss)
        return Passed(total / steps, first_loss or 0.0)

    def backward(self, network: nn.Module, batch: Batch) -> tuple[float, int]:
        """Adds the gradients of one batch; returns its loss, and the number of classes."""
        logits = scores(network, batch.x, self.choice)
        loss = distilled_loss(logits, batch.labels, self.scores_of_teacher(batch), self.choice)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), logits.shape[1]

    def scores_of_teacher(self, batch: Batch) -> Tensor | None:
        """N, classes; None where labels alone are learned from."""
        return None if self.teacher is None else self.teacher.scores(batch.indices, batch.x)
