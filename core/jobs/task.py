"""What a child process is given, and what it answers: plain JSON on both sides. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from core.data.preprocessing import Preprocessing

RESULT_FILE = "result.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelInput(_Record):
    """The uploaded network, as a file in the task's own directory."""

    path: Path
    filename: str
    architecture: str | None = None
    preprocessing: Preprocessing | None = None
    sha256: str = ""


class DatasetFileInput(_Record):
    """One uploaded file of a data set; `split` is None where the file itself says."""

    path: Path
    filename: str
    split: str | None = None
    sha256: str = ""


class DatasetInput(_Record):
    """All files of a data set, and how its pixels are prepared."""

    files: list[DatasetFileInput] = Field(min_length=1)
    preprocessing: Preprocessing | None = None


class TaskInput(_Record):
    """One task. `upstream` maps a stage to the directory of its output: `result.json` and its files."""

    task_id: str
    stage: str
    point: int | None = None
    specification: dict[str, Any] = Field(default_factory=dict)
    model: ModelInput | None = None
    dataset: DatasetInput | None = None
    upstream: dict[str, Path] = Field(default_factory=dict)
    directory: Path
    checkpoint_directory: Path
    device: str = "cpu"
    threads: int = 1


class OutputFile(_Record):
    """One file of a task's output. `kind` is what it is to a person: onnx-qdq, packed, parity, ..."""

    name: str
    path: str = Field(description="relative to the task's directory")
    kind: str
    media_type: str = "application/octet-stream"


class TaskOutput(_Record):
    """A finished task: its JSON result, and files in its directory."""

    result: dict[str, Any]
    files: list[OutputFile] = Field(default_factory=list)


class Reporter(Protocol):
    """How a running task is seen from outside."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Share of the task that is done, 0 to 1."""

    def metric(self, name: str, value: float, step: int) -> None:
        """One figure of a curve."""

    def checkpoint(self, name: str) -> None:
        """A checkpoint was written; a run from here loses nothing before it."""
