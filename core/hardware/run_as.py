"""At which pair of widths a target really runs a layer."""

from __future__ import annotations

from core.hardware.target import Support


def run_as(supports: Support, weight_bits: int, activation_bits: int) -> tuple[int, int]:
    """The narrowest supported pair that holds both operands; the pair itself where there is none.

    Narrowest: the least product of widths, and of equal ones that whose wider operand is narrower (8/8 before 4/16).

    A pair without a wider supported one (float on an integer array, say) is costed as it is, and marked by the caller.

    >>> run_as(Support(pairs=((4, 8), (8, 8))), 3, 5)
    (4, 8)
    >>> run_as(Support(pairs=((4, 16), (8, 8))), 4, 4)
    (8, 8)
    >>> run_as(Support(), 32, 32)
    (32, 32)
    """
    if supports.allows(weight_bits, activation_bits):
        return weight_bits, activation_bits
    pairs = supports.pairs or [(w, a) for w in supports.weight_bits for a in supports.activation_bits]
    wide_enough = [(w, a) for w, a in pairs if w >= weight_bits and a >= activation_bits]
    as_written = (weight_bits, activation_bits)
    return min(wide_enough, key=lambda pair: (pair[0] * pair[1], max(pair), pair), default=as_written)


def substitution(supports: Support, weight_bits: int, activation_bits: int) -> str | None:
    """A sentence for people where a pair is not run as written; None where it is."""
    w, a = run_as(supports, weight_bits, activation_bits)
    if not supports.allows(w, a):
        return f"{weight_bits}/{activation_bits} is not supported; costed as {w}-bit by {a}-bit fixed point"
    return None if (w, a) == (weight_bits, activation_bits) else f"{weight_bits}/{activation_bits} runs as {w}/{a}"


def runnable_widths(supports: Support) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Weight and activation widths of which every pair runs, as written or wider; ascending, as many as there are.

    >>> runnable_widths(Support(pairs=((8, 8), (32, 32))))
    ((8, 32), (8, 32))
    >>> runnable_widths(Support(pairs=((4, 8), (8, 4))))
    ((4, 8), (4,))
    """
    sides = list(zip(*supports.pairs, strict=True)) or [supports.weight_bits, supports.activation_bits]
    weights, activations = (tuple(sorted(set(side))) for side in sides)

    def runs(w: int, a: int) -> bool:
        return supports.allows(*run_as(supports, w, a))

    narrow = tuple(a for a in activations if all(runs(w, a) for w in weights))
    return (weights, narrow) if narrow else (tuple(w for w in weights if runs(w, activations[0])), activations[:1])
