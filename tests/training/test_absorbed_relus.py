"""Training leaves out the ReLUs whose work a quantizer does."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Images, small_network, uniform
from torch import fx, nn

from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.jobs.specification import QuantizerChoice
from core.quantizers.registry import METHODS
from core.training.absorbed_relus import without_absorbed_relus

IMAGES = Images(32, seed=1)


def quantized(method: str, residual_bits: int = 16) -> fx.GraphModule:
    loaded = small_network()
    calibration = calibrate(loaded, [x for x, _ in IMAGES.tensors()])
    policy = uniform(loaded, 4, residual_bits)
    granularity = "channel" if "channel" in METHODS[method].card.granularities else "tensor"
    return quantize(loaded, policy, calibration, QuantizerChoice(method=method, granularity=granularity))


def calls_of_relu(model: nn.Module) -> int:
    return sum(type(model.get_submodule(node.target)) is nn.ReLU for node in model.graph.nodes if "relu" in node.name)


@pytest.mark.parametrize(("method", "residual_bits"), [("lsq", 8), *((method, 16) for method in METHODS)])
def test_values_are_the_same_to_the_bit_and_gradients_but_for_the_order_of_sums(
    method: str, residual_bits: int
) -> None:
    plain = quantized(method, residual_bits).train()
    view = copy.deepcopy(plain)
    (x, y) = IMAGES.tensors()[0]
    outputs = []
    for runs in (plain, without_absorbed_relus(view)):
        torch.manual_seed(0)
        outputs.append(runs(x))
        nn.functional.cross_entropy(outputs[-1], y).backward()
    assert torch.equal(*outputs)
    for (name, one), other in zip(plain.named_parameters(), view.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-9), name
    assert all(torch.equal(one, other) for one, other in zip(plain.buffers(), view.buffers(), strict=True))


def test_lsq_does_the_work_of_every_relu() -> None:
    model = quantized("lsq")
    assert calls_of_relu(model) == 3
    assert calls_of_relu(without_absorbed_relus(model)) == 0
    assert calls_of_relu(model) == 3


def test_a_method_that_looks_at_the_values_keeps_its_relus() -> None:
    kept = without_absorbed_relus(quantized("hadq"))
    assert calls_of_relu(kept) == 1  # all but the one before the 16 bits of the stem


def test_a_relu_with_another_reader_stays() -> None:
    model = quantized("lsq")
    (relu,) = (node for node in model.graph.nodes if node.name == "relu_first")
    with model.graph.inserting_before(model.graph.output_node()):
        mean = model.graph.call_function(torch.mean, (relu,))
        model.graph.output_node().args = ((model.graph.output_node().args[0], mean),)
    model.recompile()
    assert calls_of_relu(without_absorbed_relus(model)) == 1


def test_a_network_that_is_no_graph_is_left_alone() -> None:
    network = nn.Sequential(nn.ReLU())
    assert without_absorbed_relus(network) is network
