"""The policies that a training passes through on its way: fewer bits step by step, block after block, or both.

- Progressive bits (QIL, Jung et al., https://arxiv.org/abs/1808.05779, section 4.1): from float to 5, 4, 3 bits, each
  network trained from the one before. A stage of 5 bits gives no layer fewer than 5.
- Block by block (HAWQ, Dong et al., https://arxiv.org/abs/1905.03696, section 3.3): the first block is quantized and
  the network trained, then the second as well, and so on; what is not yet quantized stays float.
- Both: every width is reached block by block before the next one begins.

The last stage is the policy itself. Stages share the epochs equally, later ones first where it does not come out even;
where there are more stages than epochs, neighbouring stages are taken in one step. Pure functions; no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.jobs.specification import TrainingChoice
from core.policy import FLOAT_BITS, LayerBits, Policy
from core.quantizers.card import ALL_BITS

THE_POLICY = "the policy itself"


@dataclass(frozen=True)
class Stage:
    """`epochs` of training at `policy`. `layers`: those whose bits differ from the stage before, or from float."""

    title: str
    policy: Policy
    epochs: int
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Widths:
    """What a method offers: a stage takes the next wider one where its own is missing."""

    weights: tuple[int, ...] = ALL_BITS
    activations: tuple[int, ...] = ALL_BITS


def policies_on_the_way(
    policy: Policy, choice: TrainingChoice, blocks: Sequence[Sequence[str]] = (), widths: Widths | None = None
) -> list[Stage]:
    """At least one stage, `choice.epochs` epochs altogether. `blocks`: in the order in which they are quantized."""
    goals = [*_narrowing(policy, choice.progressive_bits, widths or Widths()), (THE_POLICY, policy)]
    if choice.block_order != "together":
        goals = list(_block_by_block(goals, blocks))
    goals = _without_repetition(goals)
    count = min(len(goals), choice.epochs)
    taken = [goals[-(-len(goals) * (position + 1) // count) - 1] for position in range(count)]
    shares = [choice.epochs // count + (position >= count - choice.epochs % count) for position in range(count)]
    before = [float_policy(policy), *(each for _, each in taken)]
    return [
        Stage(title, each, epochs, _changed(earlier, each))
        for (title, each), epochs, earlier in zip(taken, shares, before, strict=False)
    ]


def float_policy(policy: Policy) -> Policy:
    """The same layers without quantizers; joins keep their bits."""
    return _with(policy, {name: LayerBits(weights=FLOAT_BITS, activations=FLOAT_BITS) for name in policy.layers})


def _narrowing(policy: Policy, least: Sequence[int], widths: Widths) -> Iterator[tuple[str, Policy]]:
    for bits in least:
        layers = {name: _at_least(bits, each, widths) for name, each in policy.layers.items()}
        yield f"at least {bits} bits", _with(policy, layers)


def _at_least(least: int, bits: LayerBits, widths: Widths) -> LayerBits:
    weights: int | tuple[int, ...]
    if isinstance(bits.weights, int):
        weights = _widened(bits.weights, least, widths.weights)
    else:
        weights = tuple(_widened(each, least, widths.weights) for each in bits.weights)
    return LayerBits(weights=weights, activations=_widened(bits.activations, least, widths.activations))


def _widened(bits: int, least: int, offered: Sequence[int]) -> int:
    """A pruned channel stays pruned: the others should never come to rely on it."""
    if bits == 0:
        return bits
    wanted = max(bits, least)
    return min((width for width in offered if width >= wanted), default=max(bits, *offered))


def _block_by_block(
    goals: Sequence[tuple[str, Policy]], blocks: Sequence[Sequence[str]]
) -> Iterator[tuple[str, Policy]]:
    before = float_policy(goals[-1][1])
    for title, goal in goals:
        layers = before.layers
        for number, block in enumerate(blocks, 1):
            layers = layers | {name: goal.layers[name] for name in block}
            yield f"{title}, {number} of {len(blocks)} blocks", _with(goal, layers)
        yield title, goal
        before = goal


def _without_repetition(goals: Sequence[tuple[str, Policy]]) -> list[tuple[str, Policy]]:
    """Of equal neighbours the last: it has the better name."""
    followed = zip(goals, [*goals[1:], None], strict=True)
    return [goal for goal, following in followed if following is None or following[1] != goal[1]]


def _with(policy: Policy, layers: dict[str, LayerBits]) -> Policy:
    return policy.model_copy(update={"layers": layers})


def _changed(earlier: Policy, later: Policy) -> tuple[str, ...]:
    return tuple(name for name, bits in later.layers.items() if earlier.layers[name] != bits)
