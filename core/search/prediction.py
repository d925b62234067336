"""What a policy that a person edits would cost and lose, and what is wrong with it: at once, without torch."""

from __future__ import annotations

from math import isfinite
from typing import Any

from core.errors import InvalidSpecification
from core.graph.inventory import Layer
from core.policy import Policy
from core.search.explained import Operand, PolicyProblem, Prediction
from core.search.explanation import ExplainedPolicy, shared_widths
from core.search.problem import SearchProblem

OPERANDS: tuple[Operand, ...] = ("weights", "activations")


def predict(problem: SearchProblem, policy: Policy) -> Prediction:
    """Of any policy of exactly the problem's layers; InvalidSpecification where a layer is missing or unknown."""
    check_layers(policy, problem.layers)
    evaluated = problem.evaluate(policy)
    left_out = {"layer_latency_s", "layer_energy_j", "bound_by"}
    costs = {
        name: {part: value for part, value in cost.items() if part not in left_out}
        for name, cost in evaluated["costs"].items()
    }
    loss = evaluated["predicted"]["loss_increase"]
    return Prediction(
        loss_increase=loss,
        costs=costs,
        size_bytes=evaluated["size_bytes"],
        bit_operations=evaluated["bit_operations"],
        problems=(
            *_untied(problem, policy),
            *_unpinned(problem, policy),
            *_beyond_limits(problem, policy),
            *_overflowing(costs),
            *_unknown(problem, policy, loss),
        ),
    )


def check_layers(policy: Policy, layers: tuple[Layer, ...]) -> None:
    """Refuse a policy of another network."""
    names = [layer.name for layer in layers]
    missing = [name for name in names if name not in policy.layers]
    unknown = sorted(set(policy.layers) - set(names))
    if missing or unknown:
        raise InvalidSpecification(
            f"the policy does not fit the network: layers without bits {missing}, unknown layers {unknown}",
            hint="name every layer of the inventory exactly once",
        )


def _untied(problem: SearchProblem, policy: Policy) -> list[PolicyProblem]:
    found = {}
    for operand in OPERANDS:
        for position in range(len(problem.layers)):
            together = shared_widths(problem, operand, position)
            names = tuple(problem.layers[member].name for member in together)
            widths = [getattr(policy.layers[name], operand) for name in names]
            if len(set(widths)) > 1:
                told = ", ".join(f"{name} {bits}" for name, bits in zip(names, widths, strict=True))
                message = f"the {operand} of these layers share one width; here {told}"
                found[operand, together] = PolicyProblem(kind="tied", layers=names, message=message)
    return list(found.values())


def _unpinned(problem: SearchProblem, policy: Policy) -> list[PolicyProblem]:
    found = []
    for operand, forced in (("weights", problem.forced.weights), ("activations", problem.forced.activations)):
        for name, bits in forced.items():
            given = getattr(policy.layers[name], operand)
            if given != bits:
                message = f"{operand} are held at {bits} bits in this job; here {given}"
                found.append(PolicyProblem(kind="pinned", layers=(name,), message=message))
    return found


def _beyond_limits(problem: SearchProblem, policy: Policy) -> list[PolicyProblem]:
    totals = ExplainedPolicy(problem, policy).totals if problem.constraints else {}
    return [
        PolicyProblem(kind="limit", layers=(), message=f"{each} is exceeded: {each.tell(round(totals[each.metric]))}")
        for each in problem.constraints
        if totals[each.metric] > each.bound
    ]


def _overflowing(costs: dict[str, dict[str, Any]]) -> list[PolicyProblem]:
    return [
        PolicyProblem(
            kind="memory",
            layers=() if misfit["layer"] is None else (misfit["layer"],),
            message=f"does not fit into {misfit['memory']} of {target}: "
            f"{misfit['needed_bytes']:,.0f} bytes, it holds {misfit['size_bytes']:,}",
        )
        for target, cost in costs.items()
        for misfit in cost["misfits"]
    ]


def _unknown(problem: SearchProblem, policy: Policy, loss: float | None) -> list[PolicyProblem]:
    if loss is not None:
        return []
    names = tuple(layer.name for layer in problem.layers if not isfinite(_loss(problem, layer, policy)))
    message = "the loss at these widths was not measured"
    return [PolicyProblem(kind="unknown-loss", layers=names, message=message)]


def _loss(problem: SearchProblem, layer: Layer, policy: Policy) -> float:
    """Of a layer and the tensor that it reads; NaN where one of them is unknown."""
    bits, losses = policy.layers[layer.name], problem.losses
    return losses.of_weights(layer.name, bits.weights) + losses.of_activations(layer.reads, bits.activations)
