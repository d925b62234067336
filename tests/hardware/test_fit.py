"""Fitting a target's free parameters to measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networks import conv, linear
from core.errors import InvalidInput
from core.hardware.fit import Observation, fit
from core.hardware.kinds.registry import kind_of
from core.hardware.target import Target
from core.hardware.targets import load_targets

BISMO = load_targets()["bismo-edge"]
LAYERS = (conv("a", 3, 16, 3, 32), conv("b", 16, 64, 1, 32), conv("c", 64, 64, 3, 32, groups=64), linear("d", 512, 10))
ENERGIES = ("bit_product_j", "dram_j_per_bit")


def observed(target: Target, *, energy: bool = True, kept_apart: Sequence[str] = ()) -> list[Observation]:
    """What a device that is exactly `target` would measure of each layer at 4/4 and 8/2, and of all of them."""
    observations = []
    for pair in ((4, 4), (8, 2)):
        simulated = kind_of(target).simulate(target, LAYERS, [pair[0]], [pair[1]])
        latency, joules = simulated.latency_s[:, 0, 0], simulated.energy_j[:, 0, 0]
        groups = [((layer,), slice(i, i + 1)) for i, layer in enumerate(LAYERS)] + [(LAYERS, slice(None))]
        for layers, position in groups:
            name = " + ".join(layer.name for layer in layers)
            observations.append(
                Observation(
                    name, layers, (pair,) * len(layers), float(latency[position].sum()),
                    float(joules[position].sum()) if energy else None, name in kept_apart,
                )
            )  # fmt: skip
    return observations


def changed(target: Target, clock_hz: float, **parameters: float) -> Target:
    return target.model_copy(update={"clock_hz": clock_hz, "parameters": {**target.parameters, **parameters}})


@given(factors=st.tuples(*(st.floats(0.05, 20) for _ in range(3))))
@settings(deadline=None, max_examples=25)
def test_the_parameters_that_made_the_measurements_are_found_again(factors: tuple[float, float, float]) -> None:
    truth = changed(
        BISMO, 200e6 * factors[0],
        **{name: BISMO.parameters[name] * factor for name, factor in zip(ENERGIES, factors[1:], strict=True)},
    )  # fmt: skip
    found = fit(BISMO, ("clock_hz", *ENERGIES), observed(truth), to="made data")
    assert found.clock_hz == pytest.approx(truth.clock_hz, rel=1e-5)
    for name in ENERGIES:
        assert found.parameters[name] == pytest.approx(truth.parameters[name], rel=1e-5)
    assert found.fit is not None
    assert max(abs(row.residual) for row in found.fit.rows) < 1e-5


def test_a_fit_says_what_it_fitted_and_leaves_the_rest() -> None:
    found = fit(BISMO, ["clock_hz"], observed(changed(BISMO, 100e6), energy=False), to="our own board")
    assert found.clock_hz == pytest.approx(100e6)
    assert found.fit is not None
    assert found.fit.parameters == ("clock_hz",)
    assert found.fit.to == "our own board"
    assert found.parameters["sources"]["clock_hz"] == "fitted to our own board"
    del found.parameters["sources"]["clock_hz"]
    assert found.parameters == BISMO.parameters


def test_what_is_kept_apart_is_predicted_and_not_fitted() -> None:
    measured = observed(changed(BISMO, 100e6), energy=False)
    odd = Observation("odd", (LAYERS[0],), ((4, 4),), 1.0, None, kept_apart=True)
    found = fit(BISMO, ["clock_hz"], [*measured, odd], to="made data")
    assert found.clock_hz == pytest.approx(100e6)
    assert found.fit is not None
    assert [row.name for row in found.fit.rows if row.kept_apart] == ["odd"]
    assert found.fit.rows[-1].given == 1.0
    assert found.fit.rows[-1].predicted == pytest.approx(measured[0].latency_s)


def test_noise_is_spread_evenly_over_the_ratios() -> None:
    first, second = observed(BISMO, energy=False)[:2]
    assert first.latency_s is not None
    assert second.latency_s is not None
    rows = [
        Observation("a", first.layers, first.bits, first.latency_s * 2, None),
        Observation("b", second.layers, second.bits, second.latency_s / 2, None),
    ]
    assert fit(BISMO, ["clock_hz"], rows, to="made data").clock_hz == pytest.approx(BISMO.clock_hz)


def _one(latency_s: float | None = 1e-3, energy_j: float | None = None, **changes: Any) -> Observation:
    fields = {"name": "row", "layers": LAYERS[:1], "bits": ((4, 4),), **changes}
    return Observation(**fields, latency_s=latency_s, energy_j=energy_j)


@pytest.mark.parametrize(
    ("free", "observations", "message"),
    [
        (["array_units"], [_one()], "not a parameter that can be fitted"),
        (["nonsense"], [_one()], "not a parameter that can be fitted"),
        ([], [_one()], "no parameter is free"),
        (["clock_hz", "clock_hz"], [_one(), _one()], "each free parameter once"),
        (["clock_hz", "bit_product_j"], [_one()], "1 measurements cannot decide 2 parameters"),
        (["clock_hz"], [_one(kept_apart=True)], "0 measurements cannot decide 1"),
        (["clock_hz"], [], "0 measurements cannot decide 1"),
        (["clock_hz"], [_one(0.0)], "latency_s is 0.0"),
        (["clock_hz"], [_one(-1.0)], "latency_s is -1.0"),
        (["clock_hz"], [_one(math.nan)], "latency_s is nan"),
        (["clock_hz"], [_one(math.inf)], "latency_s is inf"),
        (["clock_hz"], [_one(None)], "latency_s is None"),
        (["clock_hz"], [_one(1.0, 0.0)], "energy_j is 0.0"),
        (["clock_hz"], [_one(bits=())], "1 layers and 0 pairs"),
        (["clock_hz"], [_one(layers=(), bits=())], "0 layers and 0 pairs"),
        (["bit_product_j"], [_one()], "no measurement depends on 'bit_product_j'"),
        (ENERGIES, [_one(None, 1e-3), _one(None, 1e-3)], "cannot tell 'bit_product_j' and 'dram_j_per_bit' apart"),
    ],
)
def test_what_cannot_be_fitted_is_refused(free: list[str], observations: list[Observation], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        fit(BISMO, free, observations, to="made data")
    assert refused.value.hint


def test_a_fit_needs_a_positive_start() -> None:
    with pytest.raises(InvalidInput, match=r"bit_product_j is 0\.0, from where no fit can start"):
        fit(changed(BISMO, 1e8, bit_product_j=0.0), ["bit_product_j"], [_one(None, 1.0)], to="made data")


def test_a_parameter_that_ends_where_it_changes_nothing_is_told_as_a_limit() -> None:
    target = load_targets()["cpu-avx512-vnni"]
    bound = target.model_copy(update={"parameters": {**target.parameters, "compute_efficiency": 0.05}})
    layers = [conv(f"conv{size}", 64, 64, 3, size) for size in (14, 28, 56)]
    seconds = kind_of(bound).simulate(bound, layers, [32], [32]).latency_s[:, 0, 0].tolist()  # never waits for memory
    rows = [
        Observation(layer.name, (layer,), ((32, 32),), latency_s, None)
        for layer, latency_s in zip(layers, seconds, strict=True)
    ]
    slow = target.model_copy(update={"parameters": {**target.parameters, "memory_efficiency": 0.02}})
    found = fit(slow, ["compute_efficiency", "memory_efficiency"], rows, to="made data")
    assert found.parameters["compute_efficiency"] == pytest.approx(0.05, rel=1e-5)
    sources = found.parameters["sources"]
    assert sources["compute_efficiency"] == "fitted to made data"
    assert sources["memory_efficiency"].startswith("fitted to made data; no measurement depends on it near this value")
