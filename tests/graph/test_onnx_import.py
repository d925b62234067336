"""What the ONNX importer does around single operators: order, constants, layouts, batches, names, refusals."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from core.errors import BitfrontError, BrokenFile, TooLarge, UnsupportedModel
from core.graph import onnx_file
from core.graph.onnx_file import NEWEST_OPSET
from core.graph.onnx_import import import_onnx
from core.graph.operators import folding
from tests.graph.onnx_networks import compare, network, run_imported, run_onnxruntime, values, write

node = helper.make_node
CONV = node("Conv", ["x", "conv.weight"], ["y"])
WEIGHT = {"conv.weight": values(4, 3, 3, 3)}


def modules_of(imported) -> list[str]:
    called = [n for n in imported.module.graph.nodes if n.op == "call_module"]
    return [type(imported.module.get_submodule(str(n.target))).__name__ for n in called]


def functions_of(imported) -> list[object]:
    return [n.target for n in imported.module.graph.nodes if n.op == "call_function"]


def refused(model, path, match, kind: type[BitfrontError] = UnsupportedModel) -> BitfrontError:
    with pytest.raises(kind, match=match) as refusal:
        import_onnx(write(model, path))
    assert refusal.value.hint
    return refusal.value


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.onnx"


def test_nodes_in_any_order_are_sorted(path):
    nodes = [node("Relu", ["a"], ["y"]), node("Add", ["b", "c"], ["a"]), node("Exp", ["x"], ["c"])]
    nodes.append(node("Conv", ["x", "w"], ["b"], pads=[1, 1, 1, 1]))
    compare(network(nodes, {"w": values(3, 3, 3, 3)}, opset=17), path)


def test_a_cycle_is_refused_naming_a_node(path):
    nodes = [node("Relu", ["b"], ["a"], name="first"), node("Add", ["a", "x"], ["b"]), node("Relu", ["a"], ["y"])]
    refused(network(nodes, {}, opset=17), path, "depends on itself", BrokenFile)


def test_a_node_that_reads_its_own_output_is_refused(path):
    refused(network([node("Add", ["y", "x"], ["y"])], {}, opset=17), path, "depends on itself", BrokenFile)


def test_a_tensor_that_nothing_computes_is_refused(path):
    refused(network([node("Add", ["x", "ghost"], ["y"])], {}, opset=17), path, "ghost", BrokenFile)
    refused(network([node("Relu", ["x"], ["z"])], {}, opset=17), path, "nothing computes the output y", BrokenFile)


def test_a_tensor_computed_twice_is_refused(path):
    nodes = [node("Relu", ["x"], ["y"]), node("Exp", ["x"], ["y"])]
    refused(network(nodes, {}, opset=17), path, "computed twice", BrokenFile)


def test_an_output_that_does_not_depend_on_the_image_is_refused(path):
    nodes = [node("Relu", ["x"], ["z"]), node("Identity", ["c"], ["y"])]
    model = network(nodes, {"c": values(2)}, opset=17, outputs=("z", "y"))
    refused(model, path, "does not depend on the image", BrokenFile)


def test_nodes_that_lead_nowhere_are_left_out_even_when_unknown(path):
    nodes = [node("Relu", ["x"], ["y"]), node("NonMaxSuppression", ["x", "x"], ["z"])]
    assert modules_of(import_onnx(write(network(nodes, {}, opset=17), path))) == ["ReLU"]


def test_unknown_operators_are_all_named_with_their_nodes(path):
    nodes = [
        node("Hardmax", ["x"], ["a"], name="hard"),
        node("Det", ["a"], ["b"], name="determinant"),
        node("Gelu", ["b"], ["y"], domain="com.microsoft"),
    ]
    problem = refused(network(nodes, {}, opset=17), path, r"Hardmax \(node hard\)")
    assert "Det (node determinant)" in problem.message
    assert problem.detail["operators"] == ["Det", "Hardmax", "com.microsoft.Gelu"]


def test_a_quantized_network_is_refused_with_advice(path):
    scale = {"s": np.float32(0.1)}
    nodes = [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["y"])]
    refused(network(nodes, scale, opset=17), path, "already quantized")


@pytest.mark.parametrize("opset", [6, NEWEST_OPSET + 1])
def test_an_opset_out_of_range_is_refused(path, opset):
    model = network([node("Relu", ["x"], ["y"])], {}, opset=17)
    model.opset_import[0].version = opset
    refused(model, path, f"opset {opset} is not supported")


def test_local_functions_are_refused_with_advice(path):
    model = network([node("Relu", ["x"], ["y"])], {}, opset=17)
    function = helper.make_function("mine", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], model.opset_import)
    model.functions.append(function)
    assert "inline" in refused(model, path, "Twice").hint


def image(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ([image("x", [1, 3, 8, 8]), image("z", [1, 3, 8, 8])], "2 inputs"),
        ([image("x", [1, 3, 8, 8], TensorProto.UINT8), image("z", [1])], "2 inputs"),
        ([image("x", [1, 3, 8, 8, 8])], "shape 1 x 3 x 8 x 8 x 8"),
        ([image("x", [])], "shape"),
        ([image("x", ["N", "C", 8, 8])], "channels open"),
    ],
)
def test_inputs_that_are_no_image_are_refused(path, inputs, match):
    reads = ["x", "z"] if len(inputs) == 2 else ["x", "x"]
    refused(network([node("Add", reads, ["y"])], {}, opset=17, inputs=inputs), path, match)


def test_an_input_of_integers_is_refused(path):
    model = network([node("Cast", ["x"], ["y"], to=1)], {}, opset=17, element_type=TensorProto.UINT8)
    refused(model, path, "is uint8")


@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_any_batch_can_be_run_whatever_the_file_was_written_for(path, batch):
    nodes = [
        node("Conv", ["x", "w"], ["a"]),
        node("Reshape", ["a", "shape"], ["b"]),
        node("MatMul", ["b", "m"], ["y"]),
    ]
    rows = batch if isinstance(batch, int) else -1
    constants = {"w": values(2, 3, 3, 3), "shape": np.array([rows, 72]), "m": values(72, 5)}
    model = network(nodes, constants, opset=17, shape=(batch, 3, 8, 8))
    imported = compare(model, path)
    images = values(6, 3, 8, 8)
    singly = [run_imported(imported, images[index : index + 1])[0] for index in range(6)]
    np.testing.assert_allclose(run_imported(imported, images)[0], np.concatenate(singly), rtol=1e-4, atol=1e-5)


def test_shape_arithmetic_is_computed_away(path):
    """Flattening as PyTorch writes it for a dynamic batch: Shape, Gather, Unsqueeze, Concat, Reshape."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Concat", ["n1", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}
    imported = compare(network(nodes, constants, opset=17, shape=("N", 3, 4, 4)), path)
    assert modules_of(imported) == ["Flatten"]
    assert functions_of(imported) == []


