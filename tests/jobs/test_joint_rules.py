"""A job with AdaBits may ask only for widths that are trained together; the refusal names them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from core.graph.inventory import Layer
from core.jobs.rules.joint import joint_faults
from core.jobs.specification import JobSpecification

WIDTHS = {"weights": [8, 4], "activations": [8, 4]}


def layer(name: str, reads: str) -> Layer:
    facts = {
        "name": name, "kind": "conv2d", "input_shape": (2, 4, 4), "output_shape": (2, 4, 4),
        "weight_shape": (2, 2, 1, 1), "macs": 64, "parameters": 4, "reads": reads, "reads_signed": False,
    }  # fmt: skip
    return Layer.model_validate(facts)


LAYERS = (layer("stem", "x"), layer("middle", "a"), layer("last", "b"))


def faults(method: str = "adabits", **body: Any) -> dict[str, str]:
    """Messages by path."""
    quantizer = {"method": method, "settings": {"bits": "8,4"}, **body.pop("quantizer", {})}
    job = JobSpecification.model_validate(
        {"model_id": UUID(int=1), "dataset_id": UUID(int=2), "bits": WIDTHS, "quantizer": quantizer, **body}
    )
    return {fault.path: fault.message for fault in joint_faults(job, LAYERS)}


def policy(**changes: Any) -> dict[str, Any]:
    layers = {"stem": (8, 8), "middle": (4, 8), "last": (8, 8), **changes}
    return {"layers": {name: {"weights": w, "activations": a} for name, (w, a) in layers.items()}}


def test_widths_of_the_list_are_accepted() -> None:
    assert faults() == {}
    assert faults(policies=[policy(), policy(middle=([4, 8], 4)), policy(middle=([0, 8], 4))]) == {}
    assert faults(pins={"middle": {"weights": 4}, "stem": {"weights": 8}}) == {}
    assert faults(quantizer={"first_last": "searched"}, pins={"stem": {"weights": 4}}) == {}
    assert faults(quantizer={"first_last": "float"}, pins={"stem": {"weights": 32}}) == {}


def test_other_methods_are_left_alone() -> None:
    assert faults("lsq", bits={"weights": [3], "activations": [5]}, training={"progressive_bits": [5]}) == {}


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        ({"bits": {"weights": [8, 4, 3, 2], "activations": [8]}}, "bits.weights", "leave out 2, 3"),
        ({"bits": {"weights": [8], "activations": [5]}}, "bits.activations", "4, 8"),
        ({"quantizer": {"settings": {"bits": "8,9"}}}, "quantizer.settings.bits", "8,6,5,4"),
        ({"pins": {"middle": {"activations": 6}}}, "pins.middle.activations", "4, 8"),
        ({"pins": {"stem": {"weights": 4}}}, "pins.stem.weights", "with 8 bits"),
        ({"policies": [policy(middle=(4, 2))]}, "policies.0.layers.middle", "activations"),
        ({"policies": [policy(middle=([4, 3], 4))]}, "policies.0.layers.middle", "weights"),
        ({"policies": [policy(stem=(32, 8))]}, "policies.0.layers.stem", "8-bit weights"),
        ({"policies": [{**policy(), "residual_bits": 8}]}, "policies.0.residual_bits", "16"),
        ({"training": {"progressive_bits": [6]}}, "training.progressive_bits", "all its widths"),
        ({"training": {"block_order": "most-sensitive-first"}}, "training.block_order", "together"),
    ],
)
def test_what_the_network_was_not_trained_for_is_refused(body: dict[str, Any], path: str, words: str) -> None:
    found = faults(**body)
    assert list(found) == [path]
    assert words in found[path]
