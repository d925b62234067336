"""Uniform points, OHQ's programme, and the published programmes as settings."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from core.catalogue import load_catalogue
from core.errors import Infeasible, InvalidSpecification
from core.hardware.targets import load_targets
from core.search.ohq import OHQ, OhqSettings, omega
from core.search.presets import PRESETS
from core.search.uniform_search import UNIFORM
from tests.search.problems import RESIDUAL, build, run_of, sensitivity_of, specification_of

LIMIT = {"metric": "latency", "target": "bismo-cloud", "relative_to": "uniform-8", "at_most": 0.8}


def test_uniform_points_are_as_wide_everywhere_as_they_may_be() -> None:
    problem = build(search={"points": 3})
    points = UNIFORM.search(problem, run_of(problem)).points
    inner = [{point.policy.layers[name].weights for name in ("left", "right", "depthwise")} for point in points]
    assert inner == [{6}, {7}, {8}]
    assert all(point.policy.layers["fc"].weights == 8 for point in points)


def test_uniform_points_keep_the_limits() -> None:
    problem = build(search={"points": 8, "constraints": [LIMIT]})
    bound = problem.counted[problem.axis].amount(problem.constraints[0].bound)
    points = UNIFORM.search(problem, run_of(problem)).points
    assert 0 < len(points) < 7
    assert all(point.axis_cost <= bound for point in points)
    tight = {**LIMIT, "at_most": 0.51}
    with pytest.raises(Infeasible):
        UNIFORM.search(build(search={"constraints": [{**tight, "at_most": 0.01}]}), run_of(problem))


def scored(values: dict[str, float]) -> SimpleNamespace:
    found = sensitivity_of(RESIDUAL)
    found.scores = {name: SimpleNamespace(value=value) for name, value in values.items()}
    return found


def ohq_problem(**parts: object):
    scores = {layer.name: float(10 + position) for position, layer in enumerate(RESIDUAL)}
    chosen = {"quantizer": {"first_last": "searched"}, "search": {"points": 4, "axis": "size"}, **parts}
    return build(sensitivity=scored(scores), **chosen)


def test_omega_is_the_published_formula() -> None:
    problem = ohq_problem()
    table = problem.tables["bismo-cloud"].at([8], [8])
    cycles, power = table.latency_s.ravel(), (table.energy_j / table.latency_s).ravel()
    w = np.arange(len(RESIDUAL)) / (len(RESIDUAL) - 1)
    c, e = ((each - each.min()) / (each.max() - each.min()) for each in (cycles, power))
    np.testing.assert_allclose(omega(problem, OhqSettings(beta=0.7)), 0.7 * w - 0.15 * (c + e))


def test_each_point_has_the_greatest_sum_of_bits_times_omega_within_its_budget() -> None:
    problem = ohq_problem()
    weighed = omega(problem, OhqSettings())
    sizes = np.array([layer.parameters for layer in RESIDUAL])
    readers = {layer.reads: [] for layer in RESIDUAL}
    for position, layer in enumerate(RESIDUAL):
        readers[layer.reads].append(position)
    for point in OHQ.search(problem, run_of(problem)).points:
        bits = np.array([point.policy.layers[layer.name].weights for layer in RESIDUAL])
        assert [point.policy.layers[layer.name].activations for layer in RESIDUAL] == bits.tolist()
        assert point.certificate is not None
        assert "OHQ" in point.certificate.of
        best = -np.inf
        for chosen in product((4, 8), repeat=len(RESIDUAL)):
            every = np.array(chosen)
            tied = all(len({chosen[position] for position in group}) == 1 for group in readers.values())
            if tied and (every * sizes).sum() / 8 <= point.certificate.budget:
                best = max(best, float((every * weighed).sum()))
        assert (bits * weighed).sum() == pytest.approx(best, abs=1e-6)


def test_without_scores_the_predicted_loss_stands_for_sensitivity() -> None:
    problem = build(quantizer={"first_last": "searched"}, search={"points": 2})
    assert np.isfinite(omega(problem, OhqSettings())).all()


def test_ohq_needs_a_model_of_energy_and_its_two_widths() -> None:
    problem = ohq_problem(bits={"weights": (2, 3), "activations": (2, 3)})
    with pytest.raises(InvalidSpecification, match="neither 4/4 nor 8/8"):
        OHQ.search(problem, run_of(problem))
    with pytest.raises(ValueError, match="narrow"):
        OhqSettings(narrow=8, wide=4)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.id)
def test_a_preset_sets_fields_that_a_job_has_to_methods_that_exist(preset) -> None:
    body: dict = {}
    for path, value in preset.set.items():
        parts = path.split(".")
        inner = body
        for part in parts[:-1]:
            inner = inner.setdefault(part, {})
        inner[parts[-1]] = value
    specification = specification_of(**body)
    catalogue = load_catalogue()
    assert specification.search.strategy in {card["id"] for card in catalogue["strategies"]}
    assert specification.sensitivity.metric in {card["id"] for card in catalogue["sensitivity_metrics"]}
    assert specification.post_training.rounding in {card["id"] for card in catalogue["roundings"]}
    assert load_targets()
