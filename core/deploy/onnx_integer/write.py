"""Writes an integer program as ONNX. Floats occur where the image is quantized, and in the scale of the scores."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from core.deploy.integer.program import IntegerProgram
from core.deploy.onnx_integer.graph import IntegerGraph
from core.deploy.onnx_integer.operations import emit
from core.errors import UnsupportedModel
from core.policy import Policy

OPSET = 21
IMAGE, SCORES = "image", "scores"
_IMAGE_TYPES = (np.uint8, np.int8, np.uint16, np.int16)


def export_onnx_integer(program: IntegerProgram, policy: Policy, path: Path) -> None:
    """`path`: the file to write; the batch is dynamic. Raises UnsupportedModel naming what has no integer operator."""
    program = _named_apart(program)
    graph = IntegerGraph()
    _quantized_image(graph, program)
    for operation in program.operations:
        emit(graph, program, operation)
    scores = graph.cast(program.output, TensorProto.FLOAT)
    graph.node("Mul", [scores, graph.constant(program.output_scale, np.float32)], SCORES)
    shape = [f"output_{at}" for at in range(1, len(program.tensors[program.output].shape) + 1)]
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "network",
            [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ["batch", *program.input_shape])],
            [helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, ["batch", *shape])],
            graph.initializers,
        ),
        producer_name="Bitfront",
        producer_version=version("bitfront"),
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    proto.ir_version = helper.find_min_ir_version_for(proto.opset_import)
    scale = {"output_scale": program.output_scale, "rounding": program.rounding}
    helper.set_model_props(proto, {"bitfront.policy": policy.model_dump_json(), "bitfront.integers": json.dumps(scale)})
    onnx.checker.check_model(proto, full_check=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(proto.SerializeToString(deterministic=True))
    unfinished.replace(path)


def _named_apart(program: IntegerProgram) -> IntegerProgram:
    """Tensors of the network under a prefix, so that none is called as the graph's ends or a constant are."""

    def name(tensor: str) -> str:
        return f"network/{tensor}"

    operations = [
        replace(operation, inputs=tuple(map(name, operation.inputs)), output=name(operation.output))
        for operation in program.operations
    ]
    tensors = {name(tensor): facts for tensor, facts in program.tensors.items()}
    return replace(
        program, input=name(program.input), output=name(program.output), operations=operations, tensors=tensors
    )


def _quantized_image(graph: IntegerGraph, program: IntegerProgram) -> None:
    grid = program.input_grid
    if grid.thresholds or grid.levels or grid.rounding != "nearest":
        raise UnsupportedModel(
            "the image's grid is not one that ONNX's QuantizeLinear computes",
            hint="use a method with a plain activation grid, or the ONNX QDQ file",
        )
    kind = next(kind for kind in _IMAGE_TYPES if np.iinfo(kind).min <= grid.low and grid.high <= np.iinfo(kind).max)
    scale, zero = graph.constant(grid.scale, np.float32), graph.constant(grid.zero_point, kind)
    image = graph.node("Sub", [IMAGE, graph.constant(grid.offset, np.float32)]) if grid.offset else IMAGE
    codes = graph.cast(graph.node("QuantizeLinear", [image, scale, zero]), TensorProto.INT32)
    graph.node("Clip", [codes, graph.constant(grid.low, np.int32), graph.constant(grid.high, np.int32)], program.input)
