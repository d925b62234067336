"""A network of four layers that was trained, and problems that a strategy which trains is given with it."""

from __future__ import annotations

from functools import cache
from typing import Any

from small_networks import Images, small_network, trained

from core.calibration.calibration import calibrate
from core.graph.loaded_model import LoadedModel
from core.hardware.cost_table import cost_table
from core.hardware.targets import load_targets
from core.search.learned.trainable import TrainableNetwork
from core.search.problem import SearchProblem
from tests.search.problems import sensitivity_of, specification_of


@cache
def learned_network() -> LoadedModel:
    return trained(small_network(), Images(192, seed=5))


def problem_of(loaded: LoadedModel, **parts: Any) -> SearchProblem:
    layers, targets = loaded.inventory.layers, load_targets()
    parts = {"search": {"points": 3, "axis": "bit-operations"}, "quantizer": {"first_last": "searched"}, **parts}
    specification = specification_of(**parts)
    tables = {name: cost_table(targets[name], layers) for name in specification.targets}
    return SearchProblem.build(loaded.inventory, sensitivity_of(layers), tables, targets, specification)


def trainable(loaded: LoadedModel, images: Images | None = None, method: str = "lsq") -> TrainableNetwork:
    images = images or Images(96, seed=5)
    calibration = calibrate(loaded, [x for x, _ in Images(96, seed=5).tensors()])
    return TrainableNetwork(loaded, calibration, images, specification_of(quantizer={"method": method}).quantizer)
