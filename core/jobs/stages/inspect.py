"""The float network on this data: its accuracy is what every candidate is compared to."""

from __future__ import annotations

from core.data.dataset import fit_problems
from core.data.preprocessing import preprocessing_disagreement
from core.errors import InvalidSpecification
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import Reporter, TaskOutput
from core.tasks.classification import evaluate


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `inventory`, `float` (accuracy and loss by split), `splits`, `warnings`."""
    reporter.progress(0.0, "reading the network and the data")
    _check_fit(inputs)
    measured = {}
    for position, split in enumerate(("select", "report")):
        reporter.progress(0.2 + 0.4 * position, f"float accuracy on {split}")
        evaluation = evaluate(inputs.loaded.module, inputs.batches(split))
        measured[split] = {"accuracy": evaluation.accuracy, "loss": evaluation.loss, "samples": evaluation.samples}
    result = {
        "inventory": inputs.inventory.model_dump(mode="json"),
        "float": measured,
        "splits": inputs.dataset.summary(),
        "preprocessing": inputs.preprocessing.model_dump(mode="json"),
        "warnings": list(inputs.inventory.warnings),
    }
    return TaskOutput(result=result)


def _check_fit(inputs: StageInputs) -> None:
    model = inputs.task.model.preprocessing if inputs.task.model else None
    dataset = inputs.task.dataset.preprocessing if inputs.task.dataset else None
    disagreements = preprocessing_disagreement(model, dataset, inputs.inventory.input_shape)
    if disagreements:
        raise InvalidSpecification(
            "the model and the data set were uploaded with different preprocessing: " + "; ".join(disagreements),
            hint="upload one of them again with the other's preprocessing, or without any",
            disagreements=disagreements,
        )
    problems = fit_problems(inputs.dataset, inputs.inventory.input_shape, inputs.inventory.classes)
    if problems:
        raise InvalidSpecification(
            "the data set does not fit the network: " + "; ".join(problems),
            hint="choose the data set that this network was trained for, or give the right preprocessing",
            problems=problems,
        )
