"""What rounding to the nearest, and so that outputs change least, brings ResNet-20 on CIFAR-10: accuracy and time.

python -m benchmarks.rounding [--bits 4/8 4/4] [--roundings gptq adaround] [--iterations N]

512 training images, first and last layer at 8 bits, weights per channel, one thread. `left` is the squared error of
the scores on the test images over that of rounding to the nearest. Goals: W4A8 within 0.3 points of the float network
and W4A4 within 2.5 with the best rounding, AdaRound at W4A8 in under 5 minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from benchmarks.cifar import CALIBRATION_IMAGES, add_data_argument, calibration_of, dataset, folder, network, tensors
from core.calibration.calibration import Calibration
from core.calibration.quantize import quantize
from core.calibration.rounding.registry import ROUNDINGS, rounding_by_id
from core.calibration.rounding.task import RoundingTask
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import PostTrainingChoice, QuantizerChoice
from core.search.uniform import uniform_policy
from core.tasks.classification import Evaluation, evaluate

GOALS = {"4/8": 0.003, "4/4": 0.025}  # below the float network
ADAROUND_S = 300.0


class _Quiet:
    def progress(self, fraction: float, message: str = "") -> None:
        """Nothing."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Nothing."""

    def checkpoint(self, name: str) -> None:
        """Nothing."""


class Bench:
    """The network, its images and its calibration."""

    def __init__(self, at: Path) -> None:
        self.loaded: LoadedModel = network(at)
        splits = dataset(at).splits
        self.images: list[Tensor] = [images for images, _ in tensors(splits["train"], CALIBRATION_IMAGES)]
        self.report = list(tensors(splits["report"]))
        self.calibration: Calibration = calibration_of(self.loaded, splits["train"])
        self.exact = evaluate(self.loaded.module, self.report)

    def run(self, bits: str, choice: PostTrainingChoice) -> tuple[Evaluation, float]:
        """The rounded network on the test images, and the seconds that rounding took."""
        weights, activations = (int(each) for each in bits.split("/"))
        policy = uniform_policy(self.loaded.inventory.layers, weights, activation_bits=activations)
        model = quantize(self.loaded, policy, self.calibration, QuantizerChoice())
        started = time.perf_counter()
        with TemporaryDirectory() as directory:
            task = RoundingTask(
                quantized=model,
                exact=self.loaded.module,
                inventory=self.loaded.inventory,
                images=lambda: iter(self.images),
                choice=choice,
                seed=0,
                checkpoint_directory=Path(directory),
                reporter=_Quiet(),
            )
            rounding_by_id(choice.rounding).apply(task)
        return evaluate(model, self.report), time.perf_counter() - started

    def error(self, found: Evaluation) -> float:
        """Mean squared error of the scores."""
        return float(np.square(found.logits - self.exact.logits).mean())


def main() -> int:
    """Status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--bits", nargs="+", default=["4/8", "4/4"], help="weights/activations")
    parser.add_argument("--roundings", nargs="+", default=list(ROUNDINGS), choices=list(ROUNDINGS))
    parser.add_argument("--iterations", type=int, default=None, help="of learned rounding (default: its own)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(folder(parser, arguments.data))
    print(f"float: {bench.exact.accuracy:.3f}, loss {bench.exact.loss:.3f}, {bench.exact.samples} images")
    missed: list[str] = []
    for bits in arguments.bits:
        best, of_nearest = 0.0, bench.error(bench.run(bits, PostTrainingChoice())[0])
        for name in arguments.roundings:
            found, seconds = bench.run(bits, PostTrainingChoice(rounding=name, iterations=arguments.iterations))
            left = bench.error(found) / of_nearest
            print(f"{bits} {name:9} {found.accuracy:.3f}  loss {found.loss:.3f}  left {left:.2f}  {seconds:5.0f} s")
            best = max(best, found.accuracy)
            if name == "adaround" and bits == "4/8" and seconds > ADAROUND_S:
                missed.append(f"AdaRound took {seconds:.0f} s of {ADAROUND_S:.0f}")
        if bits in GOALS and best < bench.exact.accuracy - GOALS[bits] - 1e-9:
            missed.append(f"{bits}: {best:.3f} is more than {100 * GOALS[bits]:.1f} points below the float network")
    print("\n".join(missed) or "goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
