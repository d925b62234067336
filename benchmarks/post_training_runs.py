"""Runs of post-training quantization whose results are kept: one file a run, and none computed twice.

A run is a network at a pair of widths, with what is done to it without training. Its file holds the configuration, the
versions, the seconds, and the class that the network said for every image it was measured on.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor, fx, nn

from benchmarks import cifar, imagenet
from benchmarks.qat_runs import RESULTS, write
from core.calibration.calibration import calibrate
from core.calibration.post_training import post_train
from core.calibration.preparation import measure_for_preparation, prepare
from core.calibration.preset import best_without_training
from core.calibration.quantize import quantize
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import PostTrainingChoice, QuantizerChoice
from core.search.uniform import uniform_policy

FOLDER = RESULTS / "post_training"
BATCH = 64
PHOTOS = 150  # of a half, to calibrate with
Images = NDArray[np.float32]


class Configuration(BaseModel):
    """What must be equal for a result to be the same. `treatment` holds the fields of PostTrainingChoice that are not
    left at their defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    name: str
    weight_bits: int
    activation_bits: int
    method: str = "uniform"
    settings: dict[str, Any] = {}
    observer: str = "mse"
    first_last: str = "8/8"
    samples: int = 512
    treatment: dict[str, Any] = {}
    seed: int = 0

    @property
    def file(self) -> str:
        """Of the result."""
        return f"{self.network}-{self.weight_bits}w{self.activation_bits}a-{self.name}-seed{self.seed}.json"

    def quantizer(self) -> QuantizerChoice:
        """The method and its conventions."""
        return QuantizerChoice.model_validate(
            {"method": self.method, "settings": self.settings, "first_last": self.first_last}
        )

    def choice(self) -> PostTrainingChoice:
        """What is done without training."""
        return PostTrainingChoice.model_validate({"samples": self.samples} | self.treatment)


