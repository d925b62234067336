"""A safetensors file and the name of an architecture become a traced network.

Names may carry the prefixes that training wrappers leave. What is missing, unexpected or misshapen is listed by name.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, fx, nn

from core.errors import BrokenFile, UnsupportedModel
from core.graph.architectures import ARCHITECTURES, Architecture
from core.graph.finite_weights import refuse_non_finite
from core.graph.source_lines import note_lines

WRAPPER_PREFIXES = ("module.", "model.", "_orig_mod.")
COUNTER = "num_batches_tracked"  # of batch norm: often absent, and of no use after training
SHOWN = 5


def load_checkpoint(path: Path, architecture: str) -> tuple[fx.GraphModule, tuple[int, int, int]]:
    """The float network in eval mode, and its input shape C, H, W."""
    chosen = _architecture(architecture)
    state = _read(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    network = _build(chosen, shapes)
    _check_against(network, state, architecture)
    counters = {name: torch.zeros((), dtype=torch.int64) for name in network.state_dict() if name.endswith(COUNTER)}
    network.load_state_dict(counters | state, assign=True)
    network.eval()
    return trace(network), chosen.infer_input_shape(shapes)


def trace(network: nn.Module) -> fx.GraphModule:
    """One graph of ordinary modules that keep their names; its nodes know their lines of source."""
    tracer = fx.Tracer()
    tracer.record_stack_traces = True
    graph = tracer.trace(network)
    note_lines(graph)
    return fx.GraphModule(tracer.root, graph, type(network).__name__)


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise UnsupportedModel(
            f"there is no architecture named {name!r}",
            hint=f"choose one of {', '.join(ARCHITECTURES)}, or upload the network as ONNX",
        )
    return ARCHITECTURES[name]


def _read(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError) as problem:
        raise BrokenFile(
            f"the safetensors file cannot be read: {problem}", hint="save it again and upload it"
        ) from problem
    refuse_non_finite(tensors.items())
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    return _without_prefix(state)


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in WRAPPER_PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            return _without_prefix({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state


def _build(chosen: Architecture, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    """Without weights, on the meta device: sizes in the file cannot make it allocate anything."""
    try:
        with torch.device("meta"):
            return chosen.build(shapes)
    except (KeyError, IndexError, ValueError, RuntimeError, ArithmeticError, TypeError) as problem:
        raise UnsupportedModel(
            f"the file is not a {chosen.card.title}: {problem} is missing or has another shape",
            hint=f"names must be those of {chosen.card.parameter_names}; the file begins with {_some(list(shapes))}",
        ) from problem


def _check_against(network: nn.Module, state: dict[str, Tensor], architecture: str) -> None:
    expected = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(COUNTER)}
    given = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    problems = {
        "missing": [name for name in expected if name not in given],
        "unexpected": [name for name in given if name not in expected],
        "misshapen": [
            f"{name} {list(given[name].shape)} instead of {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in given and given[name].shape != tensor.shape
        ],
    }
    if any(problems.values()):
        told = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
        hint = "choose the architecture that the file was trained as, or upload the network as ONNX"
        raise UnsupportedModel(f"the file does not fit {architecture}: {told}", hint=hint, **problems)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
