"""What a strategy that trains gets besides the problem. No torch at import: cards are read without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.jobs.specification import QuantizerChoice

if TYPE_CHECKING:
    from core.calibration.calibration import Calibration
    from core.graph.loaded_model import LoadedModel
    from core.training.batches import Images


@dataclass(frozen=True)
class TrainableNetwork:
    """The float network on its device, its calibration, the images of the train split, and the job's quantizer.

    `loaded` is never changed: a search trains a copy, and keeps none of its weights.
    """

    loaded: LoadedModel
    calibration: Calibration
    train: Images
    quantizer: QuantizerChoice
