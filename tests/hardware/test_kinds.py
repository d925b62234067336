"""What must hold for every kind of accelerator and every target that ships, whatever the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networks import conv, linear
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.gemm import output_channels
from core.hardware.kind import KnowsEnvelope, KnowsFacts
from core.hardware.kinds.registry import KINDS, kind_of
from core.hardware.target import Target
from core.hardware.targets import load_targets
from tests.hardware.layers import any_layer

WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32)
TARGETS = [target for target in load_targets().values() if target.provenance == "simulated"]
EVERY_TARGET = pytest.mark.parametrize("target", TARGETS, ids=[target.id for target in TARGETS])
IMPOSSIBLE = (-1, float("nan"), float("inf"))


def numeric_parameters() -> list[tuple[Target, str]]:
    """Every number among every target's parameters."""
    return [
        (target, name)
        for target in TARGETS
        for name, value in target.parameters.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def with_parameter(target: Target, name: str, value: Any) -> Target:
    return target.model_copy(update={"parameters": {**target.parameters, name: value}})


def may_be_zero(target: Target, name: str) -> bool:
    """Whether the kind's schema lets the parameter be zero, such as an energy or an overhead."""
    schema = kind_of(target).card.parameters_schema["properties"][name]
    options = schema.get("anyOf", [schema])
    return any(option.get("minimum") == 0 for option in options)


@EVERY_TARGET
@given(layer=any_layer())
@settings(deadline=None, max_examples=8)
def test_costs_are_positive_and_bound_by_something_the_card_names(target: Target, layer: Layer) -> None:
    kind = kind_of(target)
    simulated = kind.simulate(target, [layer], WIDTHS, WIDTHS)
    for array in (simulated.latency_s, simulated.energy_j, simulated.bound_by):
        assert array.shape == (1, len(WIDTHS), len(WIDTHS))
    assert np.isfinite(simulated.latency_s).all()
    assert (simulated.latency_s > 0).all()
    assert np.isnan(simulated.energy_j).all() or (simulated.energy_j > 0).all()
    assert simulated.bound_by.max() < len(kind.card.bounds)


@pytest.mark.parametrize("kind_id", ["bismo", "roofline", "systolic"])
def test_the_kinds_that_must_be_monotone_say_so(kind_id: str) -> None:
    assert KINDS[kind_id].card.monotone


@EVERY_TARGET
@given(layer=any_layer())
@settings(deadline=None, max_examples=8)
def test_fewer_bits_never_cost_more_where_the_card_says_so(target: Target, layer: Layer) -> None:
    kind = kind_of(target)
    if not kind.card.monotone:
        assert kind.card.exceptions, "a card that is not monotone lists where, and why"
        return
    simulated = kind.simulate(target, [layer], WIDTHS, WIDTHS)
    for cost in (simulated.latency_s, np.nan_to_num(simulated.energy_j)):
        for axis in (1, 2):
            steps = np.diff(cost, axis=axis)
            assert (steps >= -1e-9 * cost.max()).all()


@EVERY_TARGET
@given(layer=any_layer(), bits=st.sampled_from(WIDTHS))
@settings(deadline=None, max_examples=5)
def test_one_width_for_every_channel_is_the_layer_itself(target: Target, layer: Layer, bits: int) -> None:
    kind = kind_of(target)
    by_channel = kind.simulate_channels(target, layer, [bits] * output_channels(layer), 8)
    whole = kind.simulate(target, [layer], [bits], [8])
    assert by_channel.latency_s.shape == (1, 1, 1)
    assert by_channel.latency_s == pytest.approx(whole.latency_s)
    assert by_channel.energy_j == pytest.approx(whole.energy_j, nan_ok=True)


@EVERY_TARGET
def test_layers_of_one_call_do_not_disturb_each_other(target: Target) -> None:
    kind, layers = kind_of(target), [conv("c", 16, 32, 3, 14), linear("fc", 64, 10), conv("d", 8, 8, 3, 14, groups=8)]
    together = kind.simulate(target, layers, [2, 8], [4, 8])
    for position, layer in enumerate(layers):
        alone = kind.simulate(target, [layer], [2, 8], [4, 8])
        assert together.latency_s[position] == pytest.approx(alone.latency_s[0])
        assert together.energy_j[position] == pytest.approx(alone.energy_j[0], nan_ok=True)
        assert np.array_equal(together.bound_by[position], alone.bound_by[0])


@EVERY_TARGET
def test_a_layer_pruned_away_costs_nothing(target: Target) -> None:
    pruned = kind_of(target).simulate_channels(target, linear("fc", 8, 4), [0] * 4, 8)
    assert pruned.latency_s == 0


@EVERY_TARGET
@pytest.mark.parametrize("width", [0, 33, -2])
def test_widths_outside_of_1_to_32_are_refused(target: Target, width: int) -> None:
    for weight_bits, activation_bits in (([width], [8]), ([8], [width])):
        with pytest.raises(InvalidInput, match="cannot be costed"):
            kind_of(target).simulate(target, [linear("fc", 4, 2)], weight_bits, activation_bits)


@pytest.mark.parametrize(
    ("target", "name"), numeric_parameters(), ids=[f"{target.id}-{name}" for target, name in numeric_parameters()]
)
def test_an_impossible_number_is_refused_and_named(target: Target, name: str) -> None:
    for value in IMPOSSIBLE if may_be_zero(target, name) else (0, *IMPOSSIBLE):
        with pytest.raises(InvalidInput, match=name):
            kind_of(target).check(with_parameter(target, name, value))


@EVERY_TARGET
def test_a_clock_that_is_needed_must_be_given(target: Target) -> None:
    if target.clock_hz is not None:
        with pytest.raises(InvalidInput, match="clock_hz"):
            kind_of(target).check(target.model_copy(update={"clock_hz": None}))


@EVERY_TARGET
def test_every_parameter_has_a_source_and_every_source_a_parameter(target: Target) -> None:
    sources = target.parameters["sources"]
    assert set(sources) == set(target.parameters) - {"sources"}
    assert all(source.strip() for source in sources.values())


@EVERY_TARGET
def test_fitted_parameters_are_among_those_the_card_frees(target: Target) -> None:
    if target.fit is not None:
        assert set(target.fit.parameters) <= set(kind_of(target).card.free_parameters)
        assert target.fit.rows


@EVERY_TARGET
def test_what_follows_from_the_parameters_has_a_unit_and_a_source(target: Target) -> None:
    kind = kind_of(target)
    if isinstance(kind, KnowsFacts):
        assert all(fact.value > 0 and fact.unit and fact.source for fact in kind.facts(target))
    if isinstance(kind, KnowsEnvelope):
        envelope = kind.envelope(target, 8, 8)
        assert envelope.macs_per_s > 0
        assert envelope.bytes_per_s is None or envelope.bytes_per_s > 0


@pytest.mark.parametrize("kind_id", KINDS)
def test_free_parameters_are_positive_numbers_of_the_schema(kind_id: str) -> None:
    card = KINDS[kind_id].card
    for name in set(card.free_parameters) - {"clock_hz"}:
        schema = card.parameters_schema["properties"][name]
        kinds = {option.get("type") for option in schema.get("anyOf", [schema])}
        assert kinds & {"number", "integer"}


@EVERY_TARGET
def test_a_full_batch_of_enormous_layers_does_not_overflow(target: Target) -> None:
    layers = [linear("fc", 200_000, 200_000), conv("c", 4096, 4096, 7, 1024)]
    simulated = kind_of(target).simulate(target.model_copy(update={"batch": 4096}), layers, [1, 8], [1, 8])
    assert np.isfinite(simulated.latency_s).all()
    assert (simulated.latency_s > 0).all()
    assert np.isnan(simulated.energy_j).all() or (simulated.energy_j > 0).all()
