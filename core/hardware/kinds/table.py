"""A table: hardware that was measured, or of which somebody brought figures. Nothing is modelled.

Each row is one layer at one pair of widths. A row says which layer it means by `layer` (its name), by `shape` (a line
such as `conv2d 64x56x56 -> 128x28x28 k3x3 s2 g1`, see `core/hardware/signature.py`), or by both; with a shape it serves
every layer of that shape, a row with the layer's own name first. What is not in the table is refused and never
guessed; with `interpolate`, integer widths between measured ones are, as `core/hardware/interpolation.py` says, and
every cost that used it says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.interpolation import Pair, stencil
from core.hardware.kind import NOTHING, FloatArray, KindCard, Simulation, checked_widths
from core.hardware.parameters import KindParameters, read_parameters
from core.hardware.signature import EXAMPLES, canonical, signature
from core.hardware.target import Target, Width

MAX_ROWS = 20_000
SHOWN = 6  # names or pairs in a hint


class TableRow(BaseModel):
    """What one layer costs at one pair of widths, for one pass of the target's batch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layer: str | None = Field(default=None, min_length=1, max_length=300, description="name of the layer")
    shape: str | None = Field(default=None, max_length=200, description=f"shape of the layer, such as {EXAMPLES}")
    weight_bits: Width
    activation_bits: Width
    latency_s: float = Field(gt=0, allow_inf_nan=False)
    energy_j: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    spread_s: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="of the latency, between the quartiles of its repetitions"
    )

    @field_validator("shape")
    @classmethod
    def _canonical(cls, value: str | None) -> str | None:
        return None if value is None else canonical(value)

    @model_validator(mode="after")
    def _names_a_layer(self) -> TableRow:
        if self.layer is None and self.shape is None:
            raise ValueError("give the layer's name or its shape")
        return self

    @property
    def pair(self) -> Pair:
        """Weight and activation bits."""
        return self.weight_bits, self.activation_bits

    @property
    def subject(self) -> tuple[str | None, str | None]:
        """What the row is about."""
        return self.layer, self.shape


class TableParameters(KindParameters):
    """The rows, and what to do about widths that are not among them."""

    rows: tuple[TableRow, ...] = Field(min_length=1, max_length=MAX_ROWS, description="layers at pairs of widths")
    interpolate: bool = Field(default=False, description="whether integer widths between measured ones may be told")
    channels: Literal["widest", "mean"] = Field(
        default="widest", description="a layer whose channels differ in width costs as its widest, or as their mean"
    )

    @model_validator(mode="after")
    def _each_row_once(self) -> TableParameters:
        seen: dict[object, int] = {}
        for number, row in enumerate(self.rows):
            first = seen.setdefault((row.subject, row.pair), number)
            if first != number:
                what = row.layer or row.shape
                raise ValueError(f"rows[{first}] and rows[{number}] are both {what!r} at {_pair_text(row.pair)}")
        return self


Cells = dict[Pair, TableRow]


@dataclass(frozen=True)
class _Index:
    """Rows by what they are about."""

    parameters: TableParameters
    named_shapes: dict[tuple[str, str], Cells] = field(default_factory=dict)
    names: dict[str, Cells] = field(default_factory=dict)
    shapes: dict[str, Cells] = field(default_factory=dict)

    @classmethod
    def of(cls, parameters: TableParameters) -> _Index:
        """All rows; of several layers with one shape, the first speaks for the others."""
        index = cls(parameters)
        for row in parameters.rows:
            if row.shape is not None:
                index.shapes.setdefault(row.shape, {}).setdefault(row.pair, row)
            if row.layer is not None and row.shape is not None:
                index.named_shapes.setdefault((row.layer, row.shape), {})[row.pair] = row
            elif row.layer is not None:
                index.names.setdefault(row.layer, {})[row.pair] = row
        return index

    def cells(self, layer: Layer) -> Cells:
        """Rows of a layer by pair of widths: those of its shape, then of its name, then of both."""
        shape = signature(layer)
        found = {**self.shapes.get(shape, {}), **self.names.get(layer.name, {})}
        return {**found, **self.named_shapes.get((layer.name, shape), {})}

    def value(self, cells: Cells, pair: Pair) -> tuple[float, float]:
        """Latency and energy, NaN where they are not told."""
        row = cells.get(pair)
        if row is not None:
            return row.latency_s, math.nan if row.energy_j is None else row.energy_j
        used = stencil(frozenset(cells), pair) if self.parameters.interpolate else None
        if used is None:
            return math.nan, math.nan
        rows = [(cells[each], share) for each, share in used]
        latency_s = math.exp(sum(share * math.log(row.latency_s) for row, share in rows))
        if any(row.energy_j is None for row, _ in rows):
            return latency_s, math.nan
        return latency_s, math.exp(sum(share * math.log(row.energy_j or math.nan) for row, share in rows))


