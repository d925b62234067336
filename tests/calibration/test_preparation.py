"""Preparing a network, and what becomes of a prepared one in every file that leaves."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from deploy_networks import Quantized, load, make_images, uniform_policy
from exported_point import exported_point
from random_networks import as_loaded, largest_difference
from torch import Tensor, nn

from core.calibration.bias_correction import correct_bias
from core.calibration.calibration import calibrate
from core.calibration.preparation import (
    PreparationMeasurements,
    measure_for_preparation,
    needs_images,
    prepare,
    prepares,
)
from core.calibration.quantize import quantize
from core.calibration.treatments import CORRECTIONS, PREPARATIONS
from core.calibration.unlimited_relus import check_ranges
from core.deploy.deploy_layers import deploy_layers
from core.deploy.packed_reader import read_packed
from core.deploy.parity.report import parity_report
from core.errors import InvalidInput
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import PostTrainingChoice, QuantizerChoice

CHOICES = {
    "equalized": PostTrainingChoice(equalization=True),
    "absorbed": PostTrainingChoice(equalization=True, bias_absorption=True),
    "weights": PostTrainingChoice(weight_splitting=0.1),
    "activations": PostTrainingChoice(activation_splitting=0.1),
    "all": PostTrainingChoice(equalization=True, bias_absorption=True, weight_splitting=0.1, activation_splitting=0.1),
}


def images() -> Iterable[Tensor]:
    return make_images().split(20)


def prepared(name: str, choice: PostTrainingChoice) -> LoadedModel:
    loaded = load(name)
    return prepare(loaded, choice, measure_for_preparation(loaded, choice, images))


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", ["residual", "concat"])
def test_a_prepared_network_computes_the_same(name: str, choice: str) -> None:
    found, exact = (each.module(make_images()) for each in (prepared(name, CHOICES[choice]), load(name)))
    assert largest_difference(found, exact) < 1e-5


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", ["residual", "concat", "depthwise"])
def test_without_measurements_layers_shapes_and_names_are_already_right(name: str, choice: str) -> None:
    known, guessed = prepared(name, CHOICES[choice]), prepare(load(name), CHOICES[choice])
    assert guessed.inventory == known.inventory
    assert [node.name for node in guessed.module.graph.nodes] == [node.name for node in known.module.graph.nodes]


def test_measurements_survive_json_and_decide_everything() -> None:
    loaded, choice = load("residual"), CHOICES["all"]
    measured = measure_for_preparation(loaded, choice, images)
    again = PreparationMeasurements.model_validate_json(measured.model_dump_json())
    assert again == measured
    first, second = (prepare(loaded, choice, each).module.state_dict() for each in (measured, again))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert set(measured.inputs) == {layer.name for layer in loaded.inventory.layers}


def test_nothing_to_do_is_nothing_done() -> None:
    loaded, nothing = load("residual"), PostTrainingChoice()
    assert prepare(loaded, nothing) is loaded
    assert not prepares(nothing)
    assert measure_for_preparation(loaded, nothing, list) == PreparationMeasurements()
    assert [needs_images(choice) for choice in CHOICES.values()] == [True, True, False, True, True]


def test_no_images_are_refused_where_some_are_needed() -> None:
    with pytest.raises(InvalidInput, match="no image"):
        measure_for_preparation(load("depthwise"), CHOICES["equalized"], list)
    with pytest.raises(InvalidInput, match="no image"):
        measure_for_preparation(load("residual"), CHOICES["activations"], list)


def limited_network(bias: float) -> LoadedModel:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 1), nn.ReLU6(), nn.Conv2d(8, 8, 1), nn.ReLU6(), nn.Flatten(), nn.Linear(8, 3)]
    network = nn.Sequential(*layers)
    network[0].bias.data += bias
    network[0].weight.data *= 3
    return as_loaded(network, (3, 1, 1))


def test_relu6_goes_where_the_check_allows_it_and_only_there() -> None:
    x = torch.randn((300, 3, 1, 1), generator=torch.Generator().manual_seed(0))
    harmless, harmful = limited_network(0.0), limited_network(6.0)
    check = check_ranges(harmless, lambda: [x])
    assert check.harmless
    assert check.replaced() == list(check.limited)
    check = check_ranges(harmful, lambda: [x])
    assert not check.harmless
    assert check.replaced() == [name for name, share in check.limited.items() if share == 0]
    choice = CHOICES["equalized"]
    kept = prepare(harmful, choice, measure_for_preparation(harmful, choice, lambda: [x]))
    assert largest_difference(kept.module(x), harmful.module(x)) < 1e-5
    assert isinstance(kept.module.get_submodule("1"), nn.ReLU6)


def treated(name: str, choice: str, bits: int) -> Quantized:
    """Prepared, quantized with a scale per tensor, biases corrected: all that comes before files are written."""
    loaded = prepared(name, CHOICES[choice])
    policy = uniform_policy(loaded, bits, bits)
    model = quantize(loaded, policy, calibrate(loaded, images()), QuantizerChoice(granularity="tensor"))
    correct_bias(model, loaded.module, loaded.inventory, images, "empirical")
    with torch.inference_mode():
        return Quantized(loaded, policy, model, make_images(), model(make_images()).argmax(1))


CASES = [("residual", "all", 8), ("residual", "all", 4), ("concat", "all", 4), ("depthwise", "activations", 8)]


@pytest.mark.parametrize(("name", "choice", "bits"), CASES)
def test_a_treated_network_is_the_same_in_every_file(name: str, choice: str, bits: int, tmp_path: Path) -> None:
    """ONNX QDQ, integers, ONNX of integers, compiled C, bit-packed."""
    case = treated(name, choice, bits)
    report = parity_report(exported_point(case, tmp_path), case.batches)
    qdq = report.comparison("qdq-training")
    assert (qdq.agreement or 0) >= 0.97  # scores may be equal but for their last bit
    assert (qdq.mean_abs_difference or 0) < 0.01 * (qdq.largest_output or 0)
    assert (report.comparison("executor-training").agreement or 0) >= 0.95
    exact = ["executor-deploy", "integer-onnx-executor", *(["compiled-executor"] if shutil.which("cc") else [])]
    for each in exact:
        found = report.comparison(each)  # type: ignore[arg-type]
        assert found.skipped is None
        assert found.outputs_equal == found.outputs
    file = read_packed(tmp_path / "model.packed.safetensors")
    for layer in deploy_layers(case.model):
        assert layer.integers is not None
        np.testing.assert_array_equal(file[layer.name].codes(), layer.integers.codes)
        np.testing.assert_array_equal(file[layer.name].bias, layer.bias)


def test_cards_say_what_differs_and_name_fields_of_a_job() -> None:
    fields = PostTrainingChoice.model_fields
    for card in (*PREPARATIONS.values(), *CORRECTIONS.values()):
        assert card.setting in fields
        assert bool(card.reconstruction_notes) == card.reconstruction
        assert card.link.startswith("https://arxiv.org/abs/")
    assert set(CORRECTIONS) | {"none"} == set(fields["bias_correction"].annotation.__args__)
