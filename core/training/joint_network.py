"""One set of weights, read at several widths.

Jin et al., "AdaBits: Neural Network Quantization with Adaptive Bit-Widths", CVPR 2020, https://arxiv.org/abs/1912.09666:
the widths share their weights; batch norms (section 3.2, switchable batch normalisation, after Yu et al.,
https://arxiv.org/abs/1812.08928) and clipping levels of activations (section 3.3, switchable clipping level) are
private to a width.

Each width is an ordinary fake-quantized network, a member, whose weights are the other members' too. A bias in front of
a batch norm is private as well, for it is part of the norm's shift. What is ours: networks of mixed widths, each layer
with the norm of its weights' width and each tensor with the clipping level of its own.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from core.calibration.calibration import Calibration
from core.calibration.quantize import quantize, weight_quantizer
from core.errors import InvalidSpecification
from core.graph.inventory import Inventory, Layer
from core.graph.loaded_model import LoadedModel
from core.graph.placement import place
from core.graph.quantized_layers import QuantizedLayer
from core.graph.vocabulary import BATCH_NORM_TYPES
from core.jobs.joint_widths import joint_widths, member_policies
from core.jobs.specification import QuantizerChoice
from core.policy import Policy
from core.quantizers.base import ActivationQuantizer, WeightQuantizer
from core.quantizers.registry import chosen_method

PRUNED = 0
_PRIVATE = (*BATCH_NORM_TYPES, WeightQuantizer, ActivationQuantizer)


class JointNetwork(nn.Module):
    """`members`: a network for each of `widths`, which are descending, quantized as `policies` says.

    `state_dict` holds what the members share once, under the name it has in the widest.
    """

    def __init__(self, members: Mapping[int, fx.GraphModule], loaded: LoadedModel, choice: QuantizerChoice) -> None:
        super().__init__()
        self.widths = tuple(sorted(members, reverse=True))
        self.choice = choice
        self.members = nn.ModuleDict({str(width): members[width] for width in self.widths})
        self.policies = member_policies(loaded.inventory.layers, self.widths, choice)
        self.inventory: Inventory = loaded.inventory
        self.readers = {
            site.module_name: site.readers for site in place(loaded.module).activation_sites if site.role == "layer"
        }
        self.aliases = self._share()
        self.register_state_dict_post_hook(_without_aliases)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_aliases)  # type: ignore[no-untyped-call]

    def member(self, width: int) -> fx.GraphModule:
        """The network of one width, in training itself: not a copy."""
        member: fx.GraphModule = self.members[str(width)]  # type: ignore[assignment]
        return member

    def networks(self) -> list[fx.GraphModule]:
        """The members, widest first: the order in which a step visits them."""
        return [self.member(width) for width in self.widths]

    def is_member(self, policy: Policy) -> bool:
        """Whether the policy is one that training visited: its batch norms need no new statistics."""
        return policy in self.policies.values()

    def at(self, policy: Policy) -> fx.GraphModule:
        """A copy of the network at these widths, in eval mode, of the kind that `quantize` returns.

        Of a mixed policy, what has no width of its own to go by (the norm behind a layer that all members have at one
        width, a norm behind no layer) is that of the width most layers have.
        """
        for width, own in self.policies.items():
            if policy == own:
                return copy.deepcopy(self.member(width)).eval()
        self._check(policy)
        base = self._most_frequent(policy)
        mixed = copy.deepcopy(self.member(base))
        for layer in self.inventory.layers:
            self._read_layer(mixed, layer, policy, base)
        for name, readers in self.readers.items():
            width = self._width_with(readers[0], "activations", _common_bits(readers, policy), base)
            if width != base:
                _take(mixed, name, self.member(width))
        return mixed.eval()

    def _read_layer(self, mixed: fx.GraphModule, layer: Layer, policy: Policy, base: int) -> None:
        bits = policy.layers[layer.name].weights
        sources = {
            width: self._width_with(layer.name, "weights", width, base)
            for width in ({bits} if isinstance(bits, int) else {*bits} - {PRUNED})
        }
        if isinstance(bits, int):
            _take(mixed, f"{layer.name}.weight_quantizer", self.member(sources[bits]))
        else:
            layer_of(mixed, layer.name).weight_quantizer = self._by_channel(mixed, layer, bits)
        for width, source in sources.items():
            channels = torch.tensor([each == width for each in ((bits,) if isinstance(bits, int) else bits)])
            _copy_norm(mixed, self.member(source), layer, channels)

    def _by_channel(self, mixed: fx.GraphModule, layer: Layer, bits: tuple[int, ...]) -> nn.Module:
        """A quantizer for widths per channel: what is found once per weight is found from the trained one."""
        weight = layer_of(mixed, layer.name).layer.get_parameter("weight")
        method, normalised = chosen_method(self.choice), layer.batch_norm is not None
        quantizer = weight_quantizer(method, layer, bits, self.choice.granularity, normalised=normalised)
        quantizer.to(weight.device).initialise(weight.detach())  # type: ignore[operator]
        return quantizer

    def _width_with(self, name: str, side: str, wanted: int, base: int) -> int:
        """The member whose layer has the width that is asked for: `base` if it has, else the widest."""
        known = {width: getattr(self.policies[width].layers[name], side) for width in (base, *self.widths)}
        for width, bits in known.items():
            if bits == wanted:
                return width
        raise InvalidSpecification(
            f"the network was not trained with {wanted} bits for the {side} of layer {name!r}",
            hint=f"choose from {sorted(set(known.values()))}, or train it at other widths",
        )

    def _most_frequent(self, policy: Policy) -> int:
        """Of equally frequent widths the larger; layers that no member varies do not count."""
        varied = [
            policy.layers[layer.name].weights
            for layer in self.inventory.layers
            if len({own.layers[layer.name].weights for own in self.policies.values()}) > 1
        ]
        counts = Counter(varied)
        return max(self.widths, key=lambda width: (counts[width], width))

    def _check(self, policy: Policy) -> None:
        missing = [layer.name for layer in self.inventory.layers if layer.name not in policy.layers]
        if missing:
            raise InvalidSpecification(
                f"the policy has no bits for layer {missing[0]!r}", hint="name every quantizable layer"
            )
        trained = self.policies[self.widths[0]].residual_bits
        if policy.residual_bits != trained:
            raise InvalidSpecification(
                f"the network was trained with {trained} bits for the operands of sums, not {policy.residual_bits}",
                hint=f"give the policy residual_bits {trained}",
            )

    def _share(self) -> dict[str, str]:
        """Let all members have the widest one's parameters; returns whose name stands for whose."""
        widest, aliases = self.member(self.widths[0]), {}
        private = self._private(widest)
        for name, parameter in widest.named_parameters():
            if name in private:
                continue
            parent, _, child = name.rpartition(".")
            for width in self.widths[1:]:
                setattr(self.member(width).get_submodule(parent), child, parameter)
                aliases[f"members.{width}.{name}"] = f"members.{self.widths[0]}.{name}"
        return aliases

    def _private(self, member: fx.GraphModule) -> set[str]:
        """Names of a member's parameters that are its own."""
        names = {
            f"{prefix}.{name}"
            for prefix, module in member.named_modules()
            if isinstance(module, _PRIVATE)
            for name, _ in module.named_parameters()
        }
        return names | {f"{layer.name}.layer.bias" for layer in self.inventory.layers if layer.batch_norm is not None}


