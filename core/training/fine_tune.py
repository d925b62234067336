"""Quantization-aware training of a calibrated network.

Every epoch: a shuffled pass over `train`, the accuracy on `select`, a checkpoint. The network ends as it was after the
epoch with the best accuracy on `select`, the calibrated one included; of equal accuracies the smaller loss wins. On the
CPU an interrupted and resumed training equals an unbroken one to the bit.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import InvalidInput
from core.jobs.specification import TrainingChoice
from core.jobs.task import Reporter
from core.tasks.classification import Evaluation, check_labels, evaluate
from core.training.augmentation import flip_and_crop
from core.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from core.training.distillation import MOST_KEPT, Teacher, distilled_loss
from core.training.divergence import bad_loss, collapsed
from core.training.optimiser import Optimiser
from core.training.result import EpochRecord, TrainingResult

EVALUATION_BATCH = 256
REPORT_EVERY_S = 0.5
CHECKPOINT_NAME = "epoch"


class Images(Protocol):
    """A split of a data set, as `core.data.dataset.Split` is."""

    labels: NDArray[np.int64]

    def __len__(self) -> int: ...

    def batches(
        self, batch_size: int, indices: NDArray[np.integer[Any]] | None = None
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """(x float32 N, C, H, W; y int64 N), all in order or those at `indices`, in that order."""
        ...


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
) -> TrainingResult:
    """Trains `model` in place, on its device. `teacher` is the float network; None, or no distillation: labels alone.

    A training that diverges is no exception: the result says why, and the model is as in its best epoch before.
    """
    training = _Training(model, teacher, train, select, choice, seed, checkpoint_directory, reporter)
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

    def __post_init__(self) -> None:
        if len(self.train) < 2:
            raise InvalidInput("training needs at least two images", hint="give more training images")
        self.device = next(self.model.parameters()).device
        self.steps = max(len(self.train) // self.choice.batch_size, 1)  # an incomplete last batch is left out
        self.recipe: dict[str, object] = {**self.choice.model_dump(mode="json"), "seed": self.seed}
        self.diverged: str | None = None
        self.last_report = 0.0

    def run(self) -> TrainingResult:
        self.optimiser = Optimiser(self.model, self.choice)
        self.state = self._resume() or self._start()
        resumed_from = len(self.state.history)
        if resumed_from < self.choice.epochs:
            self.teacher = self._make_teacher()
        for epoch in range(resumed_from + 1, self.choice.epochs + 1):
            if not self._epoch(epoch):
                break
        self.model.load_state_dict(self.state.best)
        self.model.eval()
        if self.diverged is None:
            self.diverged = collapsed(self._evaluate().predictions, self.select.labels)
        return TrainingResult(
            history=tuple(self.state.history),
            calibrated_select_accuracy=self.state.calibrated_select_accuracy,
            best_epoch=self.state.best_epoch,
            diverged=self.diverged,
            resumed_from_epoch=resumed_from,
        )

    def _resume(self) -> Checkpoint | None:
        state = load_checkpoint(self.directory, self.recipe)
        if state is None or state.model.keys() != self.model.state_dict().keys():
            return None
        self.model.load_state_dict(state.model)
        self.optimiser.set_state(state.optimiser)
        return state

    def _start(self) -> Checkpoint:
        evaluation = self._evaluate()
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

    def _make_teacher(self) -> Teacher | None:
        if self.teacher_network is None or not self.choice.distillation:
            return None
        teacher = Teacher(self.teacher_network)
        first = next(self.train.batches(1))[0]
        classes = teacher.scores(np.zeros(1, np.int64), self._on_device(first)).shape[1]
        if self.choice.augmentation == "none" and len(self.train) * classes <= MOST_KEPT:
            teacher.keep_all(self._on_device(x) for x, _ in self.train.batches(EVALUATION_BATCH))
        return teacher

    def _epoch(self, epoch: int) -> bool:
        """Whether training goes on. Random numbers follow from seed and epoch."""
        started = time.monotonic()
        chance = np.random.default_rng([self.seed, epoch])
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(chance.integers(2**62)))
            loss = self._pass(epoch, chance)
        if loss is None:
            return False
        evaluation = self._evaluate()
        record = EpochRecord(
            epoch=epoch, loss=loss, select_accuracy=evaluation.accuracy, seconds=time.monotonic() - started
        )
        self._keep(record, evaluation)
        return True

    def _pass(self, epoch: int, chance: np.random.Generator) -> float | None:
        """The mean loss over all batches; None when training diverged."""
        self.model.train()
        size = min(self.choice.batch_size, len(self.train))
        order = chance.permutation(len(self.train))[: self.steps * size]
        total = 0.0
        for step, (images, labels) in enumerate(self.train.batches(size, order)):
            x = self._on_device(flip_and_crop(images, chance) if self.choice.augmentation != "none" else images)
            loss, classes = self._step(x, labels, order[step * size : (step + 1) * size], epoch - 1 + step / self.steps)
            if not self.state.history and step == 0:
                self.state.first_loss = loss
            self.diverged = bad_loss(loss, self.state.first_loss, classes, epoch)
            if self.diverged is not None:
                return None
            total += loss
            self._report(epoch - 1 + (step + 1) / self.steps, f"epoch {epoch} of {self.choice.epochs}, loss {loss:.3f}")
        return total / self.steps

    def _step(self, x: Tensor, labels: NDArray[np.int64], indices: NDArray[np.int64], at: float) -> tuple[float, int]:
        """One update. `at`: epochs done so far. Returns the loss before it, and the number of classes."""
        logits = self.model(x)
        of_teacher = None if self.teacher is None else self.teacher.scores(indices, x)
        loss = distilled_loss(logits, torch.from_numpy(labels).to(self.device), of_teacher, self.choice)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step(at / self.choice.epochs)
        return loss.item(), logits.shape[1]

    def _keep(self, record: EpochRecord, evaluation: Evaluation) -> None:
        state = self.state
        state.history.append(record)
        loss = _comparable(evaluation.loss)
        if (evaluation.accuracy, -loss) > (state.best_accuracy, -state.best_loss):
            state.best, state.best_epoch = _copy_of(self.model), record.epoch
            state.best_accuracy, state.best_loss = evaluation.accuracy, loss
        state.model, state.optimiser = self.model.state_dict(), self.optimiser.state()
        save_checkpoint(self.directory, state, self.recipe)
        self.reporter.metric("loss", record.loss, record.epoch)
        self.reporter.metric("select_accuracy", record.select_accuracy, record.epoch)
        self.reporter.checkpoint(f"{CHECKPOINT_NAME}-{record.epoch}")

    def _evaluate(self) -> Evaluation:
        batches = self.select.batches(EVALUATION_BATCH)
        return evaluate(self.model, ((self._on_device(x), torch.from_numpy(y).to(self.device)) for x, y in batches))

    def _on_device(self, images: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(images).to(self.device)

    def _report(self, epochs_done: float, message: str) -> None:
        now = time.monotonic()
        if now - self.last_report >= REPORT_EVERY_S:
            self.last_report = now
            self.reporter.progress(epochs_done / self.choice.epochs, message)


def _comparable(loss: float) -> float:
    """A loss that can be compared and stored as JSON: what is not finite is worse than everything."""
    return loss if math.isfinite(loss) else sys.float_info.max


def _copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
