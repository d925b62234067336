"""Activation ranges of every site at every width, from one pass over training images."""

from __future__ import annotations

from core.calibration.calibration import calibrate
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import Reporter, TaskOutput


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `calibration` (a `Calibration`), `samples`."""
    choice = inputs.specification.calibration
    samples = min(choice.samples, len(inputs.split("train")))
    reporter.progress(0.1, f"ranges over {samples} images")
    images = (images for images, _ in inputs.batches("train", samples))
    calibration = calibrate(inputs.loaded, images, observer=choice.observer)
    return TaskOutput(result={"calibration": calibration.model_dump(mode="json"), "samples": samples})
