"""Targets fitted to what people measured. Imports scipy, so the routes import this when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from api.targets import FitRequest
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.fit import Observation, fit
from core.hardware.kinds.registry import kind_of
from core.hardware.measurements import WHOLE_NETWORK, read_measurements
from core.hardware.observations import observations
from core.hardware.target import Target

FIT_BUDGET_S = 120.0
_EVALUATIONS = 160  # of all layers, for each direction of a fit's parameters: eight starts of about twenty steps


def fitted_target(target: Target, layers: Sequence[Layer], sent: FitRequest) -> Target:
    """The target with its free parameters fitted to what was sent; `fit` has every row, given and predicted."""
    found = _apart(observations(read_measurements(sent.measurements.encode()), layers), sent.keep_apart)
    _refuse_slow(target, found, len(sent.free))
    fitted = fit(target, sent.free, found, to=sent.to)
    source = f"{fitted.source[:3000]} Fitted: {', '.join(sent.free)} to {sent.to}."
    return fitted.model_copy(update={"source": source, "id": sent.save_as or fitted.id})


def _apart(found: Sequence[Observation], names: Sequence[str]) -> list[Observation]:
    called = [WHOLE_NETWORK if len(each.layers) > 1 else each.layers[0].name for each in found]
    unknown = sorted(set(names) - set(called))
    if unknown:
        raise InvalidInput(
            f"Nothing was measured of {unknown[0]!r:.100}, so it cannot be kept apart.",
            hint=f"Choose from {', '.join(dict.fromkeys(called))[:400]}.",
        )
    return [replace(each, kept_apart=name in names) for each, name in zip(found, called, strict=True)]


def _refuse_slow(target: Target, found: Sequence[Observation], free: int) -> None:
    """A fit asks the simulator hundreds of times; what would keep a thread for minutes is left to the command."""
    layers = list({layer: None for each in found for layer in each.layers})
    pairs = {pair for each in found for pair in each.bits}
    began = time.perf_counter()
    for w, a in pairs:
        kind_of(target).simulate(target, layers, [w], [a])
        needed_s = (time.perf_counter() - began) * _EVALUATIONS * (2 * free + 1)
        if needed_s > FIT_BUDGET_S:
            raise InvalidInput(
                f"This fit would take more than {FIT_BUDGET_S:g} seconds.",
                hint="Send fewer layers or widths, or fit in the terminal with `bitfront fit`.",
            )
