"""A classifier's end as training wants it: scores N, classes, without the softmax that belongs to the loss."""

from __future__ import annotations

from torch import fx, nn

from core.graph.vocabulary import called_module


def expose_scores(module: fx.GraphModule, output_shape: tuple[int, ...]) -> tuple[str, ...]:
    """Take a final softmax away and flatten N, classes, 1, 1. Returns what was done, for people."""
    output = next(iter(reversed(module.graph.nodes)))
    last = output.args[0]
    if not isinstance(last, fx.Node):
        return ()
    if len(output_shape) == 4 and output_shape[2:] == (1, 1):
        _flatten(module, output, last)
    elif len(output_shape) == 2 and _is_softmax(module, last):
        output.replace_input_with(last, last.all_input_nodes[0])
        module.graph.erase_node(last)
        module.delete_submodule(str(last.target))
        module.recompile()
        return ("the softmax at the end was taken away: the network now gives scores, not probabilities",)
    return ()


def _is_softmax(module: fx.GraphModule, node: fx.Node) -> bool:
    called = called_module(module, node)
    return isinstance(called, nn.Softmax) and called.dim in (1, -1)


def _flatten(module: fx.GraphModule, output: fx.Node, last: fx.Node) -> None:
    module.add_submodule("flatten_scores", nn.Flatten(1))
    with module.graph.inserting_before(output):
        flat = module.graph.call_module("flatten_scores", (last,))
    output.replace_input_with(last, flat)
    module.recompile()
