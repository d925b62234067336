"""One stage's network goes on from where the one before was trained to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_networks import Images, Silent, small_network, trained, uniform
from torch import fx

from core.calibration.calibration import Calibration, calibrate
from core.graph.loaded_model import LoadedModel
from core.graph.quantized_layers import QuantizedLayer
from core.jobs.specification import QuantizerChoice, TrainingChoice
from core.policy import LayerBits, Policy
from core.quantizers.base import ActivationQuantizer
from core.quantizers.lsq import LsqActivationQuantizer
from core.quantizers.registry import METHODS
from core.tasks.classification import evaluate
from core.training.carry_over import Quantization
from core.training.fine_tune import fine_tune

TRAIN, SELECT = Images(96, seed=1), Images(192, seed=2)
LEAVES_THE_SCALE = [name for name, method in METHODS.items() if method.card.needs_following_normalisation]
RESTORED_IN_GROUPS = [
    name
    for name in LEAVES_THE_SCALE
    if not METHODS[name].adjusts_scale and "kernel" in METHODS[name].card.granularities
]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return trained(small_network(), TRAIN)


@pytest.fixture(scope="module")
def calibration(loaded: LoadedModel) -> Calibration:
    return calibrate(loaded, [x for x, _ in TRAIN.tensors()])


def quantization(loaded: LoadedModel, calibration: Calibration, method: str) -> Quantization:
    offered = METHODS[method].card.granularities
    granularity = "channel" if "channel" in offered else "tensor"
    settings = {"centre": False} if method == "apot" else {}  # with the mean, it loses what only training brings back
    choice = QuantizerChoice(method=method, granularity=granularity, settings=settings)
    return Quantization(loaded, calibration, choice)


def after_training(of: Quantization, policy: Policy, directory: Path, epochs: int = 2) -> fx.GraphModule:
    network = of.network(policy)
    choice = TrainingChoice(epochs=epochs, batch_size=16, distillation=False, learning_rate=0.02, keep="last")
    fine_tune(network, None, TRAIN, SELECT, choice=choice, seed=0, checkpoint_directory=directory, reporter=Silent())
    return network


def widest(method: str) -> int:
    card = METHODS[method].card
    return max(set(card.weight_bits) & set(card.activation_bits))


def latent(network: fx.GraphModule, name: str) -> QuantizedLayer:
    layer = network.get_submodule(name)
    assert isinstance(layer, QuantizedLayer)
    return layer


@pytest.mark.parametrize("method", METHODS)
def test_the_same_policy_carries_everything_over_to_the_bit(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, method: str
) -> None:
    of, policy = quantization(loaded, calibration, method), uniform(loaded, widest(method))
    before, after = after_training(of, policy, tmp_path, epochs=1), of.network(policy)
    of.carry_over(before, after)
    states = before.state_dict(), after.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", ["float", "trained"])
def test_the_network_still_computes_about_the_same(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, method: str, start: str
) -> None:
    """Whatever scale a method gives its weights: many bits before, nearly as many after, and scores stay what they
    were. Without batch norms that follow, all images would get one class."""
    of, bits = quantization(loaded, calibration, method), widest(method)
    layers = {each.name: LayerBits(weights=32, activations=32) for each in loaded.inventory.layers}
    policy = Policy(layers=layers) if start == "float" else uniform(loaded, bits)
    before = after_training(of, policy, tmp_path)
    cards = METHODS[method].card
    after_bits = bits if start == "float" else sorted(set(cards.weight_bits) & set(cards.activation_bits))[-2]
    after = of.network(uniform(loaded, after_bits))
    of.carry_over(before, after)
    accuracy = [evaluate(network, SELECT.tensors()).accuracy for network in (before, after)]
    assert accuracy[0] > 0.75
    assert accuracy[1] > accuracy[0] - 0.2


@pytest.mark.parametrize("method", LEAVES_THE_SCALE)
def test_a_batch_norm_follows_the_weight_as_it_is_rounded_now(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, method: str
) -> None:
    """The statistics of what the norm reads, over the weight's scale, are the same before and after."""
    of = quantization(loaded, calibration, method)
    wide, narrow = sorted(set(METHODS[method].card.weight_bits))[-1:-3:-1]
    before = after_training(of, uniform(loaded, wide), tmp_path)
    after = of.network(uniform(loaded, narrow))
    of.carry_over(before, after)
    old, new = latent(before, "first").quantized_weight(), latent(after, "first").quantized_weight()
    factor = (old * new).sum((1, 2, 3)) / old.square().sum((1, 2, 3))
    norms = before.get_submodule("first_norm"), after.get_submodule("first_norm")
    assert torch.allclose(norms[1].running_var, norms[0].running_var * factor**2, rtol=1e-4)
    assert torch.allclose(norms[1].running_mean, norms[0].running_mean * factor, rtol=1e-4, atol=1e-6)
    assert torch.equal(norms[1].weight, norms[0].weight)


