"""Every method with every recipe, interrupted and not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_networks import Images, Silent, small_network, trained, uniform
from torch import fx, nn

from core.calibration.calibration import Calibration, calibrate
from core.errors import InvalidSpecification
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice, TrainingChoice
from core.policy import LayerBits, Policy
from core.quantizers.base import WeightQuantizer
from core.quantizers.registry import METHODS
from core.training.carry_over import Quantization
from core.training.fine_tune import fine_tune
from core.training.result import TrainingResult
from core.training.way import way_to

TRAIN, SELECT = Images(32, seed=1), Images(24, seed=2)
STAGED: dict[str, Any] = {"progressive_bits": (5,), "epochs": 3}
RECIPES: dict[str, dict[str, Any]] = {
    "progressive, adam, half": STAGED | {"optimiser": "adam", "learning_rate": 1e-3, "precision": "bfloat16"},
    "blocks, warm-up, step, moved": {
        "block_order": "most-sensitive-first", "epochs": 2, "warmup_epochs": 1.0, "schedule": "step",
        "augmentation": "flip-crop", "batch_norm_batches": 2,
    },
    "both, patience, no clipping, labels only": STAGED | {
        "block_order": "most-sensitive-first", "epochs": 3, "patience": 1, "gradient_clip": None, "distillation": False,
        "quantizer_weight_decay": 1e-3, "schedule": "constant",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return trained(small_network(), Images(96, seed=1))


@pytest.fixture(scope="module")
def calibration(loaded: LoadedModel) -> Calibration:
    return calibrate(loaded, [x for x, _ in TRAIN.tensors()])


def narrow_policy(loaded: LoadedModel, method: str, *, kernel_wise: bool = False) -> Policy:
    """The second narrowest width that the method has for both sides; or widths that differ from channel to channel."""
    card = METHODS[method].card
    both = sorted(set(card.weight_bits) & set(card.activation_bits))
    bits = both[min(1, len(both) - 1)]
    policy = uniform(loaded, bits)
    if not kernel_wise:
        return policy
    weights = (0, card.weight_bits[0], bits, card.weight_bits[-1])
    return Policy(layers=dict(policy.layers) | {"first": LayerBits(weights=weights, activations=bits)})


class Stopped(Exception):
    """The process ends here."""


class StopsAfter(Silent):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def checkpoint(self, name: str) -> None:
        if name == f"epoch-{self.epoch}":
            raise Stopped


class Training:
    """One way of training one network; each run builds it anew, as another process would."""

    def __init__(self, loaded: LoadedModel, calibration: Calibration, policy: Policy, method: str = "lsq") -> None:
        granularity = "channel" if "channel" in METHODS[method].card.granularities else "tensor"
        choice = QuantizerChoice(method=method, granularity=granularity)
        self.quantization, self.policy = Quantization(loaded, calibration, choice), policy

    def run(
        self, directory: Path, recipe: dict[str, Any], reporter: Silent | None = None, train: Images = TRAIN
    ) -> tuple[fx.GraphModule, TrainingResult]:
        choice = TrainingChoice(**{"batch_size": 16, **recipe})
        model = self.quantization.network(self.policy)
        result = fine_tune(
            model, self.quantization.loaded.module, train, SELECT, choice=choice, seed=3,
            checkpoint_directory=directory, reporter=reporter or Silent(),
            way=way_to(self.policy, choice, self.quantization),
        )  # fmt: skip
        return model, result

    def interrupted(self, directory: Path, recipe: dict[str, Any], epoch: int) -> tuple[fx.GraphModule, TrainingResult]:
        with pytest.raises(Stopped):
            self.run(directory, recipe, StopsAfter(epoch))
        torch.manual_seed(99 + epoch)  # what another process would have drawn by then
        return self.run(directory, recipe)


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(value, states[1][name]) for name, value in states[0].items()
    )


def facts(result: TrainingResult) -> dict[str, Any]:
    """All of a result but the clock and where it began."""
    told = result.model_dump(exclude={"resumed_from_epoch"})
    return told | {"history": [{**epoch, "seconds": 0} for epoch in told["history"]]}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_with_every_recipe_and_resumes_to_the_bit(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, method: str, recipe: dict[str, Any]
) -> None:
    training = Training(loaded, calibration, narrow_policy(loaded, method), method)
    unbroken, expected = training.run(tmp_path / "unbroken", recipe)
    assert expected.stopped in ("finished", "patience")
    assert all(torch.isfinite(value).all() for value in unbroken.state_dict().values())
    resumed, found = training.interrupted(tmp_path / "broken", recipe, len(expected.history) // 2)
    assert same(unbroken, resumed)
    assert facts(found) == facts(expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_with_widths_that_differ_from_channel_to_channel(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, method: str
) -> None:
    if "kernel" not in METHODS[method].card.granularities:
        pytest.skip("the method has one width for the layer")
    policy = narrow_policy(loaded, method, kernel_wise=True)
    training = Training(loaded, calibration, policy, method)
    recipe = RECIPES["progressive, adam, half"]
    model, expected = training.run(tmp_path / "unbroken", recipe)
    resumed, found = training.interrupted(tmp_path / "broken", recipe, 1)
    assert same(model, resumed)
    assert facts(found) == facts(expected)
    quantizer = model.get_submodule("first.weight_quantizer")
    assert isinstance(quantizer, WeightQuantizer)
    integers = quantizer.integers(model.get_submodule("first").layer.weight)  # type: ignore[union-attr, arg-type]
    assert tuple(integers.bits.tolist()) == policy.layers["first"].weights
    assert not integers.codes[0].any(), "zero bits: a pruned channel"


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("epoch", [1, 2, 3, 4, 5])
def test_it_may_be_interrupted_inside_every_stage_and_between_two(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, optimiser: str, epoch: int
) -> None:
    recipe = {
        "optimiser": optimiser, "progressive_bits": (6, 4), "epochs": 6, "learning_rate": 0.002, "quantizer_rate": 0.5,
    }  # fmt: skip
    training = Training(loaded, calibration, uniform(loaded, 2))
    unbroken, expected = training.run(tmp_path / "unbroken", recipe)
    resumed, found = training.interrupted(tmp_path / "broken", recipe, epoch)
    assert [each.stage for each in expected.history] == [1, 1, 2, 2, 3, 3]
    assert found.resumed_from_epoch == epoch
    assert same(unbroken, resumed)
    assert facts(found) == facts(expected)


def test_a_checkpoint_of_another_way_is_not_resumed(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    recipe = {"progressive_bits": (5,), "epochs": 2}
    Training(loaded, calibration, uniform(loaded, 2)).run(tmp_path, recipe)
    assert Training(loaded, calibration, uniform(loaded, 3)).run(tmp_path, recipe)[1].resumed_from_epoch == 0


def test_only_epochs_of_the_policy_itself_can_be_best(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    """The first stage, at 8 bits, is better than anything at 1 bit."""
    training = Training(loaded, calibration, uniform(loaded, 1))
    model, result = training.run(tmp_path, {"progressive_bits": (8,), "epochs": 4, "learning_rate": 1e-3})
    wide = [each.select_accuracy for each in result.history if each.stage == 1]
    narrow = [each.select_accuracy for each in result.history if each.stage == 2]
    assert max(wide) > max(narrow)
    assert result.best_epoch in (0, 3, 4)
    assert model.get_submodule("first.weight_quantizer").bits == 1  # type: ignore[union-attr]


def test_every_stage_goes_on_from_the_one_before(loaded: LoadedModel, calibration: Calibration, tmp_path: Path) -> None:
    """Batch norms count their batches: through both stages, two a epoch."""
    recipe = {"progressive_bits": (5,), "epochs": 4, "learning_rate": 1e-9}
    Training(loaded, calibration, uniform(loaded, 2)).run(tmp_path, recipe)
    state = load_file(tmp_path / "epoch-4.safetensors")
    name = "stem_norm.num_batches_tracked"
    assert int(state[f"model/{name}"]) - int(loaded.module.state_dict()[name]) == 4 * 2


def test_every_stage_runs_through_the_whole_schedule(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    """The rate all but ends in the middle of each stage, and is back at the start of the next."""
    recipe = {
        "progressive_bits": (5,), "epochs": 4, "learning_rate": 0.01, "momentum": 0.0,
        "schedule": "step", "milestones": (0.5,), "step_factor": 1e-6,
    }  # fmt: skip
    training = Training(loaded, calibration, uniform(loaded, 2))
    weights = []
    for epoch in (1, 2, 3, 4):
        with pytest.raises(Stopped):
            training.run(tmp_path, recipe, StopsAfter(epoch))
        weights.append(load_file(tmp_path / f"epoch-{epoch}.safetensors")["model/first.layer.weight"])
    moved = [float((later - earlier).abs().max()) for earlier, later in pairwise(weights)]
    assert moved[1] > 1e-4
    assert max(moved[0], moved[2]) < 1e-6


def test_stages_need_a_way(loaded: LoadedModel, calibration: Calibration, tmp_path: Path) -> None:
    model = Training(loaded, calibration, uniform(loaded, 2)).quantization.network(uniform(loaded, 2))
    with pytest.raises(InvalidSpecification, match="way"):
        fine_tune(
            model, None, TRAIN, SELECT, choice=TrainingChoice(progressive_bits=(5,)), seed=0,
            checkpoint_directory=tmp_path, reporter=Silent(),
        )  # fmt: skip


def test_training_stops_where_the_select_split_no_longer_gains_and_stays_stopped(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    """Epochs of earlier stages do not count: they are of another network."""
    recipe = {"progressive_bits": (5,), "epochs": 6, "learning_rate": 1e-9, "patience": 1, "batch_norm_batches": 2}
    training = Training(loaded, calibration, uniform(loaded, 2))
    reporter = Silent()
    model, result = training.run(tmp_path, recipe, reporter)
    assert result.stopped == "patience"
    assert [each.stage for each in result.history][:4] == [1, 1, 1, 2]
    gains = [result.calibrated_select_accuracy, *(each.select_accuracy for each in result.history[3:])]
    assert all(later > earlier for earlier, later in pairwise(gains[:-1]))
    assert gains[-1] <= max(gains[:-1])
    reporter.checkpoints.clear()
    again, found = training.run(tmp_path, recipe, reporter)
    assert reporter.checkpoints == []
    assert same(model, again)
    assert facts(found) == facts(result)


def test_the_result_tells_what_was_done(loaded: LoadedModel, calibration: Calibration, tmp_path: Path) -> None:
    training = Training(loaded, calibration, uniform(loaded, 2))
    recipe = {"epochs": 6, "progressive_bits": (5,), "block_order": "most-sensitive-first", "batch_norm_batches": 2}
    _, result = training.run(tmp_path, recipe)
    assert [stage.epochs for stage in result.stages] == [1] * 6
    assert result.stages[1].layers == ("first", "second")
    assert result.stages[-1].title == "the policy itself"
    assert result.block_order == "in execution order"
    assert result.batch_norm.startswith("measured anew")
    assert result.first_last == "8/8"
    assert result.stopped == "finished"
    assert TrainingResult.model_validate(result.as_json()) == result
