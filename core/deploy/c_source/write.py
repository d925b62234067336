"""The files of the C source: runtime, header, network, and a program that runs it on codes from standard input."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.deploy.c_source.arena import Arena, Lifetime, plan
from core.deploy.c_source.emit import Source, emit
from core.deploy.c_source.literals import SIZES, number
from core.deploy.c_source.runtime import MAIN, RUNTIME
from core.deploy.integer.program import IntegerProgram, Multiply
from core.errors import UnsupportedModel

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-O2")


@dataclass(frozen=True)
class CSource:
    """`arena_bytes`: static memory for tensors; `constant_bytes`: weights and tables; `input_type` as C names it."""

    name: str
    files: tuple[Path, ...]
    input_type: str
    arena_bytes: int
    constant_bytes: int


def write_c_source(program: IntegerProgram, directory: Path, name: str = "network") -> CSource:
    """Writes `<name>.h`, `<name>.c`, `bitfront_runtime.h` and `main.c`. Deterministic."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise ValueError(f"{name!r} is no name for a C function")
    source = Source(program)
    calls = [emit(source, position, operation) for position, operation in enumerate(program.operations)]
    arena = plan(_lifetimes(source))
    texts = {
        "bitfront_runtime.h": RUNTIME.format(name=name),
        f"{name}.h": _header(source, name),
        f"{name}.c": _network(source, name, calls, arena),
        "main.c": MAIN.format(
            name=name, input_type=source.type_of(program.input), output_count=source.count(program.output)
        ),
    }
    files = []
    for file, text in texts.items():
        (directory / file).write_text(text, encoding="ascii")
        files.append(directory / file)
    constant_bytes = sum(_constant_size(definition) for definition in source.data)
    return CSource(name, tuple(files), source.type_of(program.input), arena.size_bytes, constant_bytes)


def _constant_size(definition: str) -> int:
    found = re.match(r"static const (\w+) \w+\[(\d+)\]", definition)
    return SIZES[found[1]] * int(found[2]) if found else 0


def _lifetimes(source: Source) -> list[Lifetime]:
    program = source.program
    last = {name: at for at, operation in enumerate(program.operations) for name in operation.inputs}
    return [
        Lifetime(
            operation.output,
            source.count(operation.output) * SIZES[source.type_of(operation.output)],
            at,
            last.get(operation.output, len(program.operations)),
        )
        for at, operation in enumerate(program.operations)
        if operation.output != program.output
    ]


def _header(source: Source, name: str) -> str:
    program, grid = source.program, source.program.input_grid
    guard = f"BITFRONT_{name.upper()}_H"
    kind = source.type_of(program.input)
    code = f"clip(round(x / {grid.scale!r}) + {grid.zero_point}, {grid.low}, {grid.high})"
    return f"""\
/* Input: {" x ".join(map(str, program.input_shape))} codes, channels first. A pixel x becomes the code
 *   {code if grid.plain else "that run_network.py finds by network.json"}.
 * Output: {source.count(program.output)} integers; times {program.output_scale!r} they are the scores. */
#ifndef {guard}
#define {guard}
#include <stdint.h>

enum {{ BITFRONT_INPUT_COUNT = {source.count(program.input)}, BITFRONT_OUTPUT_COUNT = {source.count(program.output)} }};

void {name}_run(const {kind} *input, int32_t *output);

#endif
"""


def _network(source: Source, name: str, calls: list[str], arena: Arena) -> str:
    program = source.program
    row = (
        f"static int32_t row[{source.largest_row}];"
        if any(isinstance(operation, Multiply) for operation in program.operations)
        else ""
    )
    lines = []
    for call, operation in zip(calls, program.operations, strict=True):
        places = [_place(source, tensor, arena) for tensor in (*operation.inputs, operation.output)]
        lines.append(f"    {call}({', '.join(places)});")
    final = ""
    if program.output == program.input:
        raise UnsupportedModel("the network computes nothing", hint="use the ONNX files")
    if source.type_of(program.output) != "int32_t":
        kind = source.type_of(program.output)
        final = (
            "    {\n        int32_t e;\n        for (e = 0; e < BITFRONT_OUTPUT_COUNT; e++)\n"
            "            output[e] = (int32_t)final_[e];\n    }\n"
        )
        row += f"\nstatic {kind} final_[BITFRONT_OUTPUT_COUNT];"
    block = f"static union {{ int64_t alignment; uint8_t bytes[{max(arena.size_bytes, 1)}]; }} arena;"
    body = "\n".join(lines)
    return f"""\
#include "{name}.h"
#include "bitfront_runtime.h"

{"".join(source.data)}
{block if arena.size_bytes else ""}
{row}

{chr(10).join(source.functions)}
void {name}_run(const {source.type_of(program.input)} *input, int32_t *output)
{{
{body}
{final}}}
"""


def _place(source: Source, tensor: str, arena: Arena) -> str:
    if tensor == source.program.input:
        return "input"
    kind = source.type_of(tensor)
    if tensor == source.program.output:
        return "output" if kind == "int32_t" else "final_"
    return f"({kind} *)(void *)&arena.bytes[{number(arena.offsets[tensor])}]"


def input_bytes(codes: np.ndarray[tuple[int, ...], np.dtype[np.int32]], source: CSource) -> bytes:
    """Codes of images as the compiled program reads them."""
    return codes.astype(np.dtype(source.input_type.removesuffix("_t"))).tobytes()
