"""How much each element of a tensor matters to the predictions: the diagonal of the Fisher information, by image.

BRECQ (Li et al., ICLR 2021, https://arxiv.org/abs/2102.05426, section 3.3) weights a block's squared error by squared
gradients at its output. Here they are of the float network's log-likelihood with a class drawn from its own
prediction, one draw an image, so that no labels are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, fx
from torch.nn import functional

from core.calibration.rounding.samples import CHUNK, parts
from core.errors import InvalidSpecification


def squared_gradients(
    exact: fx.GraphModule, node: fx.Node, images: Callable[[], Iterator[Tensor]], seed: int
) -> Iterator[Tensor]:
    """The node's shape, for one chunk of images after the other."""
    chance = torch.Generator().manual_seed(seed)
    for batch in images():
        for chunk in parts(batch, CHUNK):
            yield _squared(exact, node, chunk, chance)


def _squared(exact: fx.GraphModule, node: fx.Node, images: Tensor, chance: torch.Generator) -> Tensor:
    run = _FromNode(exact, node)
    with torch.enable_grad():
        logits = run.run(images)
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            raise InvalidSpecification(
                "errors can be weighted by gradients only in a network of one score per class",
                hint="turn the Fisher weighting off",
            )
        predicted = logits.detach().softmax(1).cpu()
        classes = torch.multinomial(predicted, 1, generator=chance).squeeze(1).to(logits.device)
        loss = functional.cross_entropy(logits, classes, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, [run.leaf])
    return gradient.square()


class _FromNode(fx.Interpreter):
    """Gradients begin at one node."""

    def __init__(self, module: fx.GraphModule, node: fx.Node) -> None:
        super().__init__(module)
        self.node = node
        self.leaf = torch.empty(0)

    def run_node(self, n: fx.Node) -> object:
        """Detached where it is the node."""
        value = super().run_node(n)
        if n is self.node:
            value = self.leaf = value.detach().requires_grad_()
        return value
