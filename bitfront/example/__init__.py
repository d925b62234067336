"""The example: a small residual CNN on scikit-learn's scanned digits, with everything a job needs to run on it.

Origin, licence and how the files were made: `train.py`. Importing this package imports neither torch nor scikit-learn.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

from core.data.preprocessing import Preprocessing
from core.jobs.specification import (
    Constraint,
    JobSpecification,
    QuantizerChoice,
    SearchChoice,
    SensitivityChoice,
    TrainingChoice,
)

EXAMPLE_NAME = "Example: digits"
TARGETS = ("bismo-cloud", "bismo-edge")
_FOLDER = Path(__file__).parent


def example_model_path() -> Path:
    """The trained network, ONNX, batch norm unfolded."""
    return _FOLDER / "digits_resnet.onnx"


def example_dataset_path() -> Path:
    """The images: `train_x, train_y, test_x, test_y`."""
    return _FOLDER / "digits.npz"


def example_preprocessing_path() -> Path:
    """`example_preprocessing` as JSON, in the form that an upload takes."""
    return _FOLDER / "preprocessing.json"


def example_preprocessing() -> Preprocessing:
    """How the network was fed when it was trained."""
    return Preprocessing.model_validate(json.loads(example_preprocessing_path().read_text()))


def example_specification(model_id: UUID | str, dataset_id: UUID | str) -> dict[str, Any]:
    """The example's job, as the body of `POST /jobs`: eight points twice as fast as 8/8 or faster, two epochs each.

    Above half the time of 8/8 this network loses next to nothing, and the order of points would be chance. The first
    and the last layer are searched too: scanned pixels have 17 levels and need no 8 bits. The learning rate is small:
    two epochs are under thirty steps, and at a large rate the noise of training hides what the bits do.
    """
    half = Constraint(metric="latency", target=TARGETS[0], relative_to="uniform-8", at_most=0.5)
    specification = JobSpecification(
        model_id=UUID(str(model_id)),
        dataset_id=UUID(str(dataset_id)),
        name=EXAMPLE_NAME,
        targets=TARGETS,
        quantizer=QuantizerChoice(granularity="channel", first_last="searched"),
        sensitivity=SensitivityChoice(budget_s=5),
        search=SearchChoice(points=8, constraints=(half,)),
        training=TrainingChoice(epochs=2, learning_rate=0.001),
    )
    return specification.model_dump(mode="json")
