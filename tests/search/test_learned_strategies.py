"""Strategies whose policy falls out of training, on a network of four layers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import Images, Silent

from core.errors import InvalidSpecification
from core.search.evaluator import PredictedLoss
from core.search.learned.trainable import TrainableNetwork
from core.search.problem import SearchProblem, choice_of
from core.search.registry import STRATEGIES
from core.search.result import SearchResult
from core.search.strategy import SearchRun
from tests.search.learned_problems import learned_network, problem_of, trainable

TRAINING = ("learned-bits", "fracbits", "dnas")
SETTINGS: dict[str, Any] = {"epochs": 1, "images": 96, "batch_size": 16}


def search(
    name: str,
    problem: SearchProblem,
    network: TrainableNetwork | None = None,
    *,
    seed: int = 1,
    folder: Path | None = None,
    reporter: Any = None,
    **changed: Any,
) -> SearchResult:
    run = SearchRun(
        PredictedLoss(problem.programme, 1),
        seed=seed,
        settings={**SETTINGS, **changed},
        reporter=reporter,
        checkpoint_directory=folder,
        network=network or trainable(learned_network()),
    )
    return STRATEGIES[name].search(problem, run)


@pytest.mark.parametrize("name", TRAINING)
def test_every_point_is_within_its_budget_and_uses_it(name: str) -> None:
    problem = problem_of(learned_network())
    result = search(name, problem)
    costs = [point.axis_cost for point in result.points]
    assert all(low < high for low, high in pairwise(costs))
    middle = np.sqrt(costs[0] * costs[-1])  # the ends are the cheapest and the widest policy
    assert 0.98 * middle <= costs[1] <= middle
    for point in result.points:
        choice = choice_of(point.policy, problem.layers, problem.axes)
        assert problem.programme.holds(choice, problem.limits)
        assert point.certificate is None
    assert sum("nothing was trained" in note for note in result.notes) == 2


@pytest.mark.parametrize("name", TRAINING)
def test_pins_and_further_constraints_hold_on_any_axis(name: str) -> None:
    loaded = learned_network()
    first, second = loaded.inventory.layers[1].name, loaded.inventory.layers[2].name
    at_most = {"metric": "bit-operations", "relative_to": "uniform-4", "at_most": 1.1}
    within = {"metric": "latency", "target": "bismo-edge", "relative_to": "uniform-5", "at_most": 1.0}
    problem = problem_of(
        loaded,
        targets=("bismo-edge",),
        search={"points": 1, "axis": "latency", "constraints": [at_most, within]},
        pins={first: {"weights": 3}, second: {"activations": 5}},
    )
    [point] = search(name, problem).points
    assert point.policy.layers[first].weights == 3
    assert point.policy.layers[second].activations == 5
    assert problem.programme.holds(choice_of(point.policy, problem.layers, problem.axes), problem.limits)


@pytest.mark.parametrize("name", TRAINING)
def test_tied_layers_learn_one_width(name: str) -> None:
    problem = problem_of(learned_network(), ties=[["first", "classifier"]])
    for point in search(name, problem).points:
        assert point.policy.layers["first"] == point.policy.layers["classifier"]
    result = search(name, problem)
    assert 0.98 <= float(result.notes[1].split("the policy has ")[1].split("%")[0]) / 100 <= 1


@pytest.mark.parametrize("name", TRAINING)
def test_where_only_equal_widths_are_allowed_the_policy_has_them(name: str) -> None:
    problem = problem_of(learned_network(), bits={"same": True})
    for point in search(name, problem).points:
        assert all(each.weights == each.activations for each in point.policy.layers.values())


def test_widths_of_channels_are_not_learned_and_that_is_said() -> None:
    problem = problem_of(learned_network())
    kernels = replace(problem, kernels=((0, 1), *problem.kernels[1:]))
    with pytest.raises(InvalidSpecification, match="one width for each layer"):
        search("fracbits", kernels)


@pytest.mark.parametrize("name", TRAINING)
def test_equal_seeds_learn_the_same_and_the_network_is_left_as_it_was(name: str) -> None:
    network = trainable(learned_network())
    before = {key: value.clone() for key, value in network.loaded.module.state_dict().items()}
    problem = problem_of(network.loaded)
    torch.manual_seed(1)
    first = search(name, problem, network)
    torch.manual_seed(2)
    again = search(name, problem, network)
    assert first.points == again.points
    assert first.notes == again.notes  # losses and costs of the last epoch stand in them
    assert search(name, problem, network, seed=2).notes != first.notes
    after = network.loaded.module.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


class CutShort(Silent):
    """Fails once a point is reached."""

    def __init__(self, point: str) -> None:
        super().__init__()
        self.point, self.messages = point, list[str]()

    def progress(self, fraction: float, message: str = "") -> None:
        super().progress(fraction, message)
        self.messages.append(message)
        if message.startswith(self.point):
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", TRAINING)
def test_a_search_that_was_cut_short_trains_no_point_again(name: str, tmp_path: Path) -> None:
    network = trainable(learned_network())
    problem = problem_of(network.loaded, search={"points": 4, "axis": "bit-operations"})
    with pytest.raises(KeyboardInterrupt):
        search(name, problem, network, folder=tmp_path, reporter=CutShort("point 3"))
    seen = CutShort("never")
    resumed = search(name, problem, network, folder=tmp_path, reporter=seen)
    assert {message[:7] for message in seen.messages} == {"point 3"}
    assert seen.fractions == sorted(seen.fractions)
    whole = search(name, problem, network)
    assert (resumed.points, resumed.notes) == (whole.points, whole.notes)
    other = CutShort("point 2")
    with pytest.raises(KeyboardInterrupt):  # another rate is another training
        search(name, problem, network, folder=tmp_path, reporter=other, learning_rate=0.02)


@pytest.mark.parametrize(
    ("name", "faster"), [("fracbits", {"width_rate": 0.3}), ("learned-bits", {"quantizer_rate": 5.0})]
)
def test_widths_that_begin_at_the_widest_come_down_to_the_budget(name: str, faster: dict[str, float]) -> None:
    problem = problem_of(learned_network(), search={"points": 3, "axis": "size"})
    result = search(name, problem, start="widest", epochs=8, **faster)
    cost = float(result.notes[1].split("cost ")[1].split("%")[0])
    assert 95 < cost < 110


@pytest.mark.parametrize("name", TRAINING)
def test_a_training_that_diverges_is_told_and_its_point_is_within_the_budget(name: str) -> None:
    images = Images(96, seed=5)
    images.x[40:] = np.nan
    problem = problem_of(learned_network())
    result = search(name, problem, trainable(learned_network(), images))
    assert "Training ended early" in result.notes[1]
    assert len(result.points) == 3


@pytest.mark.parametrize("method", ["dorefa", "uniform", "pact"])
def test_other_quantizers_can_be_mixed_too(method: str) -> None:
    result = search("fracbits", problem_of(learned_network()), trainable(learned_network(), method=method), epochs=1)
    assert "loss" in result.notes[1]
    assert "ended early" not in result.notes[1]


def test_without_a_network_nothing_is_trained_and_that_is_said() -> None:
    problem = problem_of(learned_network())
    for name in TRAINING:
        with pytest.raises(InvalidSpecification, match="given no network"):
            STRATEGIES[name].search(problem, SearchRun(PredictedLoss(problem.programme, 1)))


@pytest.mark.parametrize("name", TRAINING)
def test_where_there_is_one_policy_nothing_is_trained(name: str) -> None:
    problem = problem_of(learned_network(), bits={"weights": (8,), "activations": (8,)})
    result = search(name, problem)
    assert len(result.points) == 1
    assert "nothing was trained" in result.notes[0]
