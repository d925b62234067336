"""A generator network: it learns to draw images that the batch norms recognise and that have a class.

Paper: "Generative Zero-shot Network Quantization", He et al., https://arxiv.org/abs/2101.08430: a generative network is
trained against the statistics of the batch norms and the class scores of the network that will be quantized.

    minimise over the generator G:  statistics loss(G(z, c)) / that of noise + WEIGHT * cross entropy(f(G(z, c)), c)

with z from N(0, 1) and classes c drawn anew in every step, 32 of each.

Reconstructed, for no code was published: the shape of G (a fully connected layer, then doublings with convolution,
batch norm and leaky ReLU), the weight of the two terms, the rate 0.002, and that one generator serves all splits, whose
images come from latents of their own. The output passes a sigmoid onto the range that pixels can have.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.data.part import SPLITS
from core.data.synthetic.card import BATCH, Request, Source, SourceCard, batch_sizes
from core.data.synthetic.descent import Descent
from core.data.synthetic.input_range import InputRange
from core.data.synthetic.range_noise import chance, gaussian
from core.data.synthetic.statistics import BatchNormStatistics

RATE, WEIGHT = 0.002, 0.01
LATENT, WIDEST, NARROWEST = 64, 128, 16
SMALLEST_SIDE = 7  # of the first map: sides are doubled from there on
_WEIGHTS, _STEPS, _NOISE = range(len(SPLITS), len(SPLITS) + 3)  # what chance draws for, beside each split

CARD = SourceCard(
    id="generator",
    title="Generator",
    paper="He et al., Generative Zero-shot Network Quantization, CVPR workshops 2021",
    link="https://arxiv.org/abs/2101.08430",
    summary="A small network learns to draw images that match the batch norms' statistics and that the network is sure "
    "of. More images cost nothing more once it has learned.",
    needs_batch_norm=True,
    reconstruction=True,
    reconstruction_notes="The shape of the generator, the weight of the class term and the rate are our own: no code "
    "was published.",
)


class Generator(nn.Module):
    """Latents N, 64 and classes N -> inputs N, C, H, W inside the range."""

    def __init__(self, classes: int, shape: tuple[int, int, int], within: InputRange) -> None:
        super().__init__()
        channels, height, width = shape
        doublings = max(0, max(height, width) // SMALLEST_SIDE).bit_length()
        self.start = (-(-height // 2**doublings), -(-width // 2**doublings))
        self.size, self.within = (height, width), within
        widths = [max(NARROWEST, WIDEST >> number) for number in range(doublings + 1)]
        self.classes = nn.Embedding(classes, LATENT)
        self.first = nn.Linear(LATENT, widths[0] * self.start[0] * self.start[1])
        self.blocks = nn.Sequential(*(_block(a, b) for a, b in pairwise(widths)))
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, latents: Tensor, classes: Tensor) -> Tensor:
        """Cut to size where it is no multiple of the first map's."""
        x = self.first(latents * (1 + self.classes(classes))).unflatten(1, (-1, *self.start))
        x = self.last(self.blocks(functional.leaky_relu(x, 0.2)))[..., : self.size[0], : self.size[1]]
        return self.within.lower + (self.within.upper - self.within.lower) * torch.sigmoid(x)


def _block(wide: int, narrow: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(wide, narrow, 3, padding=1, bias=False),
        nn.BatchNorm2d(narrow, track_running_stats=False),
        nn.LeakyReLU(0.2),
    )


def make(request: Request) -> dict[str, Tensor]:
    """Learns once, then draws every split from latents of its own."""
    statistics = BatchNormStatistics(request.network)
    generator = _initial(request)
    with torch.no_grad():
        noise = gaussian((BATCH, *request.input_shape), request.input_range, chance(request.seed, _NOISE))
        of_noise = statistics.run(noise)[1]

    def loss_of(step: int) -> Tensor:
        latents, classes = _drawn(request, BATCH, _STEPS, step)
        scores, loss = statistics.run(generator(latents, classes))
        return loss / of_noise + WEIGHT * functional.cross_entropy(scores, classes)

    Descent(
        parameters=dict(generator.named_parameters()),
        loss_of=loss_of,
        iterations=request.iterations,
        rate=RATE,
        file=request.checkpoints / "generator.safetensors",
        recipe={"seed": request.seed, "iterations": request.iterations, "shape": list(request.input_shape)},
        tell=lambda step, loss: request.tell(
            step / request.iterations, f"the generator learns: loss {loss:.3g} after step {step}"
        ),
    ).run()
    with torch.no_grad():
        return {split: _draw(request, generator, split, count) for split, count in request.counts.items()}


def _initial(request: Request) -> Generator:
    generator = Generator(request.classes, request.input_shape, request.input_range)
    source = chance(request.seed, _WEIGHTS)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=source) / parameter[0].numel() ** 0.5)
    return generator.to(request.device)


def _drawn(request: Request, count: int, *which: int) -> tuple[Tensor, Tensor]:
    """Latents and classes."""
    source = chance(request.seed, *which)
    latents = torch.randn((count, LATENT), generator=source)
    classes = torch.randint(request.classes, (count,), generator=source)
    return latents.to(request.device), classes.to(request.device)


def _draw(request: Request, generator: Generator, split: str, count: int) -> Tensor:
    batches = enumerate(batch_sizes(count))
    return torch.cat([generator(*_drawn(request, size, SPLITS.index(split), number)) for number, size in batches])


SOURCE = Source(CARD, make)
