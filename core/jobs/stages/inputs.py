"""What a stage reads: the network, the data set, the outputs of earlier stages, opened once per process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.calibration.calibration import Calibration
from core.data.dataset import Dataset, DatasetFile, Split, open_dataset
from core.data.preprocessing import Preprocessing, resolve_preprocessing
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


def _open_dataset(dataset: DatasetInput, preprocessing: Preprocessing, seed: int) -> Dataset:
    """One data set per process stays open: a child serves one job, and its tasks all read the same one."""
    identity = [
        preprocessing.model_dump(),
        seed,
        *((file.sha256 or str(file.path), file.split) for file in dataset.files),
    ]
    key = json.dumps(identity)
    if key not in _open_datasets:
        _open_datasets.clear()
        _open_datasets[key] = open_dataset(dataset_files(dataset), preprocessing, seed=seed)
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
        """The float network that is quantized: from calibration on with the batch norms that the job puts in."""
        if not self._awaits_norms and self.specification.quantizer.insert_normalisation:
            return insert_normalisation(self.uploaded, self.output_statistics)
        return self.uploaded

    @cached_property
    def inventory(self) -> Inventory:
        """Layers of the network that is quantized. Norms that the job puts in are named before they are measured."""
        return insert_normalisation(self.uploaded).inventory if self._awaits_norms else self.loaded.inventory

    @property
    def _awaits_norms(self) -> bool:
        """Norms are put in once calibration has measured what they stand for."""
        return self.specification.quantizer.insert_normalisation and "calibrate" not in self.task.upstream

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
        """The data set with its three splits."""
        if self.task.dataset is None:
            raise InvalidInput("the task has no data set")
        return _open_dataset(self.task.dataset, self.preprocessing, self.specification.seed)

    def split(self, name: str) -> Split:
        """One of train, select, report."""
        return self.dataset.splits[name]

    def batches(
        self, split: str, samples: int | None = None, batch_size: int = EVALUATION_BATCH
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images N, C, H, W float32 and labels N int64; `samples` of them drawn by the job's seed, or all in order."""
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

    @cached_property
    def policy(self) -> Policy | None:
        """The policy in this task's slot; None where the search left it empty."""
        if self.task.point is None:
            return None
        policy = policy_in_slot(self.result("search"), self.task.point)
        return None if policy is None else Policy.model_validate(policy)
