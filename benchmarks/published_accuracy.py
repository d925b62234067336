"""Accuracies that papers print for the methods compared here, each with the network, the data and the source.

Only of ResNet-20 on CIFAR-10 are they of the network measured here; the papers train on 50,000 images for 200 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass

RESNET20 = "ResNet-20, CIFAR-10"
RESNET18 = "ResNet-18, ImageNet"
HADQ = "ResNet-18, CIFAR-100"


@dataclass(frozen=True)
class Published:
    """`accuracy` in percent."""

    method: str
    bits: int
    accuracy: float
    network: str
    source: str


def _row(method: str, accuracies: dict[int, float], network: str, source: str) -> list[Published]:
    return [Published(method, bits, accuracy, network, source) for bits, accuracy in accuracies.items()]


PUBLISHED = [
    *_row("dorefa", {2: 88.2, 3: 89.9}, RESNET20, "HAWQ, table 1"),
    *_row("pact", {2: 88.9, 3: 90.6, 4: 90.8, 5: 91.6}, RESNET20, "PACT"),
    *_row("apot", {2: 90.96, 3: 92.49, 4: 92.45}, RESNET20, "APoT, authors' repository"),
    *_row("dorefa", {2: 62.6, 3: 67.5, 4: 68.1, 5: 68.4}, RESNET18, "QIL and PACT, tables"),
    *_row("pact", {2: 64.4, 3: 68.1, 4: 69.2, 5: 69.8}, RESNET18, "PACT"),
    *_row("dsq", {2: 65.17, 3: 68.66, 4: 69.56}, RESNET18, "DSQ"),
    *_row("lsq", {2: 67.6, 3: 70.2, 4: 71.1}, RESNET18, "LSQ"),
    *_row("dorefa", {3: 77.7, 4: 79.7, 5: 81.0, 8: 82.2}, HADQ, "HADQ-Net"),
    *_row("pact", {3: 79.0, 4: 81.6, 5: 82.3, 8: 84.6}, HADQ, "HADQ-Net"),
    *_row("hadq", {3: 79.7, 4: 86.2, 5: 90.1, 8: 91.0}, HADQ, "HADQ-Net"),
]


def published(method: str, bits: int) -> list[Published]:
    """Everything printed for a method at equal widths, of the network measured here first."""
    found = [each for each in PUBLISHED if (each.method, each.bits) == (method, bits)]
    return sorted(found, key=lambda each: each.network != RESNET20)


def orders(bits: int) -> list[tuple[Published, Published]]:
    """Pairs (lower, higher) that stand in the same comparison: the same network, equal widths."""
    return [
        (one, other)
        for one in PUBLISHED
        for other in PUBLISHED
        if one.bits == other.bits == bits and one.network == other.network and one.accuracy < other.accuracy
    ]
