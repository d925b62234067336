"""What integers compute beside the network in training, and what training computes beside itself.

Training adds in float32, in an order that a library chooses, so that it equals neither itself with another kernel nor
its own numbers in float64. Both stand beside the integers: what they miss, no export can reach.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from benchmarks import cifar
from benchmarks.deploy_integers import UNIFORM, Subject
from benchmarks.figures import Figure
from benchmarks.qat_cifar import COMMON, NETWORK
from benchmarks.qat_runs import Said, Study, config
from core.deploy.integer.executor import execute
from core.deploy.integer.program import IntegerProgram
from core.deploy.parity.counts import CodeCounts, Codes, OutputCounts
from core.deploy.parity.exact import ExactNetwork
from core.deploy.parity.records import SiteCodes
from core.deploy.parity.sides import Outcome, executor_side, training_side
from core.training.carry_over import Quantization
from core.training.fine_tune import fine_tune
from core.training.way import way_to

NEAR_GOAL, TOP1_GOAL = 0.999, 0.995
ALONE_IMAGES = 100


@dataclass
class Agreement:
    """One way of computing the network beside another."""

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


@dataclass
class Agreements:
    """`ours`: integers beside training. `kernel` and `exact`: training with another kernel and in float64 beside it.

    `to_exact`: integers beside float64.
    """

    ours: Agreement = field(default_factory=Agreement)
    kernel: Agreement = field(default_factory=Agreement)
    exact: Agreement = field(default_factory=Agreement)
    to_exact: Agreement = field(default_factory=Agreement)


def agreements(subject: Subject, model: fx.GraphModule) -> Agreements:
    """On all images of the subject. The executor stands for deploy mode, which it equals."""
    count = len(subject.images)
    trained, again = training_side(model, count), training_side(model, count)
    integers, exact = executor_side(subject.program(model)), ExactNetwork(model)
    found = Agreements()
    with torch.inference_mode():
        for images, labels in subject.batches():
            tensor = torch.from_numpy(images)
            wanted, ours, doubles = trained(tensor), integers(tensor), exact(tensor)
            found.ours.add(ours, wanted, labels)
            found.exact.add(doubles, wanted, labels)
            found.to_exact.add(ours, doubles, labels)
            with other_kernel():
                found.kernel.add(again(tensor), wanted, labels)
    return found


@contextmanager
def other_kernel() -> Iterator[None]:
    """Convolutions without oneDNN: the same sums in another order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.13 warns of a GPU that it does not have
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def against_training(subject: Subject, model: fx.GraphModule, name: str) -> list[Figure]:
    """The goal is asked of what layers read; steps of 16-bit sums are so small that the order of adding moves them."""
    found = agreements(subject, model)
    near, same = found.ours.read >= NEAR_GOAL, found.ours.top1 >= TOP1_GOAL
    return [
        Figure(f"{name}: codes that layers read", _beside(found, "read", 3), f">= {NEAR_GOAL:.1%}", near),
        Figure(f"{name}: codes of 16-bit sums", _beside(found, "summed", 1), "-", met=True),
        Figure(f"{name}: same top-1", _beside(found, "top1", 1), f">= {TOP1_GOAL:.1%}", same),
    ]


def _beside(found: Agreements, what: str, places: int) -> str:
    ours, kernel, exact, to_exact = (
        f"{getattr(one, what):.{places}%}" for one in (found.ours, found.kernel, found.exact, found.to_exact)
    )
    return f"{ours} (training itself: other kernel {kernel}, float64 {exact}), to float64 {to_exact}"


