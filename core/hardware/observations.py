"""Rows of measurements as observations of a network's layers, for a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.fit import Observation
from core.hardware.kinds.table import TableRow
from core.hardware.measurements import WHOLE_NETWORK
from core.hardware.signature import signature


def observations(rows: Sequence[TableRow], layers: Sequence[Layer], *, keep_apart: float = 0.0) -> list[Observation]:
    """One observation for each row; a row of the layer `*` is about all layers at these widths.

    `keep_apart`: the share of the layers (of the rows, where there is one layer) that judges the fit instead of taking
    part in it, chosen by a fixed seed. InvalidInput where the network has no layer that a row is about.
    """
    if not 0 <= keep_apart < 1:
        raise InvalidInput(
            f"a share of {keep_apart} cannot be kept apart", hint="give a share from 0 up to, not with, 1"
        )
    found = [_observation(row, layers) for row in rows]
    groups = list(dict.fromkeys(each.layers for each in found))
    if len(groups) == 1:
        chosen = _chosen(len(found), keep_apart)
        return [replace(each, kept_apart=position in chosen) for position, each in enumerate(found)]
    chosen = _chosen(len(groups), keep_apart)
    apart = {group for position, group in enumerate(groups) if position in chosen}
    return [replace(each, kept_apart=each.layers in apart) for each in found]


def _chosen(count: int, share: float) -> set[int]:
    return set(np.random.default_rng(0).permutation(count)[: round(share * count)].tolist())


def _observation(row: TableRow, layers: Sequence[Layer]) -> Observation:
    meant = tuple(layers) if row.layer == WHOLE_NETWORK else (_layer(row, layers),)
    what = "whole network" if row.layer == WHOLE_NETWORK else meant[0].name
    return Observation(
        name=f"{what} at {row.weight_bits}/{row.activation_bits}",
        layers=meant,
        bits=(row.pair,) * len(meant),
        latency_s=row.latency_s,
        energy_j=row.energy_j,
    )


def _layer(row: TableRow, layers: Sequence[Layer]) -> Layer:
    """The layer of the row's name, else the first of its shape."""
    of_shape = [layer for layer in layers if row.shape is None or signature(layer) == row.shape]
    named = [layer for layer in of_shape if layer.name == row.layer]
    if named:
        return named[0]
    if row.shape is not None and of_shape:
        return of_shape[0]
    known = ", ".join(layer.name for layer in layers[:8]) + (", ..." if len(layers) > 8 else "")
    raise InvalidInput(
        f"the network has no layer {row.layer or row.shape!r}" + (f" of shape {row.shape}" if row.layer else ""),
        hint=f"its layers are {known}; a shape is written as {signature(layers[0])}",
    )