FOLDED = {
    "Add": (13, {}, [values(3, 1), values(4)]),
    "Sub": (13, {}, [values(3, 1), values(4)]),
    "Mul": (13, {}, [values(3, 4), values(4)]),
    "Div": (13, {}, [np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])]),
    "Max": (13, {}, [values(4), values(3, 1), np.zeros((3, 4), np.float32)]),
    "Cast": (13, {"to": 7}, [np.array([1.7, -1.7], np.float32)]),
    "Gather": (13, {"axis": 1}, [values(2, 5), np.array([[0, -1], [2, 2]])]),
    "Concat": (13, {"axis": -1}, [values(2, 5), values(2, 3)]),
    "Slice": (13, {}, [values(4, 6), np.array([3, 1]), np.array([-(2**62), 9]), np.array([0, 1]), np.array([-1, 2])]),
    "Reshape": (13, {}, [values(4, 6), np.array([0, 2, -1])]),
    "Transpose": (13, {"perm": [1, 0, 2]}, [values(2, 3, 4)]),
    "Flatten": (13, {"axis": 2}, [values(2, 3, 4)]),
    "Squeeze": (13, {}, [values(2, 1, 4), np.array([1])]),
    "Unsqueeze": (13, {}, [values(2, 4), np.array([0, -1])]),
    "Expand": (13, {}, [values(3, 1), np.array([2, 1, 4])]),
    "Tile": (13, {}, [values(2, 3), np.array([2, 2])]),
    "Range": (13, {}, [np.int64(2), np.int64(9), np.int64(3)]),
    "Where": (13, {}, [np.array([True, False]), values(2), values(3, 2)]),
    "Equal": (13, {}, [np.array([1, 2]), np.array([1, 3])]),
    "ReduceProd": (13, {"axes": [1]}, [values(2, 3)]),
    "ReduceSum": (13, {}, [values(2, 3), np.array([0])]),
    "ReduceMean": (13, {"axes": [0], "keepdims": 0}, [values(2, 3)]),
    "Pad": (13, {}, [values(2, 3), np.array([1, 0, 0, 2]), np.float32(3)]),
    "ConstantOfShape": (13, {"value": helper.make_tensor("v", 1, [1], [0.25])}, [np.array([2, 3])]),
    "Sqrt": (13, {}, [values(5, low=0.1)]),
    "Mod": (13, {}, [np.array([7, -7]), np.array([3, 3])]),
}


