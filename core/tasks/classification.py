"""Image classification: one score per class, cross entropy, the share of images whose largest score is right.

Labels are class numbers (N int64), or, where images came without, the float network's probabilities (N, classes
float32). With probabilities p, accuracy is agreement with the float network, and the loss is KL(p || q): the cross
entropy less the entropy of p, so its gradient and Hessian are those of the cross entropy, and the float network has 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from core.errors import InvalidInput


@dataclass(frozen=True)
class Evaluation:
    """A network on some images. `loss` is the mean cross entropy or KL in nats; it may be infinite or NaN.

    `accuracy` is the agreement with the float network where labels are its probabilities.
    """

    accuracy: float
    loss: float
    samples: int
    predictions: NDArray[np.int64]  # N
    logits: NDArray[np.float32]  # N, classes


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy or KL in nats; logits N, classes; labels N int64 or N, classes float32."""
    found = functional.cross_entropy(logits, labels)
    return found - _entropies(labels).mean() if labels.is_floating_point() else found


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy or KL of each image, N."""
    found = functional.cross_entropy(logits, labels, reduction="none")
    return found - _entropies(labels) if labels.is_floating_point() else found


def _entropies(probabilities: Tensor) -> Tensor:
    found: Tensor = torch.special.entr(probabilities)
    return found.sum(1)


def answers(labels: Tensor) -> Tensor:
    """The class of each image, N int64: its label, or the most probable."""
    return labels.argmax(1) if labels.is_floating_point() else labels


def check_labels(labels: NDArray[np.int64] | NDArray[np.float32], classes: int) -> None:
    """Raises InvalidInput where a label has no output."""
    if labels.ndim == 1 and len(labels) and int(labels.max()) >= classes:
        raise InvalidInput(
            f"the data set has class {int(labels.max())}, and the network has {classes} outputs, counted from 0",
            hint="use a data set with the classes that the network was trained for",
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; afterwards the model is in the mode it was in."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Evaluation:
    """`batches`: images N, C, H, W float32 and labels N int64 or N, classes float32, on the model's device."""
    outputs: list[Tensor] = []
    expected: list[Tensor] = []
    with evaluating(model):
        for images, labels in batches:
            outputs.append(model(images).float())
            expected.append(labels)
    if not outputs:
        raise InvalidInput("there is no image to evaluate on", hint="give the data set images in this split")
    logits, labels = torch.cat(outputs), torch.cat(expected)
    check_labels(labels.cpu().numpy(), logits.shape[1])
    predictions = logits.argmax(1)
    return Evaluation(
        accuracy=(predictions == answers(labels)).double().mean().item(),
        loss=losses(logits, labels).double().mean().item(),
        samples=len(labels),
        predictions=predictions.cpu().numpy(),
        logits=logits.cpu().numpy(),
    )