def every_method(subject: Subject, bits: int) -> list[Figure]:
    """The least agreement among the uniform methods, and their means."""
    found = {method: agreements(subject, subject.quantized(method, bits)) for method in UNIFORM}
    figures = []
    for what, title, goal, places in (
        ("read", "codes that layers read", NEAR_GOAL, 3),
        ("top1", "same top-1", TOP1_GOAL, 1),
    ):
        ours = {method: float(getattr(one.ours, what)) for method, one in found.items()}
        worst, below = min(ours, key=lambda method: ours[method]), [name for name in ours if ours[name] < goal]
        itself = sum(min(getattr(one.kernel, what), getattr(one.exact, what)) < goal for one in found.values())
        said = (
            f"{worst} {_beside(found[worst], what, places)}; {len(below)} of {len(found)} below"
            f" ({' '.join(below) or 'none'}), training itself {itself}"
        )
        figures.append(
            Figure(f"{subject.name}, least of all methods {bits}/{bits}: {title}", said, f">= {goal:.1%}", not below)
        )
        parts = ("ours", "kernel", "exact", "to_exact")
        means = {part: float(np.mean([getattr(getattr(one, part), what) for one in found.values()])) for part in parts}
        said = (
            f"{means['ours']:.{places}%} (training itself: other kernel {means['kernel']:.{places}%},"
            f" float64 {means['exact']:.{places}%}), to float64 {means['to_exact']:.{places}%}"
        )
        figures.append(Figure(f"{subject.name}, mean of all methods {bits}/{bits}: {title}", said, "-", met=True))
    return figures


def layers_alone(subject: Subject, method: str, bits: int) -> list[Figure]:
    """Every layer is fed with training's own codes, so that nothing adds up: shares of equal codes."""
    model = subject.quantized(method, bits)
    program, images = subject.program(model), torch.from_numpy(subject.images[:ALONE_IMAGES])
    with torch.inference_mode():
        trained = training_side(model, len(images))(images).codes
    exact = ExactNetwork(model)(images, trained).codes
    pairs = {"integers": (fed(program, trained), exact), "training": (trained, exact)}
    counts = {}
    for name, (one, other) in pairs.items():
        found = CodeCounts()
        found.add(one, other)
        counts[name] = found.summaries()
    figures = []
    for kind, title in (("codes", "codes that layers read"), ("operand_codes", "codes of 16-bit sums")):
        ours, theirs = counts["integers"][kind], counts["training"][kind]
        name = f"{subject.name}, {method} {bits}/{bits}: {title}, each layer alone"
        figures.append(Figure(name, _equal(ours, theirs), "-", met=True))
    return figures


def _share(counts: SiteCodes | None) -> float:
    return 1.0 if counts is None else counts.equal


def _equal(ours: SiteCodes | None, theirs: SiteCodes | None) -> str:
    return f"as in float64: integers {_share(ours):.5%}, training {_share(theirs):.5%}"


def fed(program: IntegerProgram, codes: Mapping[str, Codes]) -> dict[str, Codes]:
    """What the integers make of every site when all that is read is `codes`."""
    sites = {tensor: site for site, tensor in program.sites.items()}
    values = {program.input: torch.from_numpy(np.ascontiguousarray(codes[sites[program.input]]))}
    found = {}
    for operation in program.operations:
        result = execute(operation, [values[name] for name in operation.inputs])
        site = sites.get(operation.output)
        if site is not None:
            found[site] = result.numpy()
            result = torch.from_numpy(np.ascontiguousarray(codes[site]))
        values[operation.output] = result
    return found


def trained(folder: Path, work: Path, method: str, bits: int) -> fx.GraphModule:
    """ResNet-20 after the common recipe of `benchmarks.qat_cifar`, whose checkpoints serve where `work` has them."""
    loaded, data = cifar.network(folder), cifar.dataset(folder)
    study = Study(loaded, data, cifar.calibration_of(loaded, data.splits["train"]))
    run = config(NETWORK, method, (bits, bits), recipe="common", training=COMMON, seed=0)
    quantization, policy = Quantization(loaded, study.calibration, run.quantizer()), study.policy(run)
    model = quantization.network(policy)
    name = run.name.removesuffix(".json")
    fine_tune(
        model,
        loaded.module,
        data.splits["train"],
        data.splits["select"],
        choice=run.choice(),
        seed=run.seed,
        checkpoint_directory=work / name,
        reporter=Said(name),
        way=way_to(policy, run.choice(), quantization),
    )
    model.eval()
    return model