@pytest.mark.parametrize("operator", FOLDED)
def test_what_is_computed_from_constants_equals_onnxruntime(path, operator):
    """The folded value is reduced to one number and added to the image."""
    opset, attributes, arrays = FOLDED[operator]
    constants = {f"c{index}": array for index, array in enumerate(arrays)} | {"weights": np.float32(0)}
    nodes = [
        node(operator, [f"c{index}" for index in range(len(arrays))], ["folded"], **attributes),
        node("Cast", ["folded"], ["float"], to=1),
        node("Reshape", ["float", "flat"], ["row"]),
        node("Add", ["x", "row"], ["y"]),
    ]
    count = folded_size(network(nodes[:1], constants, opset=opset, outputs=("folded",)))
    constants["flat"] = np.array([1, count])
    del constants["weights"]
    imported = compare(network(nodes, constants, opset=opset, shape=(1, count)), path)
    assert set(functions_of(imported)) <= {torch.add, torch.reshape}


def folded_size(model: onnx.ModelProto) -> int:
    model.graph.output[0].type.tensor_type.elem_type = 0
    graph = helper.make_graph(model.graph.node, "g", [], [onnx.ValueInfoProto(name="folded")], model.graph.initializer)
    bare = helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)
    return int(onnx.reference.ReferenceEvaluator(bare).run(None, {})[0].size)


def test_weights_may_be_made_by_nodes(path):
    fill = helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])
    nodes = [node("ConstantOfShape", ["shape"], ["w"], value=fill), node("Conv", ["x", "w"], ["y"])]
    compare(network(nodes, {"shape": np.array([2, 3, 3, 3])}, opset=17), path)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_precisions_become_float32(path, kind):
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weight = values(4, 3, 3, 3).astype(dtype)
    model = network([CONV], {"conv.weight": weight}, opset=17, element_type=kind)
    imported = import_onnx(write(model, path))
    layer = imported.module.get_submodule("conv")
    assert layer.weight.dtype == torch.float32
    np.testing.assert_array_equal(layer.weight.detach().numpy(), weight.astype(np.float32))


def test_constants_added_behind_a_layer_become_its_bias(path):
    nodes = [
        node("Conv", ["x", "w"], ["a"]),
        node("Add", ["a", "b"], ["c"]),
        node("Flatten", ["c"], ["d"]),
        node("MatMul", ["d", "m"], ["e"]),
        node("Add", ["n", "e"], ["y"]),
    ]
    constants = {"w": values(2, 3, 3, 3), "b": values(2, 1, 1), "m": values(72, 5), "n": values(5)}
    imported = compare(network(nodes, constants, opset=13), path)
    assert modules_of(imported) == ["Conv2d", "Flatten", "Linear"]
    assert functions_of(imported) == []


def test_a_layer_that_is_read_twice_keeps_its_value(path):
    """The sum must not be written into the layer, whose plain output is read as well."""
    nodes = [node("Conv", ["x", "w"], ["a"]), node("Add", ["a", "b"], ["c"]), node("Mul", ["a", "c"], ["y"])]
    compare(network(nodes, {"w": values(2, 3, 3, 3), "b": values(2, 1, 1)}, opset=13), path)


def test_a_sum_over_another_axis_is_no_bias(path):
    nodes = [node("Conv", ["x", "w"], ["a"]), node("Add", ["a", "b"], ["y"])]
    imported = compare(network(nodes, {"w": values(6, 3, 3, 3), "b": values(6)}, opset=13), path)
    assert functions_of(imported) == [torch.add]


