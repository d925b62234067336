"""Cost tables of this network on every target of the job."""

from __future__ import annotations

from core.graph.inventory import Inventory
from core.hardware.cost_table import cost_table
from core.jobs.stages.inputs import StageInputs
from core.jobs.task import OutputFile, Reporter, TaskOutput


def run(inputs: StageInputs, reporter: Reporter) -> TaskOutput:
    """Result: `tables` by target; files: each table as CSV."""
    layers = Inventory.model_validate(inputs.result("inspect")["inventory"]).layers
    targets = inputs.specification.known_targets()
    tables, files = {}, []
    for position, name in enumerate(inputs.specification.targets):
        reporter.progress(position / len(inputs.specification.targets), name)
        table = cost_table(targets[name], layers)
        tables[name] = table.to_json()
        file = f"costs-{name}.csv"
        (inputs.task.directory / file).write_text(table.to_csv(), encoding="utf-8")
        files.append(OutputFile(name=file, path=file, kind="costs-csv", media_type="text/csv"))
    return TaskOutput(result={"tables": tables}, files=files)
