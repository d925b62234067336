"""What a recipe with stages needs to know besides the network: its stages, and how to build the network of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.jobs.specification import TrainingChoice
from core.policy import Policy
from core.quantizers.registry import chosen_method
from core.sensitivity.result import Sensitivity
from core.training.blocks import blocks_of, most_sensitive_first
from core.training.carry_over import Quantization
from core.training.stages import Stage, Widths, policies_on_the_way

BlockOrder = Literal["together", "by predicted loss", "in execution order"]


@dataclass(frozen=True)
class Way:
    """From the float network to the policy. The last stage's network is the one that fine-tuning is given."""

    quantization: Quantization
    stages: tuple[Stage, ...]
    block_order: BlockOrder


def way_to(
    policy: Policy, choice: TrainingChoice, quantization: Quantization, sensitivity: Sensitivity | None = None
) -> Way:
    """The way that the recipe describes.

    Without a sensitivity, blocks follow in execution order: an error in an early block runs through all later ones.
    """
    card = chosen_method(quantization.choice).card
    order: BlockOrder = "together"
    blocks = blocks_of(quantization.loaded.module)
    if choice.block_order != "together":
        order = "in execution order"
        if sensitivity is not None:
            blocks = most_sensitive_first(blocks, quantization.loaded.inventory, policy, sensitivity)
            order = "by predicted loss"
    stages = policies_on_the_way(policy, choice, blocks, Widths(card.weight_bits, card.activation_bits))
    return Way(quantization, tuple(stages), order)
