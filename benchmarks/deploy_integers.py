"""What integers compute, beside deploy mode, the network in training, and compiled C."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from benchmarks import cifar
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
from core.deploy.parity.counts import CodeCounts, OutputCounts
from core.deploy.parity.sides import Outcome, executor_side, training_side
from core.graph.architectures.mobilenet_v2 import MobileNetV2
from core.graph.build_inventory import build_inventory
from core.graph.load import load_model
from core.graph.loaded_model import LoadedModel
from core.quantizers.registry import METHODS
from core.search.uniform import uniform_policy

UNIFORM = sorted(name for name, method in METHODS.items() if method.card.uniform)
WIDTHS = range(1, 9)
EQUALITY_IMAGES, BATCH = 16, 100
NEAR_GOAL, TOP1_GOAL = 0.999, 0.995
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


@dataclass
class Agreement:
    """One way of computing the network beside training."""

    codes: CodeCounts = field(default_factory=CodeCounts)
    scores: OutputCounts = field(default_factory=OutputCounts)

    def add(self, found: Outcome, wanted: Outcome, labels: NDArray[np.int64]) -> None:
        """One batch."""
        self.codes.add(found.codes, wanted.codes)
        self.scores.add(found.scores, wanted.scores, labels)

    @property
    def top1(self) -> float:
        """Share of equal predictions."""
        return self.scores.agreeing / self.scores.predictions

    @property
    def read(self) -> float:
        """Share within one step of the codes that layers read."""
        return self._near("codes")

    @property
    def summed(self) -> float:
        """The same of the operands of sums."""
        return self._near("operand_codes")

    def _near(self, kind: str) -> float:
        found = self.codes.summaries()[kind]
        return 1.0 if found is None else found.within_one_step


def agreements(subject: Subject, method: str, bits: int) -> tuple[Agreement, Agreement]:
    """Deploy mode (by the executor, which equals it) against training, and training with another kernel against it."""
    model = subject.quantized(method, bits)
    count = len(subject.images)
    trained, again = training_side(model, count), training_side(model, count)
    integers = executor_side(subject.program(model))
    ours, itself = Agreement(), Agreement()
    with torch.inference_mode():
        for images, labels in subject.batches():
            tensor = torch.from_numpy(images)
            wanted = trained(tensor)
            ours.add(integers(tensor), wanted, labels)
            with other_kernel():
                itself.add(again(tensor), wanted, labels)
    return ours, itself


@contextmanager
def other_kernel() -> Iterator[None]:
    """Convolutions without oneDNN: the same sums in another order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.13 warns of a GPU that it does not have
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def against_training(subject: Subject, method: str, bits: int) -> list[Figure]:
    """The goal is asked of what layers read; steps of 16-bit sums are so small that the order of adding moves them."""
    ours, itself = agreements(subject, method, bits)
    name, same = f"{subject.name}, {method} {bits}/{bits}", f"{subject.name}, {method} {bits}/{bits}: same top-1"
    return [
        Figure(
            f"{name}: codes that layers read",
            _beside(ours.read, itself.read, 3),
            f">= {NEAR_GOAL:.1%}",
            ours.read >= NEAR_GOAL,
        ),
        Figure(f"{name}: codes of 16-bit sums", _beside(ours.summed, itself.summed, 1), "-", met=True),
        Figure(same, _beside(ours.top1, itself.top1, 1), f">= {TOP1_GOAL:.1%}", ours.top1 >= TOP1_GOAL),
    ]


def every_method(subject: Subject, bits: int) -> list[Figure]:
    """The least agreement among the uniform methods."""
    found = {method: agreements(subject, method, bits) for method in UNIFORM}
    figures = []
    for what, goal, places, of in (
        ("codes that layers read", NEAR_GOAL, 3, lambda one: one.read),
        ("same top-1", TOP1_GOAL, 1, lambda one: one.top1),
    ):
        worst = min(found, key=lambda method: of(found[method][0]))
        ours, itself = (of(one) for one in found[worst])
        missed = sum(of(pair[0]) < goal for pair in found.values())
        said = f"{worst} {_beside(ours, itself, places)}, {missed} of {len(found)} below"
        figures.append(
            Figure(f"{subject.name}, least of all methods {bits}/{bits}: {what}", said, f">= {goal:.1%}", not missed)
        )
    return figures


def _beside(share: float, itself: float, places: int) -> str:
    """With what training reaches against itself, when another kernel sums in another order."""
    return f"{share:.{places}%} (training itself {itself:.{places}%})"


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
