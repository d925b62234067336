"""A method as the registry holds it: its card, its settings, and the makers of its two quantizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from core.errors import InvalidSpecification
from core.policy import FLOAT_BITS
from core.quantizers.base import ActivationQuantizer, Passthrough, WeightQuantizer
from core.quantizers.card import MethodCard
from core.quantizers.channel_groups import ChannelGroupsWeightQuantizer
from core.quantizers.plain import PlainActivationQuantizer, PlainWeightQuantizer
from core.quantizers.rescaled import AdjustedScaleWeightQuantizer, RestoredScaleWeightQuantizer

PLAIN_BITS = 16  # too many bits for a method to matter: the plain uniform grid


class MethodSettings(BaseModel):
    """Settings of one method; subclasses add fields with defaults and descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NoSettings(MethodSettings):
    """A method that has nothing to set."""


@dataclass(frozen=True)
class Method:
    """One method. The two makers take widths that the card allows, and an instance of `settings_type`.

    `scale_adjustment`: whether layers without a batch norm behind them get SAT's; None: as the card says.
    """

    card: MethodCard
    weights: Callable[[int, int | None, int, Any], WeightQuantizer]  # bits, axis, channels, settings
    activations: Callable[[int, bool, Any], ActivationQuantizer]  # bits, signed, settings
    settings_type: type[MethodSettings] = NoSettings
    settings: MethodSettings | None = None
    scale_adjustment: bool | None = None

    @property
    def adjusts_scale(self) -> bool:
        """Whether layers without a batch norm behind them are rescaled."""
        return self.card.adjusts_scale if self.scale_adjustment is None else self.scale_adjustment

    def configured(self, settings: Mapping[str, Any], scale_adjustment: bool | None = None) -> Method:
        """With these settings; None leaves the scale adjustment to the method."""
        try:
            validated = self.settings_type.model_validate(dict(settings))
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidSpecification(
                f"{self.card.title}, setting {'.'.join(map(str, first['loc']))}: {first['msg']}",
                hint=f"its settings: {', '.join(self.settings_type.model_fields) or 'none'}",
            ) from error
        return replace(self, settings=validated, scale_adjustment=scale_adjustment)

    def make_weight_quantizer(
        self, bits: int | tuple[int, ...], granularity: str, channels: int, axis: int = 0, *, normalised: bool = True
    ) -> nn.Module:
        """For a weight with `channels` output channels along `axis`; one width, or one per channel.

        `granularity`: tensor, channel, or finest for the finer that the method has.
        `normalised`: whether a batch norm follows the layer. Where none does, a method that leaves the weight's scale
        gets it back by a factor.
        """
        granularity = self.card.finest if granularity == "finest" else granularity
        self._check_granularity(granularity)
        own_axis = axis if granularity == "channel" else None
        if isinstance(bits, int):
            quantizer = self._one_width(bits, own_axis, channels, restored=not (normalised or self.adjusts_scale))
        else:
            self._check_granularity("kernel")
            if len(bits) != channels:
                raise InvalidSpecification(f"{len(bits)} widths were given for a layer of {channels} output channels")
            quantizer = ChannelGroupsWeightQuantizer(
                bits, axis, lambda width, count: self._one_width(width, own_axis, count, restored=not normalised)
            )
        if not normalised and self.adjusts_scale and isinstance(quantizer, WeightQuantizer) and bits != PLAIN_BITS:
            return AdjustedScaleWeightQuantizer(quantizer)
        return quantizer

    def make_activation_quantizer(self, bits: int, signed: bool) -> nn.Module:
        """For the tensor that a layer reads."""
        if bits == FLOAT_BITS:
            return Passthrough()
        if bits == PLAIN_BITS:
            return PlainActivationQuantizer(bits, signed)
        self._check(bits, self.card.activation_bits, "activations")
        return self.activations(bits, signed, self._settings())

    def _one_width(self, bits: int, axis: int | None, channels: int, *, restored: bool) -> nn.Module:
        """`restored`: with the weight's scale; each group of channels that share a width left it by its own factor."""
        if bits == FLOAT_BITS:
            return Passthrough()
        if bits == PLAIN_BITS:
            return PlainWeightQuantizer(bits, axis, channels)
        self._check(bits, self.card.weight_bits, "weights")
        quantizer = self.weights(bits, axis, channels, self._settings())
        needed = restored and self.card.needs_following_normalisation
        return RestoredScaleWeightQuantizer(quantizer) if needed else quantizer

    def _settings(self) -> MethodSettings:
        return self.settings_type() if self.settings is None else self.settings

    def _check_granularity(self, granularity: str) -> None:
        if granularity not in self.card.granularities:
            what = "widths per output channel" if granularity == "kernel" else f"scale per {granularity}"
            raise InvalidSpecification(
                f"{self.card.title} has no {what}", hint=f"it offers: {', '.join(self.card.granularities)}"
            )

    def _check(self, bits: int, allowed: tuple[int, ...], side: str) -> None:
        if bits not in allowed:
            raise InvalidSpecification(
                f"{self.card.title} has no {bits}-bit {side}", hint=f"choose from {list(allowed)}, 16, or 32 for float"
            )
