"""BISMO's decoupled stages: what it publishes, and what must hold for any layer."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.networks import conv, linear, mobilenet_v2
from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.kinds.bismo_stages import KIND, stages
from core.hardware.targets import load_targets

PYNQ, ULTRA96 = (load_targets()[name] for name in ("bismo-pynq-z1", "bismo-ultra96"))


def square(name: str, rows: int, depth: int, columns: int) -> Layer:
    """A product of rows x depth by depth x columns: a linear layer over a sequence."""
    shapes = {"input_shape": (rows, depth), "output_shape": (rows, columns), "macs": rows * depth * columns}
    return linear(name, depth, columns).model_copy(update=shapes)


@pytest.mark.parametrize(("target", "gops"), [(PYNQ, 6553.6), (ULTRA96, 15360)])
def test_the_published_peaks(target: object, gops: float) -> None:
    facts = {fact.name: fact for fact in KIND.facts(target)}
    assert facts["peak"].value / 1e9 == pytest.approx(gops)


def test_resources_fit_their_device() -> None:
    facts = {fact.name: fact.value for fact in KIND.facts(PYNQ)}
    assert facts["look-up tables of the array"] == pytest.approx(64 * (1.17 * 256 + 44.1 + 120.1))
    assert facts["look-up tables of the array"] < 53_200  # Zynq-7020
    assert facts["block RAM of the buffers"] == 8 * 16
    assert facts["block RAM of the buffers"] <= 140


def test_the_array_takes_its_ideal_cycles() -> None:
    found, count = stages(PYNQ, [square("s", 64, 512, 80)], [3], [2])
    assert count.item() == 1
    assert found.execute.item() == 3 * 2 * (64 // 8) * (80 // 8) * (512 // 256)


def test_fetch_and_result_move_what_the_runtime_moves() -> None:
    found, _ = stages(PYNQ, [square("s", 8000, 2048, 800)], [8], [8])
    words = 256 // 64
    assert found.fetch_weights.item() == words * 8 * 800 * 8
    held = 1024 // (8 * 8)  # column tiles that stay in the weight buffer
    assert found.fetch_activations.item() == words * 8 * 8000 * 8 * -(-100 // held)
    assert found.result.item() == 8000 * 800 * 32 // 64


def test_the_longest_stage_bounds_a_layer_and_its_time() -> None:
    deep, thin = square("compute", 512, 4096, 512), square("result", 2048, 16, 512)
    narrow, tiny = square("fetch", 8, 8192, 512), linear("tiny", 16, 4)
    layers = [deep, thin, narrow, tiny]
    simulated = KIND.simulate(PYNQ, layers, [2], [2])
    bounds = np.array(KIND.card.bounds)[simulated.bound_by[:, 0, 0]]
    assert bounds.tolist() == ["compute", "write-back", "weights", "fixed"]
    found, _ = stages(PYNQ, layers, [2], [2])
    cycles = simulated.latency_s.ravel() * 200e6
    assert cycles[0] == pytest.approx(found.execute[0].item() + 238)
    assert cycles[1] == pytest.approx(found.result[1].item() + 238)


def test_a_network_never_runs_faster_than_the_peak() -> None:
    layers = mobilenet_v2()
    seconds = KIND.simulate(PYNQ, layers, range(1, 9), range(1, 9)).latency_s
    operations = 2 * np.array([layer.macs for layer in layers])[:, None, None] * np.outer(range(1, 9), range(1, 9))
    assert (operations / seconds <= 6553.6e9).all()


def test_a_channel_wider_than_a_row_is_refused() -> None:
    broken = PYNQ.model_copy(update={"parameters": {**PYNQ.parameters, "channel_bits": 96}})
    with pytest.raises(InvalidInput, match="multiple of channel_bits"):
        KIND.check(broken)


def test_a_convolution_runs_image_after_image() -> None:
    one = KIND.simulate(PYNQ, [conv("c", 16, 16, 3, 14)], [4], [4]).latency_s
    four = KIND.simulate(PYNQ.model_copy(update={"batch": 4}), [conv("c", 16, 16, 3, 14)], [4], [4]).latency_s
    assert four == pytest.approx(4 * one)
