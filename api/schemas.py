"""What the routes answer. Times are ISO 8601 in UTC, sizes bytes, durations seconds."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.measurements import MeasurementAnswer
from core.policy import Policy

Json = dict[str, Any]
UploadState = Literal["inspecting", "ready", "rejected"]
JobState = Literal["queued", "running", "cancelling", "cancelled", "succeeded", "failed"]
StageState = Literal["waiting", "queued", "running", "succeeded", "failed", "cancelled"]
Item = TypeVar("Item")


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Listing(BaseModel, Generic[Item]):
    """A page of a list; `next` is the cursor of the page after it, or null."""

    items: list[Item]
    next: str | None = None


class ModelSummary(_Answer):
    """An uploaded network in a list."""

    id: UUID
    name: str
    filename: str
    kind: str
    architecture: str | None
    preprocessing: Json | None
    sha256: str
    size_bytes: int
    state: UploadState
    problem: Json | None
    created_at: datetime
    layer_count: int | None = Field(default=None, description="quantizable layers, once it is ready")
    classes: int | None = None
    input_shape: list[int] | None = None
    total_parameters: int | None = None
    total_macs: int | None = None


class ModelAnswer(ModelSummary):
    """An uploaded network with its inventory."""

    inventory: Json | None = Field(default=None, description="layers in execution order; null until it is ready")


class DatasetFileAnswer(_Answer):
    """One file of a data set."""

    id: UUID
    filename: str
    split: str | None
    sha256: str
    size_bytes: int


class DatasetSummary(_Answer):
    """An uploaded data set in a list."""

    id: UUID
    name: str
    preprocessing: Json | None
    state: UploadState
    problem: Json | None
    summary: Json | None = Field(description="classes, splits and their counts, image sizes; null until it is ready")
    created_at: datetime


class DatasetAnswer(DatasetSummary):
    """An uploaded data set with its files."""

    files: list[DatasetFileAnswer]


class Named(BaseModel):
    """A thing by its id and name."""

    id: UUID
    name: str


class StageAnswer(BaseModel):
    """One stage of a job: how many of its tasks are done, and how long it took so far."""

    stage: str
    state: StageState
    done: int
    total: int
    failed: int
    reused: int = Field(description="tasks answered from an earlier result")
    progress: float = Field(ge=0, le=1)
    seconds: float | None
    message: str
    problem: Json | None


class JobAnswer(BaseModel):
    """A job as it stands."""

    id: UUID
    name: str
    state: JobState
    stage: str | None = Field(description="what runs now")
    progress: float = Field(ge=0, le=1)
    eta_s: float | None = Field(description="estimated seconds to the end; null while there is nothing to estimate by")
    queue_position: int | None = Field(description="unfinished jobs before it; null once it runs")
    problem: Json | None
    created_at: datetime
    finished_at: datetime | None
    elapsed_s: float
    model: Named
    dataset: Named | None = Field(description="null for a job without data")
    specification: Json
    stages: list[StageAnswer]


class CandidateAnswer(BaseModel):
    """A policy with what it costs and, where it was evaluated, what it measured."""

    id: UUID
    name: str
    origin: str
    point: int | None
    state: str
    policy: Json
    costs: Json
    size_bytes: float | None
    bit_operations: float | None
    predicted: Json | None
    measured: Json | None
    on_front: bool | None = Field(description="of the job's first target; the report has it by target")
    dominated: bool | None
    problem: Json | None
    certificate: Json | None
    parity: Json | None
    history: list[Json] | None
    post_training: Json | None = Field(
        description="what was done without training: rounding by layer, correction, what a preset tried; null where "
        "weights went to their nearest levels"
    )
    training: Json | None = Field(
        description="how training went: stages, best epoch, why it stopped, batch norms, divergence; null before"
    )
    speed: Json | None = Field(
        description="measured in onnxruntime on the worker's machine: float, 8 bits, this point; null before"
    )
    measurements: list[MeasurementAnswer] = Field(description="what its owner measured on devices of their own")


class PolicyAnswer(BaseModel):
    """A policy that was read from a file."""

    policy: Policy = Field(description="for `policies` of POST /jobs")
    kind: Literal["own", "haq", "hawq", "aimet", "tensorrt"] = Field(description="what the file was")
    notes: list[str] = Field(description="what was decided while reading it, such as for layers that read one tensor")


class ArtifactAnswer(_Answer):
    """A file to download from `/artifacts/{id}`."""

    id: UUID
    candidate_id: UUID | None
    kind: str
    filename: str
    media_type: str
    size_bytes: int
    sha256: str
    created_at: datetime


class ReportAnswer(BaseModel):
    """What a job found out about network, data and hardware. Parts are null until their stage has ended."""

    inventory: Json | None
    float: Json | None
    metric: Literal["accuracy", "agreement"] | None = Field(
        description="what `accuracy` is: of labels, or the agreement with the float network where there are none"
    )
    synthesis: Json | None = Field(description="the images that were made for a job without data: source, how well")
    splits: Json | None
    split_note: str | None
    preprocessing: Json | None
    warnings: list[str]
    sensitivity: Json | None
    costs: Json | None
    search: Json | None
    on_front: Json | None
    provenance: Json | None


class Health(BaseModel):
    """That it is well, and what was checked."""

    status: Literal["ok"] = "ok"
    checks: dict[str, bool] = Field(default_factory=dict)
