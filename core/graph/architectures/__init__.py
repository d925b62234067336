"""Networks by name, written here and traced once. `ARCHITECTURES` holds them all."""

from core.graph.architectures import (
    cifar_resnet,
    imagenet_resnet,
    lenet,
    mobilenet_v1,
    mobilenet_v2,
    squeezenet,
    vgg_small,
)
from core.graph.architectures.registry import ARCHITECTURES, Architecture, ArchitectureCard

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "ArchitectureCard",
    "cifar_resnet",
    "imagenet_resnet",
    "lenet",
    "list_architectures",
    "mobilenet_v1",
    "mobilenet_v2",
    "squeezenet",
    "vgg_small",
]


def list_architectures() -> list[ArchitectureCard]:
    """The cards of every named architecture, in the order they were registered."""
    return [architecture.card for architecture in ARCHITECTURES.values()]