@pytest.mark.parametrize("method", RESTORED_IN_GROUPS)
def test_where_no_batch_norm_follows_the_weight_keeps_its_scale(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, method: str
) -> None:
    """The classifier, every channel with a width of its own."""
    of, card = quantization(loaded, calibration, method), METHODS[method].card
    widths = sorted(bits for bits in card.weight_bits if bits > 1)
    policies = []
    for weights in ((widths[-1], widths[-1], widths[-2]), (widths[-1], widths[-2], widths[-2])):
        layers = uniform(loaded, widest(method)).layers
        changed = LayerBits(weights=weights, activations=widest(method))
        policies.append(Policy(layers=dict(layers) | {"classifier": changed}))
    before, after = after_training(of, policies[0], tmp_path), of.network(policies[1])
    with torch.no_grad():
        latent(before, "classifier").layer.get_parameter("weight").mul_(3.0)
    of.carry_over(before, after)
    old, new = (latent(network, "classifier").quantized_weight().detach() for network in (before, after))
    for channels in ([0], [1, 2]):
        power = float(new[channels].square().sum())
        assert float((old * new)[channels].sum()) == pytest.approx(power, rel=1e-3)


def test_latent_weights_and_learned_ranges_go_along(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    of = quantization(loaded, calibration, "lsq")
    before, after = after_training(of, uniform(loaded, 5), tmp_path), of.network(uniform(loaded, 3))
    fresh_wide, fresh_narrow = of.network(uniform(loaded, 5)), of.network(uniform(loaded, 3))
    of.carry_over(before, after)
    assert torch.equal(latent(after, "first").layer.weight, latent(before, "first").layer.weight)
    steps = []
    for network in (before, fresh_wide, after, fresh_narrow):
        quantizer = network.get_submodule("activation_quantizers.relu_stem")
        assert isinstance(quantizer, LsqActivationQuantizer)
        steps.append(float(quantizer.scale.detach()))
    trained_wide, start_wide, found, start_narrow = steps
    assert trained_wide != start_wide
    assert found / start_narrow == pytest.approx(trained_wide / start_wide, rel=1e-5)


def test_a_weights_new_quantizer_starts_from_the_latent_weight(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    of = quantization(loaded, calibration, "lsq")
    before, after = after_training(of, uniform(loaded, 5), tmp_path), of.network(uniform(loaded, 3))
    with torch.no_grad():
        latent(before, "first").layer.get_parameter("weight").mul_(2.0)
    fresh = latent(after, "first").weight_quantizer.get_parameter("scale").detach().clone()
    of.carry_over(before, after)
    carried = latent(after, "first").weight_quantizer.get_parameter("scale").detach()
    assert torch.all(carried > 1.4 * fresh)


def test_a_layer_whose_bits_stay_keeps_what_its_quantizer_learned(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    of = quantization(loaded, calibration, "lsq")
    first = uniform(loaded, 5)
    second = Policy(layers=dict(uniform(loaded, 3).layers) | {"stem": first.layers["stem"]})
    before, after = after_training(of, first, tmp_path), of.network(second)
    of.carry_over(before, after)
    for name in ("scale", "floor"):
        kept = [latent(network, "stem").weight_quantizer.state_dict()[name] for network in (before, after)]
        assert torch.equal(*kept)


def test_a_range_that_ran_away_is_not_passed_on(loaded: LoadedModel, calibration: Calibration) -> None:
    of = quantization(loaded, calibration, "lsq")
    before, after = of.network(uniform(loaded, 5)), of.network(uniform(loaded, 3))
    fresh = of.network(uniform(loaded, 3)).state_dict()
    for module in before.modules():
        if isinstance(module, ActivationQuantizer) and isinstance(module, LsqActivationQuantizer):
            module.scale.data.mul_(1e6)
    of.carry_over(before, after)
    name = "activation_quantizers.relu_stem.scale"
    assert torch.equal(after.state_dict()[name], fresh[name])
