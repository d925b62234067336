"""Activation ranges of every site at every width, from training images.

Where the network that is quantized is not the uploaded one: also what its preparation rests on, and what inserted batch
norms stand for.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from core.calibration import preset
from core.calibration.calibration import calibrate
from core.calibration.preparation import measure_for_preparation, prepare, prepares
from core.graph.insert_normalisation import insert_normalisation, output_statistics
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import Reporter, TaskOutput


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `calibration` (a `Calibration`), `calibrations` (by observer, those that the preset tries as well),
    `samples`, `preparation` (`PreparationMeasurements` or null), `output_statistics` (of layers that get a batch norm).
    """
    specification = inputs.specification
    choice = specification.calibration
    samples = min(choice.samples, len(inputs.split("train")))

    def images() -> Iterator[Tensor]:
        return (images for images, _ in inputs.batches("train", samples))

    loaded, measured, statistics = inputs.uploaded, None, {}
    if prepares(specification.post_training):
        reporter.progress(0.0, f"preparing the network over {samples} images")
        measured = measure_for_preparation(loaded, specification.post_training, images)
        loaded = prepare(loaded, specification.post_training, measured)
    if specification.quantizer.insert_normalisation:
        reporter.progress(0.05, f"outputs of layers without a batch norm over {samples} images")
        statistics = output_statistics(loaded, images())
        loaded = insert_normalisation(loaded, statistics)
    reporter.progress(0.1, f"ranges over {samples} images")
    calibration = calibrate(loaded, images(), observer=choice.observer, settings=choice.settings)
    others = {}
    if specification.post_training.preset == "best":
        others = {name: calibrate(loaded, images(), observer=name) for name in preset.OBSERVERS}
    return TaskOutput(
        result={
            "calibration": calibration.model_dump(mode="json"),
            "calibrations": {name: other.model_dump(mode="json") for name, other in others.items()},
            "samples": samples,
            "preparation": None if measured is None else measured.model_dump(mode="json"),
            "output_statistics": {name: each.model_dump(mode="json") for name, each in statistics.items()},
        }
    )
