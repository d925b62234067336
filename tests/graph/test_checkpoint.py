"""Named architectures, and checkpoints that do or do not fit them."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from core.errors import BrokenFile, UnsupportedModel
from core.graph.architectures import ARCHITECTURES, list_architectures
from core.graph.architectures.cifar_resnet import CifarResNet
from core.graph.architectures.imagenet_resnet import BLOCKS, ImageNetResNet
from core.graph.architectures.lenet import LeNet
from core.graph.architectures.mobilenet_v1 import MobileNetV1
from core.graph.architectures.mobilenet_v2 import MobileNetV2
from core.graph.architectures.squeezenet import SqueezeNet
from core.graph.architectures.vgg_small import VggSmall
from core.graph.load import load_model

SOME_LENET = {
    "conv1.weight": (6, 1, 5, 5), "conv2.weight": (16, 6, 5, 5),
    "fc1.weight": (120, 400), "fc2.weight": (84, 120), "fc3.weight": (10, 84),
}  # fmt: skip


def lenet(**changed):
    return LeNet(SOME_LENET | {f"{name}.weight": shape for name, shape in changed.items()})


# parameters and multiply-accumulates as in the papers and in torchvision's documentation
KNOWN = {
    "resnet20": (lambda: CifarResNet(3), 20, 269_722, 40_551_040),
    "resnet32": (lambda: CifarResNet(5), 32, 464_154, 68_862_592),
    "resnet44": (lambda: CifarResNet(7), 44, 658_586, 97_174_144),
    "resnet56": (lambda: CifarResNet(9), 56, 853_018, 125_485_696),
    "resnet18": (lambda: ImageNetResNet(*BLOCKS[18]), 21, 11_689_512, 1_814_073_344),
    "resnet34": (lambda: ImageNetResNet(*BLOCKS[34]), 37, 21_797_672, 3_663_761_408),
    "resnet50": (lambda: ImageNetResNet(*BLOCKS[50]), 54, 25_557_032, 4_089_184_256),
    "mobilenetv1": (MobileNetV1, 28, 4_231_976, 568_740_352),
    "mobilenetv2": (MobileNetV2, 53, 3_504_872, 300_774_272),
    "squeezenet1_1": (SqueezeNet, 26, 1_235_496, 349_151_936),
    "vggsmall": (VggSmall, 7, 4_660_106, 607_600_640),
    "lenet": (lenet, 5, 61_706, 416_520),
}


def saved(path, network, prefix="", **changed):
    state = {prefix + name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    state = {name: tensor for name, tensor in (state | changed).items() if tensor is not None}
    save_file(state, path)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


@pytest.mark.parametrize("name", KNOWN)
def test_an_architecture_has_its_known_size_and_loads_its_own_checkpoint(name, path):
    build, layers, parameters, macs = KNOWN[name]
    network = build().eval()
    loaded = load_model(saved(path, network), name)
    inventory = loaded.inventory
    assert (len(inventory.layers), inventory.total_parameters, inventory.total_macs) == (layers, parameters, macs)
    assert inventory.input_shape == ARCHITECTURES[name].card.input_shape
    images = torch.randn(2, *inventory.input_shape)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(images), network(images))


def test_every_registered_architecture_is_tested_and_has_a_card():
    assert [card.id for card in list_architectures()] == list(ARCHITECTURES)
    assert set(ARCHITECTURES) == set(KNOWN)
    assert all(card.paper.startswith("https://") and card.parameter_names for card in list_architectures())


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module."])
def test_prefixes_of_training_wrappers_are_taken_off(path, prefix):
    assert len(load_model(saved(path, CifarResNet(3), prefix), "resnet20").inventory.layers) == 20


def test_names_that_begin_with_model_by_right_are_kept(path):
    assert load_model(saved(path, MobileNetV1(0.25)), "mobilenetv1").inventory.layers[0].name == "model.0.0"


def test_classes_channels_and_width_follow_from_the_file(path):
    inventory = load_model(saved(path, CifarResNet(3, channels=1, classes=7)), "resnet20").inventory
    assert (inventory.classes, inventory.input_shape) == (7, (1, 32, 32))
    inventory = load_model(saved(path, MobileNetV2(0.35, classes=12)), "mobilenetv2").inventory
    assert (inventory.classes, inventory.layers[0].output_channels) == (12, 16)
    inventory = load_model(saved(path, VggSmall(3, 512 * 8 * 8)), "vggsmall").inventory
    assert inventory.input_shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, (1, 28, 28)),
        ({"fc1": (120, 256)}, (1, 28, 28)),
        ({"conv1": (6, 3, 5, 5)}, (3, 32, 32)),
        ({"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (84, 500)}, (1, 28, 28)),
    ],
)
def test_lenet_finds_its_input_size(path, changed, expected):
    loaded = load_model(saved(path, lenet(**changed)), "lenet")
    assert loaded.inventory.input_shape == expected
    assert loaded.module(torch.zeros(1, *expected)).shape == (1, 10)


def test_the_input_size_can_be_overridden(path):
    loaded = load_model(saved(path, CifarResNet(3)), "resnet20", size=(48, 40))
    assert loaded.inventory.input_shape == (3, 48, 40)
    assert loaded.inventory.layers[0].output_shape == (16, 48, 40)


def test_an_input_size_that_does_not_fit_is_refused(path):
    with pytest.raises(UnsupportedModel, match="does not accept an input of 3 x 48 x 48"):
        load_model(saved(path, VggSmall()), "vggsmall", size=(48, 48))


def test_missing_unexpected_and_misshapen_tensors_are_named(path):
    changed = {"bn1.weight": None, "extra": torch.zeros(3), "bn1.bias": torch.zeros(5)}
    with pytest.raises(UnsupportedModel, match="does not fit resnet20") as refusal:
        load_model(saved(path, CifarResNet(3), **changed), "resnet20")
    assert "missing: bn1.weight" in refusal.value.message
    assert "unexpected: extra" in refusal.value.message
    assert "bn1.bias [5] instead of [16]" in refusal.value.message
    assert refusal.value.detail["missing"] == ["bn1.weight"]


def test_another_networks_checkpoint_is_refused(path):
    with pytest.raises(UnsupportedModel, match="is not a MobileNetV2"):
        load_model(saved(path, CifarResNet(3)), "mobilenetv2")
    with pytest.raises(UnsupportedModel, match=r"does not fit resnet32: missing: layer1\.3"):
        load_model(path, "resnet32")


def test_an_architecture_must_be_named_and_known(path):
    saved(path, CifarResNet(3))
    with pytest.raises(UnsupportedModel, match="must be named"):
        load_model(path, None)
    with pytest.raises(UnsupportedModel, match="no architecture named 'resnet21'") as refusal:
        load_model(path, "resnet21")
    assert "resnet20" in refusal.value.hint


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_refused_by_name(path, value):
    network = CifarResNet(3)
    with torch.no_grad():
        network.layer2[0].bn1.running_var[3] = value
    with pytest.raises(BrokenFile, match=r"layer2\.0\.bn1\.running_var holds NaN or infinity"):
        load_model(saved(path, network), "resnet20")


def test_half_precision_becomes_float32(path):
    network = CifarResNet(3).half()
    loaded = load_model(saved(path, network), "resnet20")
    assert {parameter.dtype for parameter in loaded.module.parameters()} == {torch.float32}


def test_batch_norm_counters_may_be_absent(path):
    network = CifarResNet(3)
    absent = {name: None for name in network.state_dict() if name.endswith("num_batches_tracked")}
    module = load_model(saved(path, network, **absent), "resnet20").module
    module.train()(torch.randn(4, 3, 32, 32))  # fails on the meta device


def test_a_hostile_number_of_classes_allocates_nothing(path):
    network = CifarResNet(3)
    header, data = {}, b""
    for name, tensor in network.state_dict().items():
        raw = tensor.numpy().tobytes() if name != "linear.weight" else b""
        shape = list(tensor.shape) if name != "linear.weight" else [2**60, 0]
        dtype = "I64" if name.endswith("tracked") else "F32"
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    with pytest.raises((UnsupportedModel, BrokenFile)):
        load_model(path, "resnet20")
