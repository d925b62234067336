"""Cards of what is done before calibration and after rounding. No torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_DFQ = "Nagel, van Baalen, Blankevoort, Welling 2019, Data-Free Quantization Through Weight Equalization"
_DFQ_LINK = "https://arxiv.org/abs/1906.04721"
_OCS = "Zhao, Hu, Dotzel, De Sa, Zhang 2019, Improving Neural Network Quantization without Retraining"
_OCS_LINK = "https://arxiv.org/abs/1901.09504"


class TreatmentCard(BaseModel):
    """One treatment, in words and facts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    summary: str
    setting: str = Field(description="the field of `post_training` that asks for it")
    uses_images: str = Field(description="what images are looked at for")
    reconstruction: bool = Field(default=True, description="whether anything differs from the paper")
    reconstruction_notes: str = ""


PREPARATIONS: dict[str, TreatmentCard] = {
    card.id: card
    for card in (
        TreatmentCard(
            id="equalization",
            title="Cross-layer equalization",
            paper=_DFQ,
            link=_DFQ_LINK,
            summary="Evens out the ranges of a layer's channels; the layers that read them take the factors back. "
            "Batch norms are folded first and ReLU6 becomes ReLU. The float network computes the same.",
            setting="equalization",
            uses_images="whether ReLU6 may become ReLU",
            reconstruction_notes="Channels that sums or branches tie are scaled together, by the largest of their "
            "ranges. ReLU6 is replaced where at most one image in 200 changes its answer and the output moves by "
            "5 % at most; otherwise only where it limited nothing.",
        ),
        TreatmentCard(
            id="bias-absorption",
            title="Bias absorption",
            paper=_DFQ,
            link=_DFQ_LINK,
            summary="What a ReLU always lets through moves into the next layer's bias, so activations are smaller. "
            "Exact but for what lies three deviations under the mean.",
            setting="bias_absorption",
            uses_images="mean and deviation of layers without a batch norm",
            reconstruction_notes="Left out before layers that pad with zeros, whose border would change.",
        ),
        TreatmentCard(
            id="weight-splitting",
            title="Outlier channel splitting, weights",
            paper=_OCS,
            link=_OCS_LINK,
            summary="Input channels with the largest weights are read twice at half the weight, so that the range "
            "halves. The layer grows by the share that is split.",
            setting="weight_splitting",
            uses_images="nothing",
            reconstruction_notes="Halves move half a step apart once the step is known, on evenly spaced grids with a "
            "zero. Layers that read the image or have groups stay whole.",
        ),
        TreatmentCard(
            id="activation-splitting",
            title="Outlier channel splitting, activations",
            paper=_OCS,
            link=_OCS_LINK,
            summary="Channels with the largest values are halved and read twice, with the same weights.",
            setting="activation_splitting",
            uses_images="the largest magnitude of each channel",
            reconstruction_notes="Channels are chosen by their largest magnitude on the calibration images.",
        ),
    )
}

CORRECTIONS: dict[str, TreatmentCard] = {
    card.id: card
    for card in (
        TreatmentCard(
            id="empirical",
            title="Bias correction, empirical",
            paper=_DFQ,
            link=_DFQ_LINK,
            summary="Layer after layer, the mean of each output channel is brought back to that of the float network.",
            setting="bias_correction",
            uses_images="means of all layers",
            reconstruction_notes="Where a batch norm is not folded its running mean takes the correction. As many "
            "images are used as fit 1 GiB of activations.",
        ),
        TreatmentCard(
            id="analytic",
            title="Bias correction, analytic",
            paper=_DFQ,
            link=_DFQ_LINK,
            summary="The mean shift is computed from the rounding error and what batch norms say of the input: the "
            "mean of a clipped normal distribution.",
            setting="bias_correction",
            uses_images="only where no batch norm gives an input's mean",
            reconstruction_notes="Sums are taken as normal with independent parts; behind max pools, other functions "
            "and layers without a batch norm, the mean is measured.",
        ),
    )
}
