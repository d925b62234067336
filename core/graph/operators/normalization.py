"""BatchNormalization, local response and instance normalization, with constant parameters."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from core.graph.operators.operation import Operation, Traced
from core.graph.operators.registry import operator


@operator("BatchNormalization")
def batch_normalization(operation: Operation) -> Traced:
    """BatchNorm2d for N, C, H, W; BatchNorm1d for N, C and N, C, L. Inference only."""
    x = operation.tensor(0)
    if operation.attribute("training_mode", 0) or not operation.attribute("spatial", 1):
        operation.refuse("only inference with statistics per channel is supported; export the network in eval mode")
    if len(x.shape) not in (2, 3, 4):
        operation.refuse(f"an input of {list(x.shape)} is not supported")
    scale, bias, mean, variance = (_per_channel(operation, index, x.shape[1]) for index in (1, 2, 3, 4))
    kind = nn.BatchNorm2d if len(x.shape) == 4 else nn.BatchNorm1d
    momentum = 1.0 - float(operation.attribute("momentum", 0.9))  # ONNX weighs the old value, torch the new one
    layer = kind(x.shape[1], eps=float(operation.attribute("epsilon", 1e-5)), momentum=momentum)
    layer.load_state_dict({"weight": scale, "bias": bias, "running_mean": mean, "running_var": variance}, strict=False)
    return operation.call_module(layer.eval(), x)


@operator("InstanceNormalization")
def instance_normalization(operation: Operation) -> Traced:
    """InstanceNorm2d."""
    x = operation.tensor(0)
    if len(x.shape) != 4:
        operation.refuse(f"an input of {list(x.shape)} is not supported")
    layer = nn.InstanceNorm2d(x.shape[1], eps=float(operation.attribute("epsilon", 1e-5)), affine=True)
    scale, bias = (_per_channel(operation, index, x.shape[1]) for index in (1, 2))
    layer.load_state_dict({"weight": scale, "bias": bias}, strict=False)
    return operation.call_module(layer.eval(), x)


@operator("LRN")
def local_response_normalization(operation: Operation) -> Traced:
    """LocalResponseNorm over `size` channels; both divide alpha by the size."""
    size = int(operation.attribute("size", 0))
    if size < 1 or size % 2 == 0:
        operation.refuse(f"size {size} is not supported; only odd sizes are")
    alpha, beta = float(operation.attribute("alpha", 1e-4)), float(operation.attribute("beta", 0.75))
    layer = nn.LocalResponseNorm(size, alpha, beta, float(operation.attribute("bias", 1.0)))
    return operation.call_module(layer, operation.tensor(0))


def _per_channel(operation: Operation, index: int, channels: int) -> torch.Tensor:
    values = torch.tensor(operation.array(index).astype(np.float32)).reshape(-1)
    if values.numel() != channels:
        operation.refuse(f"input {index} has {values.numel()} values for {channels} channels")
    return values
