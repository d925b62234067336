"""The example's files, and what they must show: 8 bits cost nothing, 3 bits cost at least five points."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from bitfront.command import demo
from bitfront.example import (
    example_dataset_path,
    example_model_path,
    example_preprocessing,
    example_specification,
)
from core.jobs.specification import JobSpecification

SAMPLES = 512  # of the training part, for activation ranges


@pytest.fixture(scope="module")
def digits():
    with np.load(example_dataset_path(), allow_pickle=False) as archive:
        return dict(archive)


def as_input(images):
    choice = example_preprocessing()
    assert (choice.mean, choice.std, choice.size, choice.channel_order) == ((), (), None, "gray")
    return images.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(choice.scale)


def accuracy(model, digits):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: as_input(digits["test_x"])})
    return float(np.mean(logits.argmax(1) == digits["test_y"]))


def best_weights(weight, bits):
    """Symmetric, one scale per output channel, the scale of least squared error among 81."""
    levels = 2 ** (bits - 1) - 1
    flat = weight.reshape(len(weight), -1)
    top = np.abs(flat).max(1, keepdims=True) / levels
    tried = [top * share for share in np.linspace(0.2, 1, 81)]
    grids = np.stack([np.clip(np.round(flat / s), -levels, levels) * s for s in tried])
    best = ((grids - flat) ** 2).sum(2).argmin(0)
    return grids[best, np.arange(len(flat))].reshape(weight.shape).astype(np.float32)


def best_range(values, bits):
    """(scale, zero point) of the affine grid with least squared error; unsigned where no value is negative."""
    levels = 2**bits - 1
    low, high = min(0.0, float(values.min())), float(values.max())

    def error(share):
        scale = (high - low) * share / levels
        zero = np.round(-low * share / scale)
        return float(np.mean(((np.clip(np.round(values / scale) + zero, 0, levels) - zero) * scale - values) ** 2))

    share = min(np.linspace(0.1, 1, 46), key=error)
    scale = (high - low) * share / levels
    return np.float32(scale), np.uint8(np.round(-low * share / scale))


def layers_of(model):
    return [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]


def activations_of(model, names, images):
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in names)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: images}), strict=True))


def uniform(model, bits, images):
    """Every layer at `bits`/`bits`, before any training: the first and the last too, as the example's job has it."""
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    layers = layers_of(quantized)
    weights = {tensor.name: tensor for tensor in quantized.graph.initializer}
    seen = activations_of(model, sorted({node.input[0] for node in layers} - {"x"}), images) | {"x": images}
    for node in layers:
        tensor = weights[node.input[1]]
        rounded = best_weights(numpy_helper.to_array(tensor), bits)
        tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
        insert_grid(quantized.graph, node, bits, *best_range(seen[node.input[0]], bits))
    return quantized


def insert_grid(graph, node, bits, scale, zero):
    """Clip and QuantizeLinear/DequantizeLinear before `node`: the grid's `2**bits` levels inside uint8."""
    prefix = f"{node.name}/"
    low, high = -np.float32(zero) * scale, (np.float32(2**bits - 1) - np.float32(zero)) * scale
    constants = {"low": np.float32(low), "high": np.float32(high), "scale": scale, "zero": zero}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), prefix + k) for k, v in constants.items())
    grid = [prefix + "scale", prefix + "zero"]
    make = onnx.helper.make_node
    steps = [
        make("Clip", [node.input[0], prefix + "low", prefix + "high"], [prefix + "clipped"]),
        make("QuantizeLinear", [prefix + "clipped", *grid], [prefix + "codes"]),
        make("DequantizeLinear", [prefix + "codes", *grid], [prefix + "grid"]),
    ]
    node.input[0] = prefix + "grid"
    at = list(graph.node).index(node)
    for step in reversed(steps):
        graph.node.insert(at, step)


def test_the_network_is_small_residual_and_has_unfolded_batch_norm():
    model = onnx.load(example_model_path())
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") + kinds.count("Gemm") == 13
    assert kinds.count("BatchNormalization") == 12
    assert kinds.count("Add") == 4
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert example_model_path().stat().st_size < 100_000
    assert example_dataset_path().stat().st_size < 100_000


def test_float_accuracy_is_what_a_digit_classifier_reaches(digits):
    assert 0.97 <= accuracy(onnx.load(example_model_path()), digits) <= 0.995


def test_eight_bits_cost_nothing_and_three_bits_cost_five_points_before_training(digits):
    model = onnx.load(example_model_path())
    images = as_input(digits["train_x"][:SAMPLES])
    reached = {bits: accuracy(uniform(model, bits, images), digits) for bits in (8, 4, 3)}
    original = accuracy(model, digits)
    assert reached[8] >= original - 0.005
    assert reached[3] <= original - 0.05
    assert reached[3] < reached[4]


def test_the_two_parts_share_no_image_and_hold_every_class(digits):
    train = {image.tobytes() for image in digits["train_x"]}
    assert not any(image.tobytes() in train for image in digits["test_x"])
    assert set(digits["train_y"]) == set(digits["test_y"]) == set(range(10))
    assert digits["train_x"].dtype == np.uint8
    assert digits["train_x"].max() == example_preprocessing().scale


def test_the_specification_is_a_valid_job():
    model_id, dataset_id = "0" * 31 + "1", "0" * 31 + "2"
    job = JobSpecification.model_validate(example_specification(model_id, dataset_id))
    assert job.bits.weights == job.bits.activations == (2, 3, 4, 5, 6, 7, 8)
    assert job.search.points == 8
    assert job.training is not None
    assert job.training.epochs == 2
    assert job.targets == ("bismo-cloud", "bismo-edge")
    assert job.quantizer.first_last == "searched"
    (limit,) = job.search.constraints
    assert (limit.metric, limit.target, limit.relative_to, limit.at_most) == (
        "latency",
        "bismo-cloud",
        "uniform-8",
        0.5,
    )


def test_the_report_images_are_enough_to_tell_points_apart(digits):
    assert len(digits["test_y"]) >= 800
    assert len(digits["train_y"]) + len(digits["test_y"]) == 1797


def test_the_demo_runs_exactly_the_job_of_the_example(monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr("bitfront.quantize.quantize_locally", lambda *given: started.append(given))
    demo(tmp_path, processes=1)
    ((request, _, specification),) = started
    asked = example_specification(specification.model_id, specification.dataset_id)
    assert specification.model_dump(mode="json") == asked
    assert (request.model, [file.path for file in request.data]) == (example_model_path(), [example_dataset_path()])


def test_asking_for_the_example_imports_neither_torch_nor_scikit_learn():
    code = "import sys, bitfront.example; assert not {'torch', 'sklearn', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
