"""OHQ's allocation: bits by on-chip sensitivity and on-chip cost at once, within a size.

Huang et al., "On-Chip Hardware-Aware Quantization for Mixed Precision Neural Networks", 2023,
https://arxiv.org/abs/2309.01945. With w_i the mask-guided sensitivity of a layer, c_i its clock cycles and e_i its
power, each scaled to 0..1 over the layers,

    maximise  sum_i b_i * Omega_i,   Omega_i = beta * w_i - gamma / 2 * (c_i + e_i),   beta + gamma = 1

over b_i in {4, 8} with the sum of the layers' sizes within a limit: an integer linear programme, solved here exactly as
any other. As published: the objective, the two widths and the limit on size (the job's axis should be size). Of our
own: cycles and power are those of the first target at the wide pair, where the paper reads them on its chip; the limit
may be on any axis; a metric without a score of its own gives its predicted loss at the narrow width for w_i.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.errors import InvalidSpecification
from core.hardware.kind import FloatArray
from core.search.exact import EXACT
from core.search.problem import SearchProblem
from core.search.programme import Programme, programme
from core.search.result import ProposedPoint, SearchResult
from core.search.strategy import SearchRun, StrategyCard

OBJECTIVE = "minus OHQ's sum of bits times Omega, from its greatest value on"


class OhqSettings(BaseModel):
    """The weight of sensitivity against cost, and the two widths."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    beta: float = Field(default=0.5, ge=0, le=1, description="weight of sensitivity; what is left is that of cost")
    narrow: int = Field(default=4, ge=1, le=8, description="the fewer bits a layer may get")
    wide: int = Field(default=8, ge=1, le=8, description="the more bits a layer may get")

    @model_validator(mode="after")
    def _two_widths(self) -> OhqSettings:
        if self.narrow >= self.wide:
            raise ValueError("narrow must be less than wide")
        return self


class Ohq:
    """The strategy."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""
        return StrategyCard(
            id="ohq",
            title="OHQ (sensitivity against on-chip cost)",
            paper="Huang et al., OHQ, 2023",
            link="https://arxiv.org/abs/2309.01945",
            reconstruction_notes="Objective, widths and the limit on size as published. Cycles and power are "
            "simulated or measured on the first target at the wide width. Choose the axis size and the metric "
            "mask-guided for the paper's own programme.",
            evaluates=False,
            settings_schema=OhqSettings.model_json_schema(),
        )

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """Points by rising cost, each the greatest sum of bits times Omega within its budget."""
        settings = OhqSettings.model_validate(dict(run.settings))
        weighed = omega(problem, settings)
        found = EXACT.search(replace(problem, programme=_bits_as_loss(problem, settings, weighed)), run)
        points = tuple(_certified_as(each, OBJECTIVE) for each in found.points)
        told = ", ".join(f"{layer.name} {value:+.2f}" for layer, value in zip(problem.layers, weighed, strict=True))
        return found.model_copy(update={"points": points, "notes": (*found.notes, f"Omega by layer: {told}")})


def _certified_as(point: ProposedPoint, objective: str) -> ProposedPoint:
    if point.certificate is None:
        return point
    return point.model_copy(update={"certificate": point.certificate.model_copy(update={"of": objective})})


def omega(problem: SearchProblem, settings: OhqSettings) -> FloatArray:
    """[L]; InvalidSpecification where the target has no model of energy, or no layer was ever judged."""
    table = next(iter(problem.tables.values()))
    at = table.at([settings.wide], [settings.wide])
    latency_s, energy_j = at.latency_s[:, 0, 0], at.energy_j[:, 0, 0]
    if np.isnan(energy_j).any():
        raise InvalidSpecification(
            f"target {table.target.id!r} has no model of energy, and OHQ weighs power",
            hint="choose a target with energy, or the strategy exact",
        )
    sensitivity = np.array([_sensitivity(problem, layer.name, settings.narrow) for layer in problem.layers])
    cost = _scaled(latency_s) + _scaled(energy_j / np.maximum(latency_s, np.finfo(float).tiny))
    found: FloatArray = settings.beta * _scaled(sensitivity) - (1 - settings.beta) / 2 * cost
    return found


def _sensitivity(problem: SearchProblem, layer: str, bits: int) -> float:
    if problem.losses.scores:
        return problem.losses.scores[layer]
    losses = problem.losses.weights[layer]
    if bits not in losses:
        raise InvalidSpecification(
            f"the sensitivity of {layer!r} at {bits} bits was not measured",
            hint="choose the sensitivity metric mask-guided, or another width",
        )
    return losses[bits]


def _scaled(values: FloatArray) -> FloatArray:
    """To 0..1; 0 where all are equal."""
    span = values.max() - values.min()
    scaled: FloatArray = (values - values.min()) / span if span > 0 else np.zeros_like(values)
    return scaled


def _bits_as_loss(problem: SearchProblem, settings: OhqSettings, weighed: FloatArray) -> Programme:
    """The programme that loses what a layer's bits fall short of its best: never negative, zero at the best width."""
    weights, activations = (np.array(bits) for bits in problem.axes)
    weighed = np.array([weighed[list(unit)].sum() for unit in problem.units])
    pairs = np.array([settings.narrow, settings.wide])
    same = np.equal.outer(weights, activations) & np.isin(weights, pairs)[:, None]
    allowed = problem.programme.allowed
    restricted = allowed & same
    fixed = allowed.sum(axis=(1, 2)) == 1  # pins, the first and the last layer
    restricted[fixed] = allowed[fixed]
    for unit, open_pairs in zip(problem.units, restricted, strict=True):
        if not open_pairs.any():
            raise InvalidSpecification(
                f"layer {problem.layers[unit[0]].name!r} may take neither {settings.narrow}/{settings.narrow} nor "
                f"{settings.wide}/{settings.wide}",
                hint="widen the bit ranges, choose a target that supports them, or set narrow and wide",
            )
    short = np.where(weighed > 0, settings.wide, settings.narrow)[:, None] - weights
    losses = np.maximum(weighed[:, None] * short, 0.0)
    no_loss = np.zeros(problem.programme.activation_loss.shape)
    return programme(losses, no_loss, problem.programme.groups, restricted)


OHQ = Ohq()
