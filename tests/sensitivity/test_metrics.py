"""Fisher information, masks, and signal to noise, where they are known in closed form."""

from __future__ import annotations

import pytest
import torch
from small_networks import Images, Silent, small_network, trained, uniform

from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.errors import UnsupportedModel
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice, SensitivityChoice
from core.sensitivity import fisher, mask_guided, signal_to_noise
from core.sensitivity.metric import MetricRun, Subject
from core.sensitivity.perturbation import moved, rounded_weight
from core.sensitivity.registry import METRICS

RUN = MetricRun(60.0, 0, Silent())


@pytest.fixture(scope="module")
def images() -> Images:
    return Images(48, seed=1)


@pytest.fixture(scope="module")
def loaded(images: Images) -> LoadedModel:
    return trained(small_network(), images, steps=10)


def subject_of(loaded: LoadedModel, images: Images, **choice: object) -> Subject:
    calibration = calibrate(loaded, [x for x, _ in images.tensors()])
    return Subject(
        loaded, calibration, images.tensors(), QuantizerChoice(method="lsq"), SensitivityChoice.model_validate(choice)
    )


@pytest.fixture(scope="module")
def subject(loaded: LoadedModel, images: Images) -> Subject:
    return subject_of(loaded, images, per_channel=True)


def classifiers_fisher(loaded: LoadedModel, images: Images) -> torch.Tensor:
    """Mean over images of p_c (1 - p_c) f_i^2: the diagonal for the weight c, i of the last layer."""
    seen: list[torch.Tensor] = []
    handle = loaded.module.get_submodule("classifier").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        p = loaded.module(images.tensors(len(images))[0][0]).softmax(1)
    handle.remove()
    return ((p * (1 - p))[:, :, None] * seen[0].square()[:, None, :]).mean(0)


def test_the_last_layers_fisher_information_is_that_of_a_softmax(
    loaded: LoadedModel, images: Images, subject: Subject
) -> None:
    side = fisher.weights(subject, RUN)
    diagonal = classifiers_fisher(loaded, images).double()
    layer = loaded.inventory.layer("classifier")
    for bits in (2, 4):
        found = side.losses["classifier"][bits]
        exact = 0.5 * (diagonal * moved(loaded, layer, subject.quantizer, bits)).sum().item()
        assert abs(found.mean - exact) < 4 * found.standard_error
        assert found.standard_error < exact
    score = side.scores["classifier"]
    assert abs(score.value - diagonal.mean().item()) < 4 * score.standard_error
    assert side.images == score.samples == len(images)


def test_the_fisher_information_of_what_the_last_layer_reads_is_the_trace_of_its_curvature(
    loaded: LoadedModel, images: Images, subject: Subject
) -> None:
    name = loaded.inventory.layer("classifier").reads
    weight = loaded.module.get_parameter("classifier.weight").detach()
    with torch.no_grad():
        probabilities = loaded.module(images.tensors(len(images))[0][0]).softmax(1)
    traces = [(weight.T @ (torch.diag(p) - torch.outer(p, p)) @ weight).diagonal().mean() for p in probabilities]
    score = fisher.activations(subject, RUN).scores[name]
    assert abs(score.value - torch.stack(traces).mean().item()) < 4 * score.standard_error


@pytest.mark.parametrize("metric", [fisher, signal_to_noise])
def test_losses_of_channels_add_up_to_the_layers(subject: Subject, metric: object) -> None:
    side = metric.weights(subject, RUN)  # type: ignore[attr-defined]
    for layer in subject.loaded.inventory.layers:
        for bits in (2, 5):
            channels = side.channels[layer.name][bits]
            assert len(channels.mean) == len(channels.standard_error) == layer.weight_channels
            assert sum(channels.mean) == pytest.approx(side.losses[layer.name][bits].mean, rel=1e-6)


def test_channels_are_left_out_where_nobody_asks(loaded: LoadedModel, images: Images) -> None:
    plain = subject_of(loaded, images)
    assert not fisher.weights(plain, RUN).channels
    assert not signal_to_noise.weights(plain, RUN).channels


