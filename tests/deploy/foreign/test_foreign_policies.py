"""Policies of other tools: written and read again, and refused with what would fit."""

from __future__ import annotations

import io
import json
import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx

from core.deploy.foreign.haq_policy import haq_policy
from core.deploy.foreign.hawq_policy import hawq_policy
from core.deploy.foreign.read import read_policy
from core.deploy.foreign.tensorrt_policy import FORMAT, tensorrt_layers
from core.errors import BitfrontError, BrokenFile, InvalidInput, TooLarge, UnsupportedFormat
from core.graph.architectures.imagenet_resnet import BLOCKS, ImageNetResNet
from core.graph.build_inventory import build_inventory
from core.graph.inventory import Inventory
from core.policy import LayerBits, Policy
from tests.api.served import inventory as three_layers

WIDTHS = (2, 3, 4, 5, 6, 7, 8)


@lru_cache
def resnet(depth: int) -> Inventory:
    with torch.device("meta"):
        network = fx.symbolic_trace(ImageNetResNet(*BLOCKS[depth]).eval())
    return build_inventory(network, (3, 64, 64), "test")


def mixed(inventory: Inventory, residual_bits: int = 16) -> Policy:
    """Widths that differ from layer to layer; layers that read one tensor agree."""
    tensors = [layer.reads for layer in inventory.layers]
    layers = {
        layer.name: LayerBits(weights=WIDTHS[i % 7], activations=WIDTHS[tensors.index(layer.reads) % 5])
        for i, layer in enumerate(inventory.layers)
    }
    return Policy(layers=layers, residual_bits=residual_bits)


def read(text: Any, inventory: Inventory, config: str | None = None) -> Policy:
    data = text if isinstance(text, bytes) else (text if isinstance(text, str) else json.dumps(text)).encode()
    return read_policy(data, inventory, config).policy