class Table:
    """The kind of what was measured."""

    def __init__(self) -> None:
        self._last: tuple[dict[str, Any], _Index] | None = None

    @property
    def card(self) -> KindCard:
        """What a person reads about it."""
        return KindCard(
            id="table",
            title="Table of measurements",
            paper="none: figures of a device, measured here or brought along",
            link="",
            bounds=("unknown",),
            formula="latency_s and energy_j of a layer are those of its row; with interpolate, log(latency_s) and "
            "log(energy_j) are linear in the bits between measured integer widths",
            notes="Rows name a layer, or a shape that serves every layer like it. What is not covered is refused. "
            "Nothing is told about what bounds a layer. Channels of several widths: as the widest, or the mean over "
            "the channels, which is an estimate.",
            monotone=False,
            exceptions="measurements are as they are: a device may run fewer bits no faster, and two runs differ",
            parameters_schema=TableParameters.model_json_schema(),
        )

    def check(self, target: Target) -> None:
        """InvalidInput where rows are wrong, or the target claims pairs that no layer has."""
        index = self._index(target)
        if target.provenance == "simulated":
            raise InvalidInput(
                f"target {target.id!r}: a table is not simulated",
                hint='provenance = "measured" where [measured] says on what and when, else "table"',
                path="provenance",
            )
        if target.provenance == "measured" and target.measured is None:
            raise InvalidInput(
                f"target {target.id!r}: nothing says on what it was measured, and when",
                hint='add [measured] with device and date, or say provenance = "table"',
                path="measured",
            )
        self._check_supports(target, index)

    def _check_supports(self, target: Target, index: _Index) -> None:
        fitting = covered_pairs(index.parameters.rows, interpolate=index.parameters.interpolate)
        claimed = target.supports.pairs or tuple(
            (w, a) for w in target.supports.weight_bits for a in target.supports.activation_bits
        )
        for pair in claimed:
            if pair not in fitting:
                raise InvalidInput(
                    f"target {target.id!r}: no layer has a row at {_pair_text(pair)}, which supports claims",
                    hint=f"[supports] pairs = [{', '.join(f'[{w}, {a}]' for w, a in sorted(fitting))}]",
                    path="supports.pairs",
                )

    def simulate(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> Simulation:
        """Every layer at every pair of widths; NaN at pairs that are not covered. See `check_covers`."""
        index = self._index(target)
        widths = checked_widths(weight_bits).tolist(), checked_widths(activation_bits).tolist()
        values = np.empty((len(layers), len(widths[0]), len(widths[1]), 2))
        for position, layer in enumerate(layers):
            cells = index.cells(layer)
            values[position] = [[index.value(cells, (w, a)) for a in widths[1]] for w in widths[0]]
        return _simulation(values[..., 0], values[..., 1])

    def simulate_channels(
        self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int
    ) -> Simulation:
        """One layer with a width per output channel: as its widest, or as the mean, where pruned channels are free."""
        kept = sorted(bits for bits in channel_bits if bits > 0)
        if not kept:
            return NOTHING
        mean = self._index(target).parameters.channels == "mean"
        widths = sorted(set(kept)) if mean else [kept[-1]]
        self.check_covers(target, [layer], [(bits, activation_bits) for bits in widths])
        each = self.simulate(target, [layer], widths, [activation_bits])
        if not mean:
            return each
        shares = np.array([kept.count(bits) for bits in widths]) / len(channel_bits)
        latency, energy = (array[0, :, 0] @ shares for array in (each.latency_s, each.energy_j))
        return _simulation(np.full((1, 1, 1), latency), np.full((1, 1, 1), energy))

    def check_covers(self, target: Target, layers: Sequence[Layer], pairs: Sequence[Pair]) -> None:
        """InvalidInput names the first layer and pair that the table does not have, and what it has."""
        index = self._index(target)
        for layer in layers:
            cells = index.cells(layer)
            for pair in pairs:
                if math.isnan(index.value(cells, pair)[0]):
                    raise _not_covered(target, layer, pair, cells, index)

    def interpolated(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> NDArray[np.bool_]:
        """Which figures of `simulate` lie between measured ones, [L, W, A]."""
        index = self._index(target)
        pairs = [[(w, a) for a in activation_bits] for w in weight_bits]
        cells = [index.cells(layer) for layer in layers]
        if not index.parameters.interpolate:
            return np.zeros((len(layers), len(weight_bits), len(activation_bits)), dtype=np.bool_)
        return np.array([[[pair not in known for pair in row] for row in pairs] for known in cells], dtype=np.bool_)

    def note(self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int) -> str | None:
        """What of a cost was not measured as written, for people."""
        index, kept = self._index(target), sorted({bits for bits in channel_bits if bits > 0})
        if not kept:
            return None
        by_mean = index.parameters.channels == "mean"
        cells, notes = index.cells(layer), []
        for bits in kept if by_mean else kept[-1:]:
            used = stencil(frozenset(cells), (bits, activation_bits)) or ()
            if len(used) > 1:
                between = " and ".join(_pair_text(pair) for pair, _ in (used[0], used[-1]))
                notes.append(f"{bits}/{activation_bits} interpolated between {between}")
        if len(set(channel_bits)) > 1:
            widths = "the mean over its channels, an estimate" if by_mean else f"its widest channel, {kept[-1]} bits"
            notes.append(f"costed as {widths}")
        return "; ".join(notes) or None

    def _index(self, target: Target) -> _Index:
        """The target's rows, read once for as long as the same target is asked."""
        last = self._last
        if last is None or last[0] is not target.parameters:
            last = (target.parameters, _Index.of(read_parameters(target, TableParameters)))
            self._last = last
        return last[1]


def covered_pairs(rows: Sequence[TableRow], *, interpolate: bool) -> frozenset[Pair]:
    """Pairs that at least one layer of a table has, interpolated ones included where that is asked."""
    return frozenset().union(*(_pairs(pairs, interpolate) for pairs in _by_subject(rows).values()))


def common_pairs(rows: Sequence[TableRow], *, interpolate: bool) -> tuple[Pair, ...]:
    """Pairs that every layer of a table has: what a target made from it supports. InvalidInput where there is none."""
    by_subject = _by_subject(rows)
    common = frozenset.intersection(*(_pairs(pairs, interpolate) for pairs in by_subject.values()))
    if not common:
        told = "; ".join(f"{name or shape}: {_pairs_text(pairs)}" for (name, shape), pairs in by_subject.items())
        raise InvalidInput(
            f"no pair of widths was measured of every layer ({told:.300})",
            hint="measure all layers at one pair at least, such as 8/8",
        )
    return tuple(sorted(common))


def _by_subject(rows: Sequence[TableRow]) -> dict[tuple[str | None, str | None], set[Pair]]:
    pairs: dict[tuple[str | None, str | None], set[Pair]] = {}
    for row in rows:
        pairs.setdefault(row.subject, set()).add(row.pair)
    return pairs


def _pairs(measured: set[Pair], interpolate: bool) -> frozenset[Pair]:
    pairs = frozenset(measured)
    if not interpolate:
        return pairs
    return pairs | {(w, a) for w in range(1, 9) for a in range(1, 9) if stencil(pairs, (w, a)) is not None}


def _simulation(latency_s: FloatArray, energy_j: FloatArray) -> Simulation:
    return Simulation(latency_s, energy_j, np.zeros(latency_s.shape, dtype=np.uint8))


def _pair_text(pair: Pair) -> str:
    return f"{pair[0]}/{pair[1]}"


def _pairs_text(pairs: Sequence[Pair] | set[Pair]) -> str:
    told = [_pair_text(pair) for pair in sorted(pairs)]
    return ", ".join(told[:SHOWN]) + (f" and {len(told) - SHOWN} more" if len(told) > SHOWN else "")


def _not_covered(target: Target, layer: Layer, pair: Pair, cells: Cells, index: _Index) -> InvalidInput:
    shape = signature(layer)
    row = f'layer = "{layer.name}" or shape = "{shape}"'
    if cells:
        message = f"the table does not have layer {layer.name!r} ({shape}) at {_pair_text(pair)} bits"
        asked = "" if index.parameters.interpolate else "; interpolate = true tells integer widths between those it has"
        hint = f"it has {_pairs_text(set(cells))}; add a row with {row}{asked}"
    else:
        message = f"the table has no row for layer {layer.name!r} ({shape})"
        known = [*index.names, *index.shapes]
        near = get_close_matches(layer.name, index.names, n=SHOWN) + get_close_matches(shape, index.shapes, n=SHOWN)
        hint = f"add rows with {row}; it has {', '.join((near or known)[:SHOWN])}"
    return InvalidInput(
        f"target {target.id!r}: {message}", hint=hint, layer=layer.name, shape=shape, weight_bits=pair[0],
        activation_bits=pair[1],
    )  # fmt: skip


KIND = Table()
