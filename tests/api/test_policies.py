"""Policies from files: read for a network, and then a job's own."""

from __future__ import annotations

import io
import json
from typing import Any
from uuid import uuid4

import numpy as np

from core.policy import LayerBits, Policy
from tests.api.served import World


def npy(rows: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(rows))
    return file.getvalue()


def send(world: World, content: bytes, **fields: str) -> Any:
    return world.client.post("/policies/convert", files={"file": ("policy", content)}, data=fields)


def test_a_published_policy_becomes_a_jobs_own(world: World) -> None:
    body = world.body()
    answer = send(world, npy([[8, -1], [4, 3], [2, 6]]), model_id=body["model_id"])
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["kind"] == "haq"
    assert found["policy"]["layers"]["left"] == {"weights": 4, "activations": 6}
    assert "left, right read one tensor" in found["notes"][0]
    job = world.client.post("/jobs", json={**body, "policies": [found["policy"]]})
    assert job.status_code == 201, job.text
    assert job.json()["specification"]["policies"] == [found["policy"]]


def test_an_own_policy_comes_back_as_it_is(world: World) -> None:
    bits = LayerBits(weights=(2, 4, 8, 0), activations=4)
    policy = Policy(layers=dict.fromkeys(("stem", "left", "right"), bits), residual_bits=8)
    found = send(world, policy.model_dump_json(indent=2).encode(), model_id=str(world.model())).json()
    assert found["kind"] == "own"
    assert Policy.model_validate_json(json.dumps(found["policy"])) == policy


def test_what_does_not_fit_is_told_with_the_networks_layers(world: World) -> None:
    answer = send(world, npy([[8, 8], [4, 4]]), model_id=str(world.model()))
    assert answer.status_code == 422
    assert answer.json()["detail"] == "the HAQ policy has 2 layers, the network 3"
    assert "stem, left, right" in answer.json()["hint"]


def test_nothing_else_is_read(world: World) -> None:
    model = str(world.model())
    assert send(world, b"\x80\x04K\x01.", model_id=model).status_code == 415
    large = send(world, b" " * 4_000_001, model_id=model)
    assert (large.status_code, "right file" in large.json()["hint"]) == (413, True)
    assert send(world, npy([[8, 8]] * 3), model_id=model, other="a").status_code == 422
    assert send(world, npy([[8, 8]] * 3)).json()["hint"] == "Send the field 'model_id'."
    assert send(world, npy([[8, 8]] * 3), model_id="net").status_code == 422
    assert send(world, npy([[8, 8]] * 3), model_id=str(uuid4())).status_code == 404
    assert send(world, npy([[8, 8]] * 3), model_id=str(world.model(state="inspecting"))).status_code == 409


def test_a_strangers_model_is_not_found(world: World, make_owner: Any) -> None:
    theirs = world.model(owner=make_owner("stranger"))
    assert send(world, npy([[8, 8]] * 3), model_id=str(theirs)).status_code == 404
