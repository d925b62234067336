"""The one way from a model file to a network: sniff, read, check, describe."""

from __future__ import annotations

from pathlib import Path

from core.errors import UnsupportedModel
from core.graph.architectures import ARCHITECTURES
from core.graph.build_inventory import build_inventory, output_shapes, propagate_shapes
from core.graph.checkpoint import load_checkpoint
from core.graph.classifier_head import expose_scores
from core.graph.file_kind import sniff_model_file
from core.graph.loaded_model import LoadedModel
from core.graph.onnx_import import import_onnx

PROBE_BATCH = 3


def load_model(path: Path, architecture: str | None, size: tuple[int, int] | None = None) -> LoadedModel:
    """Read an ONNX file, or a safetensors file of the named architecture; `size` overrides height and width.

    Raises UnsupportedFormat, BrokenFile, TooLarge or UnsupportedModel, each with what to do about it.
    """
    if sniff_model_file(path, path.name) == "onnx":
        return _load_onnx(path, architecture, size)
    return _load_safetensors(path, architecture, size)


def _load_onnx(path: Path, architecture: str | None, size: tuple[int, int] | None) -> LoadedModel:
    imported = import_onnx(path, size)
    module, shape = imported.module, imported.image.shape
    propagate_shapes(module, shape, batch=PROBE_BATCH)
    if any(output[:1] != (PROBE_BATCH,) for output in output_shapes(module)):
        raise UnsupportedModel(
            "the network treats its batch as something else: a batch of several images comes out in another shape",
            hint="export it with a dynamic batch dimension that stays first",
        )
    warnings = imported.warnings + expose_scores(module, output_shapes(module)[0])
    if architecture is not None:
        warnings += (f"an ONNX file brings its own architecture; {architecture!r} was not used",)
    return LoadedModel(module, build_inventory(module, shape, imported.source, imported.image.layout, warnings))


def _load_safetensors(path: Path, architecture: str | None, size: tuple[int, int] | None) -> LoadedModel:
    if architecture is None:
        raise UnsupportedModel(
            "a safetensors file holds weights only, so the architecture must be named",
            hint=f"choose one of {', '.join(ARCHITECTURES)}",
        )
    module, (channels, *own_size) = load_checkpoint(path, architecture)
    height, width = size or own_size
    return LoadedModel(module, build_inventory(module, (channels, height, width), f"safetensors, {architecture}"))