class Result(BaseModel):
    """One run. `predictions`: the class said for each image, in the subject's order. `seconds` without measuring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    configuration: Configuration
    versions: dict[str, str]
    seconds: float
    accuracy: float
    agreement: float
    predictions: tuple[int, ...]


@dataclass(frozen=True)
class Fold:
    """Images to calibrate with, images for the preset to choose on, and the positions, in the subject's order, of those
    to measure on. None are in two of these."""

    calibration: Images
    select: Images
    measured: NDArray[np.int64]


@dataclass
class Subject:
    """A float network, the images it is measured on, and folds that measure each of them once."""

    name: str
    loaded: LoadedModel
    images: Images
    labels: NDArray[np.int64]
    folds: Sequence[Fold]
    exact: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.exact = self.said(self.loaded.module, np.arange(len(self.labels)))

    def said(self, network: nn.Module, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The classes that the network gives the images at these positions."""
        network.eval()
        with torch.inference_mode():
            parts = [network(batch).argmax(1) for batch in _batches(self.images[positions])]
        return torch.cat(parts).numpy()

    def run(self, configuration: Configuration, work: Path) -> Result:
        """All folds."""
        predictions = np.empty_like(self.labels)
        seconds = 0.0
        for number, fold in enumerate(self.folds):
            started = time.process_time()
            directory = work / configuration.file.removesuffix(".json") / f"fold{number}"
            directory.mkdir(parents=True, exist_ok=True)
            network = quantized(self.loaded, fold, configuration, directory)
            seconds += time.process_time() - started
            predictions[fold.measured] = self.said(network, fold.measured)
        return Result(
            configuration=configuration,
            versions={"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
            seconds=round(seconds, 1),
            accuracy=float((predictions == self.labels).mean()),
            agreement=float((predictions == self.exact).mean()),
            predictions=tuple(predictions.tolist()),
        )


def quantized(float_network: LoadedModel, fold: Fold, configuration: Configuration, directory: Path) -> nn.Module:
    """Prepared, calibrated, rounded and corrected, as a job does it."""
    choice, quantizer = configuration.choice(), configuration.quantizer()

    def images() -> Iterator[Tensor]:
        return _batches(fold.calibration[: configuration.samples])

    loaded = prepare(float_network, choice, measure_for_preparation(float_network, choice, images))
    policy = uniform_policy(
        loaded.inventory.layers,
        configuration.weight_bits,
        activation_bits=configuration.activation_bits,
        first_last=quantizer.first_last,
        residual_bits=quantizer.residual_bits,
    )

    def start(observer: str) -> fx.GraphModule:
        return quantize(loaded, policy, calibrate(loaded, images(), observer=observer), quantizer)

    if choice.preset == "best":
        network, _ = best_without_training(
            lambda treatment: start(treatment.observer),
            loaded,
            images,
            lambda: _batches(fold.select),
            choice,
            seed=configuration.seed,
            checkpoint_directory=directory,
            reporter=Silent(),
        )
        return network
    network = start(configuration.observer)
    post_train(
        network, loaded, images, choice, seed=configuration.seed, checkpoint_directory=directory, reporter=Silent()
    )
    return network


def _batches(images: Images) -> Iterator[Tensor]:
    return iter(torch.from_numpy(np.ascontiguousarray(images)).split(BATCH))


class Silent:
    """Says nothing."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Nothing."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Nothing."""

    def checkpoint(self, name: str) -> None:
        """Nothing: it lies where it should."""


def resnet20(data: Path) -> Subject:
    """512 training images to calibrate with, the split `select` to choose on, 500 test images to measure on."""
    at = data / "cifar10"
    dataset = cifar.dataset(at)
    report = dataset.splits["report"]
    images = np.concatenate([images for images, _ in report.batches(BATCH)])
    calibration = np.concatenate(
        [batch.numpy() for batch, _ in cifar.tensors(dataset.splits["train"], cifar.CALIBRATION_IMAGES)]
    )
    select = np.concatenate([batch for batch, _ in dataset.splits["select"].batches(BATCH)])
    fold = Fold(calibration, select, np.arange(len(images)))
    return Subject("resnet20", cifar.network(at), images, report.labels, [fold])


def squeezenet(data: Path) -> Subject:
    """Each half of the photos measured with 150 of the other half to calibrate with, and 100 to choose on."""
    at = data / "imagenet"
    images, labels = imagenet.photos(at)
    one, other = imagenet.halves(len(images))
    folds = [
        Fold(images[own[:PHOTOS]], images[own[PHOTOS:]], measured) for own, measured in ((one, other), (other, one))
    ]
    return Subject("squeezenet1_1", imagenet.network(at), images, labels, folds)


SUBJECTS: dict[str, Callable[[Path], Subject]] = {"resnet20": resnet20, "squeezenet1_1": squeezenet}


def kept(configuration: Configuration, folder: Path = FOLDER) -> Result | None:
    """The result of exactly this configuration."""
    path = folder / configuration.file
    if not path.exists():
        return None
    found = Result.model_validate_json(path.read_bytes())
    return found if found.configuration == configuration else None


def keep(result: Result, folder: Path = FOLDER) -> None:
    """All or nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / result.configuration.file, result)


class Exact(BaseModel):
    """The float network of a subject, and the right classes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    labels: tuple[int, ...]
    predictions: tuple[int, ...]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Of each image."""
        return np.array(self.predictions) == np.array(self.labels)


def exact_kept(network: str, folder: Path = FOLDER) -> Exact | None:
    """The float network's answers."""
    path = folder / f"{network}-float.json"
    return Exact.model_validate_json(path.read_bytes()) if path.exists() else None


def keep_exact(subject: Subject, folder: Path = FOLDER) -> None:
    """Of the float network."""
    folder.mkdir(parents=True, exist_ok=True)
    exact = Exact(
        network=subject.name, labels=tuple(subject.labels.tolist()), predictions=tuple(subject.exact.tolist())
    )
    write(folder / f"{subject.name}-float.json", exact)
