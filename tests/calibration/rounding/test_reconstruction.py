"""The engine: every rounding on a small network, interrupted and resumed, guarded, and with any widths."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from rounded_networks import Case, mixed_policy, quantized_layers
from small_networks import Silent, uniform
from torch import Tensor

import core.calibration.rounding.prefix as prefix_module
import core.calibration.rounding.samples as samples_module
from core.calibration.rounding import learning
from core.calibration.rounding.adaround_formulas import SoftWeight
from core.calibration.rounding.fisher import squared_gradients
from core.calibration.rounding.grid import WeightGrid
from core.calibration.rounding.prefix import Prefix
from core.calibration.rounding.registry import ROUNDINGS, fits, rounding_by_id
from core.calibration.rounding.samples import Samples
from core.calibration.rounding.units import blocks, single_layers
from core.calibration.rounding.work import weight_quantizer
from core.errors import InvalidInput, InvalidSpecification
from core.quantizers.registry import METHODS

LEARNED = ("adaround", "brecq", "qdrop")
TUNED = (*LEARNED, "gptq", "gpfq")
ITERATIONS = 40


def choice_of(name: str) -> dict[str, int]:
    return {"iterations": ITERATIONS} if name in LEARNED else {}


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


@pytest.mark.parametrize("name", TUNED)
def test_codes_are_the_floor_or_the_ceiling_except_where_feedback_moves_them(
    name: str, case: Case, tmp_path: Path
) -> None:
    start, (model, report) = quantized_layers(case.quantized()), case.round(name, tmp_path, **choice_of(name))
    for layer_name, layer in quantized_layers(model).items():
        quantizer, weight = weight_quantizer(layer), layer.layer.get_parameter("weight")
        grid = WeightGrid.of(quantizer, start[layer_name].layer.get_parameter("weight"))
        codes = quantizer.integers(weight).codes
        choices = grid.choices(start[layer_name].layer.get_parameter("weight"))
        if name in LEARNED:
            assert ((codes == choices.lower) | (codes == choices.upper)).all()
        assert torch.equal(quantizer(weight), quantizer.integers(weight).dequantize())
        assert torch.equal(quantizer(weight), grid.values(codes.float()))
    assert all(math.isfinite(unit.error_rounded or 0) for unit in report.units)
    assert any(unit.moved > 0 for unit in report.units)


@pytest.mark.parametrize("name", TUNED)
def test_no_unit_is_worse_on_held_back_images_than_rounded_to_nearest(name: str, case: Case, tmp_path: Path) -> None:
    _, report = case.round(name, tmp_path, **choice_of(name))
    assert report.images == 48
    assert report.held_back == 6
    for unit in report.units:
        assert unit.kept == "nearest" or unit.error_rounded <= unit.error_nearest * (1 + 1e-6)
    assert any(unit.error_rounded < 0.99 * unit.error_nearest for unit in report.units if unit.kept == "rounded")


@pytest.mark.parametrize("name", LEARNED)
def test_learning_brings_the_output_closer_to_the_float_one(name: str, case: Case, tmp_path: Path) -> None:
    model, _ = case.round(name, tmp_path, iterations=100)
    exact = case.exact_output()
    before, after = ((case.output(each) - exact).square().mean() for each in (case.quantized(), model))
    assert after < before


class _KilledAt(Silent):
    """Ends the run once that many units are written down."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units

    def checkpoint(self, name: str) -> None:
        super().checkpoint(name)
        if len(self.checkpoints) == self.units:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", TUNED)
def test_a_run_killed_between_units_and_resumed_equals_an_unbroken_one_to_the_bit(
    name: str, case: Case, tmp_path: Path
) -> None:
    unbroken, report = case.round(name, tmp_path / "unbroken", **choice_of(name))
    for killed_after in (1, 1):
        with pytest.raises(KeyboardInterrupt):
            case.round(name, tmp_path / "broken", _KilledAt(killed_after), **choice_of(name))
    resumed, other = case.round(name, tmp_path / "broken", **choice_of(name))
    assert other.resumed_from_unit == 2
    assert report.units == other.units
    expected = unbroken.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.state_dict().items())


