"""The packed file holds the quantized network in the size that was promised, for anyone with numpy."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from deploy_networks import Quantized, quantized, uniform_policy
from safetensors import safe_open

from core.deploy import packed_reader
from core.deploy.deploy_layers import deploy_layers
from core.deploy.packed import PackedSize, export_packed
from core.deploy.packed_reader import PackedFile, read_packed
from core.hardware.cost import size_bytes
from core.policy import Policy


def _written(case: Quantized, path: Path) -> tuple[PackedSize, PackedFile]:
    size = export_packed(case.model, case.loaded.inventory, case.policy, path)
    return size, read_packed(path)


@pytest.mark.parametrize("method", ["lsq", "hadq"])
@pytest.mark.parametrize("bits", [1, 2, 3, 8, 16, 32, (0, 1, 2, 3, 4, 5, 6, 7, 8)])
@pytest.mark.parametrize("name", ["residual", "concat"])
def test_weights_come_back_to_the_bit(name: str, bits: int | tuple[int, ...], method: str, tmp_path: Path) -> None:
    case = quantized(name, lambda loaded: uniform_policy(loaded, bits, 8), method)
    _, file = _written(case, tmp_path / "m.safetensors")
    layers = deploy_layers(case.model)
    assert list(file) == [layer.name for layer in layers]
    for layer in layers:
        expected = layer.weight if layer.integers is None else layer.integers.values()
        np.testing.assert_array_equal(file[layer.name].values(), expected)
        if layer.integers is not None:
            np.testing.assert_array_equal(file[layer.name].codes(), layer.integers.codes)
        np.testing.assert_array_equal(file[layer.name].bias, layer.bias)


@pytest.mark.parametrize("bits", [1, 3, 4, 8, 32, (2, 5, 7)])
def test_the_file_is_as_large_as_the_policy_says_and_states_the_rest(
    bits: int | tuple[int, ...], tmp_path: Path
) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, bits, 8))
    size, _ = _written(case, tmp_path / "m.safetensors")
    layers, widths = case.loaded.inventory.layers, 1 if isinstance(bits, int) else len(bits)
    assert size.policy_bytes == size_bytes(layers, case.policy)
    assert 0 <= size.weight_bytes - size.policy_bytes < len(layers) * widths
    parts = size.scale_bytes + size.offset_bytes + size.bias_bytes + size.norm_bytes + size.header_bytes
    assert size.weight_bytes + parts == size.file_bytes == (tmp_path / "m.safetensors").stat().st_size


def test_channels_hold_no_more_levels_than_their_bits(tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, (1, 2, 3, 4, 0), 8), "hadq")
    _, file = _written(case, tmp_path / "m.safetensors")
    for name, bits in case.policy.layers.items():
        levels = [len(np.unique(channel)) for channel in file[name].values()]
        assert all(count <= 2**width for count, width in zip(levels, bits.weights, strict=True))
        assert file[name].bits.tolist() == list(bits.weights)


def test_activations_policy_and_windows_are_described(tmp_path: Path) -> None:
    case = quantized("concat", lambda loaded: uniform_policy(loaded, 4, 5), "hadq")
    _, file = _written(case, tmp_path / "m.safetensors")
    assert Policy.model_validate(file.policy) == case.policy
    grids = file.activations
    assert {layer.reads for layer in case.loaded.inventory.layers} <= set(grids)
    for layer in file.values():
        assert grids[layer.reads].high - grids[layer.reads].low == 2**5 - 1
    assert {"norm.factor", "norm.shift"} <= set(file.extra)  # the batch norm behind the concatenation


def test_equal_networks_are_equal_files(tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 4, 4))
    contents = set()
    for _ in range(5):
        _written(case, tmp_path / "m.safetensors")
        contents.add((tmp_path / "m.safetensors").read_bytes())
    assert len(contents) == 1


def test_other_readers_of_safetensors_open_it(tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 4, 4))
    _written(case, tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "numpy") as file:
        assert file.metadata()["format"] == "bitfront-packed"
        assert file.get_tensor("stem.codes").nbytes == 8 * 27 * 4 // 8


def test_the_reader_alone_reads_with_numpy_only(tmp_path: Path) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 3, 4))
    _, file = _written(case, tmp_path / "m.safetensors")
    shutil.copy(packed_reader.__file__, tmp_path / "reader.py")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import json, reader\n"
        "file = reader.read_packed(sys.argv[1] + '/m.safetensors')\n"
        "known = set(sys.stdlib_module_names) | {'numpy', 'reader', '__main__'}\n"
        "print(json.dumps([float(file['first'].values().sum()),\n"
        "    sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'safetensors', 'pydantic', 'core'})]))"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == [float(file["first"].values().sum()), []]
