"""The float network on this data: its accuracy is what every candidate is compared to."""

from __future__ import annotations

from typing import Any

from core.data.dataset import fit_problems
from core.data.preprocessing import preprocessing_disagreement
from core.errors import InvalidSpecification
from core.graph.inventory import Inventory
from core.jobs.specification import JobSpecification
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import Reporter, TaskOutput
from core.tasks.classification import evaluate


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `inventory`, `metric` (accuracy, or agreement where labels are missing), `float` (accuracy and loss by
    split), `splits` (null until images are made), `warnings`.
    """
    without_data = inputs.task.dataset is None
    reporter.progress(0.0, "reading the network" if without_data else "reading the network and the data")
    _check_fit(inputs)
    labelled = not without_data and inputs.dataset.labelled
    result = {
        "inventory": inputs.inventory.model_dump(mode="json"),
        "metric": "accuracy" if labelled else "agreement",
        "float": _with_itself(inputs.specification) if without_data else _measure(inputs, reporter),
        "splits": None if without_data else inputs.dataset.summary(),
        "preprocessing": inputs.preprocessing.model_dump(mode="json"),
        "warnings": list(inputs.inventory.warnings),
    }
    return TaskOutput(result=result)


def _measure(inputs: StageInputs, reporter: Reporter) -> dict[str, Any]:
    measured = {}
    for position, split in enumerate(("select", "report")):
        reporter.progress(0.2 + 0.4 * position, f"float accuracy on {split}")
        evaluation = evaluate(inputs.loaded.module, inputs.batches(split))
        measured[split] = {"accuracy": evaluation.accuracy, "loss": evaluation.loss, "samples": evaluation.samples}
    return measured


def _with_itself(specification: JobSpecification) -> dict[str, Any]:
    """Of images that are not made yet is known that the float network agrees with itself."""
    agreement = {"accuracy": 1.0, "loss": 0.0, "samples": specification.synthetic.held_out}
    return {split: dict(agreement) for split in ("select", "report")}


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
    if inputs.task.dataset is None:
        _check_classifier(inputs.inventory)
        return
    problems = fit_problems(inputs.dataset, inputs.inventory.input_shape, inputs.inventory.classes)
    if problems:
        raise InvalidSpecification(
            "the data set does not fit the network: " + "; ".join(problems),
            hint="choose the data set that this network was trained for, or give the right preprocessing",
            problems=problems,
        )


def _check_classifier(inventory: Inventory) -> None:
    if inventory.classes == 0:
        raise InvalidSpecification(
            "the network gives no class scores; so far only classifiers can be searched", hint="choose a classifier"
        )
