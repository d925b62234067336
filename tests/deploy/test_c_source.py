"""The C source compiles without a warning and computes the executor's integers on every image."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from deploy_networks import SHAPE, quantized, uniform_policy

from core.deploy.c_source.arena import Lifetime, plan
from core.deploy.c_source.write import FLAGS, input_bytes, write_c_source
from core.deploy.integer.build import build_program
from core.deploy.integer.executor import IntegerExecutor
from core.deploy.integer.program import IntegerProgram, Rounding

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: install gcc or clang")
CASES: list[tuple[str, str, int | tuple[int, ...], int, Rounding]] = [
    ("residual", "lsq", 8, 8, "dyadic"),
    ("residual", "dorefa", 3, 2, "dyadic"),
    ("residual", "hadq", (2, 8, 0, 4), 5, "gemmlowp"),
    ("depthwise", "lsq", 1, 1, "dyadic"),
    ("depthwise", "dsq", 4, 3, "dyadic"),
    ("depthwise", "lsq", 8, 8, "gemmlowp"),
    ("concat", "hadq", 4, 4, "dyadic"),
    ("concat", "apot", 4, 4, "dyadic"),
    ("sequence", "lsq", 8, 8, "dyadic"),
]


def run_compiled(program: IntegerProgram, codes: np.ndarray, directory: Path) -> np.ndarray:
    source = write_c_source(program, directory)
    command = ["cc", *FLAGS, "-o", str(directory / "network"), str(directory / "network.c"), str(directory / "main.c")]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr
    output = subprocess.run([directory / "network"], input=input_bytes(codes, source), capture_output=True, check=True)
    return np.frombuffer(output.stdout, np.int32)


@needs_compiler
@pytest.mark.parametrize(("network", "method", "weights", "activations", "rounding"), CASES)
def test_compiled_integers_are_the_executors(
    network: str, method: str, weights: int | tuple[int, ...], activations: int, rounding: Rounding, tmp_path: Path
) -> None:
    granularity = "tensor" if method in ("dorefa", "apot") else "channel"
    found = quantized(network, lambda loaded: uniform_policy(loaded, weights, activations), method, granularity)
    program = build_program(found.model, SHAPE, rounding=rounding)
    codes = program.input_grid.codes(found.images.numpy())
    expected = IntegerExecutor(program).run(codes)[program.output]
    assert np.array_equal(run_compiled(program, codes, tmp_path).reshape(expected.shape), expected)


def test_the_source_has_no_heap_and_no_float_and_is_the_same_each_time(tmp_path: Path) -> None:
    program = build_program(quantized("residual", lambda loaded: uniform_policy(loaded, 4, 4)).model, SHAPE)
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        write_c_source(program, tmp_path / folder)
    for path in (tmp_path / "first").iterdir():
        text = path.read_text()
        assert text == (tmp_path / "second" / path.name).read_text()
        code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("/*", "*")))
        assert not any(word in code for word in ("malloc", "free(", "float", "double"))


def test_weights_take_their_bits(tmp_path: Path) -> None:
    sizes = {}
    for bits in (8, 4, 2):
        found = quantized("residual", lambda loaded, bits=bits: uniform_policy(loaded, bits, 8))
        folder = tmp_path / str(bits)
        folder.mkdir()
        sizes[bits] = write_c_source(build_program(found.model, SHAPE), folder).constant_bytes
    weights = 3 * 8 * 9 + 8 * 16 * 9 + 16 * 16 * 9 + 16 * 5
    assert sizes[8] - sizes[4] == pytest.approx(weights / 2, rel=0.03)
    assert sizes[4] - sizes[2] == pytest.approx(weights / 4, rel=0.03)


def test_tensors_alive_at_once_never_overlap() -> None:
    chance = np.random.default_rng(0)
    for _ in range(50):
        lives = []
        for position in range(20):
            first = int(chance.integers(0, 10))
            lives.append(
                Lifetime(str(position), int(chance.integers(1, 500)), first, first + int(chance.integers(0, 5)))
            )
        arena = plan(lives)
        for one in lives:
            for other in lives:
                if one.name < other.name and one.first <= other.last and other.first <= one.last:
                    start, end = arena.offsets[one.name], arena.offsets[one.name] + one.size_bytes
                    begin, stop = arena.offsets[other.name], arena.offsets[other.name] + other.size_bytes
                    assert end <= begin or stop <= start
