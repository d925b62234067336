"""From fake-quantized networks to integers and files. Run: python -m benchmarks.deploy [--data DIR] [--part NAME ...]

DIR holds `cifar10/train.npz`, `cifar10/test500.npz` and `cifar10/cifar10_resnet20.safetensors`. Parts:

    equality   the integer executor against deploy mode: ResNet-20 and a MobileNetV2, every uniform method, 1 to 8 bits
    training   deploy mode against the network in training: codes and predictions on the 500 report images
    c          the C source against the executor on all report images of the example and of ResNet-20
    speed      ResNet-18 in onnxruntime: 8 bits against float, and against onnxruntime's own static quantization
    packing    speed of packing and unpacking; size of a ResNet-50 at 4 bits

All networks are calibrated and not trained. About ten minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import cifar, deploy_files
from benchmarks import deploy_integers as integers
from benchmarks.figures import Figure, show

TRAINING_WIDTHS, C_WIDTHS, PACKED_CODES = (8, 4, 3, 2), (8, 4), 1 << 24


def equality(folder: Path) -> list[Figure]:
    """The two networks."""
    return [integers.equality(subject) for subject in (integers.resnet20(folder), integers.mobilenet_v2(folder))]


def training(folder: Path) -> list[Figure]:
    """LSQ at several widths, then every uniform method at 8 and at 4 bits."""
    subject = integers.resnet20(folder)
    figures = [figure for bits in TRAINING_WIDTHS for figure in integers.against_training(subject, "lsq", bits)]
    return figures + [figure for bits in (8, 4) for figure in integers.every_method(subject, bits)]


def compiled(folder: Path) -> list[Figure]:
    """The two networks at two widths."""
    subjects = (integers.example(), integers.resnet20(folder))
    return [integers.compiled(subject, bits) for subject in subjects for bits in C_WIDTHS]


def speed(_: Path) -> list[Figure]:
    """Needs no data."""
    return deploy_files.runtime_speed()


def packing(_: Path) -> list[Figure]:
    """Needs no data."""
    return [*deploy_files.packing(PACKED_CODES), deploy_files.packed_size()]


PARTS: dict[str, Callable[[Path], list[Figure]]] = {
    "equality": equality, "training": training, "c": compiled, "speed": speed, "packing": packing,
}  # fmt: skip


def main() -> int:
    """Status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cifar.add_data_argument(parser)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="all of them by default")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    folder = cifar.folder(parser, chosen.data)
    missed = [show(f"Deployment: {part}", PARTS[part](folder)) for part in chosen.part]
    return max(missed)


if __name__ == "__main__":
    sys.exit(main())
