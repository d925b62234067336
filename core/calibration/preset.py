"""The best without training: a short list of treatments is tried on one candidate, and the best is kept.

The judge is the divergence KL(float || candidate) of the predictions on the images of `select`, in nats: it needs no
labels, and on few images it is far less noisy than accuracy. The list begins with what costs least; when the budget is
used up, nothing further is begun.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import Tensor, fx, nn
from torch.nn import functional

from core.calibration.bias_correction import add_missing_biases
from core.calibration.post_training import PostTrainingReport, post_train
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import PostTrainingChoice
from core.jobs.task import Reporter
from core.tasks.classification import evaluating


class Treatment(BaseModel):
    """One of the list: how ranges are found, how weights are rounded, whether the mean shift is taken back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    observer: str
    rounding: str
    bias_correction: Literal["none", "empirical", "analytic"]

    @property
    def words(self) -> str:
        """For a person."""
        correction = "" if self.bias_correction == "none" else f", {self.bias_correction} bias correction"
        return f"{self.observer} ranges, {self.rounding} rounding{correction}"

    def choice(self, asked: PostTrainingChoice) -> PostTrainingChoice:
        """What the job asks for, with this treatment."""
        return asked.model_copy(
            update={"preset": "chosen", "rounding": self.rounding, "bias_correction": self.bias_correction}
        )


TREATMENTS = tuple(
    Treatment(observer=observer, rounding=rounding, bias_correction=correction)
    for observer, rounding, correction in (
        ("mse", "nearest", "none"),
        ("min-max", "nearest", "none"),
        ("mse", "nearest", "empirical"),
        ("min-max", "nearest", "empirical"),
        ("mse", "gptq", "none"),
        ("min-max", "gptq", "none"),
        ("mse", "gpfq", "none"),
        ("mse", "adaround", "none"),
        ("mse", "qdrop", "none"),
    )
)
OBSERVERS = tuple(dict.fromkeys(treatment.observer for treatment in TREATMENTS))


class Tried(BaseModel):
    """What became of one treatment. `divergence` in nats and `agreement` with the float network are on `select`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    treatment: Treatment
    divergence: float | None = Field(description="mean KL(float || candidate); null where it was not tried")
    agreement: float | None = None
    seconds: float = 0.0
    why_not: str = ""
    report: PostTrainingReport | None = None


class PresetReport(BaseModel):
    """The list, and which of it was kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tried: tuple[Tried, ...]
    kept: Treatment
    budget_s: float


Start = Callable[[Treatment], fx.GraphModule]  # the candidate with that treatment's ranges, at nearest levels
Images = Callable[[], Iterator[Tensor]]  # the same batches N, C, H, W float32 at each call, on the network's device


def best_without_training(
    start: Start,
    loaded: LoadedModel,
    images: Images,
    select: Images,
    choice: PostTrainingChoice,
    *,
    seed: int,
    checkpoint_directory: Path,
    reporter: Reporter,
) -> tuple[fx.GraphModule, PresetReport]:
    """The network of the least divergence on `select`, and all that was tried on `images` within `choice.budget_s`.

    What a broken-off run has finished trying is not tried again.
    """
    judge = _Judge(loaded.module, select)

    def attempt(treatment: Treatment, directory: Path) -> Tried:
        started = time.monotonic()
        network = start(treatment)
        report = post_train(
            network, loaded, images, treatment.choice(choice),
            seed=seed, checkpoint_directory=directory, reporter=Silent(reporter),
        )  # fmt: skip
        divergence, agreement = judge(network)
        _save(network, directory)
        return Tried(
            treatment=treatment, divergence=divergence, agreement=agreement, report=report,
            seconds=round(time.monotonic() - started, 2),
        )  # fmt: skip

    tried: list[Tried] = []
    for position, treatment in enumerate(TREATMENTS):
        reporter.progress(position / len(TREATMENTS), f"trying {treatment.words}")
        left_s = choice.budget_s - sum(one.seconds for one in tried)
        tried.append(_once(attempt, treatment, _directory(checkpoint_directory, treatment), left_s))
        reporter.checkpoint(f"treatment-{position}")
    best = min((one for one in tried if one.divergence is not None), key=lambda one: one.divergence or 0.0)
    network = start(best.treatment)
    if best.treatment.bias_correction != "none":
        add_missing_biases(network, loaded.inventory)
    network.load_state_dict(load_file(_weights(_directory(checkpoint_directory, best.treatment))))
    return network, PresetReport(tried=tuple(tried), kept=best.treatment, budget_s=choice.budget_s)


class Silent:
    """What a treatment says of its own progress is not the task's; its checkpoints are."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def progress(self, fraction: float, message: str = "") -> None:
        """Nothing."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Nothing."""

    def checkpoint(self, name: str) -> None:
        """On."""
        self._reporter.checkpoint(name)


class _Judge:
    """Divergence in nats and agreement of a candidate with the float network."""

    def __init__(self, exact: nn.Module, select: Images) -> None:
        self._select = select
        self._expected = _log_probabilities(exact, select())

    def __call__(self, network: nn.Module) -> tuple[float | None, float]:
        found = _log_probabilities(network, self._select())
        divergence = functional.kl_div(found, self._expected, reduction="batchmean", log_target=True).item()
        agreement = (found.argmax(1) == self._expected.argmax(1)).double().mean().item()
        return divergence if math.isfinite(divergence) else None, agreement


def _once(attempt: Callable[[Treatment, Path], Tried], treatment: Treatment, directory: Path, left_s: float) -> Tried:
    record = directory / "tried.json"
    if record.exists():
        return Tried.model_validate_json(record.read_bytes())
    if left_s <= 0:
        return Tried(treatment=treatment, divergence=None, why_not="the budget was used up")
    directory.mkdir(parents=True, exist_ok=True)
    tried = attempt(treatment, directory)
    if tried.divergence is None:
        tried = tried.model_copy(update={"why_not": "its outputs are not finite"})
    part = record.with_suffix(".part")
    part.write_text(tried.model_dump_json(), encoding="utf-8")
    part.replace(record)
    return tried


def _directory(checkpoints: Path, treatment: Treatment) -> Path:
    return checkpoints / f"treatment-{TREATMENTS.index(treatment)}"


def _save(network: nn.Module, directory: Path) -> None:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, _weights(directory))


def _weights(directory: Path) -> Path:
    return directory / "tried.safetensors"


def _log_probabilities(network: nn.Module, images: Iterable[Tensor]) -> Tensor:
    """N, classes float64."""
    with evaluating(network):
        return torch.cat([functional.log_softmax(network(batch).double(), 1) for batch in images])
