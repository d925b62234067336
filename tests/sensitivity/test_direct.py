"""One layer or tensor rounded at a time."""

from __future__ import annotations

import pytest
import torch
from small_networks import Images, Silent, small_network, trained

from core.calibration.calibration import Calibration, calibrate
from core.calibration.quantize import quantize
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.policy import LayerBits, Policy
from core.quantizers.registry import METHODS
from core.sensitivity.chunks import chunks
from core.sensitivity.direct import activation_trials, loss_increases, run_trials, weight_trials, with_labels
from core.sensitivity.divergence import with_float_network
from core.sensitivity.metric import Subject
from core.sensitivity.perturbation import rounded_weight, weight_perturbations
from core.tasks.classification import evaluate


@pytest.fixture(scope="module")
def images() -> Images:
    return Images(60, seed=1)


@pytest.fixture(scope="module")
def loaded(images: Images) -> LoadedModel:
    return trained(small_network(), images)


@pytest.fixture(scope="module")
def calibration(loaded: LoadedModel, images: Images) -> Calibration:
    return calibrate(loaded, [x for x, _ in images.tensors()])


@pytest.fixture(scope="module")
def subject(loaded: LoadedModel, calibration: Calibration, images: Images) -> Subject:
    return Subject(loaded, calibration, images.tensors(), QuantizerChoice(method="lsq"))


def one_changed(loaded: LoadedModel, names: set[str], side: str, bits: int) -> Policy:
    widths = {
        layer.name: {"weights": 32, "activations": 32, **({side: bits} if layer.name in names else {})}
        for layer in loaded.inventory.layers
    }
    return Policy(layers={name: LayerBits(**each) for name, each in widths.items()}, residual_bits=32)


@pytest.mark.parametrize("method", ["lsq", "hadq"])
def test_a_trial_is_the_quantized_network_with_everything_else_float(
    loaded: LoadedModel, calibration: Calibration, images: Images, method: str
) -> None:
    batches = images.tensors(20)
    subject = Subject(loaded, calibration, batches, QuantizerChoice(method=method))
    trials = [*weight_trials(subject, (2, 4)), *activation_trials(subject, (2, 4))]
    run_trials(loaded, trials, batches, budget_s=60, reporter=Silent())
    found = loss_increases(trials)
    before = evaluate(loaded.module, batches).loss
    for layer in loaded.inventory.layers:
        for side, name in (("weights", layer.name), ("activations", layer.reads)):
            readers = {layer.name} if side == "weights" else {layer.name, *layer.tied_with}
            policy = one_changed(loaded, readers, side, 2)
            model = quantize(loaded, policy, calibration, QuantizerChoice(method=method))
            assert found[name][2].mean == pytest.approx(evaluate(model, batches).loss - before, abs=1e-5)


def test_the_standard_error_is_that_of_a_mean_over_images(
    loaded: LoadedModel, subject: Subject, images: Images
) -> None:
    trials = weight_trials(subject, (2,))
    used = run_trials(loaded, trials, images.tensors(), budget_s=60, reporter=Silent())
    differences = torch.cat(trials[0].differences).double()
    assert used == len(differences) == 60
    assert loss_increases(trials)[trials[0].name][2].standard_error == pytest.approx(
        float(differences.std()) / 60**0.5, rel=1e-9
    )


def test_the_divergence_is_the_increase_that_labels_of_the_float_network_would_show() -> None:
    generator = torch.Generator().manual_seed(0)
    exact, rounded = torch.randn(5, 4, generator=generator), torch.randn(5, 4, generator=generator)
    probabilities = exact.softmax(1)
    each_label = torch.stack([with_labels(rounded, exact, torch.full((5,), label)) for label in range(4)], 1)
    found = with_float_network(rounded, exact, torch.zeros(5, dtype=torch.int64))
    assert torch.allclose(found, (probabilities * each_label).sum(1), atol=1e-6)
    assert torch.all(found > 0)
    assert torch.allclose(with_float_network(exact, exact, torch.zeros(5)), torch.zeros(5), atol=1e-7)


def test_a_spent_budget_leaves_fewer_images_not_fewer_answers(
    loaded: LoadedModel, subject: Subject, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.sensitivity.direct.MACS_PER_PIECE", 1)
    trials = weight_trials(subject, (2, 8))
    assert run_trials(loaded, trials, images.tensors(), budget_s=1e-9, reporter=Silent()) == 8
    assert all(set(by_bits) == {2, 8} for by_bits in loss_increases(trials).values())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale_adjustment", [None, True])
def test_rounding_is_judged_in_the_scale_that_the_weight_has(
    loaded: LoadedModel, method: str, scale_adjustment: bool | None
) -> None:
    choice = QuantizerChoice(method=method, granularity="tensor", scale_adjustment=scale_adjustment)
    for layer in loaded.inventory.layers:
        weight = loaded.module.get_parameter(f"{layer.name}.weight").detach()
        rounded = rounded_weight(loaded, layer, choice, 5)
        assert 0.7 < (rounded * weight).sum() / weight.square().sum() < 1.3


def test_perturbations_shrink_with_bits_and_are_those_of_the_quantizer(loaded: LoadedModel) -> None:
    found = weight_perturbations(loaded, QuantizerChoice(method="lsq"), range(2, 9))
    for layer in loaded.inventory.layers:
        distances = [found[layer.name][bits] for bits in range(2, 9)]
        assert distances == sorted(distances, reverse=True)
        weight = loaded.module.get_parameter(f"{layer.name}.weight")
        moved = rounded_weight(loaded, layer, QuantizerChoice(method="lsq"), 3) - weight.detach()
        assert found[layer.name][3] == pytest.approx(float(moved.square().sum()), rel=1e-5)


def test_chunks_keep_every_image_once_and_in_order(loaded: LoadedModel, images: Images) -> None:
    pieces = chunks(images.tensors(25), loaded.inventory, images=41, most_per_chunk=8)
    assert torch.equal(torch.cat([x for x, _ in pieces]), torch.from_numpy(images.x[:41]))
    assert torch.cat([labels for _, labels in pieces]).tolist() == images.labels[:41].tolist()
    assert max(len(labels) for _, labels in pieces) == 8
