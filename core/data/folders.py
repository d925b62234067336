"""Which class and which split each image of an archive belongs to.

Four layouts, tried in this order, each optionally inside one common folder:

1. a manifest `labels.csv`, `labels.json`, `manifest.csv` or `manifest.json` beside the images or above them, read by
   `manifest.py`;
2. class folders: `<class>/…/<image>`;
3. file names that begin with the class number: `0007_anything.jpg`;
4. none of these: files without a folder, or in one called images, unlabelled or unlabeled. Such images have no class.

Where every image lies in a folder named after a split (train, val, test, …), that folder is the split and the layout
begins below it. Classes that are all whole numbers are class numbers; others are numbered in the order of their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.data.images import SUFFIXES
from core.data.part import SPLIT_NAMES, UNASSIGNED
from core.errors import BrokenFile, InvalidInput, UnsupportedFormat

MANIFESTS = frozenset({"labels.csv", "labels.json", "manifest.csv", "manifest.json"})
_NESTED = frozenset(
    {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".npz", ".npy", ".pkl", ".pt"}
)
_UNLABELLED = frozenset({"images", "unlabelled", "unlabeled"})
_LEADING_NUMBER = re.compile(r"(\d{1,9})[_\- ]")
_CLASS_NUMBER = re.compile(r"\d{1,9}")
_LAYOUT = "make one folder of images per class, or add labels.csv with the columns file and class"


@dataclass(frozen=True)
class Contents:
    """Names in an archive, sorted out: images by name, the manifest if there is one, and how many are ignored."""

    images: tuple[str, ...]
    manifest: str | None
    ignored: int


@dataclass(frozen=True)
class Labelled:
    """Images with their class, as it is written, and their split. No classes: the images have none."""

    names: tuple[str, ...]
    classes: tuple[str, ...] | None
    splits: tuple[int, ...]
    notes: tuple[str, ...] = ()


def sort_out(names: Sequence[str], archive: str) -> Contents:
    """Divides `names`; hidden files and files of other kinds are ignored, archives in the archive are refused."""
    visible = [name for name in names if not _hidden(name)]
    nested = [name for name in visible if PurePosixPath(name).suffix.lower() in _NESTED]
    if nested:
        raise UnsupportedFormat(f"{archive} holds {nested[0]!a}; archives inside archives are not opened", hint=_LAYOUT)
    images = [name for name in visible if PurePosixPath(name).suffix.lower() in SUFFIXES]
    manifests = sorted((n for n in visible if PurePosixPath(n).name.lower() in MANIFESTS), key=lambda n: n.count("/"))
    if not images:
        raise InvalidInput(f"{archive} holds no image", hint=_LAYOUT)
    if len(manifests) > 1 and manifests[0].count("/") == manifests[1].count("/"):
        raise InvalidInput(f"{archive} holds two manifests, {manifests[0]!a} and {manifests[1]!a}", hint=_LAYOUT)
    return Contents(tuple(images), manifests[0] if manifests else None, len(names) - len(images) - bool(manifests))


def _hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1] in (
        "Thumbs.db",
        "desktop.ini",
    )


def by_folder(images: Sequence[str], archive: str) -> Labelled:
    """Layouts 2 to 4."""
    splits, paths = _without_split(_without_common_folder([PurePosixPath(name).parts for name in images]))
    if all(_has_no_class(path) for path in paths):
        return Labelled(tuple(images), None, splits)
    if all(len(path) > 1 for path in paths):
        return Labelled(tuple(images), tuple(path[0] for path in paths), splits)
    numbers = [_LEADING_NUMBER.match(path[-1]) for path in paths]
    unclear = [name for name, path, number in zip(images, paths, numbers, strict=True) if len(path) > 1 or not number]
    if unclear:
        raise InvalidInput(f"{archive}: nothing says which class {unclear[0]!a} is", hint=_LAYOUT)
    return Labelled(tuple(images), tuple(str(int(number[1])) for number in numbers if number), splits)


def _has_no_class(path: tuple[str, ...]) -> bool:
    folders, name = path[:-1], path[-1]
    return (not folders or (len(folders) == 1 and folders[0].lower() in _UNLABELLED)) and not _LEADING_NUMBER.match(
        name
    )


def by_manifest(images: Sequence[str], manifest: str, rows: Mapping[str, str], archive: str) -> Labelled:
    """Layout 1: `rows` maps a file, relative to the manifest's folder, to its class."""
    folder = PurePosixPath(manifest).parent
    named = {str(folder / file): label for file, label in rows.items()}
    known = set(images)
    absent = [file for file in named if file not in known]
    if absent:
        raise BrokenFile(
            f"{archive}: {manifest!a} names {len(absent)} files that are not there, such as {absent[0]!a}",
            hint="file is a path relative to the manifest",
        )
    names = tuple(name for name in images if name in named)
    below = [PurePosixPath(name).parts[len(folder.parts) :] for name in names]
    splits, _ = _without_split(_without_common_folder(below))
    unused = len(images) - len(names)
    notes = (f"{archive}: {unused} images are not in the manifest and not used",) if unused else ()
    return Labelled(names, tuple(named[name] for name in names), splits, notes)


def _without_common_folder(paths: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Drops a folder that holds everything, but neither a split's folder nor the only class's."""
    first = {path[0] for path in paths}
    if len(first) > 1 or first & SPLIT_NAMES.keys():
        return list(paths)
    below = [path[1:] for path in paths]
    if all(len(path) > 1 for path in below):
        return below
    files_only = all(len(path) == 1 for path in below)
    return below if files_only and all(_LEADING_NUMBER.match(path[0]) for path in below) else list(paths)


def _without_split(paths: Sequence[tuple[str, ...]]) -> tuple[tuple[int, ...], list[tuple[str, ...]]]:
    """The split each path begins with, if all do; and the paths below."""
    splits = [SPLIT_NAMES.get(path[0].lower()) if len(path) > 1 else None for path in paths]
    known = tuple(split for split in splits if split is not None)
    if len(known) < len(paths):
        return (UNASSIGNED,) * len(paths), list(paths)
    return known, [path[1:] for path in paths]


def number_classes(classes: Sequence[str]) -> tuple[list[int], tuple[str, ...] | None]:
    """Class numbers, and the names they stand for; None where the classes were numbers already."""
    if all(_CLASS_NUMBER.fullmatch(name) for name in classes):
        return [int(name) for name in classes], None
    names = tuple(sorted(set(classes)))
    index = {name: number for number, name in enumerate(names)}
    return [index[name] for name in classes], names
