"""Losses as functions of what second derivatives are taken in: the weights of layers, or offsets to tensors.

An offset is added to a tensor only where layers read it, as a quantizer would sit there: what passes by on a residual
branch stays as it is. The loss is the mean over the images of a piece, so the offsets' block of the Hessian is that of
each image over their number, and sums over a piece are means over its images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from core.graph.loaded_model import LoadedModel
from core.graph.placement import ActivationSite, place
from core.sensitivity.chunks import Batch
from core.tasks import classification

Loss = Callable[[], Tensor]  # differentiable twice in the variables
Objective = Callable[[Tensor, Tensor], Tensor]  # logits N, classes and what a batch holds beside images -> mean loss


@dataclass(frozen=True)
class Piece:
    """A loss over some images, and the tensors that it is a function of."""

    loss: Loss
    variables: Sequence[Tensor]
    images: int


Opener = Callable[[], Piece]


class OffsetInputs(fx.Interpreter):
    """Runs a graph with `offsets` (by the name of the tensor) added to what the layers of a site read."""

    def __init__(self, module: fx.GraphModule, sites: Sequence[ActivationSite], offsets: Mapping[str, Tensor]) -> None:
        super().__init__(module)
        self._offsets = {reader: offsets[site.name] for site in sites for reader in site.readers}

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A layer reads its input with the offset."""
        if target in self._offsets:
            args = (args[0] + self._offsets[target], *args[1:])
        return super().call_module(target, args, kwargs)


def layer_sites(loaded: LoadedModel) -> list[ActivationSite]:
    """The tensors that layers read."""
    return [site for site in place(loaded.module).activation_sites if site.role == "layer"]


def weight_pieces(
    loaded: LoadedModel, batches: Sequence[Batch], objective: Objective = classification.loss
) -> list[Opener]:
    """The variables are the weights of all layers, the same tensors in every piece."""
    network = _still(loaded)
    weights = [network.get_parameter(f"{layer.name}.weight").requires_grad_(True) for layer in loaded.inventory.layers]
    return [partial(Piece, partial(_loss, network, batch, objective), weights, len(batch[1])) for batch in batches]


def activation_pieces(
    loaded: LoadedModel, batches: Sequence[Batch], objective: Objective = classification.loss
) -> list[Opener]:
    """The variables are offsets to the tensors of `layer_sites`, N, ... each, made anew whenever a piece is opened."""
    network, sites = _still(loaded), layer_sites(loaded)
    return [partial(_activation_piece, network, sites, batch, objective) for batch in batches]


def _activation_piece(
    network: fx.GraphModule, sites: Sequence[ActivationSite], batch: Batch, objective: Objective
) -> Piece:
    offsets = {
        site.name: torch.zeros((len(batch[1]), *site.node.meta["shape"][1:]), device=batch[0].device).requires_grad_()
        for site in sites
    }

    def loss() -> Tensor:
        return objective(OffsetInputs(network, sites, offsets).run(batch[0]), batch[1])

    return Piece(loss, list(offsets.values()), len(batch[1]))


def _still(loaded: LoadedModel) -> fx.GraphModule:
    network: fx.GraphModule = copy.deepcopy(loaded.module).eval().requires_grad_(False)
    return network


def _loss(network: fx.GraphModule, batch: Batch, objective: Objective) -> Tensor:
    return objective(network(batch[0]), batch[1])


def first_derivative(piece: Piece) -> tuple[Tensor, ...]:
    """In all variables, itself differentiable."""
    return torch.autograd.grad(piece.loss(), piece.variables, create_graph=True, materialize_grads=True)


def products(
    derivative: Sequence[Tensor], variables: Sequence[Tensor], vectors: Sequence[Tensor], chosen: Sequence[int]
) -> list[Tensor]:
    """Rows of H v for the chosen variables, v being nothing outside of them. A derivative that is constant has none."""
    outer = [(derivative[index], vector) for index, vector in zip(chosen, vectors, strict=True)]
    outer = [(each, vector) for each, vector in outer if each.requires_grad]
    inner = [variables[index] for index in chosen]
    if not outer:
        return [torch.zeros_like(each) for each in inner]
    return list(
        torch.autograd.grad(
            [each for each, _ in outer],
            inner,
            [vector for _, vector in outer],
            retain_graph=True,
            materialize_grads=True,
        )
    )


def work_of_own_products(layers: int) -> float:
    """Of one product for each layer alone, over one product for all at once, the first derivative counted in both.

    Measured on ResNet-20: the first derivative takes 0.4 of a shared product, and a layer's own 0.3 on average.
    """
    return (0.4 + 0.3 * layers) / (0.4 + 1.0)


def signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """-1 and +1 with equal chance, drawn on the CPU so that every device sees the same."""
    drawn = torch.randint(0, 2, like.shape, generator=generator).mul_(2).sub_(1)
    return drawn.to(like.device, like.dtype)
