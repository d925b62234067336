"""QDrop: BRECQ's blocks, with the rounding learned while activations are quantized, some of them.

Wei et al., "QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training Quantization", ICLR 2022,
https://arxiv.org/abs/2203.05740. Each element of each activation in the block is quantized with probability 1/2, and
so is what the block reads: an element of the rounded network's tensor or of the float one's. Activation steps are
learned at the same time. Nothing is dropped when the block is judged, or afterwards.
"""

from __future__ import annotations

from core.calibration.rounding.card import RoundingCard
from core.calibration.rounding.learning import Learning, Masks, SometimesQuantized, learn
from core.calibration.rounding.reconstruction import Way, reconstruct
from core.calibration.rounding.report import RoundingReport
from core.calibration.rounding.task import Rounding, RoundingTask
from core.calibration.rounding.units import blocks
from core.calibration.rounding.work import UnitWork

ITERATIONS = 1000
SHARE = 0.5  # of the elements that are quantized

CARD = RoundingCard(
    id="qdrop",
    title="QDrop",
    paper="Wei et al., QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training Quantization, "
    "ICLR 2022",
    link="https://arxiv.org/abs/2203.05740",
    summary="Like BRECQ, but weights are rounded in view of activations that are quantized now and then. Strongest "
    "where activations have few bits too.",
    unit="block",
    iterations=ITERATIONS,
    learns_activation_steps=True,
    offers_fisher=True,
    settings="as AdaRound; each element quantized with probability 0.5; activation steps at the same time, Adam 4e-5 "
    "at 20,000 iterations, as much larger as there are fewer, up to 4e-4, cosine",
    reconstruction_notes="20,000 iterations in the paper. Steps of methods that learn none stay as calibrated. "
    "Activations of 16 bits are never dropped nor quantized while learning. Blocks are found from the graph. A block "
    "that is worse on held-back images than rounded to nearest stays nearest, and keeps its steps.",
)


def apply(task: RoundingTask) -> RoundingReport:
    """Block after block."""
    iterations = task.choice.iterations or ITERATIONS

    def tune(work: UnitWork) -> int:
        masks = Masks(SHARE, work.generator)
        network = work.network_with(lambda quantizer: SometimesQuantized(quantizer, masks))
        learn(work, network, Learning(iterations, steps=True, masks=masks))
        return iterations

    way = Way(blocks, (tune,), before_quantizers=True, reads_exact_inputs=True, fisher=task.choice.fisher)
    return reconstruct(task, way)


ROUNDING = Rounding(CARD, apply)
