"""What a parity report says. Shares lie between 0 and 1; counts are of images, outputs or codes as named."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.deploy.packed import PackedSize

ComparisonName = Literal[
    "qdq-training", "qdq-deploy", "executor-deploy", "executor-training", "integer-onnx-executor", "compiled-executor"
]
WORDS: dict[ComparisonName, tuple[str, str]] = {
    "qdq-training": (
        "model.onnx in onnxruntime, against the trained network",
        "What you download computes what was trained. onnxruntime sums in another order, so a value half way between "
        "two levels may fall to the other one.",
    ),
    "executor-training": (
        "integers only (deploy mode), against the trained network",
        "What is lost by computing in integers alone: scales become integer multipliers, biases 32-bit integers.",
    ),
    "executor-deploy": (
        "integer executor, against deploy mode",
        "Two programs written apart compute the same integers; anything but full equality is a fault of ours.",
    ),
    "integer-onnx-executor": (
        "model.integer.onnx in onnxruntime, against the integer executor",
        "The file of integer operators computes the executor's integers.",
    ),
    "compiled-executor": (
        "compiled C source, against the integer executor",
        "What a microcontroller computes is what the executor computes.",
    ),
    "qdq-deploy": (
        "model.onnx in onnxruntime, against deploy mode",
        "How far the two kinds of export lie apart: one requantizes in float, the other in integers.",
    ),
}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SiteCodes(_Record):
    """The codes of activation quantizers, the image's included."""

    sites: int
    codes: int
    equal: float = Field(description="share of codes that are the same")
    within_one_step: float = Field(description="share of codes at most one level apart")
    worst_site: str = Field(description="tensor with the least equal codes")
    worst_equal: float = Field(description="share of its codes that are the same")


class Comparison(_Record):
    """One export beside what it is measured against. Figures are None where nothing was compared; `skipped` says why.

    Where the integer network leaves out a softmax at the end, only predictions are compared.
    """

    name: ComparisonName
    title: str
    meaning: str
    skipped: str | None = None
    images: int = Field(default=0, description="of the split report, from its first on")
    outputs: int = 0
    outputs_equal: int | None = Field(default=None, description="to the bit")
    agreement: float | None = Field(default=None, description="share of predictions (largest output) that are equal")
    max_abs_difference: float | None = Field(default=None, description="of the outputs, over finite values")
    mean_abs_difference: float | None = None
    largest_output: float | None = Field(default=None, description="largest magnitude of what is compared with")
    not_finite: int = Field(default=0, description="outputs that are infinite or NaN in either")
    accuracy: float | None = Field(default=None, description="of the export, on these images")
    accuracy_against: float | None = Field(default=None, description="of what it is compared with, on the same images")
    codes: SiteCodes | None = Field(default=None, description="of the tensors that layers read")
    operand_codes: SiteCodes | None = Field(
        default=None,
        description="of the operands of sums: at 16 bits a step is so fine that one step of a layer's input is many",
    )


class FileSize(_Record):
    """A written file beside the promise of the policy (weights x bits / 8)."""

    name: str
    file_bytes: int
    promised_bytes: float
    note: str = Field(description="what the bytes above the promise are, or why they are fewer")


class ParityReport(_Record):
    """How all exports of one point compare."""

    images: int = Field(description="of the split report")
    comparisons: tuple[Comparison, ...]
    refused: dict[str, str] = Field(description="files that this network has no form for, and why, naming the node")
    files: tuple[FileSize, ...] = ()
    packed: PackedSize | None = Field(default=None, description="where the bytes of the packed file are")
    promised_bytes: float = Field(description="weights x bits / 8")
    onnxruntime_version: str
    graph_optimisation: str
    compiler: str | None = Field(description="None where there was none")

    def comparison(self, name: ComparisonName) -> Comparison:
        """By its name."""
        return next(each for each in self.comparisons if each.name == name)
