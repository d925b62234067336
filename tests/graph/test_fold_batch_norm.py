"""Batch norms that become part of the layers before them."""

from __future__ import annotations

import copy

import torch
from deploy_networks import load, make_images
from hypothesis import given, settings
from random_networks import largest_difference, networks, random_images
from torch import nn

from core.graph.fold_batch_norm import fold_batch_norms, foldable_norm, output_distribution
from core.graph.loaded_model import LoadedModel
from core.graph.vocabulary import layer_nodes


@settings(max_examples=15)
@given(networks())
@torch.no_grad()
def test_a_folded_network_computes_the_same(loaded: LoadedModel) -> None:
    x = random_images()
    folded = fold_batch_norms(loaded)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.module.modules())
    assert largest_difference(folded.module(x), loaded.module(x)) < 1e-4


def test_outputs_keep_the_mean_and_the_deviation_of_their_norm_whatever_the_sign_of_gamma() -> None:
    loaded = load("residual")
    folded = fold_batch_norms(loaded)
    norm = loaded.module.get_submodule("first_norm")
    node = next(node for node in layer_nodes(folded.module) if node.target == "first")
    found = output_distribution(folded.module, node)
    assert found is not None
    assert (norm.weight < 0).any()
    assert torch.equal(found.deviation, norm.weight.detach().double().abs())
    assert torch.equal(found.mean, norm.bias.detach().double())
    assert output_distribution(copy.deepcopy(folded.module), node) is found


def test_a_norm_behind_a_join_stays() -> None:
    folded = fold_batch_norms(load("concat"))
    assert isinstance(folded.module.get_submodule("norm"), nn.BatchNorm2d)
    assert [layer.batch_norm for layer in folded.inventory.layers] == [None] * 5


def test_the_original_is_left_alone() -> None:
    loaded = load("residual")
    before = loaded.module(make_images())
    fold_batch_norms(loaded)
    assert torch.equal(loaded.module(make_images()), before)
    assert all(foldable_norm(loaded.module, node) for node in layer_nodes(loaded.module) if node.target != "classifier")
