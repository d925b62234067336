"""How raw pixels become a network's input."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=16_384)]
_COLOUR_CHANNELS = 3


class Preprocessing(BaseModel):
    """x = (pixel / scale - mean) / std per channel, after resizing and reordering channels.

    `size` is (height, width); None keeps the images' own size. An empty `mean` means 0, an empty `std` means 1; a
    single value holds for all channels. `rgb` and `bgr` give three channels (grey is repeated), `gray` gives one
    (colour becomes luma); images of other channel counts keep theirs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: Positive = 255.0
    mean: tuple[Finite, ...] = Field(default=(), max_length=64)
    std: tuple[Positive, ...] = Field(default=(), max_length=64)
    channel_order: Literal["rgb", "bgr", "gray"] = "rgb"
    size: tuple[Side, Side] | None = None

    def channels(self, images: int) -> int:
        """Channels of the input, for images of that many channels."""
        if images not in (1, _COLOUR_CHANNELS):
            return images
        return 1 if self.channel_order == "gray" else _COLOUR_CHANNELS


def resolve_preprocessing(
    model: Preprocessing | None, dataset: Preprocessing | None, input_shape: tuple[int, int, int]
) -> Preprocessing:
    """The model's own, else the data set's, else pixels over 255 in as many channels as the network reads."""
    default = Preprocessing(channel_order="gray" if input_shape[0] == 1 else "rgb")
    return model or dataset or default


def preprocessing_disagreement(
    model: Preprocessing | None, dataset: Preprocessing | None, input_shape: tuple[int, int, int]
) -> list[str]:
    """Each field in which the two differ, or that cannot give the network's input (C, H, W); a sentence per field."""
    found = []
    if model is not None and dataset is not None:
        found += _differences(model, dataset, input_shape[0])
    for owner, given in (("model", model), ("data set", dataset)):
        if given is not None:
            found += _misfits(owner, given, input_shape)
    return found


def _differences(model: Preprocessing, dataset: Preprocessing, channels: int) -> list[str]:
    pairs = {
        "scale": ((model.scale,), (dataset.scale,)),
        "mean": (_per_channel(model.mean, 0.0, channels), _per_channel(dataset.mean, 0.0, channels)),
        "std": (_per_channel(model.std, 1.0, channels), _per_channel(dataset.std, 1.0, channels)),
    }
    found = [
        f"{name}: {_shown(a)} for the model, {_shown(b)} for the data set"
        for name, (a, b) in pairs.items()
        if not _close(a, b)
    ]
    if model.channel_order != dataset.channel_order:
        found.append(f"channel_order: {model.channel_order} for the model, {dataset.channel_order} for the data set")
    if model.size is not None and dataset.size is not None and model.size != dataset.size:
        found.append(f"size: {_shown(model.size)} for the model, {_shown(dataset.size)} for the data set")
    return found


def _misfits(owner: str, given: Preprocessing, input_shape: tuple[int, int, int]) -> list[str]:
    channels, height, width = input_shape
    produced = given.channels(channels)
    found = []
    if produced != channels:
        found.append(
            f"channel_order: {given.channel_order} of the {owner} gives {produced} channel(s), "
            f"the network reads {channels}"
        )
    found += [
        f"{name}: the {owner} has {len(values)} values, the network reads {channels} channel(s)"
        for name, values in (("mean", given.mean), ("std", given.std))
        if len(values) not in (0, 1, channels)
    ]
    if given.size is not None and given.size != (height, width):
        found.append(f"size: {_shown(given.size)} of the {owner}, the network reads {height} x {width}")
    return found


def _per_channel(values: tuple[float, ...], default: float, channels: int) -> tuple[float, ...]:
    return (values or (default,)) * (channels if len(values) <= 1 else 1)


def _close(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return len(a) == len(b) and all(math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-9) for x, y in zip(a, b, strict=True))


def _shown(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
