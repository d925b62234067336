"""Published programmes as settings of a job: what to choose so that a search is the paper's."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class SearchPreset(BaseModel):
    """A paper's search. `set` maps the path of a job's field to its value; everything stays open to change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    notes: str = Field(description="what differs from the paper")
    set: dict[str, Any]


_FOUR_EIGHT: dict[str, Any] = {"bits.weights": [4, 8], "bits.activations": [4, 8], "bits.same": True}
_EVERY: dict[str, Any] = {"bits.weights": [2, 3, 4, 5, 6, 7, 8], "bits.activations": [2, 3, 4, 5, 6, 7, 8]}

PRESETS = (
    SearchPreset(
        id="hawq-v3",
        title="HAWQ-V3",
        paper="Yao et al., HAWQ-V3, ICML 2021",
        link="https://arxiv.org/abs/2011.10680",
        notes="4 and 8 bits, the same for weights and activations; add a limit on size, bit operations or latency as "
        "there. Its losses have no term for activations, ours have.",
        set={**_FOUR_EIGHT, "sensitivity.metric": "hessian-trace", "search.strategy": "exact"},
    ),
    SearchPreset(
        id="hawq-v2",
        title="HAWQ-V2",
        paper="Dong et al., HAWQ-V2, NeurIPS 2020",
        link="https://arxiv.org/abs/1911.03852",
        notes="The frontier of size against the Hessian trace times the rounding error.",
        set={
            **_EVERY,
            "bits.same": False,
            "sensitivity.metric": "hessian-trace",
            "search.strategy": "frontier",
            "search.axis": "size",
        },
    ),
    SearchPreset(
        id="hawq-direct",
        title="Direct, HAWQ's control",
        paper="Dong et al., HAWQ, ICCV 2019",
        link="https://arxiv.org/abs/1905.03696",
        notes="Mixed bits without second order: only how far rounding moves the values counts. HAWQ does not say how "
        "it chose its control's bits.",
        set={
            **_EVERY,
            "bits.same": False,
            "sensitivity.metric": "signal-to-noise",
            "search.strategy": "exact",
            "search.axis": "size",
        },
    ),
    SearchPreset(
        id="zeroq",
        title="ZeroQ",
        paper="Cai et al., ZeroQ, CVPR 2020",
        link="https://arxiv.org/abs/2001.00281",
        notes="The frontier of size against the divergence of the predictions; with no data set it is data-free.",
        set={
            "bits.weights": [2, 4, 8],
            "bits.activations": [8],
            "bits.same": False,
            "sensitivity.metric": "divergence",
            "search.strategy": "frontier",
            "search.axis": "size",
        },
    ),
    SearchPreset(
        id="brecq",
        title="BRECQ",
        paper="Li et al., BRECQ, ICLR 2021",
        link="https://arxiv.org/abs/2102.05426",
        notes="Its genetic search over 2, 4 and 8 bits of the weights, here by NSGA-II for the whole front; its terms "
        "between the layers of one block at 2 bits are left out. Weights are rounded by its reconstruction.",
        set={
            "bits.weights": [2, 4, 8],
            "bits.activations": [8],
            "bits.same": False,
            "sensitivity.metric": "direct",
            "search.strategy": "nsga2",
            "post_training.rounding": "brecq",
        },
    ),
    SearchPreset(
        id="ohq",
        title="OHQ",
        paper="Huang et al., OHQ, 2023",
        link="https://arxiv.org/abs/2309.01945",
        notes="Sensitivity under masks against cycles and power, within a size; with no data set as there.",
        set={
            **_FOUR_EIGHT,
            "sensitivity.metric": "mask-guided",
            "search.strategy": "ohq",
            "search.axis": "size",
        },
    ),
    SearchPreset(
        id="haq",
        title="HAQ",
        paper="Wang et al., HAQ, CVPR 2019",
        link="https://arxiv.org/abs/1811.08886",
        notes="An agent that is told the accuracy after calibration; the paper trains for an epoch before it looks.",
        set={
            **_EVERY,
            "bits.same": False,
            "search.strategy": "haq",
            "search.evaluate_by": "accuracy",
            "search.evaluations": 600,
            "search.axis": "latency",
        },
    ),
)
