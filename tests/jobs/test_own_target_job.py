"""A whole job on hardware that does not ship: a table of measurements, and a changed array, both inside the job."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from safetensors.torch import save_file

from core.figures.job_report import job_report
from core.graph.architectures.registry import ARCHITECTURES
from core.graph.inventory import Inventory
from core.hardware.cost_table import cost_table
from core.hardware.measurements import read_measurements, table_target
from core.hardware.targets import load_targets
from core.jobs.keys import TaskIdentity, input_key
from core.jobs.specification import JobSpecification
from core.jobs.task import ModelInput
from tests.harness.first_point import SHAPES, run_first_point

PAIRS = ((4, 8), (8, 8))
EDGE = load_targets()["bismo-edge"]
FAST = EDGE.model_copy(update={"id": "fast-edge", "clock_hz": 400e6})


def board(layers: tuple[str, ...]) -> Any:
    rows = [
        {"layer": name, "weight_bits": w, "activation_bits": a, "latency_us": 10 * position + w, "energy_uj": w}
        for position, name in enumerate(layers, 1)
        for w, a in PAIRS
    ]
    found = read_measurements(json.dumps(rows).encode())
    return table_target(found, target_id="board", name="A board", source="a stop watch", description="measured")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[JobSpecification, dict[str, Any]]:
    root = tmp_path_factory.mktemp("job")
    network = ARCHITECTURES["lenet"].build(SHAPES)
    save_file(network.state_dict(), root / "lenet.safetensors")
    names = tuple(dict.fromkeys(name.rpartition(".")[0] for name in network.state_dict()))
    targets = {each.id: each for each in (board(names), FAST)}
    job = JobSpecification.model_validate({
        "model_id": UUID(int=1), "dataset_id": None, "bits": {"weights": [4, 8], "activations": [8]},
        "sensitivity": {"metric": "divergence", "samples": 16, "budget_s": 5}, "training": None,
        "synthetic": {"source": "range-noise", "held_out": 16}, "targets": ["board", "fast-edge"],
        "own_targets": {name: target.model_dump(mode="json") for name, target in targets.items()},
        "search": {"points": 1, "constraints": [
            {"metric": "latency", "target": "board", "relative_to": "uniform-8", "at_most": 0.99},
        ]},
    })  # fmt: skip
    model = ModelInput(path=root / "lenet.safetensors", filename="lenet.safetensors", architecture="lenet")
    # As it is stored: plain JSON there and back.
    stored = JobSpecification.model_validate_json(job.model_dump_json())
    return stored, run_first_point(stored, (model, None), root)[0]


def test_it_runs_to_the_end_and_its_figures_are_those_that_were_measured(
    ran: tuple[JobSpecification, dict[str, Any]],
) -> None:
    job, found = ran
    point = found["search"]["candidates"][0]
    cost = point["costs"]["board"]
    assert (cost["provenance"], cost["images_per_pass"]) == ("table", 1)
    widths = {name: bits["weights"] for name, bits in point["policy"]["layers"].items()}
    assert 4 in widths.values()
    layers = enumerate(cost["layers"], 1)
    assert all(each["latency_s"] == pytest.approx((10 * n + widths[each["name"]]) * 1e-6) for n, each in layers)
    assert found["export"]["parity"]["comparisons"]
    report = job_report(found, job.model_dump(mode="json"))
    assert report["costs"]["board"]["source"] == "a stop watch"
    assert report["costs"]["fast-edge"]["kind"] == "bismo"


def test_a_changed_array_costs_what_it_is_simulated_to(ran: tuple[JobSpecification, dict[str, Any]]) -> None:
    _, found = ran
    layers = Inventory.model_validate(found["inspect"]["inventory"]).layers
    shipped = cost_table(EDGE, layers, (8,), (8,)).latency_s.sum()
    policy = next(each for each in found["search"]["candidates"] if each["name"] == "uniform-8")
    assert policy["costs"]["fast-edge"]["latency_s"] == pytest.approx(shipped / 2)


@pytest.mark.parametrize("stage", ["costs", "search"])
def test_another_description_under_the_same_id_has_another_key(stage: str) -> None:
    def key(clock_hz: float) -> str | None:
        own = FAST.model_copy(update={"clock_hz": clock_hz}).model_dump(mode="json")
        return input_key(
            TaskIdentity(stage, specification={"targets": ["fast-edge"], "own_targets": {"fast-edge": own}})
        )

    assert key(4e8) == key(4e8) != key(3e8)


def test_what_calls_itself_otherwise_is_refused() -> None:
    with pytest.raises(ValueError, match="calls itself 'fast-edge'"):
        JobSpecification.model_validate(
            {"model_id": UUID(int=1), "dataset_id": None, "own_targets": {"slow": FAST.model_dump()}}
        )


def test_a_job_brings_its_own_and_knows_what_ships() -> None:
    job = JobSpecification(model_id=UUID(int=1), dataset_id=None, own_targets={"fast-edge": FAST})
    assert job.known_targets() == {**load_targets(), "fast-edge": FAST}
