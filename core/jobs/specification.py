"""What a job is: data, never code or a path. Every part has a default; unknown fields are refused."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from core.hardware.target import Target
from core.hardware.targets import load_targets
from core.policy import Policy

Bits = Annotated[int, Field(ge=1, le=8)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BitRanges(_Part):
    """Widths the search may choose from."""

    weights: tuple[Bits, ...] = Field(
        default=(2, 3, 4, 5, 6, 7, 8), min_length=1, description="widths the weights of a layer may get"
    )
    activations: tuple[Bits, ...] = Field(
        default=(2, 3, 4, 5, 6, 7, 8), min_length=1, description="widths the tensor a layer reads may get"
    )
    same: bool = Field(
        default=False, description="weights and activations of a layer get the same width, as in HAWQ-V3"
    )
    kernel_groups: int = Field(
        default=1,
        ge=1,
        le=256,
        description="groups of a layer's output channels whose weights may have widths of their own; needs "
        "sensitivity.per_channel",
    )


class Pin(_Part):
    """A layer whose bits are fixed by hand; None leaves that side to the search. 32 means float."""

    weights: Literal[1, 2, 3, 4, 5, 6, 7, 8, 32] | None = None
    activations: Literal[1, 2, 3, 4, 5, 6, 7, 8, 32] | None = None


class QuantizerChoice(_Part):
    """The method that fake-quantizes, and what happens to the first and the last layer."""

    method: Name = Field(
        default="lsq",
        description="how weights and activations are rounded, and how the steps between levels are learned",
    )
    granularity: Literal["finest", "tensor", "channel"] = Field(
        default="finest",
        description="one step size for each output channel of a layer, or one for the layer; finest: what the method "
        "offers and the targets support, recorded in the job as what it came to",
    )
    first_last: Literal["8/8", "float", "searched"] = Field(
        default="8/8", description="what the first and the last layer get; 8 bits is the usual convention"
    )
    residual_bits: Literal[8, 16] = Field(
        default=16,
        description="width of the operands of additions in residual networks: 16 keeps them exact, "
        "with 8 onnxruntime runs the convolutions around them in integers, about three times as fast",
    )
    settings: dict[Name, bool | int | float | str] = Field(
        default_factory=dict, max_length=50, description="what the method itself lets you set; see its card"
    )
    scale_adjustment: bool | None = Field(
        default=None,
        description="SAT's rescaling of layers without a batch norm behind them; null leaves it to the method",
    )
    insert_normalisation: bool = Field(
        default=False,
        description="put a batch norm, which changes nothing at first, behind layers that came without one",
    )


class SyntheticChoice(_Part):
    """Images for a job without data, made from the network itself."""

    source: Name = Field(
        default="distilled", description="where images come from: distilled, learned by a generator, or noise"
    )
    images: int = Field(
        default=32, ge=32, le=4096, description="images that ranges are taken from and that training sees"
    )
    held_out: int = Field(
        default=64, ge=16, le=4096, description="further images to choose by, and as many again to report on"
    )
    iterations: int = Field(
        default=500, ge=1, le=100_000, description="steps in which each batch of 32 images, or the generator, improves"
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the noise that images begin with")


class CalibrationChoice(_Part):
    """How activation ranges are found."""

    observer: Name = Field(default="mse", description="how the range of each tensor is found before any training")
    settings: dict[Name, bool | int | float | str] = Field(
        default_factory=dict, max_length=50, description="what the observer itself lets you set; see its card"
    )
    samples: int = Field(
        default=512, ge=1, le=100_000, description="images of the train split the ranges are taken from"
    )


class PostTrainingChoice(_Part):
    """What is done to a network without training it: before its ranges are taken, and to every candidate after."""

    preset: Literal["chosen", "best"] = Field(
        default="chosen",
        description="chosen: what stands below; best: a short list is tried for each candidate, the best kept",
    )
    budget_s: float = Field(
        default=120.0, gt=0, le=86_400, description="seconds for one candidate that the preset best tries its list in"
    )
    equalization: bool = Field(
        default=False,
        description="even out the ranges of channels across layers, which changes nothing in float; batch norms are "
        "folded for it",
    )
    bias_absorption: bool = Field(
        default=False, description="move what a ReLU always lets through into the next layer's bias; with equalization"
    )
    weight_splitting: float = Field(
        default=0.0, ge=0, le=0.5, description="share of a layer's input channels to split where weights are largest"
    )
    activation_splitting: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="share of a layer's input channels to split where activations are largest",
    )
    rounding: Name = Field(
        default="nearest", description="how weights are rounded: to the nearest level, or so that outputs change least"
    )
    iterations: int | None = Field(
        default=None, ge=1, le=1_000_000, description="steps of learned rounding for each layer or block; null: its own"
    )
    fisher: bool = Field(
        default=False, description="weight a block's error by the squared gradient of the loss, as BRECQ offers"
    )
    bias_correction: Literal["none", "empirical", "analytic"] = Field(
        default="none",
        description="take back the mean shift of each channel that rounding caused: measured on images, or computed "
        "from batch norms",
    )
    samples: int = Field(
        default=512, ge=1, le=100_000, description="images of the train split that rounding and correction see"
    )

    @model_validator(mode="after")
    def _absorbs_after_equalizing(self) -> PostTrainingChoice:
        if self.bias_absorption and not self.equalization:
            raise ValueError("bias absorption follows equalization; turn on both, or neither")
        return self


class SensitivityChoice(_Part):
    """How the loss of fewer bits is predicted."""

    metric: Name = Field(default="hessian-trace", description="how the loss of fewer bits in a layer is predicted")
    budget_s: float = Field(
        default=30.0,
        gt=0,
        le=86_400,
        description="seconds after which the measuring of sensitivity stops, with what it has by then; traces have as "
        "many of their own",
    )
    samples: int = Field(default=256, ge=8, le=100_000, description="images sensitivity is measured on")
    activations: Literal["measured", "metric"] = Field(
        default="measured",
        description="what judges the tensors that layers read: the loss with one of them rounded at a time, or the "
        "metric itself",
    )
    per_channel: bool = Field(
        default=False, description="also the loss of each output channel of a layer, for bits of kernels"
    )
    mask_share: float = Field(
        default=0.5, gt=0, lt=1, description="share of a layer's weights that the mask-guided metric sets to 0"
    )
    compare: tuple[Name, ...] = Field(
        default=(),
        max_length=16,
        description="further metrics, each with the same budget, to see which ranks this network's layers as the "
        "measured loss does",
    )


class Constraint(_Part):
    """`metric` of the whole network at most `at_most`: relative to a baseline, or absolute with a unit."""

    metric: Literal[
        "latency",
        "energy",
        "size",
        "bit-operations",
        "average-weight-bits",
        "average-activation-bits",
        "activation-memory",
    ] = Field(
        description="sums over the layers, but for activation-memory: the most that one layer's input and output take"
    )
    target: Name | None = Field(default=None, description="needed for latency and energy")
    relative_to: Literal["uniform-8", "uniform-6", "uniform-5", "uniform-4", "uniform-3", "uniform-2"] | None = None
    at_most: float = Field(gt=0)
    unit: Literal["s", "ms", "us", "J", "mJ", "uJ", "B", "kB", "MB", "KiB", "MiB", "bits", "GBOP", "1"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Constraint:
        if self.metric in ("latency", "energy") and self.target is None:
            raise ValueError(f"a constraint on {self.metric} must name its target")
        if self.relative_to is None and self.unit is None:
            raise ValueError("give relative_to, or a unit for an absolute at_most")
        if self.relative_to is not None and self.unit not in (None, "1"):
            raise ValueError("at_most relative to a baseline is a ratio and has no unit")
        return self


class SearchChoice(_Part):
    """How policies are chosen, and how many."""

    strategy: Name = Field(
        default="exact", description="how policies are chosen; exact proves each point optimal for the predicted loss"
    )
    settings: dict[Name, bool | int | float | str] = Field(
        default_factory=dict, max_length=64, description="of the strategy; see its card for names and ranges"
    )
    evaluations: int = Field(
        default=5000,
        ge=1,
        le=10_000_000,
        description="different policies that a strategy may ask about, all points together; exact ones ask about none",
    )
    evaluate_by: Literal["predicted", "accuracy"] = Field(
        default="predicted",
        description="what a strategy is told of a policy: its predicted loss, or its accuracy after calibration on the "
        "select split, which takes a pass over it for each policy",
    )
    compare: tuple[Name, ...] = Field(
        default=(),
        max_length=16,
        description="further strategies that search the same, with the same seed, budgets and evaluations and their "
        "own defaults; their fronts are told beside the chosen one's, and not evaluated",
    )
    constraints: tuple[Constraint, ...] = Field(
        default=(), max_length=16, description="limits every point keeps; none means the whole front"
    )
    points: int = Field(
        default=8, ge=1, le=64, description="how many policies the front is made of, spread along the budget"
    )
    axis: Literal["latency", "energy", "size", "bit-operations"] = Field(
        default="latency", description="the budget along which the points are spread, on the first target"
    )


class TrainingChoice(_Part):
    """Quantization-aware training of every point and baseline: a recipe whose parts can be combined."""

    epochs: int = Field(default=3, ge=1, le=1000, description="passes over the train split for each candidate")
    batch_size: int = Field(
        default=64, ge=1, le=4096, description="images in one step; at least 2, batch norm needs a spread"
    )
    optimiser: Literal["sgd", "adam"] = Field(default="sgd", description="sgd is with Nesterov momentum")
    learning_rate: float = Field(default=0.01, gt=0, le=10, description="of the weights, at the start")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd, and the first moment's decay of adam")
    weight_decay: float = Field(default=1e-4, ge=0, le=1, description="pull of the weights towards zero")
    quantizer_rate: float = Field(
        default=0.1, ge=0, le=10, description="learning rate of steps, ranges and the like, as a share of the weights'"
    )
    quantizer_weight_decay: float = Field(
        default=0.0, ge=0, le=1, description="pull of what quantizers learn towards zero, as PACT's papers use on alpha"
    )
    schedule: Literal["cosine", "step", "constant"] = Field(
        default="cosine", description="how the learning rate falls: smoothly to zero, in steps, or not at all"
    )
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.5, 0.75), max_length=20, description="shares of the training after which a step schedule steps down"
    )
    step_factor: float = Field(default=0.1, gt=0, lt=1, description="what one step multiplies the learning rate by")
    warmup_epochs: float = Field(
        default=0.0, ge=0, le=100, description="epochs in which the learning rate rises from zero, before the schedule"
    )
    gradient_clip: float | None = Field(
        default=5.0, gt=0, le=1e6, description="largest norm of all gradients together; null for no limit"
    )
    distillation: bool = Field(
        default=True, description="learn from the outputs of the float network as well as from the labels"
    )
    distillation_share: float = Field(
        default=0.9, gt=0, le=1, description="of the loss that comes from the float network's outputs"
    )
    temperature: float = Field(default=4.0, gt=0, le=100, description="softens the outputs that distillation compares")
    augmentation: Literal["none", "flip-crop"] = Field(
        default="none",
        description="flip-crop mirrors and shifts images; leave it off where mirroring changes the class",
    )
    progressive_bits: tuple[Bits, ...] = Field(
        default=(),
        max_length=8,
        description="widths to pass on the way down, falling, an equal share of the epochs each: QIL's 5, 4, 3",
    )
    block_order: Literal["together", "most-sensitive-first"] = Field(
        default="together",
        description="quantize all blocks at once, or one after the other from the most sensitive on, as HAWQ does",
    )
    batch_norm: Literal["trained", "frozen"] = Field(
        default="trained",
        description="frozen keeps the statistics of batch norms as they are, as detectors quantized in small batches "
        "need (FQN); their scale and shift train on",
    )
    batch_norm_batches: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="batches of the train split from which batch-norm statistics are measured anew after training",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="bfloat16 computes convolutions and products in half the bits while training"
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="which network a training ends with: the best on select, the calibrated one included, or the "
        "last, as papers report; last where the float network was trained on the images of select",
    )
    patience: int | None = Field(
        default=None, ge=1, le=1000, description="epochs without a better select accuracy after which training stops"
    )

    @field_validator("batch_size")
    @classmethod
    def _with_a_spread(cls, value: int) -> int:
        if value == 1:
            raise ValueError("a batch of one image has no spread to normalise with; choose a batch size of 2 or more")
        return value

    @field_validator("progressive_bits")
    @classmethod
    def _falling(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value), reverse=True):
            raise ValueError("the widths must fall, for example 5, 4, 3")
        return value

    @field_validator("milestones")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("the shares must rise, for example 0.5, 0.75")
        return value


class JobSpecification(_Part):
    """The body of `POST /jobs`."""

    model_id: UUID
    dataset_id: UUID | None = Field(description="null for a job without data: images are made from the network itself")
    name: str = Field(default="", max_length=200, description="what to call the job")
    targets: tuple[Name, ...] = Field(
        default=("bismo-cloud",),
        min_length=1,
        max_length=16,
        description="hardware that latency and energy are counted on; points are spread by the first",
    )
    own_targets: dict[Name, Target] = Field(
        default_factory=dict,
        max_length=16,
        description="those among the targets that do not ship, by id, as they were when the job was sent; own targets "
        "that are kept are filled in",
    )
    bits: BitRanges = BitRanges()
    pins: dict[Name, Pin] = Field(
        default_factory=dict, max_length=10_000, description="layers whose bits are fixed by hand"
    )
    ties: tuple[Annotated[tuple[Name, ...], Field(min_length=2)], ...] = Field(
        default=(),
        max_length=10_000,
        description="layers that share both of their widths, besides those that read one tensor and share its width",
    )
    synthetic: SyntheticChoice = SyntheticChoice()
    quantizer: QuantizerChoice = QuantizerChoice()
    calibration: CalibrationChoice = CalibrationChoice()
    post_training: PostTrainingChoice = PostTrainingChoice()
    sensitivity: SensitivityChoice = SensitivityChoice()
    search: SearchChoice = SearchChoice()
    training: TrainingChoice | None = TrainingChoice()
    policies: tuple[Policy, ...] = Field(
        default=(), max_length=64, description="own policies, evaluated beside the front"
    )
    seed: int = Field(
        default=0, ge=0, lt=2**31, description="of everything that is drawn: splits, samples, probes, training order"
    )

    @field_validator("own_targets")
    @classmethod
    def _by_their_ids(cls, value: dict[str, Target]) -> dict[str, Target]:
        for name, target in value.items():
            if name != target.id:
                raise ValueError(f"the target under {name!r:.100} calls itself {target.id!r}; write one of them twice")
        return value

    def known_targets(self) -> dict[str, Target]:
        """What may be named in `targets`, by id: what ships, and what this job brings along."""
        return {**load_targets(), **self.own_targets}
