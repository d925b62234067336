"""The network as training runs it: without the ReLUs that the quantizers behind them make superfluous.

Where a quantizer is the only reader of a ReLU, and gives every negative value code 0 and no gradient, as LSQ's does on
its unsigned grid, it does the ReLU's work as well. Training then need not compute the ReLU, nor keep its output.
"""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn import functional

from core.graph.vocabulary import called_module
from core.quantizers.base import ActivationQuantizer

RELU_FUNCTIONS = frozenset({torch.relu, functional.relu})


def without_absorbed_relus(model: nn.Module) -> nn.Module:
    """The same modules in a graph of its own; `model` itself where there is nothing to leave out.

    Values are the same to the bit; gradients but for the order of sums, and where a ReLU would have read exactly 0.
    """
    if not isinstance(model, fx.GraphModule):
        return model
    graph = fx.Graph()
    twins: dict[fx.Node, fx.Node] = {}
    graph.output(graph.graph_copy(model.graph, twins))
    absorbed = [node for node in model.graph.nodes if _is_absorbed(model, node)]
    for node in absorbed:
        twins[node].replace_all_uses_with(twins[node].all_input_nodes[0])
        graph.erase_node(twins[node])
    return fx.GraphModule(model, graph) if absorbed else model


def _is_absorbed(model: fx.GraphModule, node: fx.Node) -> bool:
    if type(called_module(model, node)) is not nn.ReLU and node.target not in RELU_FUNCTIONS:
        return False
    readers = [called_module(model, reader) for reader in node.users]
    return len(readers) == 1 and isinstance(readers[0], ActivationQuantizer) and readers[0].clips_at_zero
