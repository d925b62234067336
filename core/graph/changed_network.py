"""A network whose graph or weights were changed, described again."""

from __future__ import annotations

from torch import fx

from core.graph.build_inventory import build_inventory
from core.graph.loaded_model import LoadedModel


def described_again(original: LoadedModel, module: fx.GraphModule) -> LoadedModel:
    """`module` in eval mode with an inventory of its own; source, input and warnings are the original's."""
    module.graph.lint()
    module.recompile()
    of = original.inventory
    inventory = build_inventory(module, of.input_shape, of.source, of.input_layout, of.warnings)
    return LoadedModel(module.eval(), inventory)
