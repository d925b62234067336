"""Training one network at several widths together.

Jin et al., "AdaBits", https://arxiv.org/abs/1912.09666, section 3.2: for every batch, forward and backward at each
width, from the widest to the narrowest; the gradients add up, and the optimiser takes one step. What a width has of its
own, batch norms and clipping levels, gets that width's gradient alone.

The network ends as it was after the epoch with the best accuracy on `select`, averaged over the widths; before any
training included. On the CPU an interrupted and resumed training equals an unbroken one to the bit.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from core.calibration.batch_norm import measure_statistics
from core.errors import InvalidInput
from core.jobs.specification import TrainingChoice
from core.jobs.task import Reporter
from core.tasks.classification import Evaluation, check_labels, evaluate
from core.training.batches import Batch, Images, batches_in_order, shuffled_batches, steps_in_an_epoch
from core.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from core.training.course import Course
from core.training.distillation import distilled_loss, make_teacher
from core.training.divergence import collapsed
from core.training.early_stop import stalled
from core.training.joint_network import JointNetwork
from core.training.one_epoch import EpochPass
from core.training.precision import scores
from core.training.result import EpochRecord, TrainingResult

REPORT_EVERY_S = 0.5
FIRST_STATISTICS = 16  # batches that each width's norms are measured on before training: rounding down moves the means


class JointTrainingResult(TrainingResult):
    """Losses and accuracies are means over the widths; `select_accuracy` is that of each width in the end."""

    select_accuracy: dict[int, float] = Field(default_factory=dict)


def train_together(
    joint: JointNetwork,
    teacher: nn.Module | None,
    train: Images,
    select: Images,
    *,
    choice: TrainingChoice,
    seed: int,
    checkpoint_directory: Path,
    reporter: Reporter,
) -> JointTrainingResult:
    """Trains in place, on the network's device. `teacher` is the float network; None, or no distillation: labels alone.

    A training that diverges is no exception: the result says why, and the network is as in its best epoch before.
    """
    if len(train) < 2:
        raise InvalidInput("training needs at least two images", hint="give more training images")
    return _JointTraining(joint, teacher, train, select, choice, seed, checkpoint_directory, reporter).run()


class JointEpochPass(EpochPass):
    """A pass whose every step visits all widths."""

    def backward(self, network: nn.Module, batch: Batch) -> tuple[float, int]:
        """Gradients of all widths, added up; the mean of their losses, and the number of classes."""
        joint, of_teacher, total, classes = network, self.scores_of_teacher(batch), 0.0, 0
        assert isinstance(joint, JointNetwork)  # noqa: S101 - tells the type checker what the course holds
        for member in joint.networks():
            logits = scores(member, batch.x, self.choice)
            loss = distilled_loss(logits, batch.labels, of_teacher, self.choice)
            loss.backward()  # type: ignore[no-untyped-call]
            total, classes = total + loss.item(), logits.shape[1]
        return total / len(joint.widths), classes


@dataclass
class _JointTraining:
    joint: JointNetwork
    teacher_network: nn.Module | None
    train: Images
    select: Images
    choice: TrainingChoice
    seed: int
    directory: Path
    reporter: Reporter

    def __post_init__(self) -> None:
        self.device = next(self.joint.parameters()).device
        recipe = self.choice.model_dump(mode="json")
        self.recipe: dict[str, object] = {**recipe, "seed": self.seed, "widths": list(self.joint.widths)}
        self.course = Course(self.joint, self.choice, None)
        self.diverged: str | None = None
        self.last_report = 0.0

    def run(self) -> JointTrainingResult:
        self.state = self._resume() or self._start()
        resumed_from = len(self.state.history)
        self._epochs()
        self.joint.load_state_dict(self.state.best)
        if self.choice.batch_norm_batches:
            self._measure_statistics(self.choice.batch_norm_batches)
        evaluations = self._evaluations()
        return JointTrainingResult(
            history=tuple(self.state.history),
            calibrated_select_accuracy=self.state.calibrated_select_accuracy,
            best_epoch=self.state.best_epoch,
            diverged=self.diverged or self._collapsed(evaluations),
            resumed_from_epoch=resumed_from,
            select_accuracy={width: each.accuracy for width, each in zip(self.joint.widths, evaluations, strict=True)},
        )

    def _resume(self) -> Checkpoint | None:
        state = load_checkpoint(self.directory, self.recipe)
        return state if state is not None and self.course.resume(state) else None

    def _start(self) -> Checkpoint:
        self._measure_statistics(FIRST_STATISTICS)
        evaluations = self._evaluations()
        check_labels(self.train.labels, evaluations[0].logits.shape[1])
        accuracy, loss = _means(evaluations)
        return Checkpoint(
            model={},
            optimiser={},
            best=_copy_of(self.joint),
            best_epoch=0,
            best_accuracy=accuracy,
            best_loss=loss,
            first_loss=0.0,
            calibrated_select_accuracy=accuracy,
        )

    def _measure_statistics(self, count: int) -> None:
        for network in self.joint.networks():
            measure_on_training_images(network, self.train, self.choice, self.seed, count)

    def _epochs(self) -> None:
        done = len(self.state.history)
        if done == self.choice.epochs:
            return
        teacher = None
        if self.teacher_network is not None and self.choice.distillation:
            teacher = make_teacher(self.teacher_network, self.train, self.choice, self.device)
        one = JointEpochPass(self.train, self.choice, teacher, self.seed, self.device, self._report)
        for epoch in range(done + 1, self.choice.epochs + 1):
            if self._stalled() or not self._epoch(one, epoch):
                return

    def _stalled(self) -> bool:
        accuracies = [epoch.select_accuracy for epoch in self.state.history]
        return stalled([self.state.calibrated_select_accuracy, *accuracies], self.choice.patience)

    def _epoch(self, one: JointEpochPass, epoch: int) -> bool:
        """Whether training goes on."""
        started = time.monotonic()
        moment = self.course.moment(epoch)
        self.course.enter(moment)
        passed = one.run(self.course, moment, self.state.first_loss if self.state.history else None)
        self.diverged = passed.diverged
        if self.diverged is not None:
            return False
        self.state.first_loss = passed.first_loss
        accuracy, loss = _means(self._evaluations())
        seconds = time.monotonic() - started
        self._keep(EpochRecord(epoch=epoch, loss=passed.loss, select_accuracy=accuracy, seconds=seconds), loss)
        return True

    def _keep(self, record: EpochRecord, select_loss: float) -> None:
        state = self.state
        state.history.append(record)
        is_better = (record.select_accuracy, -select_loss) > (state.best_accuracy, -state.best_loss)
        if is_better or self.choice.keep == "last":
            state.best, state.best_epoch = _copy_of(self.joint), record.epoch
            state.best_accuracy, state.best_loss = record.select_accuracy, select_loss
        state.model, state.optimiser = self.joint.state_dict(), self.course.optimiser.state()
        save_checkpoint(self.directory, state, self.recipe)
        self.reporter.metric("loss", record.loss, record.epoch)
        self.reporter.metric("select_accuracy", record.select_accuracy, record.epoch)
        self.reporter.checkpoint(f"epoch-{record.epoch}")

    def _evaluations(self) -> list[Evaluation]:
        """Of every width on `select`, widest first."""
        return [evaluate(network, batches_in_order(self.select, self.device)) for network in self.joint.networks()]

    def _collapsed(self, evaluations: Sequence[Evaluation]) -> str | None:
        for width, evaluation in zip(self.joint.widths, evaluations, strict=True):
            problem = collapsed(evaluation.predictions, self.select.labels)
            if problem is not None:
                return f"at {width} bits, {problem}"
        return None

    def _report(self, epoch: int, step: int, loss: float) -> None:
        now = time.monotonic()
        if now - self.last_report >= REPORT_EVERY_S:
            self.last_report = now
            done = epoch - 1 + step / steps_in_an_epoch(self.train, self.choice)
            self.reporter.progress(
                done / self.choice.epochs, f"epoch {epoch} of {self.choice.epochs}, loss {loss:.3f} over all widths"
            )


def measure_on_training_images(
    network: nn.Module, train: Images, choice: TrainingChoice, seed: int, count: int
) -> None:
    """Batch norm statistics anew, from `count` batches of the train split or all it has, drawn by the seed."""
    device = next(network.parameters()).device
    as_evaluated = choice.model_copy(update={"augmentation": "none"})
    drawn = shuffled_batches(train, as_evaluated, np.random.default_rng([seed, 0]), device)
    measure_statistics(network, _images(islice(drawn, count)))


def _images(batches: Iterator[Batch]) -> Iterator[Tensor]:
    for batch in batches:
        yield batch.x


def _means(evaluations: Sequence[Evaluation]) -> tuple[float, float]:
    """Accuracy and loss; a loss that is not finite is worse than everything, and can be stored as JSON."""
    loss = float(np.mean([each.loss for each in evaluations]))
    return float(np.mean([each.accuracy for each in evaluations])), loss if math.isfinite(loss) else sys.float_info.max


def _copy_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
