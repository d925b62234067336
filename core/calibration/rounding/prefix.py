"""A network run piece by piece over all images: what was computed for one unit is not computed again for the next.

Tensors that later nodes still read are kept while they fit into `KEPT_BYTES`; otherwise each request starts from the
images, with the same results to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, fx

from core.calibration.rounding.samples import CHUNK, parts

KEPT_BYTES = 2**30

Values = dict[fx.Node, Tensor]


class Prefix:
    """`images` gives the same batches at each call."""

    def __init__(self, model: fx.GraphModule, images: Callable[[], Iterator[Tensor]]) -> None:
        self.model = model
        self.images = images
        self.done: set[fx.Node] = set()
        self.kept: list[Values] | None = None
        self.keeps = True

    def outputs(self, node: fx.Node) -> Iterator[Tensor]:
        """The node's tensor for one chunk of images after the other. Weights before it must be final."""
        live, size, computed = list[Values](), 0, set[fx.Node]()
        for values in self._starts():
            known, computed = self._run(values, node)
            yield known[node]
            if self.keeps:
                done = self.done | computed
                left = {each: value for each, value in known.items() if any(user not in done for user in each.users)}
                size += sum(value.numel() * value.element_size() for value in left.values())
                live.append(left)
                self.keeps = size <= KEPT_BYTES
            if not self.keeps:
                live.clear()
        self.kept, self.done = (live, self.done | computed) if self.keeps else (None, set())

    def _starts(self) -> Iterable[Values]:
        if self.kept is not None:
            return self.kept
        self.done = set()
        entry = next(node for node in self.model.graph.nodes if node.op == "placeholder")
        return ({entry: chunk} for batch in self.images() for chunk in parts(batch, CHUNK))

    @torch.no_grad()
    def _run(self, known: Values, wanted: fx.Node) -> tuple[Values, set[fx.Node]]:
        """What is known afterwards, and the nodes that were computed for it."""
        interpreter = fx.Interpreter(self.model, garbage_collect_values=False)
        interpreter.env = known = dict(known)
        needed, computed = _needed(wanted, known), set(self.done)
        for node in self.model.graph.nodes:
            if node in needed:
                known[node] = interpreter.run_node(node)
                computed.add(node)
                for source in node.all_input_nodes:
                    if source is not wanted and computed.issuperset(source.users):
                        known.pop(source, None)
        constants = {node for node in needed if node.op == "get_attr"}
        return {node: value for node, value in known.items() if node not in constants}, needed - constants


def _needed(wanted: fx.Node, known: Values) -> set[fx.Node]:
    needed: set[fx.Node] = set()
    waiting = [wanted]
    while waiting:
        node = waiting.pop()
        if node not in known and node not in needed:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    return needed
