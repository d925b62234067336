"""A data set: one or more uploaded files, opened together, in three splits, streamed as network inputs.

Images may come without labels. Then labels are probabilities, those of a network that `label_with` names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.arrays import read_npz
from core.data.file_kind import sniff_dataset_file
from core.data.limits import DEFAULT_LIMITS, Limits
from core.data.part import SPLIT_NAMES, SPLITS, UNASSIGNED, Part
from core.data.preprocessing import Preprocessing, preprocessing_disagreement, resolve_preprocessing
from core.data.soft_labels import Labeller, SoftLabels
from core.data.splits import SplitPlan, plan_splits
from core.data.transform import check_transform, transform
from core.data.zipped_images import read_image_zip
from core.errors import InvalidInput, InvalidSpecification

__all__ = [
    "Dataset",
    "DatasetFile",
    "Split",
    "fit_problems",
    "open_dataset",
    "preprocessing_disagreement",
    "resolve_preprocessing",
]

Labels = NDArray[np.int64] | NDArray[np.float32]  # class numbers N, or probabilities N, classes
Batch = tuple[NDArray[np.float32], Labels]
FEWEST_UNLABELLED = 32


_UNLABELLED = "the images have no labels: what is measured is agreement with the float network, not accuracy"


@dataclass(frozen=True)
class DatasetFile:
    """One uploaded file; `split` binds all its images to train, select or report (val and test are understood)."""

    path: Path
    filename: str = ""
    split: str | None = None

    @property
    def shown_name(self) -> str:
        """What messages call it."""
        return self.filename or self.path.name


class Split:
    """Some images of a data set, in a fixed order."""

    def __init__(self, dataset: Dataset, indices: NDArray[np.int64]) -> None:
        self._dataset = dataset
        self.indices = indices  # of the data set's images

    @property
    def labels(self) -> Labels:
        """Class numbers N, or probabilities N, classes."""
        return self._dataset.labels_of(self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, batch_size: int, indices: NDArray[np.integer[Any]] | None = None) -> Iterator[Batch]:
        """(x float32 B, C, H, W; y int64 B, or float32 B, classes), all images in order or those at `indices` of this
        split, in that order.
        """
        chosen = self.indices if indices is None else self.indices[indices]
        for start in range(0, len(chosen), batch_size):
            batch = chosen[start : start + batch_size]
            yield self._dataset.inputs(batch), self._dataset.labels_of(batch)


class Dataset:
    """Images of all files one after another, with their labels and their division into `splits`."""

    def __init__(self, parts: Sequence[Part], preprocessing: Preprocessing | None, seed: int) -> None:
        self._parts = tuple(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.given_preprocessing = preprocessing
        self.preprocessing = preprocessing or Preprocessing()
        self.labelled = _check_labelled(parts)
        self._numbers, self.class_names = _merge_classes(parts) if self.labelled else (_one_class(parts), None)
        self._soft: SoftLabels | None = None
        self.plan: SplitPlan = plan_splits(self._numbers, np.concatenate([part.splits for part in parts]), seed)
        self.splits = {name: Split(self, self.plan.indices[name]) for name in SPLITS}

    def __len__(self) -> int:
        return len(self._numbers)

    def label_with(self, labeller: Labeller) -> None:
        """Images that came without labels get what `labeller` says of them."""
        if not self.labelled:
            self._soft = SoftLabels(self.inputs, len(self), labeller)

    def labels_of(self, indices: NDArray[np.int64]) -> Labels:
        """Class numbers N, or probabilities N, classes."""
        if self.labelled:
            return self._numbers[indices]
        if self._soft is None:
            raise InvalidInput("the images have no labels", hint="label them, or let a network do it")
        return self._soft.at(indices)

    @property
    def labels(self) -> Labels:
        """Of all images."""
        return self.labels_of(np.arange(len(self)))

    @property
    def classes(self) -> int:
        """One more than the highest class number; 0 where there are no labels."""
        if not self.labelled:
            return 0
        return len(self.class_names) if self.class_names else int(self._numbers.max()) + 1

    @property
    def input_shape(self) -> tuple[int, int, int] | None:
        """C, H, W of the inputs; None where images differ in size and none was asked for."""
        shapes = {_input_shape(part, self.preprocessing) for part in self._parts}
        return shapes.pop() if len(shapes) == 1 else None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of images, labels and splits, whatever the files were called."""
        digest = hashlib.sha256(json.dumps([part.digest for part in self._parts]).encode())
        digest.update(json.dumps(self.class_names).encode())
        for array in (self._numbers, *(self.plan.indices[name] for name in SPLITS)):
            digest.update(np.ascontiguousarray(array, "<i8").tobytes())
        return digest.hexdigest()

    def inputs(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Images at `indices`, as the network reads them."""
        if self.input_shape is None:
            raise InvalidSpecification(
                "the images differ in size or channels",
                hint='give a size, such as {"size": [224, 224]}, in the preprocessing',
            )
        x = np.empty((len(indices), *self.input_shape), np.float32)
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        for number in np.unique(owners):
            images = self._parts[number].images
            mine = owners == number
            if images is not None:
                check_transform(self.preprocessing, images.shape[3])
                x[mine] = transform(images[indices[mine] - self._starts[number]], self.preprocessing)
        return x

    def summary(self) -> dict[str, Any]:
        """What a person reads about the data set, as JSON."""
        sides = [side for part in self._parts for side in (part.smallest, part.largest)]
        return {
            "fingerprint": self.fingerprint,
            "images": len(self),
            "labelled": self.labelled,
            "classes": self.classes,
            "class_names": list(self.class_names) if self.class_names else None,
            "input_shape": self.input_shape,
            "smallest_image": [min(side[axis] for side in sides) for axis in (0, 1)],
            "largest_image": [max(side[axis] for side in sides) for axis in (0, 1)],
            "splits": {name: self._summarise(name) for name in SPLITS},
            "select_is_report": self.plan.select_is_report,
            "files": [_summarise_part(part) for part in self._parts],
            "preprocessing": self.given_preprocessing.model_dump(mode="json") if self.given_preprocessing else None,
            "notes": self._notes(),
        }

    def _summarise(self, name: str) -> dict[str, Any]:
        numbers = self._numbers[self.plan.indices[name]]
        counts = np.bincount(numbers, minlength=self.classes).tolist() if self.labelled else []
        return {"images": len(self.splits[name]), "origin": self.plan.origins[name], "per_class": counts}

    def _notes(self) -> list[str]:
        notes = [note for part in self._parts for note in part.notes]
        if self.plan.select_is_report:
            notes.append("select and report are one: figures are read from the images that choices were made on")
        notes += self._notes_on_classes() if self.labelled else [_UNLABELLED]
        if any(part.kind == "zip" for part in self._parts):
            notes.append("EXIF orientation is ignored, alpha is dropped, 16 bits keep their upper 8")
        return notes

    def _notes_on_classes(self) -> list[str]:
        notes = []
        if len(np.unique(self._numbers)) == 1:
            notes.append("all images are of one class: an accuracy on them says nothing")
        elif len(np.unique(self._numbers[self.plan.indices["train"]])) == 1:
            notes.append("all training images are of one class: ranges, statistics and training will fit that class")
        report, train = (self._numbers[self.plan.indices[name]] for name in ("report", "train"))
        untrained = np.setdiff1d(report, train)
        if len(untrained):
            notes.append(f"{len(untrained)} classes of the report split have no training image")
        return notes


def _summarise_part(part: Part) -> dict[str, Any]:
    named = {SPLITS[code] if code != UNASSIGNED else None for code in np.unique(part.splits)}
    split = named.pop() if len(named) == 1 else "several"
    return {"filename": part.filename, "kind": part.kind, "images": len(part), "split": split}


def open_dataset(
    files: Sequence[DatasetFile],
    preprocessing: Preprocessing | None = None,
    *,
    seed: int = 0,
    workspace: Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Dataset:
    """Reads and checks every file. Decoded data lies in unnamed temporary files in `workspace`, mapped into memory.

    Raises UnsupportedFormat, BrokenFile, TooLarge or InvalidInput. `seed` decides the cuts of missing splits.
    """
    if not files:
        raise InvalidInput("a data set needs a file", hint="upload an .npz or a .zip")
    size = preprocessing.size if preprocessing else None
    parts: list[Part] = []
    for file in files:
        kind = sniff_dataset_file(file.path, file.shown_name, limits)
        read = (
            read_npz(file.path, file.shown_name, workspace, limits)
            if kind == "npz"
            else [read_image_zip(file.path, file.shown_name, size, workspace, limits)]
        )
        parts += [_bind(part, file) for part in read]
    return Dataset(parts, preprocessing, seed)


def _bind(part: Part, file: DatasetFile) -> Part:
    if file.split is None:
        return part
    code = SPLIT_NAMES.get(file.split.strip().lower())
    if code is None:
        raise InvalidInput(f"there is no split called {ascii(file.split)[:60]}", hint=f"use {', '.join(SPLITS)}")
    if (part.splits != UNASSIGNED).any():
        raise InvalidInput(
            f"{part.filename} names its splits itself, but was uploaded as {file.split}",
            hint="upload it without a split",
        )
    return replace(part, splits=np.full(len(part), code, np.int8))


def _check_labelled(parts: Sequence[Part]) -> bool:
    """Whether the images have labels. All of them, or none; and without, there are enough to learn ranges from."""
    labelled = [part.labels is not None for part in parts]
    if all(labelled):
        return True
    if any(labelled):
        raise InvalidInput(
            f"{parts[labelled.index(False)].filename} has no labels, {parts[labelled.index(True)].filename} has",
            hint="label the images of all files of a data set, or of none",
        )
    count = sum(len(part) for part in parts)
    if count < FEWEST_UNLABELLED:
        raise InvalidInput(
            f"there are {count} images, and they have no labels",
            hint=f"give at least {FEWEST_UNLABELLED} images without labels, or label them: a folder for each class",
        )
    return False


def _one_class(parts: Sequence[Part]) -> NDArray[np.int64]:
    """What splits are cut by where nothing tells images apart."""
    return np.zeros(sum(len(part) for part in parts), np.int64)


def _merge_classes(parts: Sequence[Part]) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """Labels of all parts in one numbering: that of the sorted names of all files together."""
    named = [part.class_names is not None for part in parts]
    if not any(named):
        return np.concatenate([part.labels for part in parts if part.labels is not None]), None
    if not all(named):
        raise InvalidInput(
            f"{parts[named.index(False)].filename} numbers its classes, {parts[named.index(True)].filename} names them",
            hint="use numbers, or names, in all files of a data set",
        )
    names = tuple(sorted({name for part in parts for name in part.class_names or ()}))
    index = {name: number for number, name in enumerate(names)}
    tables = [np.array([index[name] for name in part.class_names or ()], np.int64) for part in parts]
    numbered = [table[part.labels] for table, part in zip(tables, parts, strict=True) if part.labels is not None]
    return np.concatenate(numbered), names


def _input_shape(part: Part, choice: Preprocessing) -> tuple[int, int, int] | None:
    if part.images is None:
        return None
    height, width = choice.size or part.images.shape[1:3]
    return choice.channels(part.images.shape[3]), height, width


def fit_problems(dataset: Dataset, input_shape: tuple[int, int, int], classes: int) -> list[str]:
    """Why a network of that input (C, H, W) and so many outputs cannot read this data set; empty if it can."""
    found = []
    if dataset.input_shape is None:
        found.append("the images differ in size or channels: give a size in the preprocessing")
    elif dataset.input_shape != input_shape:
        shown = [" x ".join(map(str, shape)) for shape in (dataset.input_shape, input_shape)]
        found.append(f"the images become {shown[0]} (channels, height, width), the network reads {shown[1]}")
    if classes == 0:
        found.append("the network gives no class scores; so far only classifiers can be searched")
    elif dataset.classes > classes:
        found.append(f"the data set has class {dataset.classes - 1}, the network only {classes} outputs, from 0")
    return found
