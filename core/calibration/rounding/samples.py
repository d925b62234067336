"""One tensor of every image, to draw from again and again: in memory while it is small, else in a mapped file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LARGEST_BYTES = 2**29  # of one tensor over all images; beyond it float16, and beyond that a file
HEADROOM = 256.0  # float16 reaches 65504; the first chunk's largest value becomes this
CHUNK = 64  # images at a time, which bounds memory


class Samples:
    """`count` tensors of one shape. Float32, unless that takes more than half a gibibyte."""

    def __init__(self, count: int, first: Tensor, folder: Path, name: str) -> None:
        self.device = first.device
        shape = (count, *first.shape[1:])
        size = 4 * count * first[0].numel()
        self.unit = 1.0
        if size <= LARGEST_BYTES:
            self.stored = torch.empty(shape, dtype=torch.float32, device=self.device)
        else:
            self.unit = max(first.abs().max().item(), 1e-6) / HEADROOM
            self.stored = _halves(shape, size // 2, folder, name)
        self.filled = 0

    @classmethod
    def of(cls, chunks: Iterable[Tensor], count: int, folder: Path, name: str) -> Samples:
        """Gathered from chunks, each n, ...; `count` in all."""
        samples = None
        for chunk in chunks:
            samples = cls(count, chunk, folder, name) if samples is None else samples
            samples.append(chunk)
        assert samples is not None  # noqa: S101  the images were counted before
        return samples

    def append(self, chunk: Tensor) -> None:
        """The next ones."""
        place = slice(self.filled, self.filled + len(chunk))
        self.stored[place] = chunk if self.unit == 1.0 else (chunk / self.unit).to(self.stored)
        self.filled += len(chunk)

    def normalise(self) -> None:
        """Divide by the mean over everything."""
        every = torch.arange(self.filled)
        mean = sum(chunk.double().sum().item() for chunk in self.chunks(every)) / max(self.stored.numel(), 1)
        if mean <= 0:
            self.stored.fill_(1.0)
            self.unit = 1.0
        elif self.unit == 1.0:
            self.stored.div_(mean)
        else:
            self.unit /= mean

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Float32 on the network's device."""
        chosen = self.stored[indices.to(self.stored.device)]
        return chosen if self.unit == 1.0 else chosen.to(self.device, torch.float32) * self.unit

    def chunks(self, indices: Tensor) -> Iterator[Tensor]:
        """These, a few at a time."""
        return (self[each] for each in parts(indices, CHUNK))


def _halves(shape: tuple[int, ...], size: int, folder: Path, name: str) -> Tensor:
    if size <= LARGEST_BYTES:
        return torch.empty(shape, dtype=torch.float16)
    folder.mkdir(parents=True, exist_ok=True)
    mapped = np.memmap(folder / f"{name}.samples", np.float16, "w+", shape=shape)
    return torch.from_numpy(mapped)


def parts(tensor: Tensor, size: int) -> Iterator[Tensor]:
    """In order, `size` along the first dimension at a time."""
    return (tensor[start : start + size] for start in range(0, len(tensor), size))
