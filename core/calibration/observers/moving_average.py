"""Moving average of the extremes of batches.

Jacob et al., https://arxiv.org/abs/1712.05877, section 3.1, which smooths the ranges that training sees; here over the
batches of calibration, with MQBench's 0.9 (https://arxiv.org/abs/2111.03759): the first batch is copied, then
m <- 0.9 m + 0.1 extreme of the batch. A weight is one batch.
"""

from __future__ import annotations

from core.calibration.grids import GridKind
from core.calibration.observers.observed import Observed
from core.calibration.observers.observer import Limits, Observer, ObserverCard, ObserverSettings

CARD = ObserverCard(
    id="moving-average",
    title="Moving average",
    paper="Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, "
    "CVPR 2018",
    link="https://arxiv.org/abs/1712.05877",
    summary="Smallest and largest value of each batch, averaged over the batches: 0.9 old, 0.1 new. Depends on how the "
    "images are batched.",
    odd_tensors="A huge value counts a tenth, or wholly where it is in the first batch, and fades with each batch.",
)


def limits(observed: Observed, bits: int, kind: GridKind, settings: ObserverSettings) -> Limits:
    """The averages of the extremes."""
    return observed.moving_minimum, observed.moving_maximum


OBSERVER = Observer(CARD, limits)
