"""Activation ranges of every site at every width, and what inserted batch norms stand for, from training images."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from core.calibration.calibration import calibrate
from core.graph.insert_normalisation import insert_normalisation, output_statistics
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import Reporter, TaskOutput


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `calibration` (a `Calibration`), `samples`, `output_statistics` (of layers that get a batch norm)."""
    choice = inputs.specification.calibration
    samples = min(choice.samples, len(inputs.split("train")))

    def images() -> Iterator[Tensor]:
        return (images for images, _ in inputs.batches("train", samples))

    loaded, statistics = inputs.uploaded, {}
    if inputs.specification.quantizer.insert_normalisation:
        reporter.progress(0.0, f"outputs of layers without a batch norm over {samples} images")
        statistics = output_statistics(loaded, images())
        loaded = insert_normalisation(loaded, statistics)
    reporter.progress(0.1, f"ranges over {samples} images")
    calibration = calibrate(loaded, images(), observer=choice.observer)
    return TaskOutput(
        result={
            "calibration": calibration.model_dump(mode="json"),
            "samples": samples,
            "output_statistics": {name: each.model_dump(mode="json") for name, each in statistics.items()},
        }
    )