def test_other_settings_or_another_seed_do_not_resume(case: Case, tmp_path: Path) -> None:
    case.round("adaround", tmp_path, iterations=5)
    assert case.round("adaround", tmp_path, iterations=5)[1].resumed_from_unit == 4
    assert case.round("adaround", tmp_path, iterations=6)[1].resumed_from_unit == 0
    assert case.round("adaround", tmp_path, iterations=5, seed=1)[1].resumed_from_unit == 0


def test_a_damaged_checkpoint_is_not_read(case: Case, tmp_path: Path) -> None:
    case.round("gptq", tmp_path)
    (second,) = tmp_path.glob("*/unit-0001.safetensors")
    second.write_bytes(second.read_bytes()[:-7])
    assert case.round("gptq", tmp_path)[1].resumed_from_unit == 1


@pytest.mark.parametrize("name", TUNED)
def test_every_width_per_layer_and_per_channel(name: str, tmp_path: Path) -> None:
    case = Case()
    case.policy = mixed_policy(case.loaded)
    start, (model, _) = quantized_layers(case.quantized()), case.round(name, tmp_path, **choice_of(name))
    for layer_name, layer in quantized_layers(model).items():
        before, after = (
            weight_quantizer(each).integers(each.layer.get_parameter("weight")) for each in (start[layer_name], layer)
        )
        assert torch.equal(before.scale, after.scale)
        assert torch.equal(before.bits, after.bits)
        assert (after.codes >= after.low.view(-1, *[1] * (after.codes.dim() - 1))).all()
        assert (after.codes <= after.high.view(-1, *[1] * (after.codes.dim() - 1))).all()


def test_float_and_sixteen_bit_layers_are_left_alone(tmp_path: Path) -> None:
    case = Case()
    layers = dict(uniform(case.loaded, 3).layers)
    layers["first"] = layers["first"].model_copy(update={"weights": 32})
    layers["second"] = layers["second"].model_copy(update={"weights": 16})
    case.policy = uniform(case.loaded, 3).model_copy(update={"layers": layers})
    _, report = case.round("gptq", tmp_path)
    assert [unit.layers for unit in report.units] == [("stem",), ("classifier",)]


class _AllWrong(SoftWeight):
    def codes(self) -> Tensor:
        return self.lower


def test_a_unit_that_got_worse_stays_nearest_and_says_so(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "SoftWeight", _AllWrong)
    model, report = case.round("adaround", tmp_path, iterations=2)
    spoiled = [unit for unit in report.units if unit.kept == "nearest"]
    assert spoiled
    assert all("held-back images" in unit.why and unit.moved == 0 for unit in spoiled)
    start = quantized_layers(case.quantized())
    for unit in spoiled:
        for name in unit.layers:
            weight = quantized_layers(model)[name].layer.get_parameter("weight")
            assert torch.equal(weight, start[name].layer.get_parameter("weight"))


def test_learning_that_diverges_is_set_back(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STEP_RATE", "LARGEST_SHARE"):
        monkeypatch.setattr(learning, name, math.inf)
    _, report = case.round("qdrop", tmp_path, iterations=3)
    block = next(unit for unit in report.units if unit.layers == ("first", "second"))
    assert block.kept == "nearest"
    assert block.moved == 0


def test_brecq_and_qdrop_learn_activation_steps_and_adaround_does_not(case: Case, tmp_path: Path) -> None:
    before = {name: value for name, value in case.quantized().state_dict().items() if "activation" in name}
    for name, learns in (("adaround", False), ("brecq", True), ("qdrop", True)):
        after = case.round(name, tmp_path, iterations=40)[0].state_dict()
        changed = [key for key, value in before.items() if not torch.equal(value, after[key])]
        assert bool(changed) is learns


def test_gradients_are_asked_for_afterwards_as_they_were_before(case: Case, tmp_path: Path) -> None:
    case.loaded.module.zero_grad()
    model, _ = case.round("qdrop", tmp_path, iterations=2)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.grad is not None for parameter in case.loaded.module.parameters())


