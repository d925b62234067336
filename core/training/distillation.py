"""The training loss: cross entropy with the labels, and with the float network's softened scores.

Hinton et al., "Distilling the Knowledge in a Neural Network", https://arxiv.org/abs/1503.02531, section 2:

    loss = (1 - a) CE(z, label) + a T^2 KL(softmax(t / T) || softmax(z / T))

z are the scores of the network in training, t those of the float network; a and T come from the recipe.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from core.jobs.specification import TrainingChoice
from core.tasks import classification
from core.training.batches import Images, batches_in_order

MOST_KEPT = 2**26  # scores, 256 MB


def distilled_loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, choice: TrainingChoice) -> Tensor:
    """A scalar, in nats. Without a teacher it is the cross entropy alone."""
    share, temperature = choice.distillation_share, choice.temperature
    hard = classification.loss(logits, labels)
    if teacher_logits is None:
        return hard
    soft = functional.kl_div(
        functional.log_softmax(logits / temperature, 1),
        functional.log_softmax(teacher_logits / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - share) * hard + share * temperature**2 * soft


class Teacher:
    """The float network's scores of training images: kept where every epoch shows the same images, else recomputed."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network.eval()
        self._kept: Tensor | None = None

    @torch.no_grad()
    def scores(self, indices: NDArray[np.int64], x: Tensor) -> Tensor:
        """N, classes, for images `x` that stand at `indices` of the training split."""
        if self._kept is not None:
            return self._kept[torch.from_numpy(indices).to(x.device)]
        scores: Tensor = self._network(x)
        return scores

    @torch.no_grad()
    def keep_all(self, batches: Iterator[Tensor]) -> None:
        """Compute the scores of every image, in order, beforehand."""
        self._kept = torch.cat([self._network(x) for x in batches])


def make_teacher(network: nn.Module, train: Images, choice: TrainingChoice, device: torch.device) -> Teacher:
    """A teacher that keeps its scores of `train`, where images stay as they are and the scores fit into memory."""
    teacher = Teacher(network)
    first = torch.from_numpy(next(train.batches(1))[0]).to(device)
    classes = teacher.scores(np.zeros(1, np.int64), first).shape[1]
    if choice.augmentation == "none" and len(train) * classes <= MOST_KEPT:
        teacher.keep_all(x for x, _ in batches_in_order(train, device))
    return teacher
