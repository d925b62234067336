"""Images for a job without data, which all later stages read as its data set."""

from __future__ import annotations

from core.data.synthetic.archive import IMAGES_FILE, SHEET_FILE, open_synthetic, write_images
from core.data.synthetic.contact_sheet import contact_sheet
from core.data.synthetic.input_range import largest_pixel
from core.data.synthetic.synthesis import synthesize
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import OutputFile, Reporter, TaskOutput
from core.training.memory import freed_memory_kept


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `synthesis` (a `SynthesisReport`), `splits`, `shown` (images on the sheet); files: images and sheet."""
    choice, directory = inputs.specification.synthetic, inputs.task.directory
    reporter.progress(0.0, "making images from the network")
    with freed_memory_kept():
        made = synthesize(
            inputs.uploaded,
            inputs.preprocessing,
            **choice.model_dump(),
            checkpoints=inputs.task.checkpoint_directory,
            tell=reporter.progress,
            described=inputs.task.model is not None and inputs.task.model.preprocessing is not None,
        )
    write_images(made.pixels, directory / IMAGES_FILE)
    shown = contact_sheet(made.pixels["train"], largest_pixel(inputs.preprocessing), directory / SHEET_FILE)
    dataset = open_synthetic(directory / IMAGES_FILE, inputs.preprocessing, made.report.title)
    return TaskOutput(
        result={"synthesis": made.report.model_dump(mode="json"), "splits": dataset.summary(), "shown": shown},
        files=[
            OutputFile(name=IMAGES_FILE, path=IMAGES_FILE, kind="synthetic-images"),
            OutputFile(name=SHEET_FILE, path=SHEET_FILE, kind="contact-sheet", media_type="image/png"),
        ],
    )
