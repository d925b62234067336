"""Stores a jointly trained network: each weight once, in the bits of its widest grid. Reads it at any of its widths.

The grids of one layer are nested: a field (the number of a level, counted from the lowest) of b bits is the field of
the widest grid, of B bits, >> (B - b) (Jin et al., https://arxiv.org/abs/1912.09666, section 3.1). The file is a
safetensors file:

| tensor | |
|---|---|
| `<layer>.codes` | U8: the widest fields, packed in bit planes as in docs/packed_format.md |
| `<layer>.scale.<b>` | F32, [] or one per output channel: what one integer is worth at b bits |
| `state/members.<b>.<name>` | the rest of the network of width b: norms, clipping levels, biases, layers kept float |

`joint` in the metadata is JSON: `format`, `version`, `quantizer` (the job's choice), `widths`, and `layers` by name:
`shape`, `axis` of the scales or null, `bits` B, `grids` by width with `low`, `high`, `step`; value = scale * code,
code = low + step * field. What several networks share stands under the widest one's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, fx, nn

from core.calibration.quantize import joint_bits
from core.deploy.packed_reader import PackedFileError, unpack_codes
from core.deploy.packing import pack_codes
from core.errors import BrokenFile, InvalidInput
from core.graph.inventory import Layer
from core.graph.loaded_model import LoadedModel
from core.graph.placement import ActivationSite, place_quantizers
from core.jobs.joint_widths import member_policies
from core.jobs.specification import QuantizerChoice
from core.policy import Policy
from core.quantizers.base import Passthrough, QuantizedTensor, WeightQuantizer
from core.quantizers.plain import PlainActivationQuantizer
from core.quantizers.registry import chosen_method
from core.training.joint_network import JointNetwork, layer_of

FORMAT, VERSION = "bitfront-joint", 1
_STATE = "state/"


class StoredGrid(BaseModel):
    """The integers of one width: `low`, `low + step`, ... `high`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: int
    high: int
    step: int


class StoredLayer(BaseModel):
    """One weight. `bits` is the width it is stored in, the largest of `grids`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: tuple[int, ...]
    axis: int | None
    bits: int
    grids: dict[int, StoredGrid]


class StoredNetwork(BaseModel):
    """The file's own description."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str
    version: int
    quantizer: QuantizerChoice
    widths: tuple[int, ...]
    layers: dict[str, StoredLayer]


class StoredWeightQuantizer(WeightQuantizer):
    """Integers from a file; takes no notice of the weight that it is given."""

    bits: int
    codes: Tensor
    scale: Tensor

    def __init__(self, bits: int, axis: int | None, codes: Tensor, scale: Tensor, grid: StoredGrid) -> None:
        super().__init__(bits, axis)
        self.grid = grid
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """The stored weight."""
        return self.integers(weight).dequantize()

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """What the file holds, at this width."""
        grid = self.grid
        return QuantizedTensor.of_one_width(
            self.codes, self.scale, self.axis, self.bits, (grid.low, grid.high), step=grid.step
        )


def write_joint(joint: JointNetwork, path: Path) -> int:
    """Writes the network; returns the file's bytes. Equal networks are equal files."""
    tensors: dict[str, Tensor] = {}
    layers: dict[str, StoredLayer] = {}
    for layer in joint.inventory.layers:
        by_width = _integers_by_width(joint, layer)
        if by_width:
            layers[layer.name] = _stored_layer(layer, by_width)
            tensors |= _layer_tensors(layer.name, by_width)
    state = joint.state_dict()
    tensors |= {f"{_STATE}{name}": state[name].detach().cpu().contiguous() for name in sorted(_kept(joint, layers))}
    described = StoredNetwork(
        format=FORMAT, version=VERSION, quantizer=joint.choice, widths=joint.widths, layers=layers
    )
    content = save(tensors, {"joint": described.model_dump_json()})
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    return len(content)


def _described(joint: JointNetwork, layers: dict[str, StoredLayer]) -> StoredNetwork:
    return StoredNetwork(format=FORMAT, version=VERSION, quantizer=joint.choice, widths=joint.widths, layers=layers)


def read_joint(path: Path, loaded: LoadedModel) -> JointNetwork:
    """The network in the file, on the CPU, to be used and not trained; it was made from the float network `loaded`."""
    try:
        with safe_open(path, framework="pt") as file:
            described = StoredNetwork.model_validate_json((file.metadata() or {}).get("joint", ""))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, ValidationError) as error:
        raise BrokenFile(f"{path.name} is no jointly trained network, or is damaged: {error}") from error
    if (described.format, described.version) != (FORMAT, VERSION):
        raise BrokenFile(f"{path.name} has format {described.format} {described.version}, not {FORMAT} {VERSION}")
    _check_fits(described, loaded, path.name)
    try:
        return _restored(described, tensors, loaded)
    except (KeyError, RuntimeError, PackedFileError) as error:
        raise BrokenFile(f"{path.name} is damaged, or is another network's: {error}") from error


def _integers_by_width(joint: JointNetwork, layer: Layer) -> dict[int, QuantizedTensor]:
    """Of every width that some member gives the layer; empty for a layer that stays float."""
    found: dict[int, QuantizedTensor] = {}
    for member in joint.networks():
        quantized = layer_of(member, layer.name)
        quantizer = quantized.weight_quantizer
        if isinstance(quantizer, WeightQuantizer) and quantizer.bits not in found:
            found[int(quantizer.bits)] = quantizer.integers(quantized.layer.get_parameter("weight"))  # type: ignore[arg-type]
    return found


