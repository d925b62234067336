"""What is done to a float network before its ranges are taken: another float network that computes the same.

Order as in Nagel et al., https://arxiv.org/abs/1906.04721, figure 4: batch norms folded, ReLU6 to ReLU, equalization,
bias absorption; then outlier channel splitting, first of activations, then of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from core.calibration.bias_absorption import absorb_biases
from core.calibration.channel_splitting import split_activations, split_weights
from core.calibration.cross_layer_equalization import check_equalizable, equalize
from core.calibration.unlimited_relus import RangeCheck, check_ranges, limited_relus, without_limits
from core.errors import InvalidInput
from core.graph.fold_batch_norm import Distribution, fold_batch_norms, keep_distribution, output_distribution
from core.graph.insert_normalisation import ChannelStatistics, output_statistics
from core.graph.loaded_model import LoadedModel
from core.graph.vocabulary import layer_nodes
from core.jobs.specification import PostTrainingChoice

Images = Callable[[], Iterable[Tensor]]  # the same batches N, C, H, W at each call, on the network's device


class PreparationMeasurements(BaseModel):
    """What the preparation has to know about tensors; JSON both ways."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    ranges: RangeCheck | None = Field(default=None, description="of ReLU6, where layers are equalized")
    outputs: dict[str, ChannelStatistics] = Field(
        default_factory=dict, description="by layer without a batch norm: its output, where biases are absorbed"
    )
    inputs: dict[str, tuple[float, ...]] = Field(
        default_factory=dict,
        description="by layer: largest magnitude of each channel that it reads, where activations are split",
    )


def prepares(choice: PostTrainingChoice) -> bool:
    """Whether anything is to be done."""
    return bool(choice.equalization or choice.weight_splitting or choice.activation_splitting)


def needs_images(choice: PostTrainingChoice) -> bool:
    """Whether something has to be measured first."""
    return bool(choice.equalization or choice.activation_splitting)


def prepare(
    loaded: LoadedModel, choice: PostTrainingChoice, measured: PreparationMeasurements | None = None
) -> LoadedModel:
    """A copy that computes the same; `loaded` itself where nothing is to be done.

    Without `measured`, layers, shapes and names are right, and the network is not to be computed with.

    Raises:
        InvalidInput: where the network has no layers to equalize, or none to split.
    """
    if choice.equalization:
        loaded = _equalized(loaded, choice, measured)
    if choice.activation_splitting:
        loaded = split_activations(loaded, choice.activation_splitting, None if measured is None else measured.inputs)
    if choice.weight_splitting:
        loaded = split_weights(loaded, choice.weight_splitting)
    return loaded


def measure_for_preparation(loaded: LoadedModel, choice: PostTrainingChoice, images: Images) -> PreparationMeasurements:
    """What `prepare` wants to know. Memory does not grow with the number of images."""
    measured = PreparationMeasurements()
    if choice.equalization:
        outputs = output_statistics(loaded, images()) if choice.bias_absorption else {}
        measured = PreparationMeasurements(ranges=check_ranges(loaded, images), outputs=outputs)
    if choice.activation_splitting:
        whole = choice.model_copy(update={"activation_splitting": 0.0, "weight_splitting": 0.0})
        largest = _largest_inputs(prepare(loaded, whole, measured), images())
        measured = measured.model_copy(update={"inputs": largest})
    return measured


def _equalized(
    loaded: LoadedModel, choice: PostTrainingChoice, measured: PreparationMeasurements | None
) -> LoadedModel:
    ranges = None if measured is None else measured.ranges
    names = limited_relus(loaded.module) if ranges is None else ranges.replaced()
    folded = without_limits(fold_batch_norms(loaded), names)
    if measured is None:
        check_equalizable(folded)
        return folded
    if choice.bias_absorption:
        _keep_measured(folded, measured)
        return absorb_biases(equalize(folded))
    return equalize(folded)


def _keep_measured(folded: LoadedModel, measured: PreparationMeasurements) -> None:
    for node in layer_nodes(folded.module):
        statistics = measured.outputs.get(str(node.target))
        if statistics is not None and output_distribution(folded.module, node) is None:
            mean, variance = (
                torch.tensor(each, dtype=torch.float64) for each in (statistics.mean, statistics.variance)
            )
            keep_distribution(node, Distribution(mean, variance.sqrt(), measured=True))


@torch.no_grad()
def _largest_inputs(loaded: LoadedModel, images: Iterable[Tensor]) -> dict[str, tuple[float, ...]]:
    found: dict[str, Tensor] = {}

    def watch(name: str, linear: bool) -> Callable[..., None]:
        def note(_: object, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0] if linear else inputs[0].transpose(1, -1)
            largest = x.abs().flatten(0, -2).amax(0)
            found[name] = torch.maximum(found[name], largest) if name in found else largest

        return note

    hooks = [
        loaded.module.get_submodule(layer.name).register_forward_pre_hook(watch(layer.name, layer.kind == "linear"))
        for layer in loaded.inventory.layers
    ]
    try:
        for batch in images:
            loaded.module(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise InvalidInput("there is no image to measure with", hint="give at least one training image")
    return {name: tuple(cast(list[float], largest.double().tolist())) for name, largest in found.items()}
