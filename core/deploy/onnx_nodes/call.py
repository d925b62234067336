"""One call of a torch.fx graph, as the functions that write it in ONNX see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from core.deploy.onnx_nodes.graph import OnnxGraph


@dataclass(frozen=True)
class Call:
    """`module` is what a call_module node calls; None for functions."""

    graph: OnnxGraph
    node: fx.Node
    module: nn.Module | None

    @property
    def name(self) -> str:
        """The module's name, or the node's."""
        return self.node.name if self.module is None else str(self.node.target)

    @property
    def input(self) -> str:
        """Name of the first tensor that is read."""
        return self.graph.values[self.node.all_input_nodes[0]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first tensor that is read, for one sample, as the inventory noted it; () if it did not."""
        source = self.node.all_input_nodes[0]
        while source in self.graph.sites:
            source = source.all_input_nodes[0]
        return tuple(source.meta.get("shape", ()))

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument of the call by position or by name."""
        if len(self.node.args) > position:
            return self.node.args[position]
        return self.node.kwargs.get(name, default)

    def operand(self, position: int, name: str) -> str:
        """A tensor, or a number as a constant."""
        argument = self.argument(position, name)
        if isinstance(argument, fx.Node):
            return self.graph.values[argument]
        return self.graph.constant(f"{self.node.name}.{name}", argument)

    def emit(self, operator: str, *inputs: str, **attributes: Any) -> None:
        """Write the node whose output is the call's value."""
        value = self.graph.add(operator, inputs, self.node.name, self.name, **attributes)
        self.graph.values[self.node] = value

    def step(self, part: str, operator: str, *inputs: str, **attributes: Any) -> str:
        """Write a node on the way there; returns its output's name."""
        return self.graph.add(operator, inputs, f"{self.node.name}.{part}", f"{self.name}.{part}", **attributes)

    def integers(self, part: str, values: Any) -> str:
        """An int64 constant: axes, shapes, pads."""
        return self.graph.constant(f"{self.node.name}.{part}", values, "int64")

    def floats(self, part: str, values: Any) -> str:
        """A float32 constant."""
        return self.graph.constant(f"{self.node.name}.{part}", values)

    def same(self) -> None:
        """The call's value is its input."""
        self.graph.values[self.node] = self.input


Emitter = Callable[[Call], None]
