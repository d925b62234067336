"""Networks that others exported and trained, where the data folder lies beside the repository."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.graph.build_inventory import build_inventory
from core.graph.load import load_model
from core.graph.onnx_import import import_onnx
from core.graph.placement import place, place_quantizers
from tests.graph.onnx_networks import as_file_layout, run_imported, run_onnxruntime, values

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs shared/data beside the repository"),
]

FOREIGN = {
    "onnx/keras2onnx_mnist_sm_op10_nhwc.onnx": ("NHWC", (1, 28, 28), 4),
    "onnx/light_alexnet_op9_noweights.onnx": ("NCHW", (3, 224, 224), 8),
    "onnx/oval21_cifar_deep_kw_op9.onnx": ("NCHW", (3, 32, 32), 6),
    "onnx/super_resolution_op9_pt0.4.onnx": ("NCHW", (1, 224, 224), 4),
    "onnx/tf2onnx_cifar10_large_op9_nhwc_dynbatch.onnx": ("NHWC", (3, 32, 32), 5),
    "onnx/ultraface_slim320_op9_simplified.onnx": ("NCHW", (3, 240, 320), 42),
    "onnx/vnncomp_cifar10_resnet_2b_op9.onnx": ("NCHW", (3, 32, 32), 8),
    "onnx/vnncomp_mnistfc_256x2_op9.onnx": ("NCHW", (1, 28, 28), 3),
    "cifar10/cifar10_resnet20.onnx": ("NCHW", (3, 32, 32), 20),
    "coco/yolox_nano.onnx": ("NCHW", (3, 416, 416), 113),
}
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_network_computes_what_onnxruntime_computes(name):
    layout, shape, layers = FOREIGN[name]
    imported = import_onnx(DATA / name)
    assert (imported.image.layout, imported.image.shape) == (layout, shape)
    images = values(1, *shape, low=0.0)
    expected = run_onnxruntime(DATA / name, as_file_layout(imported, images))
    found = run_imported(imported, images)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(theirs).max())))
    assert len(build_inventory(imported.module, shape, "test").layers) == layers


@pytest.mark.parametrize("name", [name for name in FOREIGN if "alexnet" not in name and "yolox" not in name])
def test_a_foreign_network_takes_two_images_at_once_and_quantizers_everywhere(name):
    loaded = load_model(DATA / name, None)
    placed = place_quantizers(loaded.module, lambda layer: torch.nn.Identity(), lambda site: torch.nn.Identity())
    assert {site.name for site in place(loaded.module).activation_sites} >= {
        layer.reads for layer in loaded.inventory.layers
    }
    images = torch.from_numpy(values(2, *loaded.inventory.input_shape, low=0.0))
    with torch.no_grad():
        together = placed(images)
        singly = [loaded.module(image[None]) for image in images]
    for position in range(2):
        one, both = singly[position], together
        pairs = zip(one, both, strict=True) if isinstance(one, tuple) else [(one, both)]
        for alone, pair in pairs:
            torch.testing.assert_close(pair[position], alone[0], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["onnx/ultraface_slim320_op9_simplified.onnx", "onnx/super_resolution_op9_pt0.4.onnx"])
def test_what_is_no_classifier_can_be_costed_and_says_that_it_cannot_be_evaluated(name):
    inventory = load_model(DATA / name, None).inventory
    assert inventory.classes == 0
    assert "not a classifier" in inventory.warnings[-1]
    assert inventory.total_macs > 10**7


def cifar_test_images():
    archive = np.load(DATA / "cifar10/test500.npz")
    images = (archive["images"].astype(np.float32) / 255 - MEAN) / STD
    return torch.from_numpy(images.transpose(0, 3, 1, 2)), archive["labels"]


@pytest.mark.parametrize(
    ("name", "architecture", "correct"),
    [
        ("cifar10_resnet20.safetensors", "resnet20", 455),
        ("cifar10_resnet20.onnx", None, 455),
        ("cifar10_resnet32.safetensors", "resnet32", 466),
    ],
)
def test_cifar_resnets_reach_their_accuracy_on_500_test_images(name, architecture, correct):
    loaded = load_model(DATA / "cifar10" / name, architecture)
    images, labels = cifar_test_images()
    with torch.no_grad():
        found = int((loaded.module(images).argmax(1).numpy() == labels).sum())
    assert abs(found - correct) <= 1  # one image may tip over with another order of summation


def test_the_same_network_from_both_formats_has_the_same_layers_and_scores():
    ours = load_model(DATA / "cifar10/cifar10_resnet20.safetensors", "resnet20")
    theirs = load_model(DATA / "cifar10/cifar10_resnet20.onnx", None)
    assert [layer.name for layer in ours.inventory.layers] == [layer.name for layer in theirs.inventory.layers]
    assert [layer.macs for layer in ours.inventory.layers] == [layer.macs for layer in theirs.inventory.layers]
    assert ours.inventory.total_macs == 40_551_040
    images, _ = cifar_test_images()
    with torch.no_grad():
        torch.testing.assert_close(ours.module(images[:64]), theirs.module(images[:64]), rtol=1e-4, atol=1e-4)


def test_squeezenet_reads_and_concatenates():
    loaded = load_model(DATA / "imagenet/imagenet_squeezenet1_1.safetensors", "squeezenet1_1")
    assert loaded.inventory.classes == 1000
    assert loaded.inventory.total_parameters == 1_235_496
    assert loaded.inventory.layer("features.3.expand1x1").tied_with == ("features.3.expand3x3",)
