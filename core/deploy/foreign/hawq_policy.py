"""HAWQ's bit_config of a ResNet: bits by the name of a module of its quantized network.

Yao et al. 2021, "HAWQ-V3: Dyadic Neural Network Quantization", https://arxiv.org/abs/2011.10680; the names are those of
bit_config.py and utils/models/q_resnet.py in https://github.com/Zhen-Dong/HAWQ:

    quant_input                       what the first convolution reads
    quant_init_block_convbn           its weights (quant_init_convbn where blocks are bottlenecks)
    quant_act_int32                   operands of additions: the policy's residual bits
    stageI.unitJ.quant_act            what a block reads: its first convolution, and its shortcut's
    stageI.unitJ.quant_convbnK        weights of its Kth convolution
    stageI.unitJ.quant_actK           what its (K+1)th convolution reads
    stageI.unitJ.quant_identity_convbn   weights of its shortcut's convolution
    stageI.unitJ.quant_act_int32      as above
    quant_act_output, quant_output    what the classifier reads, and its weights

Which layer is which is read off the network's shape, whatever its layers are called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.deploy.foreign.widths import joined, listed, one_width, width
from core.errors import InvalidInput
from core.graph.inventory import Inventory, Layer
from core.policy import LayerBits, Policy

STAGES = 4
INIT_BASIC, INIT_BOTTLENECK = "quant_init_block_convbn", "quant_init_convbn"
JOIN = "quant_act_int32"
_FIRST = ("quant_input", INIT_BASIC, INIT_BOTTLENECK, JOIN)
_WITHIN = (
    "quant_act", "quant_convbn1", "quant_act1", "quant_convbn2", "quant_act2", "quant_convbn3",
    "quant_identity_convbn", JOIN,
)  # fmt: skip
_LAST = ("quant_act_output", "quant_output")
Keys = dict[str, tuple[str, str]]  # by layer: names of its weights and of what it reads


def hawq_policy(inventory: Inventory, policy: Policy) -> dict[str, int]:
    """The bit_config, in HAWQ's order. Raises InvalidInput where the network is no such ResNet."""
    keys, joins = _keys(inventory)
    config: dict[str, int] = {}
    for layer in inventory.layers:
        bits, (weights, activations) = policy.layers[layer.name], keys[layer.name]
        config[activations] = bits.activations
        config[weights] = one_width(layer, bits, "HAWQ")
    config |= dict.fromkeys(joins, policy.residual_bits)
    return {key: config[key] for key in sorted(config, key=_place)}


def read_hawq_policy(config: Mapping[str, Any], inventory: Inventory) -> tuple[Policy, list[str]]:
    """From one bit_config. Keys must be exactly those that the network's shape asks for."""
    keys, joins = _keys(inventory)
    expected = {*joins, *(key for pair in keys.values() for key in pair)}
    _check_keys(set(config), expected, inventory)
    layers = {
        name: LayerBits(weights=width(config[weights], weights), activations=width(config[activations], activations))
        for name, (weights, activations) in keys.items()
    }
    residual = {width(config[key], key) for key in joins}
    if len(residual) > 1:
        raise InvalidInput(
            f"the bit_config gives additions {listed(map(str, sorted(residual)))} bits; a policy has one width for all",
            hint=f"give every {JOIN} the same",
        )
    return joined(inventory, layers, residual.pop())


def _check_keys(found: set[str], expected: set[str], inventory: Inventory) -> None:
    if unknown := sorted(found - expected, key=_place):
        raise InvalidInput(
            f"the bit_config has {len(found)} entries, this network needs {len(expected)}; unknown: {listed(unknown)}",
            hint=f"the network's layers: {listed(layer.name for layer in inventory.layers)}",
        )
    if missing := sorted(expected - found, key=_place):
        raise InvalidInput(
            f"the bit_config has {len(found)} entries, this network needs {len(expected)}; missing: {listed(missing)}",
            hint=f"the network's layers: {listed(layer.name for layer in inventory.layers)}",
        )


def _keys(inventory: Inventory) -> tuple[Keys, list[str]]:
    """Names of every layer, and those of the additions."""
    layers = inventory.layers
    if len(layers) < 2 or layers[0].kind != "conv2d" or layers[-1].kind != "linear":
        raise _no_resnet(inventory, "it does not begin with a convolution and end with a linear layer")
    body = layers[1:-1]
    depth = 3 if body and body[0].weight_shape[2:] == (1, 1) else 2
    keys: Keys = {
        layers[0].name: (INIT_BOTTLENECK if depth == 3 else INIT_BASIC, "quant_input"),
        layers[-1].name: ("quant_output", "quant_act_output"),
    }
    joins, stage, unit = [JOIN], 0, 0
    for main, shortcut in _units(body, depth, inventory):
        stage, unit = (stage + 1, 1) if shortcut or not stage else (stage, unit + 1)
        prefix = f"stage{stage}.unit{unit}"
        joins.append(f"{prefix}.{JOIN}")
        for position, layer in enumerate(main):
            reads = f"{prefix}.quant_act{position or ''}"
            keys[layer.name] = (f"{prefix}.quant_convbn{position + 1}", reads)
        if shortcut is not None:
            keys[shortcut.name] = (f"{prefix}.quant_identity_convbn", f"{prefix}.quant_act")
    if stage != STAGES:
        raise _no_resnet(inventory, f"its shortcuts' convolutions make {stage} stages, not {STAGES}")
    return keys, joins


def _units(body: Sequence[Layer], depth: int, inventory: Inventory) -> Iterator[tuple[list[Layer], Layer | None]]:
    """The convolutions of each block, and that of its shortcut, which reads the same tensor as the first."""
    position = 0
    while position < len(body):
        start = body[position]
        beside = [layer for layer in body if layer.reads == start.reads]
        count = depth + len(beside) - 1
        block = list(body[position : position + count])
        shortcut = max(beside, key=_looks_like_shortcut) if len(beside) == 2 else None
        main = [layer for layer in block if layer is not shortcut]
        if len(block) < count or len(beside) > 2 or len(main) != depth or any(each.kind != "conv2d" for each in block):
            raise _no_resnet(inventory, f"no block of {depth} convolutions begins at {start.name}")
        yield main, shortcut
        position += count


def _looks_like_shortcut(layer: Layer) -> tuple[bool, int]:
    """1x1, and with more output channels than a bottleneck's first convolution."""
    return layer.weight_shape[2:] == (1, 1), layer.weight_shape[0]


def _no_resnet(inventory: Inventory, why: str) -> InvalidInput:
    return InvalidInput(
        f"HAWQ's bit_config names the modules of a ResNet, and this network is none: {why}",
        hint=f"use policy.json or HAQ's .npy; the layers: {listed(layer.name for layer in inventory.layers)}",
    )


def _place(key: str) -> tuple[int, list[int], int, str]:
    """Where HAWQ lists a key; what it does not know comes last."""
    place, _, module = key.rpartition(".")
    for part, order in enumerate((_FIRST, _WITHIN, _LAST)):
        if module in order and bool(place) == (order is _WITHIN):
            return part, [int(number) for number in re.findall(r"[0-9]{1,4}", place)], order.index(module), key
    return 3, [], 0, key
