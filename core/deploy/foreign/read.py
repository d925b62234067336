"""A policy from any file that one can come in: which kind it is, is seen from its content. No torch, no pickle.

own          policy.json of a point
haq          .npy, or the list of pairs that HAQ prints
hawq         a bit_config as JSON or as HAWQ's Python file, of which only literals are read; one of several by name
aimet        encodings with bitwidths
tensorrt     tensorrt.json of a point
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from core.deploy.foreign.aimet_policy import ACTIVATIONS, PARAMETERS, read_aimet_policy
from core.deploy.foreign.haq_policy import MAGIC, read_haq_file, read_haq_rows
from core.deploy.foreign.hawq_policy import read_hawq_policy
from core.deploy.foreign.tensorrt_policy import FORMAT, read_tensorrt_policy
from core.deploy.foreign.widths import check_layers, listed
from core.errors import BrokenFile, InvalidInput, TooLarge, UnsupportedFormat
from core.graph.inventory import Inventory
from core.policy import Policy

Kind = Literal["own", "haq", "hawq", "aimet", "tensorrt"]
LARGEST_BYTES = 4_000_000
_DEEPEST = 12
IS_IT_A_POLICY = "The policy of a large network has some hundred kilobytes: see whether this is the right file."
_OWN_FORM = 'each layer is like "conv1": {"weights": 4, "activations": 8}; widths are 0 to 8, 16, or 32 for float'
_KNOWN = "policy.json, HAQ's .npy, HAWQ's bit_config, AIMET's encodings, tensorrt.json"


class ReadPolicy(NamedTuple):
    """A policy, what it came in, and what was decided while reading it."""

    policy: Policy
    kind: Kind
    notes: list[str]


def read_policy(data: bytes, inventory: Inventory, config: str | None = None) -> ReadPolicy:
    """`config` names one of several bit_configs. Every layer of the network gets bits, or the file is refused."""
    if len(data) > LARGEST_BYTES:
        raise TooLarge(
            f"A policy of more than {LARGEST_BYTES:,} bytes is not read.",
            hint=IS_IT_A_POLICY,
            limit_bytes=LARGEST_BYTES,
        )
    if data.startswith(MAGIC):
        policy, notes = read_haq_file(data, inventory)
        return ReadPolicy(policy, "haq", notes)
    value = _chosen(_literal(data), config)
    if isinstance(value, list | tuple):
        policy, notes = read_haq_rows(value, inventory)
        return ReadPolicy(policy, "haq", notes)
    return _from_table(value, inventory)


def _from_table(table: Mapping[str, Any], inventory: Inventory) -> ReadPolicy:
    if table.get("format") == FORMAT:
        return ReadPolicy(*_swapped("tensorrt", read_tensorrt_policy(table, inventory)))
    if PARAMETERS in table or ACTIVATIONS in table:
        return ReadPolicy(*_swapped("aimet", read_aimet_policy(table, inventory)))
    if "layers" in table:
        return ReadPolicy(_own(table, inventory), "own", [])
    if any(str(key).rpartition(".")[2].startswith("quant_") for key in table):
        return ReadPolicy(*_swapped("hawq", read_hawq_policy(table, inventory)))
    raise UnsupportedFormat("This is no policy that is known here.", hint=f"Known are {_KNOWN}.")


def _swapped(kind: Kind, read: tuple[Policy, list[str]]) -> tuple[Policy, Kind, list[str]]:
    return read[0], kind, read[1]


def _own(table: Mapping[str, Any], inventory: Inventory) -> Policy:
    try:
        policy = Policy.model_validate_json(json.dumps(table), strict=True)
    except ValidationError as error:
        told = error.errors(include_url=False)[0]
        where, why = ".".join(map(str, told["loc"]))[:200], told["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"the policy is not sound: {where}: {why}", hint=_OWN_FORM) from error
    except TypeError as error:
        raise InvalidInput(f"the policy is not sound: {error!s:.200}", hint=_OWN_FORM) from error
    check_layers(policy.layers, inventory, "the policy")
    _check_channels(policy, inventory)
    return policy


def _check_channels(policy: Policy, inventory: Inventory) -> None:
    for layer in inventory.layers:
        weights = policy.layers[layer.name].weights
        if isinstance(weights, tuple) and len(weights) != layer.weight_channels:
            raise InvalidInput(
                f"the policy has {len(weights)} widths for the channels of {layer.name}, which has "
                f"{layer.weight_channels} output channels",
                hint="give one width for the layer, or one for each output channel",
            )


def _chosen(value: Any, config: str | None) -> Any:
    """One bit_config, if there are several by name."""
    if not isinstance(value, Mapping):
        return value
    named = {str(name): each for name, each in value.items() if isinstance(each, Mapping)}
    several = bool(named) and len(named) == len(value) and not {PARAMETERS, ACTIVATIONS, "layers"} & set(named)
    if not several:
        if config is not None:
            raise InvalidInput(f"the file has one policy, so there is no {config!r:.80}", hint="leave the name out")
        return value
    if config is None and len(named) == 1:
        return next(iter(named.values()))
    if config not in named:
        wrong = f"there is no {config!r:.80}" if config else "it has to be said which"
        raise InvalidInput(f"the file has {len(named)} bit_configs, and {wrong}", hint=f"choose from {listed(named)}")
    return named[config]


def _literal(data: bytes) -> Any:
    """JSON, a Python literal, or the one literal that a Python file assigns. Nothing is run."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnsupportedFormat("The file is neither text nor .npy.", hint=f"Known are {_KNOWN}.") from error
    if _depth(text) > _DEEPEST:
        raise BrokenFile(f"The file nests more than {_DEEPEST} deep.", hint=f"Known are {_KNOWN}.")
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates)
    except ValueError:
        value = _python_literal(text)
    if not isinstance(value, Mapping | list | tuple):
        raise UnsupportedFormat("This is no policy that is known here.", hint=f"Known are {_KNOWN}.")
    return value


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise BrokenFile(f"{listed(twice)} stands twice in one table.", hint="leave one of them out")
    return dict(pairs)


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _python_literal(text: str) -> Any:
    try:
        statements = ast.parse(text.lstrip()).body
        values = [each.value for each in statements if isinstance(each, ast.Assign | ast.Expr)]
        literals = [each for each in values if isinstance(each, ast.Dict | ast.List | ast.Tuple)]
        if len(literals) != 1:
            raise UnsupportedFormat(
                f"The text is no JSON, and holds {len(literals)} tables where one is expected.",
                hint=f"Known are {_KNOWN}.",
            )
        _check_keys(literals[0])
        return ast.literal_eval(literals[0])
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else "something in its table is computed"
        raise BrokenFile(
            f"The text is neither JSON nor a Python literal: {why:.200}.",
            hint="give a table of plain numbers; nothing in the file is run",
        ) from error


def _check_keys(literal: ast.expr) -> None:
    for table in ast.walk(literal):
        if isinstance(table, ast.Dict):
            _without_duplicates([(str(key.value), None) for key in table.keys if isinstance(key, ast.Constant)])
