"""The methods, by id. A new method is one file, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from core.errors import InvalidSpecification
from core.policy import FLOAT_BITS
from core.quantizers import hadq, lsq
from core.quantizers.base import ActivationQuantizer, Passthrough, WeightQuantizer
from core.quantizers.binary import BinaryWeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.channel_groups import ChannelGroupsWeightQuantizer
from core.quantizers.uniform import UniformActivationQuantizer

PLAIN_BITS = 16  # too many bits for a method to matter: the plain uniform grid


@dataclass(frozen=True)
class Method:
    """One method. The two makers take widths that the card allows."""

    card: MethodCard
    weights: Callable[[int, int | None, int], WeightQuantizer]  # bits, axis, channels
    activations: Callable[[int, bool], ActivationQuantizer]  # bits, signed

    def make_weight_quantizer(
        self, bits: int | tuple[int, ...], granularity: str, channels: int, axis: int = 0
    ) -> nn.Module:
        """For a weight with `channels` output channels along `axis`; one width, or one per channel."""
        if granularity not in self.card.granularities:
            raise InvalidSpecification(
                f"{self.card.title} has no scale per {granularity}",
                hint=f"choose one of {', '.join(self.card.granularities)}",
            )
        if isinstance(bits, int):
            return self._one_width(bits, axis if granularity == "channel" else None, channels)
        if len(bits) != channels:
            raise InvalidSpecification(f"{len(bits)} widths were given for a layer of {channels} output channels")
        return ChannelGroupsWeightQuantizer(bits, axis, lambda width, count: self._one_width(width, axis, count))

    def _one_width(self, bits: int, axis: int | None, channels: int) -> nn.Module:
        if bits == FLOAT_BITS:
            return Passthrough()
        if bits == PLAIN_BITS:
            return lsq.LsqWeightQuantizer(bits, axis, channels)
        self._check(bits, self.card.weight_bits, "weights")
        return self.weights(bits, axis, channels)

    def make_activation_quantizer(self, bits: int, signed: bool) -> nn.Module:
        """For the tensor that a layer reads."""
        if bits == PLAIN_BITS:
            return UniformActivationQuantizer(bits, signed)
        if bits != FLOAT_BITS:
            self._check(bits, self.card.activation_bits, "activations")
        return Passthrough() if bits == FLOAT_BITS else self.activations(bits, signed)

    def _check(self, bits: int, allowed: tuple[int, ...], side: str) -> None:
        if bits not in allowed:
            raise InvalidSpecification(
                f"{self.card.title} has no {bits}-bit {side}", hint=f"choose from {list(allowed)}, 16, or 32 for float"
            )


def _lsq_weights(bits: int, axis: int | None, channels: int) -> WeightQuantizer:
    return BinaryWeightQuantizer(axis) if bits == 1 else lsq.LsqWeightQuantizer(bits, axis, channels)


def _hadq_weights(bits: int, axis: int | None, channels: int) -> WeightQuantizer:
    return hadq.HadqBinaryWeightQuantizer(axis) if bits == 1 else hadq.HadqWeightQuantizer(bits, axis)


METHODS: dict[str, Method] = {
    method.card.id: method
    for method in (
        Method(lsq.CARD, _lsq_weights, lsq.LsqActivationQuantizer),
        Method(hadq.CARD, _hadq_weights, hadq.HadqActivationQuantizer),
    )
}


def method_by_id(name: str) -> Method:
    """The method of that id; InvalidSpecification if there is none."""
    if name not in METHODS:
        raise InvalidSpecification(f"there is no quantization method {name!r}", hint=f"choose from {sorted(METHODS)}")
    return METHODS[name]
