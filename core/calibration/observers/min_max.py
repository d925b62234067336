"""Min-max: the whole range, so that nothing is clipped.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018,
https://arxiv.org/abs/1712.05877, section 3.
"""

from __future__ import annotations

from core.calibration.grids import GridKind
from core.calibration.observers.observed import Observed
from core.calibration.observers.observer import Limits, Observer, ObserverCard, ObserverSettings

CARD = ObserverCard(
    id="min-max",
    title="Min-max",
    paper="Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, "
    "CVPR 2018",
    link="https://arxiv.org/abs/1712.05877",
    summary="The whole range; nothing is clipped.",
    odd_tensors="One huge value makes every step wide.",
)


def limits(observed: Observed, bits: int, kind: GridKind, settings: ObserverSettings) -> Limits:
    """The extremes."""
    return observed.minimum, observed.maximum


OBSERVER = Observer(CARD, limits)
