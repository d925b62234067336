"""A real network on real images, where the data folder lies beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.data.dataset import DatasetFile, open_dataset
from core.data.preprocessing import Preprocessing
from core.graph.load import load_model
from core.jobs.specification import QuantizerChoice
from core.search.uniform import uniform_policy
from core.tasks.classification import evaluate

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10"
LIKE_CIFAR = Preprocessing(scale=255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs shared/data beside the repository"),
]


def test_eight_bits_after_calibration_are_within_half_a_point_and_four_within_three() -> None:
    """On 500 images, calibrated with 100: a fifth of what a job takes."""
    loaded = load_model(DATA / "cifar10_resnet20.safetensors", "resnet20")
    files = [DatasetFile(DATA / "train.npz", split="train"), DatasetFile(DATA / "test500.npz", split="report")]
    splits = open_dataset(files, LIKE_CIFAR).splits
    report = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in splits["report"].batches(256)]
    images = torch.from_numpy(next(splits["train"].batches(100))[0])
    calibration = calibrate(loaded, [images])
    exact = evaluate(loaded.module, report).accuracy
    for bits, goal in ((8, 0.005), (4, 0.03)):
        policy = uniform_policy(loaded.inventory.layers, bits)
        model = quantize(loaded, policy, calibration, QuantizerChoice(method="lsq"))
        assert evaluate(model, report).accuracy >= exact - goal
