"""The state of a program that is being built: tensors get names and facts, nodes get values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import fx, nn

from core.deploy.activation_grids import SiteGrid
from core.deploy.deploy_layers import DeployLayer
from core.deploy.integer.program import IntegerProgram, Move, MoveKind, Operation, TensorFacts
from core.deploy.integer.values import Pieces, Term, Value, compressed
from core.errors import UnsupportedModel
from core.graph.source_lines import KEY


def no_integer_form(node: fx.Node, what: str, hint: str) -> UnsupportedModel:
    """The refusal of one node: its name, and the line of source it came from where that is known."""
    source = node.meta.get(KEY)
    line = f" ({source})" if source else ""
    return UnsupportedModel(f"{node.name}{line}: {what}, so the network has no integer-only form", hint=hint)


@dataclass
class Builder:
    """`values` holds what each visited node is."""

    model: fx.GraphModule
    program: IntegerProgram
    layers: dict[fx.Node, DeployLayer]
    absorbed: dict[fx.Node, fx.Node]  # batch norm -> the layer that computes it
    sites: dict[fx.Node, SiteGrid]
    values: dict[fx.Node, Value | Pieces] = field(default_factory=dict)

    def add(self, operation: Operation, shape: Sequence[int], low: int, high: int) -> str:
        """Append; the name of what it writes."""
        self.program.operations.append(operation)
        self.program.tensors[operation.output] = TensorFacts(tuple(shape), int(low), int(high))
        return operation.output

    def name(self, node: fx.Node, part: str = "") -> str:
        """A name that no tensor has yet."""
        stem = f"{node.name}.{part}" if part else node.name
        taken, count, name = self.program.tensors, 1, stem
        while name in taken:
            count += 1
            name = f"{stem}.{count}"
        return name

    def facts(self, tensor: str) -> TensorFacts:
        """Of a tensor of the program."""
        return self.program.tensors[tensor]

    def shape(self, value: Value) -> tuple[int, ...]:
        """Without the batch."""
        return self.facts(value.terms[0].tensor).shape

    def value(self, node: Any) -> Value:
        """What an argument is; refuses what is not one tensor."""
        found = self.values.get(node)
        if isinstance(found, Value):
            return found
        raise no_integer_form(
            node, "several tensors of different scales are joined and not brought to one grid", "quantize the join"
        )

    def single(self, node: fx.Node, value: Value) -> Term:
        """The one tensor of a value with nothing pending."""
        if len(value.terms) != 1 or value.pending:
            raise no_integer_form(
                node, "it reads a sum or a function that is on no grid", "give its input an activation quantizer"
            )
        return value.terms[0]

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls."""
        return self.model.get_submodule(str(node.target)) if node.op == "call_module" else None

    def moved(self, node: fx.Node, value: Value, kind: MoveKind, numbers: Sequence[int], shape: Sequence[int]) -> Value:
        """A value whose terms are all moved alike; scales and offset follow, and what is pending stays so."""
        old = self.shape(value)
        whole = [self._repeated(node, term, old) for term in value.terms]
        terms = tuple(self._moved_term(node, term, kind, tuple(numbers), shape) for term in whole)
        return replace(value, terms=terms, offset=follow(value.offset, old, kind, numbers, shape))

    def _repeated(self, node: fx.Node, term: Term, shape: tuple[int, ...]) -> Term:
        """A term that is the same for all channels, once for each."""
        facts = self.facts(term.tensor)
        if facts.shape == shape:
            return term
        factors = tuple(extent // own for extent, own in zip(shape, facts.shape, strict=True))
        operation = Move((term.tensor,), self.name(node, "repeated"), node.name, "repeat", factors, term.zero)
        return replace(term, tensor=self.add(operation, shape, facts.low, facts.high))

    def _moved_term(
        self, node: fx.Node, term: Term, kind: MoveKind, numbers: tuple[int, ...], shape: Sequence[int]
    ) -> Term:
        facts = self.facts(term.tensor)
        operation = Move((term.tensor,), self.name(node, "moved"), node.name, kind, numbers, term.zero)
        low, high = (
            (min(facts.low, term.zero), max(facts.high, term.zero)) if kind == "pad" else (facts.low, facts.high)
        )
        tensor = self.add(operation, shape, low, high)
        return replace(term, tensor=tensor, scale=follow(term.scale, facts.shape, kind, numbers, shape))


def follow(
    array: np.ndarray[Any, np.dtype[np.float64]],
    old: Sequence[int],
    kind: MoveKind,
    numbers: Sequence[int],
    shape: Sequence[int],
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Scales per element of a moved tensor, compressed again; a padded place repeats its neighbour's scale."""
    if array.size == 1:
        return array.reshape([1] * len(shape))
    full = np.broadcast_to(array, tuple(old))
    if kind == "reshape":
        full = full.reshape(tuple(numbers))
    elif kind == "permute":
        full = full.transpose(tuple(numbers))
    elif kind == "slice":
        full = full[tuple(slice(*numbers[start : start + 3]) for start in range(0, len(numbers), 3))]
    elif kind == "pad":
        full = np.pad(full, list(zip(numbers[::2], numbers[1::2], strict=True)), mode="edge")
    elif kind == "repeat":
        for axis, factor in enumerate(numbers):
            full = full.repeat(factor, axis)
    elif kind == "select":
        full = full.take(list(numbers[1:]), numbers[0])
    elif kind == "flip":
        full = np.flip(full, tuple(numbers))
    else:
        channels, factor = full.shape[0] // numbers[0] ** 2, numbers[0]
        parts = full.reshape(channels, factor, factor, *full.shape[1:]).transpose(0, 3, 1, 4, 2)
        full = parts.reshape(tuple(shape))
    return compressed(full)
