"""AdaRound: each weight is rounded up or down so that its layer's output changes least.

Nagel et al., ICML 2020, https://arxiv.org/abs/2004.10568; the formulas stand in `adaround_formulas`. One layer at a
time, with its batch norm and activation function; activations before it are rounded as they will be.
"""

from __future__ import annotations

from core.calibration.rounding.card import RoundingCard
from core.calibration.rounding.learning import Learning, learn
from core.calibration.rounding.reconstruction import Way, reconstruct
from core.calibration.rounding.report import RoundingReport
from core.calibration.rounding.task import Rounding, RoundingTask
from core.calibration.rounding.units import single_layers
from core.calibration.rounding.work import UnitWork

ITERATIONS = 1000

CARD = RoundingCard(
    id="adaround",
    title="AdaRound",
    paper="Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, ICML 2020",
    link="https://arxiv.org/abs/2004.10568",
    summary="Learns for every weight whether to round up or down, so that the outputs of its layer change least. The "
    "usual first choice below 6 bits.",
    unit="layer",
    iterations=ITERATIONS,
    settings="lambda 0.01, warm-up over a fifth of the iterations, beta from 20 to 2, Adam, batches of 32; learning "
    "rate 1e-3 at 10,000 iterations, as much larger as there are fewer, up to 3e-2",
    reconstruction_notes="The paper takes 10,000 iterations with learning rate 1e-3. Batch norms stay unfolded, and "
    "are part of the layer's output. A layer that is worse than rounded to nearest on held-back images stays nearest.",
)


def apply(task: RoundingTask) -> RoundingReport:
    """Layer after layer."""
    iterations = task.choice.iterations or ITERATIONS

    def tune(work: UnitWork) -> int:
        learn(work, work.network, Learning(iterations))
        return iterations

    return reconstruct(task, Way(single_layers, (tune,), before_quantizers=False))


ROUNDING = Rounding(CARD, apply)
