"""Image classification: one score per class, cross entropy, the share of images whose largest score is right."""

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
    """A network on some labelled images. `loss` is the mean cross entropy in nats; it may be infinite or NaN."""

    accuracy: float
    loss: float
    samples: int
    predictions: NDArray[np.int64]  # N
    logits: NDArray[np.float32]  # N, classes


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy in nats; logits N, classes; labels N int64."""
    return functional.cross_entropy(logits, labels)


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of each image, N."""
    return functional.cross_entropy(logits, labels, reduction="none")


def check_labels(labels: NDArray[np.int64], classes: int) -> None:
    """Raises InvalidInput where a label has no output."""
    if len(labels) and int(labels.max()) >= classes:
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
    """`batches`: images N, C, H, W float32 and labels N int64, on the model's device."""
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
        accuracy=(predictions == labels).double().mean().item(),
        loss=losses(logits, labels).double().mean().item(),
        samples=len(labels),
        predictions=predictions.cpu().numpy(),
        logits=logits.cpu().numpy(),
    )
