"""BRECQ: AdaRound for whole residual blocks, then learned activation steps.

Li et al., "BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction", ICLR 2021,
https://arxiv.org/abs/2102.05426. First the rounding of all the block's weights is learned with activations inside the
block left as they are, so that the block's output changes least; then its activation steps, as in LSQ. Errors can be
weighted by squared gradients (section 3.3).
"""

from __future__ import annotations

from core.calibration.rounding.card import RoundingCard
from core.calibration.rounding.learning import Learning, learn
from core.calibration.rounding.reconstruction import Way, reconstruct
from core.calibration.rounding.report import RoundingReport
from core.calibration.rounding.task import Rounding, RoundingTask
from core.calibration.rounding.units import blocks
from core.calibration.rounding.work import UnitWork
from core.quantizers.base import Passthrough

ITERATIONS = 1000
STEP_SHARE = 4  # activation steps take a quarter of the iterations, as the authors' 5,000 to 20,000

CARD = RoundingCard(
    id="brecq",
    title="BRECQ",
    paper="Li et al., BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction, ICLR 2021",
    link="https://arxiv.org/abs/2102.05426",
    summary="Learns the rounding of all weights of a residual block together, then the steps of its activations. "
    "Better than layer by layer at 4 bits and below.",
    unit="block",
    iterations=ITERATIONS,
    learns_activation_steps=True,
    offers_fisher=True,
    settings="as AdaRound; then activation steps for a quarter of the iterations, Adam 4e-5 at 20,000 iterations, as "
    "much larger as there are fewer, up to 4e-4, cosine",
    reconstruction_notes="20,000 iterations in the paper. Activation steps are learned block by block instead of after "
    "all blocks, so that each block sees what it will read; steps of methods that learn none stay as calibrated. "
    "Blocks are found from the graph. The Fisher information is of the float network's own predictions, so that it "
    "needs no labels, scaled to a mean of 1. Widths and steps are the job's. A block that is worse on held-back images "
    "than rounded to nearest stays nearest.",
)


def apply(task: RoundingTask) -> RoundingReport:
    """Block after block."""
    iterations = task.choice.iterations or ITERATIONS

    def round_weights(work: UnitWork) -> int:
        learn(work, work.network_with(lambda _: Passthrough()), Learning(iterations))
        return iterations

    def learn_steps(work: UnitWork) -> int:
        if not work.learned_steps():
            return 0
        shorter = max(iterations // STEP_SHARE, 1)
        learn(work, work.network_with(lambda quantizer: quantizer), Learning(shorter, rounding=False, steps=True))
        return shorter

    way = Way(blocks, (round_weights, learn_steps), before_quantizers=True, fisher=task.choice.fisher)
    return reconstruct(task, way)


ROUNDING = Rounding(CARD, apply)
