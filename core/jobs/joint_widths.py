"""Which widths one jointly trained network serves. No torch.

Joint training (AdaBits, https://arxiv.org/abs/1912.09666) learns one set of weights at every width of a list.
Candidates are then read off: their layers have widths of that list, or what the first/last rule gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.errors import InvalidSpecification
from core.graph.inventory import Layer
from core.jobs.specification import QuantizerChoice
from core.policy import Policy
from core.search.uniform import uniform_policy

JOINT_METHOD = "adabits"
JOINT_FILE = "network.joint.safetensors"  # what the joint stage leaves to download
DEFAULT_WIDTHS = "8,6,5,4"
NESTED_WIDTHS = range(2, 9)


def parsed_widths(text: str) -> tuple[int, ...]:
    """Numbers of a text such as 8,6,5,4, descending. ValueError where it is no list of different widths from 2 to 8."""
    parts = [part.strip() for part in text.split(",")]
    if not set(parts) <= set(map(str, NESTED_WIDTHS)):
        raise ValueError(f"{text[:80]!r} is no list of widths from 2 to 8, such as {DEFAULT_WIDTHS}")
    if len(set(parts)) < len(parts):
        raise ValueError(f"a width stands twice in {text[:80]!r}")
    return tuple(sorted(map(int, parts), reverse=True))


def joint_widths(choice: QuantizerChoice) -> tuple[int, ...]:
    """The widths that are trained together, descending; none where each candidate is trained on its own."""
    if choice.method != JOINT_METHOD:
        return ()
    try:
        return parsed_widths(str(choice.settings.get("bits", DEFAULT_WIDTHS)))
    except ValueError as error:
        raise InvalidSpecification(str(error)) from error


def member_policies(layers: Sequence[Layer], widths: Iterable[int], choice: QuantizerChoice) -> dict[int, Policy]:
    """What is trained at each width: the uniform policy, with the first/last rule."""
    return {
        width: uniform_policy(layers, width, first_last=choice.first_last, residual_bits=choice.residual_bits)
        for width in widths
    }
