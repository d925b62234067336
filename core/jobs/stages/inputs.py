"""What a stage reads: the network, the data set, the outputs of earlier stages, opened once per process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.calibration.calibration import Calibration
from core.calibration.preparation import PreparationMeasurements, prepare, prepares
from core.data.dataset import Dataset, DatasetFile, Split, open_dataset
from core.data.preprocessing import Preprocessing, resolve_preprocessing
from core.data.soft_labels import Labeller
from core.data.synthetic.archive import IMAGES_FILE, open_synthetic
from core.errors import InvalidInput
from core.graph.insert_normalisation import ChannelStatistics, insert_normalisation
from core.graph.inventory import Inventory
from core.graph.load import load_model
from core.graph.loaded_model import LoadedModel
from core.jobs.plan import policy_in_slot
from core.jobs.specification import JobSpecification
from core.jobs.task import RESULT_FILE, DatasetInput, TaskInput
from core.policy import Policy

EVALUATION_BATCH = 256


def dataset_files(dataset: DatasetInput) -> list[DatasetFile]:
    """The files of a data set as its reader wants them."""
    return [DatasetFile(path=file.path, filename=file.filename, split=file.split) for file in dataset.files]


@lru_cache(maxsize=2)
def _load_model(path: Path, architecture: str | None, sha256: str) -> LoadedModel:
    return load_model(path, architecture)


_open_datasets: dict[str, Dataset] = {}


def _open_dataset(
    dataset: DatasetInput, preprocessing: Preprocessing, seed: int, model_sha256: str, labeller: Labeller
) -> Dataset:
    """One data set per process stays open: a child serves one job, and its tasks all read the same one."""
    identity = [
        preprocessing.model_dump(),
        seed,
        model_sha256,
        *((file.sha256 or str(file.path), file.split) for file in dataset.files),
    ]
    key = json.dumps(identity)
    if key not in _open_datasets:
        _open_datasets.clear()
        _open_datasets[key] = open_dataset(dataset_files(dataset), preprocessing, seed=seed)
        _open_datasets[key].label_with(labeller)
    return _open_datasets[key]


class StageInputs:
    """A task with everything it may read. Properties open on first use."""

    def __init__(self, task: TaskInput, specification: JobSpecification) -> None:
        self.task = task
        self.specification = specification
        self.device = torch.device(task.device)

    @cached_property
    def uploaded(self) -> LoadedModel:
        """The float network as it was uploaded, on the task's device. Never changed: whoever quantizes takes a copy."""
        if self.task.model is None:
            raise InvalidInput("the task has no model")
        model = self.task.model
        path = model.path if not model.sha256 else model.path.resolve()
        loaded = _load_model(path, model.architecture, model.sha256)
        loaded.module.to(self.device)
        return loaded

    @cached_property
    def loaded(self) -> LoadedModel:
        """The float network that is quantized: from calibration on prepared, and with the batch norms that the job puts
        in."""
        if self._changes and "calibrate" in self.task.upstream:
            return self._changed(self.preparation, self.output_statistics)
        return self.uploaded

    @cached_property
    def inventory(self) -> Inventory:
        """Layers of the network that is quantized. What the job changes is named before it is measured."""
        if self._changes and "calibrate" not in self.task.upstream:
            return self._changed(None, None).inventory
        return self.loaded.inventory

    @property
    def _changes(self) -> bool:
        """Whether the network that is quantized is another than the uploaded one."""
        return self.specification.quantizer.insert_normalisation or prepares(self.specification.post_training)

    def _changed(
        self, preparation: PreparationMeasurements | None, statistics: dict[str, ChannelStatistics] | None
    ) -> LoadedModel:
        loaded = prepare(self.uploaded, self.specification.post_training, preparation)
        if self.specification.quantizer.insert_normalisation:
            loaded = insert_normalisation(loaded, statistics)
        return loaded

    @property
    def preparation(self) -> PreparationMeasurements | None:
        """What calibration measured before the network was prepared."""
        measured = self.result("calibrate")["preparation"]
        return None if measured is None else PreparationMeasurements.model_validate(measured)

    @property
    def output_statistics(self) -> dict[str, ChannelStatistics]:
        """What calibration measured behind the layers that get a norm."""
        measured = self.result("calibrate")["output_statistics"]
        return {name: ChannelStatistics.model_validate(each) for name, each in measured.items()}

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The network's own, else the data set's, else pixels over 255 in the channels that the network reads."""
        model = self.task.model.preprocessing if self.task.model else None
        dataset = self.task.dataset.preprocessing if self.task.dataset else None
        return resolve_preprocessing(model, dataset, self.inventory.input_shape)

    @cached_property
    def dataset(self) -> Dataset:
        """The data set with its three splits; without one, the images that were made. What came without labels gets
        the float network's probabilities.
        """
        if self.task.dataset is not None:
            sha256 = self.task.model.sha256 if self.task.model else ""
            return _open_dataset(
                self.task.dataset, self.preprocessing, self.specification.seed, sha256, self._probabilities
            )
        if "synthesize" not in self.task.upstream:
            raise InvalidInput("the task has no data set")
        title = self.result("synthesize")["synthesis"]["title"]
        dataset = open_synthetic(self.path("synthesize", IMAGES_FILE), self.preprocessing, title)
        dataset.label_with(self._probabilities)
        return dataset

    def _probabilities(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the uploaded network says of inputs N, C, H, W: N, classes."""
        with torch.inference_mode():
            scores: Tensor = self.uploaded.module(torch.from_numpy(x).to(self.device))
        found: NDArray[np.float32] = scores.float().softmax(1).cpu().numpy()
        return found

    def split(self, name: str) -> Split:
        """One of train, select, report."""
        return self.dataset.splits[name]

    def batches(
        self, split: str, samples: int | None = None, batch_size: int = EVALUATION_BATCH
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images N, C, H, W float32 and labels, N int64 or N, classes float32; `samples` of them drawn by the job's
        seed, or all in order.
        """
        source = self.split(split)
        indices = None
        if samples is not None and samples < len(source):
            generator = np.random.default_rng(self.specification.seed)
            indices = np.sort(generator.choice(len(source), samples, replace=False))
        for images, labels in source.batches(batch_size, indices):
            yield torch.from_numpy(images).to(self.device), torch.from_numpy(labels).to(self.device)

    def result(self, stage: str) -> dict[str, Any]:
        """The JSON result of an earlier stage."""
        result: dict[str, Any] = json.loads(self.path(stage, RESULT_FILE).read_text(encoding="utf-8"))
        return result

    def path(self, stage: str, name: str) -> Path:
        """A file of an earlier stage's output."""
        return self.task.upstream[stage] / name

    @cached_property
    def calibration(self) -> Calibration:
        """Activation ranges of every site at every width."""
        return Calibration.model_validate(self.result("calibrate")["calibration"])

    def calibration_by(self, observer: str) -> Calibration:
        """The ranges that another observer found, where the job's preset tries it."""
        others = self.result("calibrate")["calibrations"]
        return Calibration.model_validate(others[observer]) if observer in others else self.calibration

    @cached_property
    def policy(self) -> Policy | None:
        """The policy in this task's slot; None where the search left it empty."""
        if self.task.point is None:
            return None
        policy = policy_in_slot(self.result("search"), self.task.point)
        return None if policy is None else Policy.model_validate(policy)