def test_noise_over_signal_is_that_of_the_quantizer_and_needs_no_image(loaded: LoadedModel, subject: Subject) -> None:
    blind = Subject(loaded, subject.calibration, [], subject.quantizer)
    side = signal_to_noise.weights(blind, RUN)
    for layer in loaded.inventory.layers:
        weight = loaded.module.get_parameter(f"{layer.name}.weight").detach()
        error = rounded_weight(loaded, layer, subject.quantizer, 4) - weight
        assert side.losses[layer.name][4].mean == pytest.approx(
            (error.square().sum() / weight.square().sum()).item(), rel=1e-4
        )
        assert side.losses[layer.name][4].standard_error == 0.0


def test_noise_over_signal_of_a_tensor_is_that_of_its_quantizer(subject: Subject, images: Images) -> None:
    side = signal_to_noise.activations(subject, RUN)
    x = images.tensors(len(images))[0][0]
    model = quantize(subject.loaded, uniform(subject.loaded, 3), subject.calibration, subject.quantizer)
    rounded = model.get_submodule("activation_quantizers.x")(x)
    exact = ((rounded - x).square().sum() / x.square().sum()).item()
    assert side.losses["x"][3].mean == pytest.approx(exact, rel=1e-4)
    assert side.losses["x"][3].standard_error < 0.2 * exact


def test_a_mask_sets_the_share_to_zero_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = mask_guided.kept(torch.empty(4, 5), 0.3, generator)
    assert mask.sum() == 14
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(mask, mask_guided.kept(torch.empty(4, 5), 0.3, generator)), "each draw is another"


def test_the_network_is_quantized_once_and_holds_its_quantized_weights(subject: Subject, images: Images) -> None:
    x = images.tensors(len(images))[0][0]
    policy = uniform(subject.loaded, 8)
    quantized = quantize(subject.loaded, policy, subject.calibration, subject.quantizer)
    once = mask_guided.quantized_once(subject)
    with torch.no_grad():
        assert torch.allclose(once(x), quantized(x), atol=1e-5)


def test_a_mask_over_all_but_nothing_hurts_little_and_one_over_nearly_everything_much(
    loaded: LoadedModel, images: Images
) -> None:
    few = mask_guided.weights(subject_of(loaded, images, mask_share=1e-6), RUN).scores
    most = mask_guided.weights(subject_of(loaded, images, mask_share=0.95), RUN).scores
    assert all(score.value == 0.0 for score in few.values()), "no weight of so few comes to that share"
    assert max(score.value for score in most.values()) > 0.001


def test_the_divergence_under_the_mask_stands_for_four_bits(subject: Subject) -> None:
    side = mask_guided.weights(subject, RUN)
    for name, losses in side.losses.items():
        assert losses[4].mean == pytest.approx(side.scores[name].value, rel=1e-9)
        assert losses[8].mean < losses[4].mean < losses[2].mean


@pytest.mark.parametrize("metric", ["fisher", "mask-guided", "signal-to-noise"])
def test_equal_seeds_give_equal_figures(subject: Subject, metric: str) -> None:
    for judged in (METRICS[metric].weights, METRICS[metric].activations):
        assert judged(subject, RUN) == judged(subject, RUN)


@pytest.mark.parametrize("metric", ["fisher", "mask-guided"])
def test_a_spent_budget_leaves_fewer_images(subject: Subject, metric: str) -> None:
    side = METRICS[metric].weights(subject, MetricRun(1e-9, 0, Silent()))
    assert side.images == 8
    assert all(each.standard_error >= 0 for losses in side.losses.values() for each in losses.values())


@pytest.mark.parametrize("metric", [name for name in METRICS if name not in ("signal-to-noise", "hessian-trace")])
def test_a_broken_network_is_refused(images: Images, subject: Subject, metric: str) -> None:
    broken = small_network()
    broken.module.get_parameter("classifier.bias").data[0] = float("inf")
    of = Subject(broken, subject.calibration, images.tensors(), subject.quantizer)
    with pytest.raises(UnsupportedModel):
        METRICS[metric].weights(of, RUN)


def test_every_card_says_what_it_is() -> None:
    for metric in METRICS.values():
        card = metric.card
        assert card.paper
        assert card.link.startswith("https://")
        assert card.summary.endswith(".")
        assert card.reconstruction_notes or not card.reconstruction
    assert METRICS["hessian-eigenvalue"].card.reconstruction
    assert METRICS["mask-guided"].card.reconstruction
