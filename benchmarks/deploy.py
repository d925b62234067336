"""From fake-quantized networks to integers and files. Run: python -m benchmarks.deploy [--data DIR] [--part NAME ...]

DIR holds `cifar10/train.npz`, `cifar10/test500.npz`, `cifar10/cifar10_resnet20.safetensors` and
`fashion_mnist/fashion_mnist.npz`. Parts:

    equality   the integer executor against deploy mode: ResNet-20 and a MobileNetV2, every uniform method, 1 to 8 bits
    training   deploy mode against the network in training: codes and predictions on the 500 report images
    layers     the same of each layer alone, on 100 of them
    trained    the same of networks that were trained for their bits
    c          the C source against the executor on all report images of the example and of ResNet-20
    speed      ResNet-18 in onnxruntime: 8 bits against float, and against onnxruntime's own static quantization
    packing    speed of packing and unpacking; size of a ResNet-50 at 4 bits

Networks are calibrated, and only those of `trained` trained: with the recipe of `benchmarks.qat_cifar`, whose
checkpoints are used where they are (`--work`); else three epochs each. About fifteen minutes on one core without them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import cifar, deploy_agreement, deploy_files
from benchmarks import deploy_integers as integers
from benchmarks.figures import Figure, show

TRAINING_WIDTHS, C_WIDTHS, PACKED_CODES = (8, 4, 3, 2), (8, 4), 1 << 24
ALONE = (("lsq", 8), ("lsq", 3), ("hadq", 8), ("hadq", 4), ("dsq", 8), ("dsq", 4), ("lsq-plus", 4))
MOBILENET = (("lsq", 8), ("lsq", 4), ("hadq", 8), ("dsq", 8))
TRAINED = (("lsq", 4), ("lsq", 3), ("hadq", 4), ("dsq", 4))


def equality(folder: Path) -> list[Figure]:
    """The two networks."""
    return [integers.equality(subject) for subject in (integers.resnet20(folder), integers.mobilenet_v2(folder))]


def training(folder: Path) -> list[Figure]:
    """LSQ at several widths, a MobileNetV2, then every uniform method at 8 and at 4 bits."""
    subject = integers.resnet20(folder)
    cases = [(subject, "lsq", bits) for bits in TRAINING_WIDTHS]
    mobilenet = integers.small_mobilenet_v2(folder.parent)
    figures = []
    for of, method, bits in [*cases, *((mobilenet, method, bits) for method, bits in MOBILENET)]:
        model = of.quantized(method, bits)
        figures += deploy_agreement.against_training(of, model, f"{of.name}, {method} {bits}/{bits}")
    return figures + [figure for bits in (8, 4) for figure in deploy_agreement.every_method(subject, bits)]


def layers(folder: Path) -> list[Figure]:
    """Methods with and without a zero in their grids."""
    subject = integers.resnet20(folder)
    return [figure for method, bits in ALONE for figure in deploy_agreement.layers_alone(subject, method, bits)]


def trained(folder: Path, work: Path) -> list[Figure]:
    """What a user exports."""
    subject, figures = integers.resnet20(folder), []
    for method, bits in TRAINED:
        model = deploy_agreement.trained(folder, work, method, bits)
        figures += deploy_agreement.against_training(subject, model, f"trained {subject.name}, {method} {bits}/{bits}")
    return figures


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
    "equality": equality, "training": training, "layers": layers, "c": compiled, "speed": speed, "packing": packing,
}  # fmt: skip
NAMES = (*PARTS, "trained")


def main() -> int:
    """Status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cifar.add_data_argument(parser)
    parser.add_argument("--part", nargs="+", choices=NAMES, default=list(NAMES), help="all of them by default")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "bitfront-qat" / "cifar")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    folder = cifar.folder(parser, chosen.data)
    parts = PARTS | {"trained": lambda folder: trained(folder, chosen.work)}
    missed = [show(f"Deployment: {part}", parts[part](folder)) for part in chosen.part]
    return max(missed)


if __name__ == "__main__":
    sys.exit(main())
