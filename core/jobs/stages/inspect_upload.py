"""What an upload is: decided in a child process, before any job may use it."""

from __future__ import annotations

from core.data.dataset import open_dataset
from core.errors import InvalidInput
from core.graph.load import load_model
from core.jobs.stages.inputs import dataset_files
from core.jobs.task import Reporter, TaskInput, TaskOutput


def inspect_model(task: TaskInput, reporter: Reporter) -> TaskOutput:
    """The inventory of an uploaded model. Raises UnsupportedFormat, BrokenFile or UnsupportedModel."""
    if task.model is None:
        raise InvalidInput("no model was given")
    reporter.progress(0.1, "reading the file")
    loaded = load_model(task.model.path, task.model.architecture)
    return TaskOutput(result={"inventory": loaded.inventory.model_dump(mode="json")})


def inspect_dataset(task: TaskInput, reporter: Reporter) -> TaskOutput:
    """The summary of an uploaded data set: classes, splits, shapes. Raises BrokenFile or UnsupportedFormat."""
    if task.dataset is None:
        raise InvalidInput("no data set was given")
    reporter.progress(0.1, "reading the files")
    dataset = open_dataset(dataset_files(task.dataset), task.dataset.preprocessing)
    return TaskOutput(result={"summary": dataset.summary()})