def _stored_layer(layer: Layer, by_width: Mapping[int, QuantizedTensor]) -> StoredLayer:
    grids = {
        width: StoredGrid(low=_one(each.low), high=_one(each.high), step=_one(each.step))
        for width, each in by_width.items()
    }
    widest = max(by_width)
    return StoredLayer(shape=layer.weight_shape, axis=by_width[widest].axis, bits=widest, grids=grids)


def _one(values: Tensor) -> int:
    """The value that all channels have."""
    return int(values.reshape(-1)[0])


def _fields(integers: QuantizedTensor) -> Tensor:
    return (integers.codes - _one(integers.low)) // _one(integers.step)


def _layer_tensors(name: str, by_width: Mapping[int, QuantizedTensor]) -> dict[str, Tensor]:
    widest = max(by_width)
    fields = _fields(by_width[widest])
    for width, integers in by_width.items():
        if not torch.equal(_fields(integers), fields >> (widest - width)) or bool(integers.offset.any()):
            raise InvalidInput(
                f"the {width}-bit grid of layer {name!r} is not nested in its {widest}-bit grid",
                hint="store each width on its own",
            )
    packed = pack_codes(fields.reshape(-1).to(torch.uint8).cpu().numpy(), widest)
    scales = {f"{name}.scale.{width}": integers.scale.cpu() for width, integers in by_width.items()}
    return {f"{name}.codes": torch.from_numpy(packed), **scales}


def _kept(joint: JointNetwork, layers: Mapping[str, StoredLayer]) -> set[str]:
    """Names of what is stored as it is: all but the quantized weights and their quantizers."""
    left_out = tuple(
        f"members.{width}.{name}.{part}"
        for width in joint.widths
        for name in layers
        for part in ("layer.weight", "weight_quantizer.")
    )
    return {name for name in joint.state_dict() if not name.startswith(left_out)}


def _check_fits(described: StoredNetwork, loaded: LoadedModel, name: str) -> None:
    for layer in loaded.inventory.layers:
        stored = described.layers.get(layer.name)
        if stored is not None and stored.shape != layer.weight_shape:
            raise InvalidInput(
                f"{name} holds layer {layer.name!r} with shape {stored.shape}, the network has {layer.weight_shape}",
                hint="read it with the network that it was trained from",
            )
    if unknown := sorted(set(described.layers) - {layer.name for layer in loaded.inventory.layers}):
        raise InvalidInput(
            f"{name} holds layers that the network does not have: {', '.join(unknown[:5])}",
            hint="read it with the network that it was trained from",
        )


def _restored(described: StoredNetwork, tensors: Mapping[str, Tensor], loaded: LoadedModel) -> JointNetwork:
    fields = {name: _unpacked(tensors[f"{name}.codes"], layer) for name, layer in described.layers.items()}
    policies = member_policies(loaded.inventory.layers, described.widths, described.quantizer)
    members = {width: _member(described, policy, fields, tensors, loaded) for width, policy in policies.items()}
    joint = JointNetwork(members, loaded, described.quantizer)
    state: dict[str, Any] = {
        name.removeprefix(_STATE): value for name, value in tensors.items() if name.startswith(_STATE)
    }
    wanted = _kept(joint, described.layers)
    if state.keys() != wanted:
        raise KeyError(f"parts that are missing or too many: {', '.join(sorted(state.keys() ^ wanted)[:5])}")
    joint.load_state_dict(state, strict=False)
    return joint.eval()


def _unpacked(packed: Tensor, layer: StoredLayer) -> Tensor:
    count = int(np.prod(layer.shape, dtype=np.int64))
    return torch.from_numpy(unpack_codes(packed.numpy(), layer.bits, count).astype(np.int32)).reshape(layer.shape)


def _member(
    described: StoredNetwork,
    policy: Policy,
    fields: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    loaded: LoadedModel,
) -> fx.GraphModule:
    """One width: integers in place of weights; what its quantizers learned is filled in later."""
    method = chosen_method(described.quantizer)

    def weights(layer: Layer) -> nn.Module:
        stored, bits = described.layers.get(layer.name), policy.layers[layer.name].weights
        if stored is None or not isinstance(bits, int):
            return Passthrough()
        grid = stored.grids[bits]
        codes = grid.low + grid.step * (fields[layer.name] >> (stored.bits - bits))
        return StoredWeightQuantizer(bits, stored.axis, codes, tensors[f"{layer.name}.scale.{bits}"], grid)

    def activations(site: ActivationSite) -> nn.Module:
        if site.role == "layer":
            return method.make_activation_quantizer(policy.layers[site.readers[0]].activations, site.signed)
        bits = joint_bits(site, policy.residual_bits)
        return Passthrough() if bits == Passthrough.bits else PlainActivationQuantizer(bits, site.signed)

    member = place_quantizers(loaded.module, weights, activations).to("cpu")
    for name in described.layers:
        quantized = layer_of(member, name)
        weight = quantized.layer.get_parameter("weight")
        weight.data.copy_(quantized.weight_quantizer(weight))
    return member
