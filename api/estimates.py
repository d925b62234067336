"""How far a job is, and how long it will still take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.store.repositories.stages import StageSum

# Shares of a job's time, for the progress bar only: roughly what stages take on a small network, per task.
_WEIGHTS = {
    "traces": 10.0,
    "sensitivity": 10.0,
    "synthesize": 30.0,
    "calibrate": 3.0,
    "joint": 30.0,
    "finetune": 8.0,
    "costs": 0.5,
    "report": 0.5,
}
_BRIEF_S = {
    "inspect": 2.0,
    "calibrate": 5.0,
    "costs": 1.0,
    "search": 2.0,
    "evaluate": 2.0,
    "export": 2.0,
    "report": 1.0,
}
_TRUSTED_PROGRESS = 0.05


def stage_progress(stage: StageSum) -> float:
    """Share of the stage's tasks that have ended, with the running ones in part."""
    ended = stage.succeeded + stage.failed + stage.cancelled
    return min(1.0, (ended + stage.running_progress) / stage.total)


def job_progress(stages: Sequence[StageSum]) -> float:
    """Weighted share of all stages, 0 to 1."""
    weights = [_WEIGHTS.get(stage.stage, 1.0) * stage.total for stage in stages]
    done = sum(weight * stage_progress(stage) for weight, stage in zip(weights, stages, strict=True))
    return done / sum(weights) if weights else 0.0


def remaining_s(stages: Sequence[StageSum], earlier: Mapping[str, float], workers: int) -> float | None:
    """Estimated seconds to the end; None while a long stage is ahead of which nothing is known.

    A task takes as long as the mean of its stage's finished ones, else as its running ones project, else as in an
    earlier job on the same model and data. Points run side by side on as many workers as run now.
    """
    alone = side_by_side = 0.0
    for stage in stages:
        seconds = _stage_remaining_s(stage, earlier)
        if seconds is None:
            return None
        if stage.pointwise:
            side_by_side += seconds
        else:
            alone += seconds
    parallel = sum(stage.running for stage in stages if stage.pointwise) or workers
    return alone + side_by_side / parallel


def _stage_remaining_s(stage: StageSum, earlier: Mapping[str, float]) -> float | None:
    open_tasks = stage.waiting + stage.queued + stage.running
    if open_tasks == 0:
        return 0.0
    each = _task_s(stage, earlier)
    if each is None:
        return None
    begun = min(stage.running_elapsed_s, stage.running * each)
    return open_tasks * each - begun


def _task_s(stage: StageSum, earlier: Mapping[str, float]) -> float | None:
    if stage.mean_s is not None:
        return stage.mean_s
    if stage.running and stage.running_progress >= _TRUSTED_PROGRESS * stage.running:
        return stage.running_elapsed_s / stage.running_progress
    return earlier.get(stage.stage, _BRIEF_S.get(stage.stage))
