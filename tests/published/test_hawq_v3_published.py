"""The exact search against HAWQ-V3's published bit maps of ResNet-18, and against enumeration where it prints none."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from uuid import UUID

import numpy as np
import pytest
import torch
from torch import fx

from benchmarks import hawq_resnet18 as hawq
from benchmarks.networks import conv
from core.deploy.foreign.hawq_policy import hawq_policy
from core.deploy.foreign.read import read_policy
from core.graph.architectures.imagenet_resnet import BLOCKS, ImageNetResNet
from core.graph.build_inventory import build_inventory
from core.graph.inventory import Inventory
from core.hardware.cost_table import cost_table
from core.hardware.target import Support, Target
from core.hardware.targets import load_targets
from core.jobs.specification import JobSpecification
from core.policy import LayerBits, Policy
from core.search.exact import Optimum, optimum
from core.search.problem import SearchProblem
from core.search.programme import Limit, programme
from tests.search.problems import exact

# Share of the budget: bits of the 19 layers, objective as HAWQ-V3 prints it (relative to all 4 bits).
PUBLISHED = {
    0.25: ("8888888888888844444", -1.189414),
    0.5: ("8888888888888884844", -1.233207),
    0.75: ("8888888888888488884", -1.274273),
}


def solve(cost: np.ndarray, bound: int) -> Optimum:
    """HAWQ-V3's programme: weights and activations of a layer have the same bits, so pairs are 4/4 and 8/8."""
    same_bits = np.broadcast_to(np.eye(2, dtype=bool), (19, 2, 2))
    no_activations = np.zeros((len(hawq.groups()), 2))
    problem = programme(hawq.losses(), no_activations, hawq.groups(), same_bits)
    by_pair = np.broadcast_to(cost[:, :, None], (19, 2, 2))
    found = optimum(problem, (Limit("budget", by_pair, bound),))
    assert found is not None
    return found


def bit_map(found: Optimum) -> str:
    return "".join(str(hawq.BITS[w]) for w in found.choice.w)


def relative_loss(bits: np.ndarray) -> float:
    """Sum of loss(8) - loss(4) over the 8-bit layers; `bits` are positions 0 and 1."""
    table = hawq.losses()
    return float(((table[:, 1] - table[:, 0]) * bits).sum())


@pytest.mark.parametrize("share", PUBLISHED)
def test_size_constrained_bit_maps_to_the_bit(share: float) -> None:
    size = hawq.costs()["size"]
    found = solve(size, hawq.budget(size, share))
    bits, objective = PUBLISHED[share]
    assert bit_map(found) == bits
    assert relative_loss(found.choice.w) == pytest.approx(objective, abs=5e-7)
    assert found.bound == found.objective
    assert all(found.choice.w[first] == found.choice.w[second] for first, second in hawq.TIES)


@pytest.mark.parametrize(("share", "mega_bytes"), [(0.25, 6.6406), (0.5, 7.2656), (0.75, 9.2344)])
def test_their_sizes_in_the_published_convention(share: float, mega_bytes: float) -> None:
    """HAWQ-V3 counts 2**20 weights of 8 bits as a megabyte."""
    size = hawq.costs()["size"]
    assert solve(size, hawq.budget(size, share)).cost / 8 / 2**20 == pytest.approx(mega_bytes, abs=5e-5)


@pytest.mark.parametrize("share", hawq.SHARES)
@pytest.mark.parametrize("metric", ["size", "bit operations", "latency"])
def test_every_programme_equals_full_enumeration(metric: str, share: float) -> None:
    cost = hawq.costs()[metric]
    bound = hawq.budget(cost, share)
    choices = np.array(list(product((0, 1), repeat=len(hawq.groups()))))
    bits = np.zeros((len(choices), 19), dtype=np.int64)
    for position, group in enumerate(hawq.groups()):
        bits[:, list(group)] = choices[:, position : position + 1]
    within = np.where(bits == 1, cost[:, 1], cost[:, 0]).sum(axis=1) <= bound
    losses = np.where(bits == 1, hawq.losses()[:, 1], hawq.losses()[:, 0]).sum(axis=1)
    best = bits[within][losses[within].argmin()]
    assert solve(cost, bound).choice.w.tolist() == best.tolist()


