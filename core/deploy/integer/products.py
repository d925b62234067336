"""Products of two activations: gates, squeeze and excitation, attention. Both operands are codes of 8 bits at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import fx

from core.deploy.integer.bounds import LARGEST
from core.deploy.integer.builder import Builder, no_integer_form
from core.deploy.integer.program import Product
from core.deploy.integer.values import Term, Value
from core.graph.vocabulary import MATMUL_FUNCTIONS

FEWER_BITS = "give the policy residual_bits of 8 or 16, or use the ONNX QDQ file for this network"


def product_of_tensors(builder: Builder, node: fx.Node) -> Value:
    """The sums of products, with the proof that 32 bits hold them."""
    first, second = (_operand(builder, node, each) for each in node.args[:2])
    shapes = builder.facts(first.tensor).shape, builder.facts(second.tensor).shape
    if len(shapes[0]) != len(shapes[1]):
        raise no_integer_form(node, "tensors of different ranks are multiplied", "bring both to one rank before")
    matrices = node.target in MATMUL_FUNCTIONS
    shape = _product_shape(node, *shapes) if matrices else np.broadcast_shapes(*shapes)
    terms = shapes[0][-1] if matrices else 1
    bound = terms * _largest(builder, first) * _largest(builder, second)
    if bound > LARGEST:
        raise no_integer_form(
            node, f"sums of up to {bound:.3g} do not fit 32-bit accumulators", "shorten the sums, or use fewer bits"
        )
    operation = Product(
        (first.tensor, second.tensor),
        builder.name(node),
        node.name,
        kind="matrices" if matrices else "values",
        zeros=(first.zero, second.zero),
    )
    tensor = builder.add(operation, shape, -bound, bound)
    ones = [1] * len(shape)
    scale = np.full(ones, float(first.scale.reshape(-1)[0]) * float(second.scale.reshape(-1)[0]))
    return Value((Term(tensor, scale),), np.zeros(ones))


def _operand(builder: Builder, node: fx.Node, argument: Any) -> Term:
    value = builder.value(argument)
    if len(value.terms) != 1 or value.pending or value.terms[0].scale.size != 1 or value.offset.any():
        raise no_integer_form(node, "an operand of the product is on no grid", FEWER_BITS)
    return value.terms[0]


def _product_shape(node: fx.Node, first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    if len(first) < 2:
        raise no_integer_form(node, "it multiplies the images of a batch with each other", FEWER_BITS)
    return (*np.broadcast_shapes(tuple(first[:-2]), tuple(second[:-2])), first[-2], second[-1])


def _largest(builder: Builder, term: Term) -> int:
    facts = builder.facts(term.tensor)
    return max(abs(facts.low - term.zero), abs(facts.high - term.zero))
