"""Every weight to the nearest level: what quantizers do by themselves."""

from __future__ import annotations

from core.calibration.rounding.card import RoundingCard
from core.calibration.rounding.report import RoundingReport
from core.calibration.rounding.task import Rounding, RoundingTask

CARD = RoundingCard(
    id="nearest",
    title="Nearest",
    paper="Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only "
    "Inference, CVPR 2018",
    link="https://arxiv.org/abs/1712.05877",
    summary="Every weight goes to its nearest level. Takes no time, works with every method, and is enough from about "
    "6 bits on.",
    unit="weight",
    uses_images=False,
    one_bit="the sign of the weight",
    reconstruction=False,
)


def apply(task: RoundingTask) -> RoundingReport:
    """Nothing to do."""
    return RoundingReport(rounding=CARD.id, images=0, held_back=0)


ROUNDING = Rounding(CARD, apply)
