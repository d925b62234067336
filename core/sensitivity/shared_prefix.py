"""Running a network again with one layer changed, without computing anew what stands before that layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, fx
from torch.func import functional_call


class SharedPrefix:
    """All values of one pass over `x`; `output` computes only what a change reaches."""

    def __init__(self, module: fx.GraphModule, x: Tensor) -> None:
        self.module = module
        self._interpreter = fx.Interpreter(module, garbage_collect_values=False)
        self.unchanged: Tensor = self._interpreter.run(x)
        self._values: dict[fx.Node, Any] = dict(self._interpreter.env)
        self._input = x

    def value(self, node: fx.Node) -> Tensor:
        """What the unchanged network computes there."""
        value: Tensor = self._values[node]
        return value

    def layer_with_weight(self, layer: fx.Node, weight: Tensor) -> Tensor:
        """The layer's output with another weight."""
        source = self.value(layer.all_input_nodes[0])
        output: Tensor = functional_call(self.module.get_submodule(str(layer.target)), {"weight": weight}, (source,))
        return output

    def layer_with_input(self, layer: fx.Node, x: Tensor) -> Tensor:
        """The layer's output for another input."""
        output: Tensor = self.module.get_submodule(str(layer.target))(x)
        return output

    def output(self, changed: Mapping[fx.Node, Tensor]) -> Tensor:
        """The network's output where these nodes have these values instead."""
        reached = behind(list(changed))
        if not any(node.op == "output" for node in reached):
            return self.unchanged
        known = {node: value for node, value in self._values.items() if node not in reached}
        output: Tensor = self._interpreter.run(self._input, initial_env={**known, **changed})
        return output


def behind(nodes: Sequence[fx.Node]) -> set[fx.Node]:
    """The nodes and everything that depends on them."""
    reached: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting.extend(node.users)
    return reached