def test_the_published_totals() -> None:
    totals = {name: cost.sum(axis=0) for name, cost in hawq.costs().items()}
    assert totals["size"][1] / 8 / 2**20 == 10.640625
    assert totals["bit operations"][1] / 1024 / 1e6 == pytest.approx(105.9717, abs=5e-5)
    assert (totals["latency"] / 1e8).tolist() == pytest.approx([3.14867, 5.34369], abs=1e-5)


@pytest.mark.parametrize("share", PUBLISHED)
def test_a_job_with_an_average_of_bits_finds_the_same_maps(share: float) -> None:
    """The road of a job: inventory, sensitivity, a target of pairs 4/4 and 8/8, and a constraint a person may write."""
    problem = hawq_problem(4 + 4 * share)
    (point,) = exact(problem).points
    bits = "".join(str(layer.weights) for layer in point.policy.layers.values())
    assert bits == PUBLISHED[share][0]
    assert point.certificate.proof == "enumeration"
    assert point.certificate.gap_units == 0


def hawq_problem(average_bits: float) -> SearchProblem:
    sides = [round((macs / weights) ** 0.5) for macs, weights in zip(hawq.MACS, hawq.PARAMETERS, strict=True)]
    tensor = {layer: f"tensor {min(group)}" for group in hawq.groups() for layer in group}
    layers = [
        conv(f"layer {position}", weights // 64, 64, 1, side).model_copy(update={"reads": tensor[position]})
        for position, (weights, side) in enumerate(zip(hawq.PARAMETERS, sides, strict=True))
    ]
    inventory = Inventory(
        source="HAWQ-V3",
        input_shape=(3, 224, 224),
        classes=1000,
        layers=tuple(layers),
        total_parameters=1,
        total_macs=1,
    )
    cloud = load_targets()["bismo-cloud"].model_dump()
    target = Target(**{**cloud, "id": "pairs", "supports": Support(pairs=((4, 4), (8, 8)))})
    losses = hawq.losses()
    sensitivity = SimpleNamespace(
        weights={
            layer.name: dict(zip(hawq.BITS, loss, strict=True)) for layer, loss in zip(layers, losses, strict=True)
        },
        activations={layer.reads: {4: 0.0, 8: 0.0} for layer in layers},
    )
    specification = JobSpecification(
        model_id=UUID(int=0),
        dataset_id=UUID(int=0),
        targets=("pairs",),
        bits={"weights": hawq.BITS, "activations": hawq.BITS},
        quantizer={"first_last": "searched"},
        search={
            "points": 1,
            "axis": "size",
            "constraints": [{"metric": "average-weight-bits", "at_most": average_bits, "unit": "bits"}],
        },
    )
    tables = {"pairs": cost_table(target, layers)}
    return SearchProblem.build(inventory, sensitivity, tables, {"pairs": target}, specification)


@pytest.mark.parametrize("share", PUBLISHED)
def test_their_size_constrained_configs_survive_writing_and_reading(share: float) -> None:
    """As bit_config_resnet18_modelsize_* in bit_config.py: weights and what they read have the same bits."""
    with torch.device("meta"):
        network = fx.symbolic_trace(ImageNetResNet(*BLOCKS[18]).eval())
    inventory = build_inventory(network, (3, 64, 64), "HAWQ-V3")
    bits = [8, *map(int, PUBLISHED[share][0]), 8]
    layers = {
        layer.name: LayerBits(weights=width, activations=width)
        for layer, width in zip(inventory.layers, bits, strict=True)
    }
    config = hawq_policy(inventory, Policy(layers=layers))
    assert len(config) == 48
    weights = [width for key, width in config.items() if key.startswith("stage") and "convbn" in key]
    assert weights == bits[1:-1]
    assert {key: width for key, width in config.items() if width == 16} == {
        key: 16 for key in config if key.endswith("quant_act_int32")
    }
    if share == 0.5:
        assert [config[f"stage4.unit1.{name}"] for name in ("quant_act", "quant_convbn1", "quant_act1", "quant_convbn2",
                "quant_identity_convbn")] == [8, 8, 4, 4, 8]  # fmt: skip
    named = {"bit_config_resnet18_uniform8": dict.fromkeys(config, 8), "bit_config_resnet18_modelsize": config}
    read = read_policy(f"bit_config_dict = {named!r}".encode(), inventory, "bit_config_resnet18_modelsize")
    assert read.policy.layers == layers
    assert read.notes == []
