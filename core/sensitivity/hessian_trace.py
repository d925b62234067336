"""Trace of each layer's block of the Hessian, without forming it.

Hutchinson's estimator as in HAWQ-V2 (Dong et al., https://arxiv.org/abs/1911.03852, section 3.2) and PyHessian
(Yao et al., https://arxiv.org/abs/1912.07145): for v of independent signs, E[v' H v] = Tr H. One Hessian-vector product
with signs for all layers at once serves every layer: in v_l' (H v)_l = sum_m v_l' H_lm v_m the terms m != l have mean
zero. That adds variance, which the standard error over the probes includes.

Each probe sees a few of the images, in turn: its value is then random in the images too, so that the standard error
tells of both, and for equal time many cheap probes know more than few dear ones.

The mean trace is Tr H_l / n_l, n_l the number of weights of layer l.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, fx

from core.errors import InvalidInput, UnsupportedModel
from core.graph.loaded_model import LoadedModel
from core.jobs.task import Reporter
from core.sensitivity.chunks import Batch, chunks
from core.tasks import classification

TOLERANCE = 0.1  # of the trace, in every layer
FEWEST_PROBES, MOST_PROBES = 8, 128
MACS_PER_PROBE = 8e8  # forward; a product costs about eight times as much
FEWEST_IMAGES, MOST_IMAGES = 8, 64  # per probe

Loss = Callable[[], Tensor]  # differentiable twice in the parameters


@dataclass(frozen=True)
class TraceEstimate:
    """`mean_trace` and its standard error, from so many probes (`samples`)."""

    mean_trace: float
    standard_error: float
    samples: int


def hessian_traces(
    loaded: LoadedModel, batches: Sequence[Batch], *, budget_s: float, seed: int, reporter: Reporter
) -> dict[str, TraceEstimate]:
    """By layer, for the mean cross entropy of the float network in eval mode.

    Ends when every standard error is within a tenth of its trace, at 128 probes, or when the budget is used up.
    """
    network = copy.deepcopy(loaded.module).eval().requires_grad_(False)
    names = [layer.name for layer in loaded.inventory.layers]
    weights = [network.get_parameter(f"{name}.weight").requires_grad_(True) for name in names]
    size = int(MACS_PER_PROBE / max(loaded.inventory.total_macs, 1))
    pieces = chunks(batches, loaded.inventory, most_per_chunk=min(max(size, FEWEST_IMAGES), MOST_IMAGES))
    if not pieces:
        raise InvalidInput("there is no image to estimate the Hessian with", hint="give at least one training image")
    losses = [partial(_mean_loss, network, piece) for piece in pieces]
    quadratic_forms = estimate_traces(losses, weights, budget_s=budget_s, seed=seed, reporter=reporter)
    columns = quadratic_forms.unbind(1)
    return {
        name: _mean_trace(name, values, weight.numel())
        for name, values, weight in zip(names, columns, weights, strict=True)
    }


def _mean_loss(network: fx.GraphModule, batch: Batch) -> Tensor:
    return classification.loss(network(batch[0]), batch[1])


def estimate_traces(
    losses: Sequence[Loss], parameters: Sequence[Tensor], *, budget_s: float, seed: int, reporter: Reporter
) -> Tensor:
    """v_l' (H v)_l by probe and parameter, float64 (probes, parameters); the probes take the losses in turn."""
    started = time.monotonic()
    generator = torch.Generator().manual_seed(seed)
    derivative = _first_derivative(losses[0], parameters) if len(losses) == 1 else None
    found: list[Tensor] = []
    while not _enough(found):
        first = derivative or _first_derivative(losses[len(found) % len(losses)], parameters)
        found.append(_quadratic_forms(first, parameters, _signs(parameters, generator)))
        elapsed = time.monotonic() - started
        reporter.progress(max(len(found) / MOST_PROBES, min(elapsed / budget_s, 1.0)), f"{len(found)} probes")
        if len(found) > 1 and elapsed * (1 + 1 / len(found)) > budget_s:
            break
    return torch.stack(found)


def _first_derivative(loss: Loss, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss(), parameters, create_graph=True, materialize_grads=True)


def _quadratic_forms(derivative: Sequence[Tensor], parameters: Sequence[Tensor], probe: Sequence[Tensor]) -> Tensor:
    """v_l' (H v)_l of each parameter, float64."""
    products = torch.autograd.grad(derivative, parameters, probe, retain_graph=True, materialize_grads=True)
    forms = [torch.dot(sign.view(-1), product.reshape(-1)) for sign, product in zip(probe, products, strict=True)]
    return torch.stack(forms).double().cpu()


def _signs(parameters: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """-1 and +1 with equal chance, drawn on the CPU so that every device sees the same."""
    return [
        torch.randint(0, 2, each.shape, generator=generator).mul_(2).sub_(1).to(each.device, each.dtype)
        for each in parameters
    ]


def _enough(found: Sequence[Tensor]) -> bool:
    if len(found) < FEWEST_PROBES:
        return False
    forms = torch.stack(list(found))
    error = forms.std(0) / math.sqrt(len(found))
    return len(found) >= MOST_PROBES or bool((error <= TOLERANCE * forms.mean(0).abs()).all())


def _mean_trace(name: str, forms: Tensor, weights: int) -> TraceEstimate:
    if not bool(torch.isfinite(forms).all()):
        raise UnsupportedModel(
            f"the loss has no finite second derivative in the weights of {name!r}",
            hint="check the network's weights, or choose the sensitivity metric 'direct'",
        )
    error = forms.std().item() / math.sqrt(len(forms))
    return TraceEstimate(forms.mean().item() / weights, error / weights, len(forms))
