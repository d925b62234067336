"""Writes a fake-quantized network bit-packed, in the size that its policy promises. Format: docs/packed_format.md."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import save
from torch import fx

from core.deploy.activation_grids import SiteGrid, grids_by_name
from core.deploy.batch_norm import factor_and_shift
from core.deploy.deploy_layers import DeployLayer, deploy_layers
from core.deploy.integer_weight import IntegerWeight, output_axis
from core.deploy.packed_reader import FLOAT_BITS, FORMAT, VERSION, checksum
from core.deploy.packing import pack_channels
from core.graph.inventory import Inventory
from core.graph.vocabulary import BATCH_NORM_TYPES, called_module
from core.hardware.cost import size_bytes
from core.policy import Policy

Tensors = dict[str, NDArray[Any]]


class PackedSize(BaseModel):
    """Where the bytes of a packed file are. All but `policy_bytes` add up to `file_bytes`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy_bytes: float = Field(description="weights x bits / 8, as the policy promises")
    weight_bytes: int = Field(description="packed codes and float weights: policy_bytes, each layer rounded up")
    scale_bytes: int
    offset_bytes: int
    bias_bytes: int
    norm_bytes: int = Field(description="batch norms that no layer absorbs")
    header_bytes: int = Field(description="names, shapes, policy, activation grids, tables of levels")
    file_bytes: int


def export_packed(model: fx.GraphModule, inventory: Inventory, policy: Policy, path: Path) -> PackedSize:
    """Write `model`, as `quantize` or `fine_tune` returns it; returns what its bytes are spent on."""
    layers = deploy_layers(model)
    tensors: Tensors = {}
    for layer in layers:
        tensors |= _tensors(layer)
    tensors |= _remaining_norms(model, layers)
    content = _in_one_order(save(tensors, _metadata(model, layers, inventory, policy)))
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    return _size(tensors, len(content), size_bytes(inventory.layers, policy))


def _in_one_order(content: bytes) -> bytes:
    """The same file with a checksum and a sorted header: safetensors shuffles its metadata, and equal networks must be
    equal files.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    described = json.loads(content[8:start])
    described["__metadata__"]["checksum"] = checksum(described, np.frombuffer(content[start:], np.uint8))
    header = json.dumps(described, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[start:]


def _tensors(layer: DeployLayer) -> Tensors:
    tensors: Tensors = {}
    if layer.integers is not None:
        integers = layer.integers
        tensors[f"{layer.name}.codes"] = pack_channels(integers.rows_of_fields(), integers.bits)
        tensors[f"{layer.name}.scale"] = _shared(integers.scale)
        if integers.has_offset:
            tensors[f"{layer.name}.offset"] = _shared(integers.offset)
    else:
        tensors[f"{layer.name}.weight"] = np.ascontiguousarray(layer.weight)
    if layer.bias is not None:
        tensors[f"{layer.name}.bias"] = layer.bias
    return tensors


def _shared(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """One entry where all channels have the same."""
    return values[:1] if (values == values[0]).all() else np.ascontiguousarray(values)


def _remaining_norms(model: fx.GraphModule, layers: Iterable[DeployLayer]) -> Tensors:
    """Batch norms behind something other than a layer, as one factor and one shift per channel."""
    absorbed = {layer.norm for layer in layers}
    tensors: Tensors = {}
    for node in model.graph.nodes:
        norm = called_module(model, node)
        if isinstance(norm, BATCH_NORM_TYPES) and node not in absorbed:
            factor, shift = factor_and_shift(norm, str(node.target))
            tensors |= {f"{node.target}.factor": factor.astype(np.float32)}
            tensors |= {f"{node.target}.shift": shift.astype(np.float32)}
    return tensors


def _metadata(model: fx.GraphModule, layers: list[DeployLayer], inventory: Inventory, policy: Policy) -> dict[str, str]:
    tables = _Tables()
    network = {
        "input_shape": inventory.input_shape,
        "layers": [_described(layer, inventory, tables) for layer in layers],
        "activations": {name: _described_grid(site, tables) for name, site in grids_by_name(model).items()},
        "levels": tables.found,
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "producer": f"Bitfront {version('bitfront')}",
        "policy": policy.model_dump_json(),
        "network": json.dumps(network, separators=(",", ":")),
    }


class _Tables:
    """Tables of levels, each stored once however many layers and tensors refer to it."""

    def __init__(self) -> None:
        self.found: list[list[int]] = []

    def reference(self, levels: Iterable[int] | None) -> dict[str, int]:
        """The entry that refers to a table; none where the levels are equally far apart."""
        table = [] if levels is None else list(levels)
        if not table:
            return {}
        if table not in self.found:
            self.found.append(table)
        return {"levels": self.found.index(table)}


def _described_grid(site: SiteGrid, tables: _Tables) -> dict[str, Any]:
    grid = site.grid.model_dump(exclude={"levels"})
    return {"bits": site.bits, **grid, **tables.reference(site.grid.levels)}


def _described(layer: DeployLayer, inventory: Inventory, tables: _Tables) -> dict[str, Any]:
    known = inventory.layer(layer.name)
    entry: dict[str, Any] = {"name": layer.name, "kind": known.kind, "shape": known.weight_shape, "reads": known.reads}
    window = {"stride": known.stride, "padding": known.padding, "groups": known.groups}
    if known.kind != "linear":
        entry |= {**window, "dilation": layer.module.dilation}
    if layer.integers is None:
        return {**entry, "axis": output_axis(layer.module), "bits": FLOAT_BITS}
    levels = None if layer.integers.levels is None else layer.integers.levels.tolist()
    return {**entry, "axis": layer.integers.axis, **_grid(layer.integers), **tables.reference(levels)}


def _grid(integers: IntegerWeight) -> dict[str, Any]:
    """Widths and grids: one number where all channels share it."""
    columns = {name: getattr(integers, name).tolist() for name in ("bits", "low", "high", "step")}
    return {name: values[0] if len(set(values)) == 1 else values for name, values in columns.items()}


def _size(tensors: Tensors, file_bytes: int, policy_bytes: float) -> PackedSize:
    def of(*parts: str) -> int:
        return sum(value.nbytes for name, value in tensors.items() if name.rpartition(".")[2] in parts)

    return PackedSize(
        policy_bytes=policy_bytes,
        weight_bytes=of("codes", "weight"),
        scale_bytes=of("scale"),
        offset_bytes=of("offset"),
        bias_bytes=of("bias"),
        norm_bytes=of("factor", "shift"),
        header_bytes=file_bytes - sum(value.nbytes for value in tensors.values()),
        file_bytes=file_bytes,
    )