def test_a_residual_sum_is_torch_add(path):
    nodes = [node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]), node("Add", ["a", "x"], ["y"])]
    assert functions_of(compare(network(nodes, {"w": values(3, 3, 3, 3)}, opset=17), path)) == [torch.add]


def test_concatenation_and_its_zero_padding(path):
    nodes = [node("Relu", ["x"], ["a"]), node("Concat", ["x", "a", "x"], ["y"], axis=1)]
    assert functions_of(compare(network(nodes, {}, opset=17), path)) == [torch.cat]
    nodes = [node("Concat", ["z", "x", "z"], ["y"], axis=1)]
    compare(network(nodes, {"z": np.zeros((1, 2, 8, 8), np.float32)}, opset=17), path)


def test_an_nhwc_network_takes_nchw_images_without_a_transpose_left(path):
    nodes = [
        node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]),
        node("Conv", ["a", "w"], ["b"]),
        node("Transpose", ["b"], ["c"], perm=[0, 2, 3, 1]),
        node("Reshape", ["c", "flat"], ["y"]),
    ]
    constants = {"w": values(2, 3, 3, 3), "flat": np.array([-1, 96])}
    imported = compare(network(nodes, constants, opset=13, shape=("N", 8, 10, 3)), path)
    assert imported.image.layout == "NHWC"
    assert imported.image.shape == (3, 8, 10)
    assert functions_of(imported) == [torch.permute]  # only the one before the flattening


def test_an_nhwc_network_that_flattens_at_once(path):
    nodes = [node("Reshape", ["x", "flat"], ["a"]), node("MatMul", ["a", "m"], ["y"])]
    constants = {"flat": np.array([-1, 64]), "m": values(64, 3)}
    imported = compare(network(nodes, constants, opset=13, shape=("N", 8, 8, 1)), path)
    assert imported.image.layout == "NHWC"


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [((1, 784), (1, 28, 28)), ((1, 3072), (3, 32, 32)), ((1, 784, 1), (1, 28, 28)), ((1, 7), (7, 1, 1))],
)
def test_a_flat_input_is_read_as_an_image_and_said_so(path, shape, image_shape):
    imported = compare(network([node("Relu", ["x"], ["y"])], {}, opset=17, shape=shape), path)
    assert imported.image.shape == image_shape
    assert "row by row" in imported.warnings[0]


def test_an_open_image_size_is_assumed_said_and_overridable(path):
    model = network([CONV], WEIGHT, opset=17, shape=("N", 3, "H", "W"))
    imported = import_onnx(write(model, path))
    assert imported.image.shape == (3, 224, 224)
    assert "224 x 224 is assumed" in imported.warnings[0]
    assert import_onnx(path, size=(40, 30)).image.shape == (3, 40, 30)


def test_open_channels_follow_from_the_first_layer(path):
    model = network([CONV], WEIGHT, opset=17, shape=("N", "C", 9, 9))
    assert import_onnx(write(model, path)).image.shape == (3, 9, 9)


def test_layers_keep_the_names_of_their_weights_or_modules(path):
    nodes = [
        node("Conv", ["x", "layer1.0.conv1.weight"], ["a"], name="Conv_0"),
        node("Relu", ["a"], ["b"], name="/layer1/layer1.0/relu/Relu"),
        node("Conv", ["b", "onnx::Conv_7"], ["c"], name="/features/features.1/conv/conv.0/conv.0.0/Conv"),
        node("Relu", ["c"], ["d"], name="/features/features.1/Relu"),
        node("Conv", ["d", "forward.weight"], ["e"]),
        node("Conv", ["e", "forward.weight"], ["y"], name="7"),
    ]
    constants = {
        "layer1.0.conv1.weight": values(3, 3, 1, 1),
        "onnx::Conv_7": values(3, 3, 1, 1),
        "forward.weight": values(3, 3, 1, 1),
    }
    imported = compare(network(nodes, constants, opset=17), path)
    called = [str(n.target) for n in imported.module.graph.nodes if n.op == "call_module"]
    assert called == [
        "layer1.0.conv1", "layer1.0.relu", "features.1.conv.0.0", "features.1.relu", "node_forward", "node_forward_1",
    ]  # fmt: skip


