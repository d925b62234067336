"""The named architectures: a card for people, and how to build one from the shapes of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from torch import nn

Shapes = Mapping[str, tuple[int, ...]]


class ArchitectureCard(BaseModel):
    """What a person chooses an architecture by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    input_shape: tuple[int, int, int]  # C, H, W
    parameter_names: str


@dataclass(frozen=True)
class Architecture:
    """`build` makes the network with random weights, sized by the shapes in the file (input channels, classes)."""

    card: ArchitectureCard
    build: Callable[[Shapes], nn.Module]
    first_layer: str  # name of the first layer's weight, which tells the input channels
    input_shape: Callable[[Shapes], tuple[int, int, int]] | None = None  # None: the card's, with the file's channels

    def infer_input_shape(self, shapes: Shapes) -> tuple[int, int, int]:
        """C, H, W that the checkpoint is for."""
        if self.input_shape is not None:
            return self.input_shape(shapes)
        _, height, width = self.card.input_shape
        return (shapes[self.first_layer][1], height, width)


ARCHITECTURES: dict[str, Architecture] = {}


def register(architecture: Architecture) -> None:
    """Add to the registry."""
    ARCHITECTURES[architecture.card.id] = architecture
