"""The learning rate as a pure function of progress: nothing has to be remembered, so any moment can be resumed.

With p the share of the training that is done, w the share that warms up, and f the factor on the learning rate:

    warm-up (Goyal et al., https://arxiv.org/abs/1706.02677, section 2.2)      f = p / w                    where p < w
    cosine  (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, eq. 5)   f = (1 + cos(pi (p - w) / (1 - w))) / 2
    step    (He et al., https://arxiv.org/abs/1512.03385, section 4.2)         f = step_factor ^ (milestones passed)
    constant                                                                   f = 1
"""

from __future__ import annotations

import math

from core.jobs.specification import TrainingChoice


def rate_factor(choice: TrainingChoice, progress: float) -> float:
    """What the learning rate is multiplied by when `progress`, from 0 to 1, is done.

    A training in stages runs through the schedule once in each stage; warm-up keeps its share of it.
    """
    warm_up = min(choice.warmup_epochs / choice.epochs, 1.0)
    if progress < warm_up:
        return progress / warm_up
    if choice.schedule == "constant":
        return 1.0
    if choice.schedule == "step":
        factor: float = choice.step_factor ** sum(progress >= milestone for milestone in choice.milestones)
        return factor
    remaining = (progress - warm_up) / (1 - warm_up) if warm_up < 1 else 1.0
    return 0.5 * (1 + math.cos(math.pi * remaining))