def test_padding_that_differs_between_sides_is_a_module_of_its_own(path):
    model = network([node("Conv", ["x", "w"], ["y"], pads=[0, 1, 2, 1])], {"w": values(2, 3, 3, 3)}, opset=17)
    imported = compare(model, path)
    assert modules_of(imported) == ["ConstantPad2d", "Conv2d"]
    assert isinstance(imported.module.get_submodule("pad"), nn.ConstantPad2d)


@pytest.mark.parametrize(
    ("nodes", "match"),
    [
        ([node("Concat", ["x", "x"], ["y"], axis=0)], "Concat in node y: it would mix the images"),
        ([node("Softmax", ["x"], ["y"], axis=0)], "would mix the images"),
        ([node("ReduceMean", ["x"], ["y"], axes=[0])], "would mix the images"),
        ([node("Conv", ["x", "x"], ["y"])], "input 1 .* depends on the image"),
        ([node("Conv", ["x"], ["y"])], "input 1 is missing"),
        ([node("Transpose", ["x"], ["y"], perm=[0, 1, 1, 2])], "does not fit"),
        ([node("MaxPool", ["x"], ["y", "z"], kernel_shape=[2, 2])], "positions of the maxima"),
        ([node("MaxPool", ["x"], ["y"], kernel_shape=[2])], "two spatial dimensions"),
        ([node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[0, 1])], "strides"),
        ([node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], pads=[0, -1, 0, 0])], "pads"),
        ([node("AveragePool", ["x"], ["y"], kernel_shape=[20, 20])], "AveragePool in node y"),
        ([node("Flatten", ["x"], ["a"]), node("Gemm", ["a", "w"], ["y"])], "Gemm in node y"),
        ([node("Expand", ["x", "s"], ["y"])], "supported for constants only"),
        ([node("Cast", ["x"], ["y"], to=7)], "cast to floating point"),
        ([node("Reshape", ["x", "s"], ["y"])], "does not fit"),
    ],
)
def test_what_cannot_be_done_is_refused_naming_operator_and_node(path, nodes, match):
    constants = {"w": values(5, 5), "s": np.array([7, 7])}
    refused(network(nodes, constants, opset=13), path, match)


def test_weights_that_are_not_numbers_are_refused_naming_the_tensor(path):
    weight = values(4, 3, 3, 3)
    weight[1, 2, 0, 0] = np.nan
    refused(network([CONV], {"conv.weight": weight}, opset=17), path, "tensor conv.weight holds NaN", BrokenFile)


@pytest.mark.parametrize("shape", [[2**40], [2**20, 2**20], [-1]])
def test_hostile_sizes_are_refused_before_anything_is_allocated(path, shape):
    nodes = [node("ConstantOfShape", ["s"], ["w"]), node("Add", ["x", "w"], ["y"])]
    model = network(nodes, {"s": np.array(shape)}, opset=17)
    with pytest.raises((TooLarge, BrokenFile)):
        import_onnx(write(model, path))


def test_many_constants_that_are_large_together_are_refused(path, monkeypatch):
    monkeypatch.setattr(folding, "MAX_ELEMENTS", 5000)
    monkeypatch.setattr(onnx_file, "MAX_ELEMENTS", 5000)
    nodes = [node("ConstantOfShape", ["s"], [f"w{index}"]) for index in range(9)]
    nodes.append(node("Sum", ["x", *(f"w{index}" for index in range(9))], ["y"]))
    refused(network(nodes, {"s": np.array([10, 64])}, opset=17, shape=(10, 64)), path, "more than 5000", TooLarge)


def test_a_tensor_whose_bytes_do_not_match_its_shape_is_refused(path):
    tensor = numpy_helper.from_array(values(4, 3, 3, 3), "conv.weight")
    tensor.raw_data = tensor.raw_data[:-8]
    refused(network([CONV], {"conv.weight": tensor}, opset=17), path, "conv.weight .* cannot be read", BrokenFile)


def test_several_outputs_come_as_a_tuple(path):
    nodes = [node("Relu", ["x"], ["y"]), node("Exp", ["x"], ["z"])]
    model = network(nodes, {}, opset=17, outputs=("y", "z"))
    compare(model, path)
    assert len(run_onnxruntime(model, values(1, 3, 8, 8))) == 2
