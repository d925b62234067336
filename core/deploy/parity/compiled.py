"""The C source, compiled by the machine's own compiler and run on the codes of images."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.deploy.c_source.write import FLAGS, CSource, input_bytes

NO_COMPILER = "not compiled here: no C compiler (cc) was found"
COMPILE_LIMIT_S, RUN_LIMIT_S = 300.0, 600.0


class NotCompiled(Exception):
    """Why there is no compiled network."""


def compiler() -> str | None:
    """The C compiler's own first line, None where there is none on PATH."""
    path = shutil.which("cc")
    if path is None:
        return None
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=30)
    return (told.stdout.splitlines() or ["cc"])[0].strip()


class CompiledNetwork:
    """Built in the constructor, with every warning an error. Raises NotCompiled."""

    def __init__(self, source: CSource, directory: Path) -> None:
        cc = shutil.which("cc")
        if cc is None:
            raise NotCompiled(NO_COMPILER)
        self._source = source
        self._program = directory / "network"
        sources = [str(path) for path in source.files if path.suffix == ".c"]
        try:
            done = subprocess.run(
                [cc, *FLAGS, "-o", str(self._program), *sources],
                capture_output=True, text=True, check=False, timeout=COMPILE_LIMIT_S,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise NotCompiled(f"not compiled here: {problem!s:.300}") from problem
        if done.returncode != 0:
            raise NotCompiled(f"not compiled here: the compiler says {done.stderr.strip()[-500:]}")

    def __call__(self, codes: NDArray[np.int32]) -> NDArray[np.int32]:
        """N, C, H, W -> N, outputs: whatever shape the network gives, flattened."""
        try:
            done = subprocess.run(
                [str(self._program)], input=input_bytes(codes, self._source), capture_output=True, check=True,
                timeout=RUN_LIMIT_S,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as problem:
            raise NotCompiled(f"compiled, but did not run here: {problem!s:.300}") from problem
        return np.frombuffer(done.stdout, np.int32).reshape(len(codes), -1)
