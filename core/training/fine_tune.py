"""Quantization-aware training of a calibrated network.

Every epoch: a shuffled pass over `train`, the accuracy on `select`, a checkpoint. The network ends as it was after the
epoch with the best accuracy on `select`, the calibrated one included (of equal accuracies the smaller loss wins), or
after the last one where the recipe says so. Where the recipe has stages, only epochs of the last one count. On the CPU
an interrupted and resumed training equals an unbroken one to the bit: an epoch follows from seed and number, a stage
from the epoch, the learning rate from progress.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from core.calibration.batch_norm import measure_statistics, norms_with_statistics
from core.errors import InvalidInput
from core.jobs.specification import TrainingChoice
from core.jobs.task import Reporter
from core.tasks.classification import Evaluation, check_labels, evaluate
from core.training.batches import Images, batches_in_order, shuffled_batches, steps_in_an_epoch
from core.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from core.training.course import Course
from core.training.distillation import Teacher, make_teacher
from core.training.divergence import bad_select_loss, collapsed, only_class
from core.training.early_stop import stalled
from core.training.one_epoch import EpochPass
from core.training.result import EpochRecord, StageRecord, TrainingResult
from core.training.way import Way

REPORT_EVERY_S = 0.5
CHECKPOINT_NAME = "epoch"
BEFORE_ANY_EPOCH = 0  # seeds what is drawn for no epoch

Stopped = Literal["finished", "patience", "diverged"]
BatchNorm = Literal["as trained", "measured anew", "measured anew, and worse"]


def fine_tune(
    model: nn.Module,
    teacher: nn.Module | None,
    train: Images,
    select: Images,
    *,
    choice: TrainingChoice,
    seed: int,
    checkpoint_directory: Path,
    reporter: Reporter,
    way: Way | None = None,
) -> TrainingResult:
    """Trains `model` in place, on its device. `teacher` is the float network; None, or no distillation: labels alone.

    `way`: where the recipe has stages, the networks on the way to `model`, which is that of the last stage.
    A training that diverges is no exception: the result says why, and the model is as in its best epoch before.
    """
    training = _Training(model, teacher, train, select, choice, seed, checkpoint_directory, reporter, way)
    return training.run()


@dataclass
class _Training:
    model: nn.Module
    teacher_network: nn.Module | None
    train: Images
    select: Images
    choice: TrainingChoice
    seed: int
    directory: Path
    reporter: Reporter
    way: Way | None

    def __post_init__(self) -> None:
        if len(self.train) < 2:
            raise InvalidInput("training needs at least two images", hint="give more training images")
        self.device = next(self.model.parameters()).device
        self.recipe: dict[str, object] = {**self.choice.model_dump(mode="json"), "seed": self.seed}
        if self.way is not None:
            self.recipe["stages"] = [[each.policy.model_dump(mode="json"), each.epochs] for each in self.way.stages]
        self.course = Course(self.model, self.choice, self.way)
        self.diverged: str | None = None
        self.last_report = 0.0

    def run(self) -> TrainingResult:
        self.state = self._resume() or self._start()
        resumed_from = len(self.state.history)
        stopped = self._epochs()
        self.model.load_state_dict(self.state.best)
        batch_norm, evaluation = self._settle_batch_norm()
        self.model.eval()
        return TrainingResult(
            history=tuple(self.state.history),
            calibrated_select_accuracy=self.state.calibrated_select_accuracy,
            best_epoch=self.state.best_epoch,
            stopped=stopped,
            diverged=self.diverged or self._collapse(evaluation),
            resumed_from_epoch=resumed_from,
            batch_norm=batch_norm,
            **({} if self.way is None else _passed(self.way)),
        )

    def _resume(self) -> Checkpoint | None:
        state = load_checkpoint(self.directory, self.recipe)
        return state if state is not None and self.course.resume(state) else None

    def _start(self) -> Checkpoint:
        evaluation = self._evaluate(self.model)
        check_labels(self.train.labels, evaluation.logits.shape[1])
        return Checkpoint(
            model={},
            optimiser={},
            best=_copy_of(self.model),
            best_epoch=0,
            best_accuracy=evaluation.accuracy,
            best_loss=_comparable(evaluation.loss),
            first_loss=0.0,
            calibrated_select_accuracy=evaluation.accuracy,
        )

    def _epochs(self) -> Stopped:
        """All epochs that are left, and why there were no more."""
        done = len(self.state.history)
        if done < self.choice.epochs and not self._stalled():
            teacher = self._make_teacher()
            self.epoch_pass = EpochPass(self.train, self.choice, teacher, self.seed, self.device, self._report)
        for epoch in range(done + 1, self.choice.epochs + 1):
            if self._stalled():
                return "patience"
            if not self._epoch(epoch):
                return "diverged"
        return "finished"

    def _epoch(self, epoch: int) -> bool:
        """Whether training goes on."""
        started = time.monotonic()
        moment = self.course.moment(epoch)
        self.course.enter(moment)
        passed = self.epoch_pass.run(self.course, moment, self.state.first_loss if self.state.history else None)
        self.diverged = passed.diverged
        if self.diverged is None:
            evaluation = self._evaluate(self.course.network)
            self.diverged = bad_select_loss(evaluation.loss, epoch)
        if self.diverged is not None:
            return False
        self.state.first_loss = passed.first_loss
        record = EpochRecord(
            epoch=epoch,
            stage=moment.stage,
            loss=passed.loss,
            select_accuracy=evaluation.accuracy,
            only_class=only_class(evaluation.predictions, self.select.labels),
            seconds=time.monotonic() - started,
        )
        self._keep(record, evaluation)
        return True

    def _keep(self, record: EpochRecord, evaluation: Evaluation) -> None:
        state, network = self.state, self.course.network
        state.history.append(record)
        is_better = self.choice.keep == "last" or _rank(evaluation) > (state.best_accuracy, -state.best_loss)
        if record.stage == self.course.last_stage and is_better:
            state.best, state.best_epoch = _copy_of(network), record.epoch
            state.best_accuracy, state.best_loss = evaluation.accuracy, _comparable(evaluation.loss)
        state.model, state.optimiser = network.state_dict(), self.course.optimiser.state()
        save_checkpoint(self.directory, state, self.recipe)
        self.reporter.metric("loss", record.loss, record.epoch)
        self.reporter.metric("select_accuracy", record.select_accuracy, record.epoch)
        self.reporter.checkpoint(f"{CHECKPOINT_NAME}-{record.epoch}")

    def _stalled(self) -> bool:
        last = [epoch.select_accuracy for epoch in self.state.history if epoch.stage == self.course.last_stage]
        return stalled([self.state.calibrated_select_accuracy, *last], self.choice.patience)

    def _settle_batch_norm(self) -> tuple[BatchNorm, Evaluation]:
        """Measure the statistics anew where the recipe says so; keep them where `select` is not worse."""
        before = self._evaluate(self.model)
        if self.choice.batch_norm_batches == 0 or not norms_with_statistics(self.model):
            return "as trained", before
        trained = _copy_of(self.model)
        chance = np.random.default_rng([self.seed, BEFORE_ANY_EPOCH])
        as_evaluated = self.choice.model_copy(update={"augmentation": "none"})
        batches = shuffled_batches(self.train, as_evaluated, chance, self.device)
        measure_statistics(self.model, (batch.x for batch in islice(batches, self.choice.batch_norm_batches)))
        after = self._evaluate(self.model)
        if _rank(after) >= _rank(before):
            return "measured anew", after
        self.model.load_state_dict(trained)
        return "measured anew, and worse", before

    def _collapse(self, evaluation: Evaluation) -> str | None:
        """Of the network that is left, or of the last epoch, though a better one was kept."""
        of_kept = collapsed(evaluation.predictions, self.select.labels)
        last = self.state.history[-1] if self.state.history else None
        if of_kept is not None or last is None or last.only_class is None:
            return of_kept
        return f"after epoch {last.epoch} the network gave every image class {last.only_class}"

    def _make_teacher(self) -> Teacher | None:
        if self.teacher_network is None or not self.choice.distillation:
            return None
        return make_teacher(self.teacher_network, self.train, self.choice, self.device)

    def _evaluate(self, network: nn.Module) -> Evaluation:
        return evaluate(network, batches_in_order(self.select, self.device))

    def _report(self, epoch: int, steps: int, loss: float) -> None:
        now = time.monotonic()
        if now - self.last_report >= REPORT_EVERY_S:
            self.last_report = now
            done = epoch - 1 + steps / steps_in_an_epoch(self.train, self.choice)
            message = f"epoch {epoch} of {self.choice.epochs}, loss {loss:.3f}"
            self.reporter.progress(done / self.choice.epochs, message)


def _passed(way: Way) -> dict[str, Any]:
    """A way as a result tells it."""
    stages = tuple(StageRecord(title=each.title, epochs=each.epochs, layers=each.layers) for each in way.stages)
    first_last = way.quantization.choice.first_last
    return {"stages": stages, "block_order": way.block_order, "first_last": first_last}


def _rank(evaluation: Evaluation) -> tuple[float, float]:
    """The larger, the better: accuracy first, then the loss."""
    return evaluation.accuracy, -_comparable(evaluation.loss)


def _comparable(loss: float) -> float:
    """A loss that can be compared and stored as JSON: what is not finite is worse than everything."""
    return loss if math.isfinite(loss) else sys.float_info.max


def _copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
