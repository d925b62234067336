"""A refusal can name the line that a node comes from."""

from __future__ import annotations

import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from core.graph.checkpoint import trace
from core.graph.source_lines import KEY, onnx_source


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return torch.add(x, 1.0)


def test_traced_nodes_know_their_line_and_not_torchs() -> None:
    first = Sum.forward.__code__.co_firstlineno
    places = {node.name: node.meta.get(KEY) for node in trace(Sum()).graph.nodes}
    assert places["conv"] == f"graph/test_source_lines.py line {first + 1}"
    assert places["add"] == f"graph/test_source_lines.py line {first + 2}"


NEWER = 'File "/home/somebody/nets/model.py", line 17, in forward\n    y = x * 2\n'
OLDER = "/home/somebody/nets/model.py(17): forward\n/usr/lib/torch/nn/modules/module.py(1501): _slow_forward\n"


@pytest.mark.parametrize("form", ["newer", "older", "none", "torch only"])
def test_a_node_of_a_file_knows_its_name_and_what_the_exporter_left(form: str) -> None:
    node = helper.make_node("Mul", ["x", "y"], ["z"], name="block/Mul")
    if form == "newer":
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=NEWER)
    elif form != "none":
        node.doc_string = OLDER if form == "older" else OLDER.splitlines()[1]
    expected = "Mul block/Mul, nets/model.py line 17" if form in ("newer", "older") else "Mul block/Mul"
    assert onnx_source(node) == expected
