"""Measuring on this machine: what is built, what is counted, and what is told. Never how fast it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings

from benchmarks.networks import conv, linear
from core.errors import InvalidInput, TaskFailed
from core.graph.inventory import Layer
from core.hardware.cost_table import cost_table
from core.hardware.kinds.registry import kind_of
from core.hardware.measuring import counters, measure
from core.hardware.measuring.counters import Rapl, find_counter, joules_of
from core.hardware.measuring.device import available_cores, cpu_clock_hz, cpu_fact, cpu_name
from core.hardware.measuring.layer_models import FLOAT, HALF, INT8, layer_model
from core.hardware.measuring.measure import MeasuredNetwork, measure_network
from core.hardware.measuring.measured_target import measured_target
from core.hardware.measuring.session import BoundSession
from core.hardware.measuring.timing import MeasuringPlan, time_in_turns
from core.hardware.signature import signature
from core.hardware.target_file import read_target_text, target_toml
from tests.hardware.layers import any_layer, linear_over, transposed

PLAN = MeasuringPlan(warm_up=1, repetitions=5, budget_s=0.01, threads=1, batch=2)
FIRST, SECOND = conv("first", 3, 8, 3, 8, stride=2), linear("second", 32, 10)
LAYERS = [FIRST, FIRST.model_copy(update={"name": "again"}), SECOND]


@pytest.fixture(scope="module")
def measured() -> MeasuredNetwork:
    return measure_network(LAYERS, PLAN)


@given(layer=any_layer())
@settings(deadline=None, max_examples=50)
def test_a_layer_alone_keeps_its_shapes_in_float_and_in_int8(layer: Layer) -> None:
    if layer.macs > 5e7 or layer.parameters > 1e6:
        return
    for pair, kind in ((FLOAT, np.float32), (INT8, np.uint8)):
        model = layer_model(layer, pair, batch=1)
        output = BoundSession(model.content, model.input, threads=1).output()
        assert output.shape == (1, *layer.output_shape)
        assert output.dtype == model.input.dtype == kind


@pytest.mark.parametrize(
    ("layer", "in_float", "in_int8"),
    [
        (FIRST, ["Conv"], ["QLinearConv"]),
        (conv("depthwise", 8, 8, 3, 8, groups=8), ["Conv"], ["QLinearConv"]),
        (SECOND, ["Gemm"], ["QLinearMatMul"]),
        (linear_over(4, 8, 6), ["MatMul"], ["QLinearMatMul"]),
        (
            transposed(4, 2, (2, 2), (4, 4)),
            ["ConvTranspose"],
            ["DequantizeLinear", "DequantizeLinear", "ConvTranspose", "QuantizeLinear"],
        ),
    ],
)
def test_eight_bits_are_integer_kernels_where_there_are_any(
    layer: Layer, in_float: list[str], in_int8: list[str]
) -> None:
    for pair, operators in ((FLOAT, in_float), (HALF, in_float), (INT8, in_int8)):
        model = onnx.load_from_string(layer_model(layer, pair, batch=1).content)
        assert [node.op_type for node in model.graph.node] == operators


def test_padding_and_dilation_follow_from_the_shapes() -> None:
    dilated = FIRST.model_copy(
        update={"input_shape": (3, 9, 9), "output_shape": (8, 9, 9), "stride": (1, 1), "padding": (2, 2, 2, 2)}
    )
    node = onnx.load_from_string(layer_model(dilated, FLOAT, batch=1).content).graph.node[0]
    attributes = {each.name: list(each.ints) for each in node.attribute if each.ints}
    assert attributes["dilations"] == [2, 2]
    assert attributes["pads"] == [2, 2, 2, 2]
    with pytest.raises(InvalidInput, match="no padding leads"):
        layer_model(conv("point", 3, 8, 1, 8).model_copy(update={"output_shape": (8, 4, 4)}), FLOAT, batch=1)


def test_a_layer_too_large_for_a_file_is_refused() -> None:
    with pytest.raises(InvalidInput, match="too many for a file"):
        layer_model(linear("huge", 1_000_000, 1_000), FLOAT, batch=1)


def test_a_measured_network_becomes_a_target_that_costs_it(measured: MeasuredNetwork) -> None:
    target = measured_target(measured, "my-cpu", {"model": "tiny"})
    kind_of(target).check(target)
    assert target.provenance == "measured"
    assert target.supports.pairs == ((8, 8), (32, 32))
    assert target.batch == 2
    assert len(target.parameters["rows"]) == 4  # two shapes at two pairs
    costs = cost_table(target, LAYERS, [8, 32], [8, 32])
    for position, layer in enumerate(LAYERS):
        assert costs.latency_s[position, 0, 0] == pytest.approx(measured.of(layer).timings[INT8].median_s, rel=1e-5)
        assert costs.latency_s[position, 1, 1] == pytest.approx(measured.of(layer).timings[FLOAT].median_s, rel=1e-5)
    assert read_target_text(target_toml(target)) == target


def test_a_measured_target_says_where_when_and_how(measured: MeasuredNetwork) -> None:
    told = measured_target(measured, "my-cpu", {"model": "tiny"}).measured
    assert told is not None
    assert told.device == cpu_name()
    assert told.date.startswith("20")
    assert {"onnxruntime", "model"} <= set(told.versions)
    assert (told.warm_up, told.repetitions, told.threads) == (1, 5, 1)
    assert "A run that does nothing takes" in told.notes


def test_quartiles_enclose_the_median(measured: MeasuredNetwork) -> None:
    for each in measured.by_shape.values():
        for timing in each.timings.values():
            assert 0 < timing.lower_quartile_s <= timing.median_s <= timing.upper_quartile_s


def test_one_shape_is_measured_once_and_progress_is_told() -> None:
    told: list[tuple[float, str]] = []
    found = measure_network(LAYERS, PLAN, progress=lambda share, what: told.append((share, what)))
    assert list(found.by_shape) == [signature(FIRST), signature(SECOND)]
    assert told == [(0.0, "first"), (0.5, "second"), (1.0, "the whole network")]


def test_what_is_compared_runs_in_turns() -> None:
    order: list[str] = []
    plan = PLAN.model_copy(update={"repetitions": 7, "budget_s": 100.0})
    timings = time_in_turns({name: lambda name=name: order.append(name) for name in "ab"}, plan)
    assert "".join(order) == "ab" * 8
    assert timings["a"].repetitions == 7


def test_a_spent_budget_leaves_five_repetitions() -> None:
    plan = PLAN.model_copy(update={"repetitions": 1000, "budget_s": 1e-9})
    assert time_in_turns({"a": lambda: None}, plan)["a"].repetitions == 5


def test_a_missing_device_is_told_and_nothing_falls_back() -> None:
    with pytest.raises(InvalidInput, match="cannot run on cuda") as refused:
        measure_network(LAYERS, PLAN, device="cuda")
    assert "onnxruntime-gpu" in refused.value.hint


def test_a_file_that_does_not_run_is_told() -> None:
    with pytest.raises(TaskFailed, match=r"onnxruntime .* on cpu"):
        BoundSession(b"no model", np.zeros(1, np.float32), threads=1)


def test_widths_that_a_device_has_no_kernels_for_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutIntegers(BoundSession):
        def __init__(self, model: bytes | Path, images: np.ndarray, threads: int, device: str = "cpu") -> None:
            if images.dtype == np.uint8:
                raise TaskFailed("no kernel for QLinearConv")
            super().__init__(model, images, threads)

    monkeypatch.setattr(measure, "BoundSession", WithoutIntegers)
    network = tmp_path / "network.onnx"
    network.write_bytes(layer_model(SECOND, FLOAT, PLAN.batch).content)
    found = measure_network(LAYERS, PLAN, whole={FLOAT: network, INT8: network}, input_shape=SECOND.input_shape)
    assert found.whole is not None
    assert list(found.whole.timings) == [FLOAT]
    target = measured_target(found, "my-cpu", {})
    assert target.supports.pairs == (FLOAT,)
    assert target.measured is not None
    assert "8/8 was left out where the device does not run it: no kernel for QLinearConv" in target.measured.notes


def test_a_whole_network_that_does_not_run_is_told_and_its_layers_are_kept(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    found = measure_network([SECOND], PLAN, whole={FLOAT: broken}, input_shape=(32,))
    assert found.whole is None
    assert any("the whole network: onnxruntime" in note for note in found.notes)


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no layers"):
        measure_network([], PLAN)


def powercap(folder: Path, packages: int = 1) -> Path:
    for number in range(packages):
        for zone, name in ((f"intel-rapl:{number}", f"package-{number}"), (f"intel-rapl:{number}:0", "core")):
            (folder / zone).mkdir()
            (folder / zone / "name").write_text(name + "\n")
            (folder / zone / "max_energy_range_uj").write_text("999999\n")
            (folder / zone / "energy_uj").write_text("900000\n")
    return folder


def test_joules_come_from_the_packages_counters(tmp_path: Path) -> None:
    counter, reason = find_counter("cpu", powercap(tmp_path, packages=2))
    assert isinstance(counter, Rapl)
    assert reason == ""
    assert counter.name == "RAPL, package-0, package-1"
    before = counter.read()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("950000\n")
    assert counter.joules_between(before, counter.read()) == pytest.approx(0.05)
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("100000\n")  # wrapped around at a million
    assert counter.joules_between(before, counter.read()) == pytest.approx(0.25)


def test_joules_of_a_run_are_the_mean_of_many(tmp_path: Path) -> None:
    counter = Rapl([powercap(tmp_path) / "intel-rapl:0"])
    energy, runs = tmp_path / "intel-rapl:0" / "energy_uj", []

    def run() -> None:
        runs.append(1)
        energy.write_text(f"{900000 + 10 * len(runs)}\n")

    assert joules_of(run, counter, least_s=0.02) == pytest.approx(1e-5)
    assert len(runs) > 1
    assert joules_of(lambda: None, counter, least_s=0.001) is None


def test_without_a_counter_the_reason_is_told(tmp_path: Path) -> None:
    counter, reason = find_counter("cpu", tmp_path)
    assert counter is None
    assert "no RAPL counter" in reason
    (powercap(tmp_path) / "intel-rapl:0" / "energy_uj").write_text("soon\n")
    counter, reason = find_counter("cpu", tmp_path)
    assert counter is None
    assert "cannot be read" in reason


def test_a_counter_that_only_root_may_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Rapl) -> int:
        raise PermissionError

    monkeypatch.setattr(Rapl, "read", refuse)
    assert find_counter("cpu", powercap(tmp_path))[1].endswith("(energy_uj belongs to root).")


def test_measured_energy_stands_in_the_rows_with_its_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clockwork(Rapl):
        def read(self) -> int:
            self.ticks = getattr(self, "ticks", 0) + 1000
            return self.ticks

    counter = Clockwork([powercap(tmp_path) / "intel-rapl:0"])
    monkeypatch.setattr(measure, "find_counter", lambda device: (counter, ""))
    monkeypatch.setattr(counters.joules_of, "__defaults__", (0.001,))
    target = measured_target(measure_network([SECOND], PLAN), "my-cpu", {})
    assert all(row["energy_j"] > 0 for row in target.parameters["rows"])
    assert target.measured is not None
    assert target.measured.energy_from == "RAPL, package-0"
    assert "No energy" not in target.measured.notes


def test_without_energy_the_target_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "find_counter", lambda device: (None, "No energy: nothing counts here."))
    target = measured_target(measure_network([SECOND], PLAN), "my-cpu", {})
    assert all("energy_j" not in row for row in target.parameters["rows"])
    assert target.measured is not None
    assert target.measured.energy_from == ""
    assert "No energy: nothing counts here." in target.measured.notes


def test_the_processor_is_described_by_its_own_files(tmp_path: Path) -> None:
    facts, clock = tmp_path / "cpuinfo", tmp_path / "scaling_cur_freq"
    facts.write_text("processor\t: 0\nmodel name\t: Some CPU\ncpu MHz\t\t: 2500.5\n")
    assert cpu_fact("model name", facts) == "Some CPU"
    assert cpu_clock_hz(clock, facts) == pytest.approx(2500.5e6)
    clock.write_text("3000000\n")
    assert cpu_clock_hz(clock, facts) == pytest.approx(3e9)
    facts.write_text("")
    clock.unlink()
    assert cpu_clock_hz(clock, facts) is None
    assert cpu_fact("model name", tmp_path / "absent") == ""
    assert available_cores() >= 1
