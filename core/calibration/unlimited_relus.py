"""ReLU6 becomes ReLU, so that factors can pass: a limit of 6 is not 6 s.

As in Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 5.1.1, which replaces all of them. Here a check on
images comes first, and where it fails only those ReLU6 are replaced that limited nothing.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, fx, nn
from torch.nn import functional

from core.errors import InvalidInput
from core.graph.changed_network import described_again
from core.graph.loaded_model import LoadedModel
from core.graph.vocabulary import called_module

CHANGED_ANSWERS = 1 / 200  # of the images, and one in any case
LARGEST_CHANGE = 0.05  # of the output, relative
FOLDER = "unlimited_relus"


class RangeCheck(BaseModel):
    """What becomes of the network when every ReLU6 is a ReLU."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    images: int
    changed: int = Field(description="images whose largest score is another; 0 where there are no scores")
    change: float = Field(description="of the output, relative, over all images")
    limited: dict[str, float] = Field(description="by node of a ReLU6: the share of its values above 6")

    @property
    def harmless(self) -> bool:
        """Whether all may be replaced."""
        return self.changed <= max(1.0, CHANGED_ANSWERS * self.images) and self.change <= LARGEST_CHANGE

    def replaced(self) -> list[str]:
        """Nodes whose limit goes."""
        return [name for name, share in self.limited.items() if self.harmless or share == 0]


def limited_relus(module: fx.GraphModule) -> list[str]:
    """The nodes that compute min(max(x, 0), 6)."""
    return [node.name for node in module.graph.nodes if _is_limited(module, node)]


def without_limits(loaded: LoadedModel, names: Iterable[str]) -> LoadedModel:
    """A copy in which these nodes are ReLUs; nodes keep their names."""
    module, chosen = copy.deepcopy(loaded.module), set(names)
    for node in module.graph.nodes:
        if node.name in chosen:
            _replace(module, node)
    return described_again(loaded, module)


@torch.no_grad()
def check_ranges(loaded: LoadedModel, images: Callable[[], Iterable[Tensor]]) -> RangeCheck:
    """Run with the limits and without. `images`: the same batches N, C, H, W at each call."""
    names = limited_relus(loaded.module)
    if not names:
        return RangeCheck(images=0, changed=0, change=0.0, limited={})
    unlimited = without_limits(loaded, names).module
    counts = {name: [0, 0] for name in names}
    images_seen = changed_answers = 0
    difference = power = 0.0
    for batch in images():
        exact, changed = _Counting(loaded.module, counts).run(batch), unlimited(batch)
        changed_answers += int((exact.argmax(1) != changed.argmax(1)).sum()) if exact.dim() == 2 else 0
        difference += float((changed - exact).double().square().sum())
        power += float(exact.double().square().sum())
        images_seen += len(batch)
    if not images_seen:
        raise InvalidInput("there is no image to measure with", hint="give at least one training image")
    return RangeCheck(
        images=images_seen,
        changed=changed_answers,
        change=math.sqrt(difference / power) if power else 0.0,
        limited={name: over / of for name, (over, of) in counts.items()},
    )


class _Counting(fx.Interpreter):
    """Counts what each ReLU6 reads: above 6, and in all."""

    def __init__(self, module: fx.GraphModule, counts: dict[str, list[int]]) -> None:
        super().__init__(module)
        self.counts = counts

    def run_node(self, n: fx.Node) -> object:
        """As ever."""
        if n.name in self.counts:
            x: Tensor = self.env[n.all_input_nodes[0]]
            self.counts[n.name][0] += int((x > 6).sum())
            self.counts[n.name][1] += x.numel()
        return super().run_node(n)


def _is_limited(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target is functional.relu6
    called = called_module(module, node)
    hard = isinstance(called, nn.Hardtanh) and (called.min_val, called.max_val) == (0, 6)
    return isinstance(called, nn.ReLU6) or hard


def _replace(module: fx.GraphModule, node: fx.Node) -> None:
    if node.op == "call_function":
        node.target, node.args, node.kwargs = torch.relu, (node.all_input_nodes[0],), {}
        return
    name = f"{FOLDER}.{node.name}"
    module.add_submodule(name, nn.ReLU())
    node.target = name
