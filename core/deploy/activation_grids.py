"""The activation quantizers of a fake-quantized graph, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from core.graph.vocabulary import called_module
from core.quantizers.base import ActivationQuantizer
from core.quantizers.site_range import ActivationGrid

SITE_PREFIX = "activation_quantizers."


@dataclass(frozen=True)
class SiteGrid:
    """One site. `name` is the tensor's, with `_residual` behind it where the site stands at a join."""

    name: str
    node: fx.Node  # the quantizer's call
    bits: int
    grid: ActivationGrid


def is_site(node: fx.Node) -> bool:
    """Whether the node calls an activation quantizer, or stands where a policy says float."""
    return node.op == "call_module" and str(node.target).startswith(SITE_PREFIX)


def site_grids(model: fx.GraphModule) -> dict[fx.Node, SiteGrid]:
    """By the quantizer's node, in execution order. Float sites are left out."""
    grids = {}
    for node in model.graph.nodes:
        quantizer = called_module(model, node) if is_site(node) else None
        if isinstance(quantizer, ActivationQuantizer):
            name = str(node.target).removeprefix(SITE_PREFIX)
            grids[node] = SiteGrid(name, node, quantizer.bits, quantizer.grid())
    return grids


def grids_by_name(model: fx.GraphModule) -> dict[str, SiteGrid]:
    """By the site's name; `Layer.reads` is one."""
    return {site.name: site for site in site_grids(model).values()}