def make_joint_network(loaded: LoadedModel, calibration: Calibration, choice: QuantizerChoice) -> JointNetwork:
    """Calibrated at every width that the method's settings name, untrained."""
    widths = joint_widths(choice)
    if not widths:
        raise InvalidSpecification(f"the method {choice.method!r} does not train widths together", hint="use adabits")
    policies = member_policies(loaded.inventory.layers, widths, choice)
    members = {width: quantize(loaded, policy, calibration, choice) for width, policy in policies.items()}
    return JointNetwork(members, loaded, choice)


def layer_of(model: fx.GraphModule, name: str) -> QuantizedLayer:
    """A layer of a fake-quantized network."""
    layer = model.get_submodule(name)
    if not isinstance(layer, QuantizedLayer):
        raise InvalidSpecification(f"{name!r} is no quantized layer", hint="name layers of the network's inventory")
    return layer


def _common_bits(readers: Sequence[str], policy: Policy) -> int:
    """The width of a tensor that these layers read."""
    widths = {policy.layers[name].activations for name in readers}
    if len(widths) > 1:
        raise InvalidSpecification(
            f"layers {', '.join(readers)} read one tensor, and the policy gives it {sorted(widths)} bits",
            hint="give layers that read the same tensor the same activation bits",
        )
    return widths.pop()


def _copy_norm(mixed: fx.GraphModule, source: fx.GraphModule, layer: Layer, channels: Tensor) -> None:
    """The source's batch norm behind a layer, and its bias in front of it, for these channels or, with one, for all."""
    if layer.batch_norm is None:
        return
    for name in (f"{layer.name}.layer", layer.batch_norm):
        theirs = source.get_submodule(name).state_dict()
        for key, own in mixed.get_submodule(name).state_dict().items():
            if own.dim() == 1:  # the bias, and all of a norm but its count of batches
                own[channels.expand(len(own))] = theirs[key][channels.expand(len(own))]


def _take(mixed: fx.GraphModule, name: str, source: fx.GraphModule) -> None:
    """A copy of the source's module in the place of the own one."""
    parent, _, child = name.rpartition(".")
    setattr(mixed.get_submodule(parent), child, copy.deepcopy(source.get_submodule(name)))


def _without_aliases(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    for alias in module.aliases:  # type: ignore[union-attr]
        state.pop(f"{prefix}{alias}", None)


def _with_aliases(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    for alias, name in module.aliases.items():  # type: ignore[union-attr,operator]
        if f"{prefix}{name}" in state:
            state[f"{prefix}{alias}"] = state[f"{prefix}{name}"]
