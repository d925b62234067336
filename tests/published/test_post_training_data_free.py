"""Without any data, on ResNet-20: what is cheap of `benchmarks/data_free.py`.

ZeroQ (https://arxiv.org/abs/2001.00281) and OHQ (https://arxiv.org/abs/2309.01945) calibrate 8/8 on distilled images
with next to no loss. The whole comparison takes minutes and stands in docs/results/data_free.md.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import cifar
from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.data.synthetic.card import Request
from core.data.synthetic.distilled import make
from core.data.synthetic.input_range import input_range
from core.data.synthetic.range_noise import chance, gaussian
from core.data.synthetic.statistics import BatchNormStatistics
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.search.uniform import uniform_policy
from core.tasks.classification import evaluate

FOLDER = cifar.BESIDE / "cifar10"
IMAGES, ITERATIONS, MEASURED = 16, 60, 200
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"CIFAR-10 and ResNet-20 are not in {FOLDER}")


@pytest.fixture(scope="module")
def network() -> LoadedModel:
    return cifar.network(FOLDER)


@pytest.fixture(scope="module")
def distilled(network: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """Fewer images and steps than a job makes."""
    return make(
        Request(
            network=copy.deepcopy(network.module).eval().requires_grad_(False), classes=10, input_shape=(3, 32, 32),
            input_range=input_range(cifar.LIKE_CIFAR, 3), counts={"train": IMAGES}, iterations=ITERATIONS, seed=0,
            checkpoints=tmp_path_factory.mktemp("checkpoints"), device=torch.device("cpu"), tell=lambda _, __: None,
        )
    )["train"]  # fmt: skip


def statistics_loss(network: LoadedModel, images: Tensor) -> float:
    with torch.no_grad():
        return float(BatchNormStatistics(copy.deepcopy(network.module).eval()).run(images)[1])


def test_distilled_images_are_at_least_20_times_closer_to_the_batch_norms_than_noise(
    network: LoadedModel, distilled: Tensor
) -> None:
    noise = gaussian(distilled.shape, input_range(cifar.LIKE_CIFAR, 3), chance(0, 9))
    assert statistics_loss(network, distilled) < statistics_loss(network, noise) / 20


def test_without_data_eight_bits_lose_next_to_nothing(network: LoadedModel, distilled: Tensor) -> None:
    """On 200 of the test images, where one image is half a point: at most three answers more are wrong."""
    report = cifar.dataset(FOLDER).splits["report"]
    images, labels = next(report.batches(MEASURED))
    batch = [(torch.from_numpy(images), torch.from_numpy(labels))]
    policy = uniform_policy(network.inventory.layers, 8)
    model = quantize(network, policy, calibrate(network, [distilled]), QuantizerChoice())
    lost = evaluate(network.module, batch).accuracy - evaluate(model, batch).accuracy
    assert lost <= 3 / MEASURED


def test_the_page_of_results_meets_every_goal() -> None:
    page = (Path(__file__).parents[2] / "docs" / "results" / "data_free.md").read_text(encoding="utf-8")
    assert "6/6 without data" in page
    assert "(missed)" not in page