def npy(values: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_hawq_and_haq_survive_writing_and_reading(depth: int) -> None:
    policy = mixed(resnet(depth))
    assert read(hawq_policy(resnet(depth), policy), resnet(depth)) == policy
    assert read(haq_policy(resnet(depth), policy), resnet(depth)) == policy
    assert read(hawq_policy(resnet(depth), mixed(resnet(depth), 8)), resnet(depth)).residual_bits == 8


def test_tensorrt_and_own_policies_survive_writing_and_reading() -> None:
    policy = mixed(resnet(18))
    kernel = policy.layers["conv1"].model_copy(update={"weights": (2, 4) * 32})
    policy = Policy(layers={**policy.layers, "conv1": kernel}, residual_bits=8)
    file = {"format": FORMAT, "layers": tensorrt_layers(resnet(18), policy), "residual_bits": 8}
    assert read(file, resnet(18)) == policy
    assert read(policy.model_dump_json(), resnet(18)) == policy


@pytest.mark.parametrize(("depth", "entries"), [(18, 48), (34, 88), (50, 121)])
def test_hawqs_names_are_those_of_its_networks(depth: int, entries: int) -> None:
    config = hawq_policy(resnet(depth), mixed(resnet(depth)))
    keys = list(config)
    assert len(keys) == entries  # 48 and 121 in HAWQ's bit_config.py
    stem = "quant_init_convbn" if depth == 50 else "quant_init_block_convbn"
    assert keys[:3] == ["quant_input", stem, "quant_act_int32"]
    assert keys[-2:] == ["quant_act_output", "quant_output"]
    assert ("stage1.unit1.quant_identity_convbn" in keys) == (depth == 50)
    assert ("stage2.unit1.quant_convbn3" in keys) == (depth == 50)
    layers = mixed(resnet(depth)).layers
    assert config["stage3.unit2.quant_act1"] == layers["layer3.1.conv2"].activations
    assert config["stage4.unit1.quant_identity_convbn"] == layers["layer4.0.downsample.0"].weights


def test_a_shortcut_is_found_wherever_it_stands() -> None:
    found = resnet(18)
    order = [*found.layers[:5], found.layers[7], *found.layers[5:7], *found.layers[8:]]
    assert order[5].name == "layer2.0.downsample.0"
    swapped = found.model_copy(update={"layers": tuple(order)})
    assert hawq_policy(swapped, mixed(found)) == hawq_policy(found, mixed(found))


def test_hawqs_python_file_is_read_by_name_and_never_run(tmp_path: Path) -> None:
    configs = {name: hawq_policy(resnet(18), mixed(resnet(18), bits)) for name, bits in (("a", 8), ("b", 16))}
    file = f"# HAWQ\nbit_config_dict = {configs!r}\n"
    assert read(file, resnet(18), "b").residual_bits == 16
    assert read(file, resnet(18), "a").residual_bits == 8
    with pytest.raises(InvalidInput, match="2 bit_configs") as refusal:
        read(file, resnet(18))
    assert "a, b" in refusal.value.hint
    canary = tmp_path / "canary"
    with pytest.raises(BrokenFile):
        read(f"bit_config = {{'quant_input': open({str(canary)!r}, 'w')}}", resnet(18))
    assert not canary.exists()


def test_haq_leaves_the_image_at_8_bits_and_the_rest_float() -> None:
    rows = [[8, -1], [-1, 4], [3, 4]]
    policy = read(npy(np.array(rows)), three_layers())
    assert [(bits.weights, bits.activations) for bits in policy.layers.values()] == [(8, 8), (32, 4), (3, 4)]
    assert read(repr(rows), three_layers()) == policy
    assert read(haq_policy(three_layers(), policy), three_layers()) == policy
    floating = read(npy(np.array([2, 3, 4])), three_layers())
    assert [(bits.weights, bits.activations) for bits in floating.layers.values()] == [(2, 32), (3, 32), (4, 32)]
    assert read(haq_policy(three_layers(), floating), three_layers()) == floating


def test_layers_that_read_one_tensor_get_the_larger_width_and_a_note() -> None:
    found = read_policy(npy(np.array([[8, 8], [4, 3], [4, 6]])), three_layers())
    assert {found.policy.layers[name].activations for name in ("left", "right")} == {6}
    assert found.notes == ["left, right read one tensor: 6 bits, the larger of what the file says"]


def fortran(values: Any) -> bytes:
    return npy(np.asfortranarray(values))


def test_arrays_in_any_order_and_type_are_read() -> None:
    rows = np.array([[8, 8], [4, 3], [2, 3]])
    assert read(fortran(rows), three_layers()) == read(npy(rows.astype(np.float64)), three_layers())


def refusals() -> dict[str, tuple[Any, type[BitfrontError], str]]:
    good = hawq_policy(resnet(18), mixed(resnet(18)))
    layers = json.loads(mixed(three_layers()).model_dump_json())
    array = npy(np.zeros((3, 2), np.int64))
    return {
        "too few layers": (npy(np.ones((2, 2))), InvalidInput, "has 2 layers, the network 3"),
        "nine bits": (npy(np.array([[8, 8], [9, 3], [2, 3]])), InvalidInput, "weights of left is 9 bits"),
        "half a bit": (npy(np.array([[8, 8], [2.5, 3], [2, 3]])), InvalidInput, "no number of bits"),
        "not a number": (npy(np.array([[np.nan, 8], [2, 3], [2, 3]])), InvalidInput, "no number of bits"),
        "three numbers": (npy(np.ones((3, 3), np.int64)), InvalidInput, "3 numbers for stem"),
        "a pickle in an array": (npy(np.array([Path], object), allow_pickle=True), BrokenFile, "not numbers"),
        "a cut array": (npy(np.ones((3, 2)))[:-3], BrokenFile, "shorter"),
        "a header that lies": (array.replace(b"(3, 2)", b"(9, 9)"), BrokenFile, "shorter"),
        "a header of petabytes": (array.replace(b"(3, 2), }", b"(3, 9999)"), BrokenFile, "header"),
        "a cut header": (array.replace(b"(3, 2)", b"(3, 20"), BrokenFile, "header"),
        "no header": (b"\x93NUMPY\x01\x00", BrokenFile, "header"),
        "a pickle": (pickle.dumps([1]), UnsupportedFormat, "neither text nor"),
        "another key": ({**good, "stage9.unit1.quant_act": 8}, InvalidInput, "this network is none"),
        "no policy": ({"a": 1}, UnsupportedFormat, "no policy"),
        "a number": ("5", UnsupportedFormat, "no policy"),
        "no text": ("{", BrokenFile, "neither JSON nor"),
        "two tables": ("a = {}\nb = {}", UnsupportedFormat, "2 tables"),
        "nested": ("[" * 10_000, BrokenFile, "nests"),
        "too large": (b"1" * 5_000_000, TooLarge, "not read"),
        "a layer too few": ({"layers": {"stem": layers["layers"]["stem"]}}, InvalidInput, "no bits for left, right"),
        "another layer": ({"layers": {"conv": layers["layers"]["stem"]}}, InvalidInput, "names layers.*conv"),
        "an own policy with text": ({"layers": {"stem": 5}}, InvalidInput, "layers.stem"),
        "channels of another layer": (
            {"layers": {**layers["layers"], "left": {"weights": [4, 4, 4], "activations": 4}}},
            InvalidInput,
            "3 widths for the channels of left",
        ),
        "bits as text": (
            {"layers": {**layers["layers"], "left": {"weights": "4", "activations": 4}}},
            InvalidInput,
            "layers.left",
        ),
        "a layer twice": ('{"layers": {"stem": {}, "stem": {}}}', BrokenFile, "stem stands twice"),
        "a key twice in Python": ("a = {'b': 1, 'b': 2}", BrokenFile, "b stands twice"),
        "something computed": ("{'a': open('x')}", BrokenFile, "is computed"),
        "a precision": ({"format": FORMAT, "layers": {}}, InvalidInput, "no bits for stem"),
        "encodings of another network": ({"param_encodings": {}}, InvalidInput, "no weight and no tensor"),
    }


@pytest.mark.parametrize("name", refusals())
def test_what_does_not_fit_is_refused_with_the_reason(name: str) -> None:
    content, kind, told = refusals()[name]
    with pytest.raises(kind, match=told) as caught:
        read(content, three_layers())
    assert caught.value.hint


def test_a_bit_config_with_other_keys_names_both_counts() -> None:
    good = hawq_policy(resnet(18), mixed(resnet(18)))
    with pytest.raises(InvalidInput, match=r"49 entries, this network needs 48; unknown: stage9\.unit1\.quant_act"):
        read({**good, "stage9.unit1.quant_act": 8}, resnet(18))
    with pytest.raises(InvalidInput, match="needs 121; unknown: quant_init_block_convbn"):
        read(good, resnet(50))
    del good["quant_output"]
    with pytest.raises(InvalidInput, match="47 entries, this network needs 48; missing: quant_output"):
        read(good, resnet(18))
    with pytest.raises(InvalidInput, match="additions 8, 16 bits"):
        read({**good, "quant_output": 8, "stage1.unit1.quant_act_int32": 8}, resnet(18))


def test_a_network_of_another_shape_has_no_bit_config() -> None:
    with pytest.raises(InvalidInput, match="names the modules of a ResNet"):
        hawq_policy(three_layers(), mixed(three_layers()))


def test_widths_of_channels_have_no_form_in_haq_and_hawq() -> None:
    policy = mixed(resnet(18))
    kernel = policy.layers["conv1"].model_copy(update={"weights": (2, 4) * 32})
    policy = Policy(layers={**policy.layers, "conv1": kernel})
    for write in (haq_policy, hawq_policy):
        with pytest.raises(InvalidInput, match="the channels of conv1 have 2, 4 bits"):
            write(resnet(18), policy)


@pytest.mark.parametrize(
    ("weights", "activations", "precision", "cannot"),
    [(8, 8, "int8", False), (4, 4, "int8", True), (32, 32, "fp32", False), (16, 16, "fp16", True),
     (4, 32, "fp16", True), (8, 32, "fp16", True)],
)  # fmt: skip
def test_tensorrt_says_what_it_cannot_run(weights: int, activations: int, precision: str, cannot: bool) -> None:
    bits = LayerBits(weights=weights, activations=activations)
    policy = Policy(layers={layer.name: bits for layer in three_layers().layers})
    found = tensorrt_layers(three_layers(), policy)["stem"]
    assert (found["precision"], "cannot" in found) == (precision, cannot)


def test_tensorrt_has_int4_weights_for_products() -> None:
    bits = LayerBits(weights=4, activations=32)
    policy = Policy(layers={layer.name: bits for layer in resnet(18).layers})
    assert tensorrt_layers(resnet(18), policy)["fc"] == {"precision": "int4", "weight_bits": 4, "activation_bits": 32}
