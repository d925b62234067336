"""Distilled images: noise, changed until the network's own batch norms find in it what they found in training.

Paper: OHQ, "On-chip hardware-aware quantization", Huang et al., https://arxiv.org/abs/2309.01945, equation 2, which
takes its idea from ZeroQ, Cai et al., https://arxiv.org/abs/2001.00281, section 3.1.

    minimise over x:  sum over batch norms l of ||mean_l(x) - running mean_l||^2 + ||deviation_l(x) - running dev_l||^2

by channel, over a batch of up to 32 images x, N, C, H, W in the network's input space. Adam, 500 steps, the rate falls
on a plateau (ZeroQ's schedule). What differs: x stays in the range that pixels can have after the preprocessing, so it
is projected there after each step; the rate is 0.1 where ZeroQ has 0.5, which this projection likes less. Batches are
distilled apart from one another, so held-out images share nothing with those that ranges are taken from.
"""

from __future__ import annotations

import torch
from torch import Tensor

from core.data.part import SPLITS
from core.data.synthetic.card import Request, Source, SourceCard, batch_sizes
from core.data.synthetic.descent import Descent
from core.data.synthetic.range_noise import chance, gaussian
from core.data.synthetic.statistics import BatchNormStatistics

RATE = 0.1

CARD = SourceCard(
    id="distilled",
    title="Distilled images",
    paper="Huang et al., OHQ, 2023, after Cai et al., ZeroQ, CVPR 2020",
    link="https://arxiv.org/abs/2309.01945",
    summary="Noise is changed until the mean and deviation that each batch norm reads are those that it learned in "
    "training. They excite the network as its data did, though they show nothing.",
    needs_batch_norm=True,
    reconstruction_notes="Images are kept in the range that pixels can have, at a rate of 0.1 in place of ZeroQ's 0.5.",
)


def make(request: Request) -> dict[str, Tensor]:
    """Batch after batch, each from noise of its own; finished batches are not made again after an interruption."""
    statistics = BatchNormStatistics(request.network)
    sizes = {split: batch_sizes(count) for split, count in request.counts.items()}
    total, done = sum(len(each) for each in sizes.values()), 0
    made: dict[str, Tensor] = {}
    for split, batches in sizes.items():
        images = []
        for number, size in enumerate(batches):
            images.append(_distil(request, statistics, (SPLITS.index(split), number), size, (done, total)))
            done += 1
        made[split] = torch.cat(images)
    return made


def _distil(
    request: Request, statistics: BatchNormStatistics, which: tuple[int, int], size: int, place: tuple[int, int]
) -> Tensor:
    x = gaussian((size, *request.input_shape), request.input_range, chance(request.seed, *which)).requires_grad_()
    (done, total), iterations = place, request.iterations

    def tell(step: int, loss: float) -> None:
        share = (done + step / iterations) / total
        request.tell(share, f"distilling batch {done + 1} of {total}: statistics loss {loss:.3g} after step {step}")

    Descent(
        parameters={"images": x},
        loss_of=lambda _: statistics.run(x)[1],
        iterations=iterations,
        rate=RATE,
        file=request.checkpoints / f"distilled-{which[0]}-{which[1]}.safetensors",
        recipe={"seed": request.seed, "iterations": iterations, "shape": list(x.shape)},
        settle=lambda: request.input_range.clamp_(x),
        tell=tell,
    ).run()
    return x.detach()


SOURCE = Source(CARD, make)
