"""What is written of a network that computes in integers alone; what it has no form for is refused, naming the node."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files as files_of
from pathlib import Path

from torch import fx

from core.deploy.archive import Entry, write_zip
from core.deploy.c_source.write import CSource, write_c_source
from core.deploy.integer.build import build_program
from core.deploy.integer.program import IntegerProgram
from core.deploy.onnx_integer.write import export_onnx_integer
from core.errors import UnsupportedModel
from core.policy import Policy

INTEGER_ONNX, C_SOURCE = "model.integer.onnx", "model.c.zip"
C_LIMIT_BYTES = 2_000_000


@dataclass
class IntegerFiles:
    """`refused`: by the file's name, why it is not there."""

    program: IntegerProgram | None = None
    onnx: Path | None = None
    c_source: CSource | None = None
    c_archive: Path | None = None
    refused: dict[str, str] = field(default_factory=dict)


def write_integer_files(
    model: fx.GraphModule, input_shape: tuple[int, ...], policy: Policy, directory: Path, c_directory: Path
) -> IntegerFiles:
    """`directory` gets the ONNX file of integer operators and the C source as an archive, `c_directory` the source."""
    files = IntegerFiles()
    try:
        files.program = build_program(model, input_shape)
    except UnsupportedModel as problem:
        files.refused = dict.fromkeys((INTEGER_ONNX, C_SOURCE), _why(problem))
        return files
    try:
        export_onnx_integer(files.program, policy, directory / INTEGER_ONNX)
        files.onnx = directory / INTEGER_ONNX
    except UnsupportedModel as problem:
        files.refused[INTEGER_ONNX] = _why(problem)
    try:
        _check_size(files.program)
        files.c_source = write_c_source(files.program, c_directory)
        files.c_archive = _archived(files.program, files.c_source, directory / C_SOURCE)
    except UnsupportedModel as problem:
        files.refused[C_SOURCE] = _why(problem)
    return files


def _why(problem: UnsupportedModel) -> str:
    return f"{problem.message}; {problem.hint}" if problem.hint else problem.message


def _check_size(program: IntegerProgram) -> None:
    """Before the text is written, which has five characters for each byte."""
    bits = sum(layer.codes.size // len(layer.bits) * int(layer.bits.sum()) for layer in program.layers())
    if bits // 8 > C_LIMIT_BYTES:
        raise UnsupportedModel(
            f"the weights take {bits / 8e6:.1f} MB, and C source is written for up to {C_LIMIT_BYTES / 1e6:g} MB",
            hint="it is meant for microcontrollers; use model.integer.onnx",
        )


def _archived(program: IntegerProgram, source: CSource, path: Path) -> Path:
    """The source, and what a person needs to run it on images: what codes mean, and a script."""
    script = files_of("core.deploy").joinpath("run_network.py").read_bytes()
    entries = [Entry(file.name, file.read_bytes()) for file in source.files]
    entries += [Entry("network.json", _facts(program, source).encode()), Entry("run_network.py", script)]
    with path.open("wb") as target:
        write_zip(target, sorted(entries, key=lambda entry: entry.name))
    return path


def _facts(program: IntegerProgram, source: CSource) -> str:
    facts = {
        "input": program.input_grid.model_dump(mode="json"),
        "input_shape": list(program.input_shape),
        "input_type": source.input_type.removesuffix("_t"),
        "output_scale": program.output_scale,
    }
    return json.dumps(facts, indent=1)
