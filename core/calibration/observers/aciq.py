"""ACIQ: the clipping value that is best for a Gaussian or a Laplace distribution, from the tensor's moments alone.

Banner et al., "Post training 4-bit quantization of convolutional networks for rapid-deployment", NeurIPS 2019,
https://arxiv.org/abs/1810.05723. Expected squared error of b bits when [-alpha, alpha] is kept (sections 2 and 3):

    Gaussian  (s^2 + a^2) (1 - erf(a / (s sqrt 2))) - s a sqrt(2 / pi) exp(-a^2 / (2 s^2))  +  a^2 / (3 4^b)
    Laplace   2 b^2 exp(-a / b)  +  a^2 / (3 4^b)

and alpha is where it is least, a multiple of the standard deviation s, or of the mean distance b = E|x - E x|. The
limits are E x - alpha and E x + alpha, but not beyond the extremes. Where nothing is negative, or one bit keeps nothing
that is, the positive values count as half of a distribution around zero, and 2^b levels cover that half: as b + 1 bits.

The paper's first version, and code that follows it (distiller's), has 4 a^2 (2^b - 2) / (3 8^b) for the last term,
twice the rounding error at many bits, so that it clips more: 1.478 s to 3.617 s for 2 to 8 bits instead of 1.711 s to
3.924 s. It is the setting `formula` = first-version; it says nothing of one bit, which stays with the other.

`distribution` = fitted takes, row by row, the one under which the values are likelier: the Gaussian where
s sqrt(2 pi e) < 2 e b.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from core.calibration.grids import GridKind
from core.calibration.observers.observed import Observed
from core.calibration.observers.observer import Limits, Observer, ObserverCard, ObserverSettings

# alpha by bits: where the formulas above are least. Tests minimise them anew.
GAUSSIAN = {1: 1.2399, 2: 1.7106, 3: 2.1516, 4: 2.5591, 5: 2.9362, 6: 3.2869, 7: 3.6151, 8: 3.9240, 9: 4.2163}
LAPLACE = {1: 1.8628, 2: 2.8307, 3: 3.8972, 4: 5.0286, 5: 6.2048, 6: 7.4131, 7: 8.6456, 8: 9.8968, 9: 11.1627}
FIRST_GAUSSIAN = {2: 1.4782, 3: 1.8049, 4: 2.1923, 5: 2.5773, 6: 2.9445, 7: 3.2908, 8: 3.6169, 9: 3.9249}
FIRST_LAPLACE = {2: 2.3315, 3: 3.0453, 4: 4.0038, 5: 5.0825, 6: 6.2321, 7: 7.4270, 8: 8.6527, 9: 9.9003}
LIKELIER_GAUSSIAN = 2 * math.e / math.sqrt(2 * math.pi * math.e)  # s / b below this


class AciqSettings(ObserverSettings):
    """Which distribution, and which of the paper's versions."""

    distribution: Literal["fitted", "gaussian", "laplace"] = Field(
        default="fitted", description="what the values are taken for; fitted: whichever they are likelier under"
    )
    formula: Literal["neurips-2019", "first-version"] = Field(
        default="neurips-2019",
        description="which version of the paper: the first, which distiller follows, counts rounding twice and "
        "clips more",
    )


CARD = ObserverCard(
    id="aciq",
    title="ACIQ",
    paper="Banner et al., Post training 4-bit quantization of convolutional networks for rapid-deployment, "
    "NeurIPS 2019",
    link="https://arxiv.org/abs/1810.05723",
    summary="Clips where a Gaussian or a Laplace distribution with the tensor's moments would have the least squared "
    "error; whichever of the two fits.",
    odd_tensors="A constant tensor or a dead channel keeps its whole range; a huge value widens the limits with the "
    "moments.",
    settings_schema=AciqSettings.model_json_schema(),
)


def limits(observed: Observed, bits: int, kind: GridKind, settings: AciqSettings) -> Limits:
    """Mean minus and plus alpha, within the extremes."""
    half = kind == "unsigned" or (kind == "symmetric" and bits == 1)
    mean, deviation, distance = _moments(observed, half)
    gaussian, laplace = _multiples(bits + half, settings.formula)
    of_gaussian, of_laplace = gaussian * deviation, laplace * distance
    chosen = {
        "gaussian": of_gaussian,
        "laplace": of_laplace,
        "fitted": torch.where(deviation < LIKELIER_GAUSSIAN * distance, of_gaussian, of_laplace),
    }[settings.distribution]
    alpha = torch.where(chosen > 0, chosen, torch.inf)
    return torch.maximum(observed.minimum, mean - alpha), torch.minimum(observed.maximum, mean + alpha)


def _multiples(bits: int, formula: str) -> tuple[float, float]:
    if formula == "first-version" and bits in FIRST_GAUSSIAN:
        return FIRST_GAUSSIAN[bits], FIRST_LAPLACE[bits]
    return GAUSSIAN[bits], LAPLACE[bits]


def _moments(observed: Observed, half: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation and mean distance from the mean, K each; `half`: of the positive values mirrored."""
    values, weights = observed.values, observed.counts
    if half:
        weights = weights * (values > 0)
    total = weights.sum(1, keepdim=True).clamp_min(1)
    mean = torch.zeros_like(total) if half else (values * weights).sum(1, keepdim=True) / total
    from_mean = values - mean
    variance = (from_mean.square() * weights).sum(1, keepdim=True) / total
    distance = (from_mean.abs() * weights).sum(1, keepdim=True) / total
    return mean.view(-1), variance.sqrt().view(-1), distance.view(-1)


OBSERVER = Observer(CARD, limits, AciqSettings)
