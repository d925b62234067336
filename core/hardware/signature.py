"""A layer's shape as one line of text, so that what was measured of one layer serves every layer like it.

`conv2d 64x56x56 -> 128x28x28 k3x3 s2 g1`: kind, input, output (C x H x W, or rows x features), kernel, stride, groups.
"""

from __future__ import annotations

import re

from core.graph.inventory import Layer

EXAMPLES = "conv2d 64x56x56 -> 128x28x28 k3x3 s2 g1, or linear 512 -> 10"
MAX_LENGTH = 200
_SHAPE = r"\d+(?:x\d+)*"
_TEXT = re.compile(
    rf"(?P<kind>conv2d|conv_transpose2d|linear) (?P<input>{_SHAPE}) -> (?P<output>{_SHAPE})"
    r"(?: k(?P<kernel>\d+(?:x\d+)?))?(?: s(?P<stride>\d+(?:x\d+)?))?(?: g(?P<groups>\d+))?"
)


def signature(layer: Layer) -> str:
    """The canonical text of a layer's shape.

    >>> from benchmarks.networks import conv
    >>> signature(conv("any", 64, 128, 3, 56, stride=2))
    'conv2d 64x56x56 -> 128x28x28 k3x3 s2 g1'
    """
    text = f"{layer.kind} {_by(layer.input_shape)} -> {_by(layer.output_shape)}"
    if layer.kind == "linear":
        return text
    return f"{text} k{_by(layer.weight_shape[2:])} s{_once(_by(layer.stride))} g{layer.groups}"


def canonical(text: str) -> str:
    """A signature as `signature` writes it, whatever its spaces, capitals and left-out defaults. Raises ValueError.

    >>> canonical("Conv2d 64 × 56 × 56→128x28x28  k3 s2x2")
    'conv2d 64x56x56 -> 128x28x28 k3x3 s2 g1'
    """
    found = _TEXT.fullmatch(_plain(text[:MAX_LENGTH])) if len(text) <= MAX_LENGTH else None
    if found is None:
        raise ValueError(f"{text[:80]!r} is not a shape such as {EXAMPLES}")
    kernel, stride, groups = found["kernel"], found["stride"], found["groups"]
    plain = f"{found['kind']} {_numbers(found['input'])} -> {_numbers(found['output'])}"
    if found["kind"] == "linear":
        if kernel or stride or groups:
            raise ValueError(f"{text!r}: a linear layer has no kernel, stride or groups")
        return plain
    if kernel is None or found["input"].count("x") != 2 or found["output"].count("x") != 2:
        raise ValueError(f"{text!r}: a convolution needs C x H x W twice and its kernel, as in {EXAMPLES}")
    return f"{plain} k{_twice(kernel)} s{_once(_twice(stride or '1'))} g{int(groups or 1)}"


def _plain(text: str) -> str:
    """Lower case, one space between parts, none inside a shape."""
    plain = text.lower().replace("×", "x").replace("→", "->").replace("->", " -> ")
    plain = re.sub(r"(?<=\d)\s*x\s*(?=\d)", "x", plain)
    return " ".join(plain.split())


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _numbers(text: str) -> str:
    """Without leading zeros."""
    return "x".join(str(int(part)) for part in text.split("x"))


def _twice(text: str) -> str:
    return _numbers(text if "x" in text else f"{text}x{text}")


def _once(text: str) -> str:
    first, _, second = text.partition("x")
    return first if first == second else text
