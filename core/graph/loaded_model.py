"""A network that was read from a file: its graph, and the inventory of its layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from core.graph.inventory import Inventory


@dataclass
class LoadedModel:
    """The float network.

    `module` takes one float32 tensor (N, C, H, W), whatever the file's own layout was, and is in eval mode.
    Its calls are ordinary modules (Conv2d, Linear, BatchNorm2d, ReLU, pools) by their names in `inventory`;
    joins are `torch.add` and `torch.cat`.
    """

    module: torch.fx.GraphModule
    inventory: Inventory
