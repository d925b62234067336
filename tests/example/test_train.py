"""The script that made the example can be run again."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import torch

from bitfront.example import example_dataset_path, example_model_path, example_preprocessing, train
from bitfront.example.onnx_file import write_onnx


def test_the_digits_are_those_of_scikit_learn_divided_by_the_committed_script():
    again = train.split_digits()
    with np.load(example_dataset_path(), allow_pickle=False) as committed:
        assert all(np.array_equal(again[key], committed[key]) for key in committed)


def test_the_script_and_the_stored_preprocessing_agree():
    assert example_preprocessing().scale == train.SCALE


def test_a_network_trained_again_is_written_as_the_committed_file_is(tmp_path):
    digits = train.split_digits()
    images, labels = train.as_input(digits["train_x"][:256]), torch.from_numpy(digits["train_y"][:256]).long()
    network = train.train(images, labels, epochs=2)
    write_onnx(network, tmp_path / "again.onnx", (1, 8, 8), train.CLASSES)
    again, committed = onnx.load(tmp_path / "again.onnx"), onnx.load(example_model_path())
    assert list(map(structure, again.graph.node)) == list(map(structure, committed.graph.node))
    session = onnxruntime.InferenceSession(again.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"x": images.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(logits, network(images).numpy(), atol=1e-4)


def structure(node):
    return node.op_type, node.name, list(node.input), list(node.output)
