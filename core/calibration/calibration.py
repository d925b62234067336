"""Activation ranges of every site at every width, from one pass over a few images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, fx, nn

from core.calibration.grids import GridKind, grids_between
from core.calibration.histogram import Histogram
from core.calibration.observers.observer import Observer
from core.calibration.registry import observer_by_id
from core.errors import InvalidInput, UnsupportedModel
from core.graph.loaded_model import LoadedModel
from core.graph.placement import ActivationSite, place_quantizers
from core.quantizers.base import Passthrough
from core.quantizers.site_range import ActivationGrid, SiteRange

WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8)
WIDE = 16
HEADROOM = 2.0  # sixteen bits can spare one: values beyond the calibrated range, before and after training, survive


class Calibration(BaseModel):
    """The ranges, by name of the site; JSON both ways."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    observer: str
    settings: dict[str, bool | int | float | str] = Field(default_factory=dict, description="of the observer")
    samples: int
    sites: dict[str, SiteRange]


class _Observed(nn.Module):
    """Passes the tensor on, and counts its values."""

    def __init__(self, site: ActivationSite) -> None:
        super().__init__()
        self.site = site.name
        self.histogram = Histogram()

    def forward(self, x: Tensor) -> Tensor:
        try:
            self.histogram.add(x)
        except ValueError as problem:
            raise UnsupportedModel(
                f"the network computes values at {self.site!r} that are not finite",
                hint="check the network's weights and the preprocessing of the images",
            ) from problem
        return x


def calibrate(
    loaded: LoadedModel,
    images: Iterable[Tensor],
    *,
    observer: str = "mse",
    settings: Mapping[str, bool | int | float | str] | None = None,
) -> Calibration:
    """`images`: batches N, C, H, W float32 on the network's device. Memory does not grow with their number.

    One pass for all tensors. What is no range falls back: a tensor that is always zero gets steps of one, a constant
    one the range from zero to it. Values that are not finite are refused, naming the tensor.
    """
    chosen = observer_by_id(observer, settings)
    sites: list[ActivationSite] = []
    observed: dict[fx.Node, _Observed] = {}  # two sites on one tensor share a histogram

    def watch(site: ActivationSite) -> nn.Module:
        sites.append(site)
        if site.node in observed:
            return Passthrough()
        observed[site.node] = _Observed(site)
        return observed[site.node]

    model = place_quantizers(loaded.module, lambda _: Passthrough(), watch).eval()
    samples = _run(model, images)
    ranges = {site.name: _site_range(site, observed[site.node].histogram, chosen) for site in sites}
    return Calibration(observer=observer, settings=dict(settings or {}), samples=samples, sites=ranges)


def _run(model: nn.Module, images: Iterable[Tensor]) -> int:
    samples = 0
    with torch.inference_mode():
        for batch in images:
            model(batch)
            samples += len(batch)
    if not samples:
        raise InvalidInput("there is no image to calibrate with", hint="give at least one training image")
    return samples


def _site_range(site: ActivationSite, histogram: Histogram, observer: Observer) -> SiteRange:
    moments, observed = histogram.moments, histogram.observed()
    kind: GridKind = "symmetric" if site.signed else "unsigned"
    grids = {bits: observer.grids(observed, bits, kind).grid() for bits in WIDTHS}
    affine = {bits: observer.grids(observed, bits, "affine").grid() for bits in WIDTHS} if site.signed else dict(grids)
    grids[WIDE] = affine[WIDE] = _wide(histogram)
    return SiteRange(
        name=site.name,
        role=site.role,
        signed=site.signed,
        values=moments.count,
        minimum=moments.minimum,
        maximum=moments.maximum,
        mean=moments.mean,
        standard_deviation=moments.standard_deviation,
        grids=grids,
        affine_grids=affine,
    )


def _wide(histogram: Histogram) -> ActivationGrid:
    """The whole range and as much again, affine."""
    moments = histogram.moments
    ends = torch.tensor([[moments.minimum], [moments.maximum]], dtype=torch.float64) * HEADROOM
    return grids_between(ends[0], ends[1], WIDE, "affine").grid()
