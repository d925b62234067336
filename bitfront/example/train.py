"""Trains the example's network and writes its three files beside this script: `python -m bitfront.example.train`.

The images are the 1,797 scanned digits that ship with scikit-learn (`sklearn.datasets.load_digits`, BSD-3-Clause): the
test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, licence CC BY 4.0. Pixels are whole numbers from 0 to 16 on 8 x 8; they are kept as
they are, as uint8, only rearranged to NHWC and divided into a training and a test part.

`digits.npz` (train_x, train_y, test_x, test_y), `digits_resnet.onnx` and `preprocessing.json` are committed, so nobody
needs to run this; whoever does needs scikit-learn and gets the same digits and, on the same torch build, the same
weights.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from bitfront.example import example_dataset_path, example_model_path, example_preprocessing_path
from bitfront.example.network import CLASSES, DigitsResNet
from bitfront.example.onnx_file import write_onnx

SEED = 0
TEST_IMAGES = 897  # half of all: one image is 0.11 points, so that points of the front can be told apart
SCALE = 16.0  # the largest pixel value, so that the network's input lies in [0, 1]
EPOCHS = 60
BATCH = 64
PEAK_RATE = 0.05

Digits = dict[str, NDArray[np.uint8]]


def split_digits() -> Digits:
    """900 training and 897 test images, classes in proportion; images are N, 8, 8, 1."""
    digits = load_digits()
    images = digits.images.astype(np.uint8)[..., np.newaxis]
    labels = digits.target.astype(np.uint8)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=TEST_IMAGES, random_state=SEED, stratify=labels
    )
    return {"train_x": train_x, "train_y": train_y, "test_x": test_x, "test_y": test_y}


def as_input(images: NDArray[np.uint8]) -> Tensor:
    """N, 8, 8, 1 pixels -> N, 1, 8, 8 in [0, 1]."""
    return torch.from_numpy(images.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(SCALE))


def _shifted(x: Tensor, generator: torch.Generator) -> Tensor:
    """The batch moved by up to one pixel in each direction, filled with background."""
    down, right = (int(torch.randint(0, 3, (), generator=generator)) for _ in range(2))
    return nn.functional.pad(x, (1, 1, 1, 1))[..., down : down + 8, right : right + 8]


def train(x: Tensor, y: Tensor, seed: int = SEED, epochs: int = EPOCHS) -> DigitsResNet:
    """Stochastic gradient descent with one learning-rate cycle."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = DigitsResNet()
    optimizer = torch.optim.SGD(network.parameters(), PEAK_RATE, momentum=0.9, weight_decay=1e-4, nesterov=True)
    steps = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=epochs * steps)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for indices in order[: steps * BATCH].view(steps, BATCH):
            loss = nn.functional.cross_entropy(network(_shifted(x[indices], generator)), y[indices])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of `x` whose largest logit is `y`."""
    return float((network(x).argmax(1) == y).double().mean())


def main() -> None:
    """Writes the three files and prints the accuracy."""
    torch.set_num_threads(1)  # sums in one order, whatever the machine
    digits = split_digits()
    np.savez_compressed(example_dataset_path(), **digits)  # type: ignore[arg-type]
    preprocessing = {"scale": SCALE, "channel_order": "gray"}
    example_preprocessing_path().write_text(json.dumps(preprocessing, indent=2) + "\n")
    network = train(as_input(digits["train_x"]), torch.from_numpy(digits["train_y"]).long())
    write_onnx(network, example_model_path(), (1, 8, 8), CLASSES)
    correct = accuracy(network, as_input(digits["test_x"]), torch.from_numpy(digits["test_y"]).long())
    print(f"accuracy on the {TEST_IMAGES} test images: {correct:.4f}")


if __name__ == "__main__":
    main()