def test_fisher_weighting_is_the_squared_gradient_of_a_drawn_class(case: Case, tmp_path: Path) -> None:
    unit = blocks(case.loaded.module)[1]
    found = torch.cat(list(squared_gradients(case.loaded.module, unit.exit, lambda: iter(case.batches), seed=4)))
    assert found.shape == (48, 4, 6, 6)
    head = case.loaded.module.get_submodule("classifier").get_parameter("weight").detach()
    logits = case.exact_output()
    by_class = (logits.softmax(1)[:, None] - torch.eye(3)) @ head / 36  # N, drawn class, C
    expected = by_class.square()
    error = (found[:, None, :, 0, 0] - expected).abs().amax(2).amin(1)
    assert error.max() < 1e-6
    _, report = case.round("brecq", tmp_path, iterations=5, fisher=True)
    assert report.units


@pytest.mark.parametrize("limit", [10**9, 300])
def test_a_network_run_in_pieces_gives_what_it_gives_in_one(
    limit: int, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_module, "KEPT_BYTES", limit)
    module = case.loaded.module
    pieces = Prefix(module, lambda: iter(case.batches))
    for unit in single_layers(module):
        found = torch.cat(list(pieces.outputs(unit.entry)))
        expected = torch.cat(list(Prefix(module, lambda: iter(case.batches)).outputs(unit.entry)))
        assert torch.equal(found, expected)
    torch.testing.assert_close(torch.cat(list(pieces.outputs(unit.exit))), case.exact_output())


@pytest.mark.parametrize(("limit", "kind"), [(10**9, torch.float32), (700, torch.float16), (10, torch.float16)])
def test_samples_are_kept_in_memory_halves_or_a_file(
    limit: int, kind: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_module, "LARGEST_BYTES", limit)
    values = torch.randn(30, 3, 3, generator=torch.Generator().manual_seed(0)) * 1e5
    samples = Samples.of(values.split(8), 30, tmp_path, "x")
    assert samples.stored.dtype == kind
    assert (tmp_path / "x.samples").exists() is (limit == 10)
    drawn = torch.tensor([3, 29, 3])
    torch.testing.assert_close(samples[drawn], values[drawn], rtol=1e-3, atol=1e2)
    samples.normalise()
    torch.testing.assert_close(samples[drawn], values[drawn] / values.mean(), rtol=1e-2, atol=0.3)


def test_few_images_judge_and_tune_at_once_and_none_are_refused(tmp_path: Path) -> None:
    few = Case(images=10)
    assert few.round("gptq", tmp_path)[1].held_back == 0
    few.batches = []
    few.quantized = Case().quantized  # type: ignore[method-assign]
    with pytest.raises(InvalidInput, match="no image"):
        few.round("gptq", tmp_path)


def test_a_method_whose_levels_move_with_the_weights_is_refused(tmp_path: Path) -> None:
    assert not fits("adaround", METHODS["hadq"].card)
    assert fits("nearest", METHODS["hadq"].card)
    with pytest.raises(InvalidSpecification):
        Case(method="hadq").round("adaround", tmp_path, iterations=2)


def test_progress_rises_to_one(case: Case, tmp_path: Path) -> None:
    reporter = Silent()
    case.round("brecq", tmp_path, reporter, iterations=5)
    assert reporter.fractions == sorted(reporter.fractions)
    assert reporter.fractions[-1] == 1.0
    assert reporter.checkpoints == ["rounding-0", "rounding-1", "rounding-2"]


def test_nearest_changes_nothing(case: Case, tmp_path: Path) -> None:
    model, report = case.round("nearest", tmp_path)
    expected = case.quantized().state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert report.units == ()


def test_every_rounding_has_a_card_under_its_id() -> None:
    for name, rounding in ROUNDINGS.items():
        assert rounding.card.id == name
        assert rounding.card.link.startswith("https://arxiv.org/abs/")
    with pytest.raises(InvalidSpecification, match="no rounding"):
        rounding_by_id("by-hand")
