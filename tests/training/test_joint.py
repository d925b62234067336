"""Training one small network at several widths, and reading it at any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from small_networks import Images, Silent, small_network, trained, uniform
from torch import Tensor, nn

from core.calibration.calibration import Calibration, calibrate
from core.calibration.quantize import quantize
from core.deploy.joint_file import read_joint, write_joint
from core.errors import BrokenFile, InvalidInput, InvalidSpecification
from core.graph.loaded_model import LoadedModel
from core.jobs.joint_widths import member_policies
from core.jobs.specification import QuantizerChoice, TrainingChoice
from core.policy import LayerBits, Policy
from core.quantizers.base import ActivationQuantizer
from core.tasks.classification import evaluate
from core.training.batches import Batch
from core.training.joint import JointEpochPass, JointTrainingResult, measure_on_training_images, train_together
from core.training.joint_network import JointNetwork, make_joint_network
from core.training.one_epoch import EpochPass

TRAIN, SELECT = Images(96, seed=1), Images(48, seed=2)
CHOICE = QuantizerChoice(method="adabits", granularity="tensor", settings={"bits": "8,4,2"})
SMALL = {"epochs": 3, "batch_size": 16}


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return trained(small_network(), TRAIN)


@pytest.fixture(scope="module")
def calibration(loaded: LoadedModel) -> Calibration:
    return calibrate(loaded, [x for x, _ in TRAIN.tensors()])


@pytest.fixture
def joint(loaded: LoadedModel, calibration: Calibration) -> JointNetwork:
    return make_joint_network(loaded, calibration, CHOICE)


@pytest.fixture
def trained_joint(joint: JointNetwork, loaded: LoadedModel, tmp_path: Path) -> JointNetwork:
    run(joint, loaded, tmp_path / "training")
    return joint


def run(
    joint: JointNetwork, loaded: LoadedModel, directory: Path, reporter: Silent | None = None, **recipe: Any
) -> JointTrainingResult:
    return train_together(
        joint, loaded.module, TRAIN, SELECT, choice=TrainingChoice(**{**SMALL, **recipe}), seed=0,
        checkpoint_directory=directory, reporter=reporter or Silent(),
    )  # fmt: skip


def batch() -> Batch:
    x, labels = TRAIN.tensors(16)[0]
    return Batch(x, labels, np.arange(16))


def passes(kind: type[EpochPass], **recipe: Any) -> EpochPass:
    choice = TrainingChoice(**{**SMALL, **recipe})
    return kind(TRAIN, choice, None, 0, torch.device("cpu"), lambda *_: None)


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: each.grad.clone() for name, each in network.named_parameters() if each.grad is not None}


def mixed(**bits: tuple[int | tuple[int, ...], int]) -> Policy:
    layers = {"stem": (8, 8), "first": (4, 4), "second": (4, 4), "classifier": (8, 8), **bits}
    return Policy(layers={name: LayerBits(weights=w, activations=a) for name, (w, a) in layers.items()})


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(value, states[1][name]) for name, value in states[0].items()
    )


def test_a_joint_step_is_the_sum_of_the_single_gradients(joint: JointNetwork) -> None:
    """Of shared weights; computed from ordinary networks, each on its own."""
    alone = {width: joint.at(policy).train() for width, policy in joint.policies.items()}
    joint.train()
    loss, classes = passes(JointEpochPass).backward(joint, batch())
    losses = [passes(EpochPass).backward(network, batch())[0] for network in alone.values()]
    assert classes == 3
    assert loss == pytest.approx(np.mean(losses))
    found = gradients(joint)
    for name in ("stem.layer.weight", "first.layer.weight", "classifier.layer.bias"):
        expected = sum(gradients(network)[name] for network in alone.values())
        torch.testing.assert_close(found[f"members.8.{name}"], expected, rtol=1e-5, atol=1e-7)


def test_weights_are_shared_and_norms_and_clipping_levels_are_private(joint: JointNetwork) -> None:
    """A step at one width alone moves nothing of the others but the weights."""
    before = {name: value.clone() for name, value in joint.state_dict().items()}
    joint.train()
    passes(EpochPass).backward(joint.member(4), batch())
    with torch.no_grad():
        for parameter in joint.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad)
    changed = {name for name, value in joint.state_dict().items() if not torch.equal(value, before[name])}
    of_others = {name for name in changed if not name.startswith("members.4.")}
    assert of_others == {
        "members.8.classifier.layer.bias", *(f"members.8.{name}.layer.weight" for name in ("stem", "first", "second",
        "classifier")),
    }  # fmt: skip
    for private in ("first_norm.weight", "first_norm.running_mean", "activation_quantizers.relu_first.alpha"):
        assert f"members.4.{private}" in changed
    assert joint.member(2).first.layer.weight is joint.member(8).first.layer.weight


def test_a_step_visits_the_widest_first(joint: JointNetwork) -> None:
    seen: list[int] = []
    for width in joint.widths:
        joint.member(width).register_forward_hook(lambda *_, width=width: seen.append(width))
    passes(JointEpochPass).backward(joint.train(), batch())
    assert seen == [8, 4, 2]


def test_the_first_and_the_last_layer_have_eight_bits_at_every_width(joint: JointNetwork) -> None:
    for width in joint.widths:
        member = joint.member(width)
        assert member.stem.weight_quantizer.bits == 8
        assert member.first.weight_quantizer.bits == width
        assert {member.classifier.weight_quantizer.bits} == {8}


def test_before_training_a_member_is_what_quantize_gives(
    joint: JointNetwork, loaded: LoadedModel, calibration: Calibration
) -> None:
    for policy in member_policies(loaded.inventory.layers, (8, 4, 2), CHOICE).values():
        assert same(joint.at(policy), quantize(loaded, policy, calibration, CHOICE))


def test_the_state_holds_shared_weights_once_and_restores_them_for_all(
    joint: JointNetwork, loaded: LoadedModel, calibration: Calibration
) -> None:
    other = make_joint_network(loaded, calibration, CHOICE)
    with torch.no_grad():
        joint.member(2).first.layer.weight += 0.1
        joint.member(2).first_norm.bias += 0.1
    assert [name for name in joint.state_dict() if name.endswith("first.layer.weight")] == [
        "members.8.first.layer.weight"
    ]
    other.load_state_dict(joint.state_dict())
    assert same(joint.member(2), other.member(2))
    assert other.member(2).first.layer.weight is other.member(4).first.layer.weight


class Stopped(Exception):
    """The process ends here."""


class StopsAfter(Silent):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def checkpoint(self, name: str) -> None:
        super().checkpoint(name)
        if name == f"epoch-{self.epoch}":
            raise Stopped


@pytest.mark.parametrize("recipe", [{}, {"optimiser": "adam", "learning_rate": 0.001, "augmentation": "flip-crop"}])
def test_an_interrupted_training_equals_an_unbroken_one_to_the_bit(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    unbroken, broken, resumed = (make_joint_network(loaded, calibration, CHOICE) for _ in range(3))
    expected = run(unbroken, loaded, tmp_path / "unbroken", **recipe)
    with pytest.raises(Stopped):
        run(broken, loaded, tmp_path / "broken", StopsAfter(1), **recipe)
    torch.manual_seed(99)  # what another process would have drawn by then
    found = run(resumed, loaded, tmp_path / "broken", **recipe)
    assert found.resumed_from_epoch == 1
    assert same(unbroken, resumed)
    assert [(epoch.loss, epoch.select_accuracy) for epoch in found.history] == [
        (epoch.loss, epoch.select_accuracy) for epoch in expected.history
    ]
    assert found.select_accuracy == expected.select_accuracy


def test_the_epoch_with_the_best_mean_accuracy_is_kept(
    joint: JointNetwork, loaded: LoadedModel, tmp_path: Path
) -> None:
    result = run(joint, loaded, tmp_path, epochs=6, learning_rate=0.05)
    accuracies = [evaluate(joint.at(joint.policies[width]), SELECT.tensors()).accuracy for width in (8, 4, 2)]
    assert list(result.select_accuracy) == [8, 4, 2]
    assert accuracies == pytest.approx(list(result.select_accuracy.values()))
    best = [result.calibrated_select_accuracy, *(epoch.select_accuracy for epoch in result.history)]
    assert np.mean(accuracies) == pytest.approx(max(best))
    assert result.diverged is None


def test_the_last_epoch_is_kept_where_the_recipe_says_so(
    joint: JointNetwork, loaded: LoadedModel, tmp_path: Path
) -> None:
    assert run(joint, loaded, tmp_path, epochs=2, learning_rate=1e-9, keep="last").best_epoch == 2


def test_a_training_that_explodes_says_why_and_keeps_what_was_good(
    joint: JointNetwork, loaded: LoadedModel, tmp_path: Path
) -> None:
    result = run(joint, loaded, tmp_path, learning_rate=10.0, gradient_clip=None, momentum=0.99)
    assert result.diverged is not None
    assert all(torch.isfinite(value).all() for value in joint.state_dict().values())


def test_a_mixed_policy_takes_norms_by_weight_width_and_clipping_levels_by_their_own(
    trained_joint: JointNetwork,
) -> None:
    network = trained_joint.at(mixed(first=(4, 2), second=(2, 4)))
    eight, four, two = trained_joint.networks()
    assert (network.first.weight_quantizer.bits, network.second.weight_quantizer.bits) == (4, 2)
    assert torch.equal(network.first_norm.weight, four.first_norm.weight)
    assert torch.equal(network.second_norm.running_var, two.second_norm.running_var)
    alphas = {
        name: quantizer.alpha
        for name, quantizer in network.activation_quantizers.named_children()
        if isinstance(quantizer, ActivationQuantizer) and hasattr(quantizer, "alpha")
    }
    assert torch.equal(alphas["relu_stem"], two.activation_quantizers.relu_stem.alpha)
    assert torch.equal(alphas["relu_first"], four.activation_quantizers.relu_first.alpha)
    network.first.layer.weight.data.zero_()
    assert eight.first.layer.weight.abs().sum() > 0, "what is read off is a copy"


def test_channels_may_have_widths_of_their_own(trained_joint: JointNetwork) -> None:
    network = trained_joint.at(mixed(first=((8, 2, 0, 4), 4)))
    eight, four, two = trained_joint.networks()
    integers = network.first.weight_quantizer.integers(network.first.layer.weight)
    assert integers.bits.tolist() == [8, 2, 0, 4]
    sources = [eight, two, four, four]  # a pruned channel keeps what was there
    assert network.first_norm.weight.tolist() == [
        source.first_norm.weight[channel].item() for channel, source in enumerate(sources)
    ]


def test_measuring_norms_anew_helps_a_mixed_policy(trained_joint: JointNetwork) -> None:
    network = trained_joint.at(mixed(first=(8, 2), second=(2, 8)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    loss = evaluate(network, TRAIN.tensors()).loss
    measure_on_training_images(network, TRAIN, TrainingChoice(**SMALL), 0, 6)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert all("running_" in name or "num_batches" in name for name in changed)
    assert changed
    assert evaluate(network, TRAIN.tensors()).loss < loss


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (mixed(first=(3, 4)), "3 bits for the weights"),
        (mixed(second=(4, 5)), "5 bits for the activations"),
        (mixed(stem=(4, 8)), "choose from [8]"),
        (mixed(first=((4, 3, 4, 4), 4)), "3 bits"),
        (mixed().model_copy(update={"residual_bits": 8}), "residual_bits 16"),
        (Policy(layers={"stem": LayerBits(weights=8, activations=8)}), "no bits for layer"),
    ],
)
def test_widths_that_were_not_trained_are_refused_with_those_that_were(
    joint: JointNetwork, policy: Policy, words: str
) -> None:
    with pytest.raises(InvalidSpecification) as caught:
        joint.at(policy)
    assert words in f"{caught.value.message} {caught.value.hint}"


def test_another_method_is_not_trained_jointly(loaded: LoadedModel, calibration: Calibration) -> None:
    with pytest.raises(InvalidSpecification, match="lsq"):
        make_joint_network(loaded, calibration, QuantizerChoice(method="lsq"))


@pytest.mark.parametrize(
    "changes",
    [{}, {"settings": {"bits": "4,3,2", "grid": "centered"}}, {"first_last": "float"}, {"first_last": "searched"}],
)
def test_what_is_read_from_the_file_is_what_was_written_to_the_bit(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, changes: dict[str, Any]
) -> None:
    choice = CHOICE.model_copy(update=changes)
    joint = make_joint_network(loaded, calibration, choice)
    run(joint, loaded, tmp_path / "training", epochs=1)
    path = tmp_path / "network.joint.safetensors"
    assert write_joint(joint, path) == path.stat().st_size
    read = read_joint(path, loaded)
    x = SELECT.tensors()[0][0]
    policies = [*joint.policies.values(), uniform_middle(joint)]
    assert not joint.is_member(policies[-1])
    for policy in policies:
        ours, theirs = joint.at(policy), read.at(policy)
        assert torch.equal(ours(x), theirs(x))
        for layer in loaded.inventory.layers:
            assert torch.equal(
                ours.get_submodule(layer.name).quantized_weight(), theirs.get_submodule(layer.name).quantized_weight()
            )


def uniform_middle(joint: JointNetwork) -> Policy:
    """One inner layer at the narrowest width, the other at the widest."""
    widest, narrowest = joint.policies[joint.widths[0]], joint.policies[joint.widths[-1]]
    layers = {**widest.layers, "second": narrowest.layers["second"]}
    return widest.model_copy(update={"layers": layers})


def test_equal_networks_are_equal_files(trained_joint: JointNetwork, tmp_path: Path) -> None:
    write_joint(trained_joint, tmp_path / "one")
    write_joint(trained_joint, tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_weights_are_stored_once_however_many_widths_there_are(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    sizes = {}
    for widths in ("8,2", "8,7,6,5,4,3,2", "4,2"):
        choice = CHOICE.model_copy(update={"settings": {"bits": widths}})
        write_joint(make_joint_network(loaded, calibration, choice), tmp_path / "file")
        tensors = load_file(tmp_path / "file")
        sizes[widths] = {layer.name: tensors[f"{layer.name}.codes"].nbytes for layer in loaded.inventory.layers}
        assert not [name for name in tensors if name.endswith("layer.weight")]
    weights = {layer.name: layer.parameters for layer in loaded.inventory.layers}
    assert sizes["8,2"] == sizes["8,7,6,5,4,3,2"] == weights
    assert sizes["4,2"] == {**weights, "first": weights["first"] // 2, "second": weights["second"] // 2}


def test_damaged_and_foreign_files_are_refused(
    trained_joint: JointNetwork, loaded: LoadedModel, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    write_joint(trained_joint, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(BrokenFile):
        read_joint(path, loaded)
    path.write_bytes(b"no tensors")
    with pytest.raises(BrokenFile):
        read_joint(path, loaded)
    path.write_bytes(whole.replace(b'"state/members.4.first_norm.bias"', b'"state/members.4.first_norm.bios"'))
    with pytest.raises(BrokenFile, match="first_norm"):
        read_joint(path, loaded)
    path.write_bytes(whole.replace(b'\\"shape\\":[4,4,1,1]', b'\\"shape\\":[4,4,2,1]'))
    with pytest.raises(InvalidInput, match="second"):
        read_joint(path, loaded)


def test_too_few_images_are_refused(joint: JointNetwork, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="two images"):
        train_together(
            joint, None, Images(1, 0), SELECT, choice=TrainingChoice(), seed=0, checkpoint_directory=tmp_path,
            reporter=Silent(),
        )  # fmt: skip


def test_what_is_uniform_in_the_paper_is_uniform_here(joint: JointNetwork, loaded: LoadedModel) -> None:
    assert joint.is_member(member_policies(loaded.inventory.layers, (4,), CHOICE)[4])
    assert not joint.is_member(uniform(loaded, 4))
