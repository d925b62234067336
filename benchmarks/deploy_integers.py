"""The networks that are compared, and what integers compute beside deploy mode and compiled C."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from benchmarks import cifar, mobilenet_like
from benchmarks.figures import Figure
from benchmarks.methods import finest
from bitfront.example import example_dataset_path, example_model_path, example_preprocessing
from core.calibration.calibration import Calibration, calibrate
from core.calibration.quantize import quantize
from core.data.dataset import DatasetFile, open_dataset
from core.deploy.c_source.write import FLAGS, write_c_source
from core.deploy.integer.build import build_program
from core.deploy.integer.deploy_mode import DeployMode
from core.deploy.integer.executor import IntegerExecutor
from core.deploy.integer.program import IntegerProgram
from core.deploy.parity.compiled import CompiledNetwork
from core.graph.architectures.mobilenet_v2 import MobileNetV2
from core.graph.build_inventory import build_inventory
from core.graph.load import load_model
from core.graph.loaded_model import LoadedModel
from core.quantizers.registry import METHODS
from core.search.uniform import uniform_policy

UNIFORM = sorted(name for name, method in METHODS.items() if method.card.uniform)
WIDTHS = range(1, 9)
EQUALITY_IMAGES, BATCH, CALIBRATION_IMAGES, REPORT_IMAGES = 16, 100, 512, 500
HEAP = frozenset({"malloc", "calloc", "realloc", "free", "aligned_alloc", "alloca"})


@dataclass(frozen=True)
class Subject:
    """A network ready to be quantized, and the images it is compared on: N, C, H, W, with labels."""

    name: str
    loaded: LoadedModel
    calibration: Calibration
    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def quantized(self, method: str, bits: int) -> fx.GraphModule:
        """With the width everywhere, first and last layer too, calibrated and not trained."""
        policy = uniform_policy(self.loaded.inventory.layers, bits, first_last="searched")
        return quantize(self.loaded, policy, self.calibration, finest(method))

    def program(self, model: fx.GraphModule) -> IntegerProgram:
        """Its integers."""
        return build_program(model, self.loaded.inventory.input_shape)

    def batches(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """All images in order."""
        for start in range(0, len(self.images), BATCH):
            yield self.images[start : start + BATCH], self.labels[start : start + BATCH]


def with_measured_norms(network: nn.Module, images: Tensor) -> nn.Module:
    """Batch norms get the images' statistics: a network of random weights whose tensors have sensible ranges."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the average over all batches
    network.train()
    with torch.inference_mode():
        network(images)
    return network.eval()


def resnet20(folder: Path) -> Subject:
    """The trained ResNet-20 and the 500 report images of CIFAR-10."""
    loaded, data = cifar.network(folder), cifar.dataset(folder)
    images, labels = next(data.splits["report"].batches(len(data.splits["report"])))
    return Subject("ResNet-20", loaded, cifar.calibration_of(loaded, data.splits["train"]), images, labels)


def mobilenet_v2(folder: Path) -> Subject:
    """MobileNetV2 of half width for 32 x 32 images: inverted residuals, ReLU6, signed sums. Its weights are random."""
    torch.manual_seed(0)
    network = MobileNetV2(0.5, classes=10)
    network.features[0][0].stride = (1, 1)  # type: ignore[index,union-attr]
    data = cifar.dataset(folder)
    images = next(data.splits["train"].batches(256))[0]
    traced = fx.symbolic_trace(with_measured_norms(network, torch.from_numpy(images)))
    loaded = LoadedModel(traced, build_inventory(traced, (3, 32, 32), "random weights"))
    report, labels = next(data.splits["report"].batches(BATCH))
    return Subject("MobileNetV2, 32 x 32", loaded, calibrate(loaded, [torch.from_numpy(images)]), report, labels)


def small_mobilenet_v2(data: Path) -> Subject:
    """A trained MobileNetV2 for Fashion-MNIST, and 500 of its test images; `data` holds `fashion_mnist`."""
    loaded = mobilenet_like.mobilenet_like()
    calibration = calibrate(loaded, [mobilenet_like.images(data, "train")[0][:CALIBRATION_IMAGES]])
    images, labels = (each[:REPORT_IMAGES].numpy() for each in mobilenet_like.images(data, "test"))
    return Subject("MobileNetV2-like, 28 x 28", loaded, calibration, images, labels)


def example() -> Subject:
    """The example's network and its report images."""
    data = open_dataset([DatasetFile(example_dataset_path())], example_preprocessing(), seed=0)
    loaded = load_model(example_model_path(), None)
    train, report = data.splits["train"], data.splits["report"]
    calibration = calibrate(loaded, [torch.from_numpy(images) for images, _ in train.batches(256)])
    images, labels = next(report.batches(len(report)))
    return Subject("example", loaded, calibration, images, labels)


def equality(subject: Subject) -> Figure:
    """Every uniform method at every width it has: scores of the executor and of deploy mode, to the bit."""
    cases, unequal = 0, []
    for method in UNIFORM:
        card = METHODS[method].card
        for bits in sorted({*WIDTHS} & {*card.weight_bits} & {*card.activation_bits}):
            program = subject.program(subject.quantized(method, bits))
            images = subject.images[:EQUALITY_IMAGES]
            cases += 1
            if not np.array_equal(IntegerExecutor(program)(images), DeployMode(program)(images)):
                unequal.append(f"{method} {bits}")
    said = f"{cases - len(unequal)} of {cases} {' '.join(unequal)}".strip()
    return Figure(f"{subject.name}: executor equals deploy mode", said, "all to the bit", not unequal)


def compiled(subject: Subject, bits: int) -> Figure:
    """The C source on all report images; which functions of the library the network itself calls."""
    program = subject.program(subject.quantized("lsq", bits))
    executor, wrong = IntegerExecutor(program), 0
    with tempfile.TemporaryDirectory() as folder:
        source = write_c_source(program, Path(folder))
        network = CompiledNetwork(source, Path(folder))
        for images, _ in subject.batches():
            codes = program.input_grid.codes(images)
            expected = executor.run(codes)[program.output].reshape(len(codes), -1)
            wrong += int((network(codes) != expected).any(1).sum())
        heap = _called(Path(folder)) & HEAP
    count = len(subject.images)
    said = f"{count - wrong} of {count}, {source.arena_bytes / 1e3:.0f} kB static, heap {'yes' if heap else 'no'}"
    return Figure(f"{subject.name} {bits}/{bits}: C equals executor", said, "all images, no heap", not (wrong or heap))


def _called(folder: Path) -> set[str]:
    """Undefined symbols of the network alone, without the program that feeds it."""
    compiler, lister = shutil.which("cc"), shutil.which("nm")
    if compiler is None or lister is None:
        raise RuntimeError("needs a C compiler and nm")
    subprocess.run([compiler, *FLAGS, "-c", "-o", folder / "network.o", folder / "network.c"], check=True)
    listed = subprocess.run([lister, "-u", folder / "network.o"], check=True, capture_output=True, text=True)
    return {line.split()[-1] for line in listed.stdout.splitlines()}
