"""Batch norms put behind layers that have none: the float network computes what it did, the inventory names them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from deploy_networks import load
from small_networks import CLASSES, Images, small_network, trained
from torch import Tensor, fx, nn

from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.errors import InvalidInput
from core.graph.build_inventory import build_inventory
from core.graph.insert_normalisation import insert_normalisation, layers_to_normalise, output_statistics
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.policy import LayerBits, Policy


class Folded(nn.Module):
    """No norms; a tensor that two layers read, a dead channel, one with a large offset, a hidden linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(2, 6, 3, padding=1), nn.ReLU()
        self.left, self.right = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(2), nn.Flatten()
        self.hidden, self.relu_hidden, self.scores = nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, CLASSES)
        nn.init.zeros_(self.stem.weight[1].detach())
        nn.init.zeros_(self.stem.bias.detach())
        nn.init.constant_(self.left.bias[0].detach(), 30.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.add(self.left(self.relu(x)), self.right(x))
        return self.scores(self.relu_hidden(self.hidden(self.flatten(self.pool(x)))))


def folded_network() -> LoadedModel:
    torch.manual_seed(3)
    traced = fx.symbolic_trace(Folded().eval())
    return LoadedModel(traced, build_inventory(traced, (2, 6, 6), "test"))


def images(count: int = 96) -> list[Tensor]:
    return [x for x, _ in Images(count, seed=1).tensors(32)]


def normalised(loaded: LoadedModel, batches: list[Tensor]) -> LoadedModel:
    return insert_normalisation(loaded, output_statistics(loaded, batches))


def test_the_float_network_computes_what_it_did() -> None:
    loaded, batches = folded_network(), images()
    inserted = normalised(loaded, batches)
    unseen = Images(40, seed=2).tensors(40)[0][0]
    with torch.inference_mode():
        torch.testing.assert_close(inserted.module(unseen), loaded.module(unseen), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["concat", "sequence", "depthwise"])
def test_networks_of_every_kind_compute_what_they_did(name: str) -> None:
    loaded = load(name)
    batches = [torch.randn(16, 3, 12, 12), torch.randn(7, 3, 12, 12)]
    inserted = normalised(loaded, batches)
    with torch.inference_mode():
        torch.testing.assert_close(inserted.module(batches[0]), loaded.module(batches[0]), rtol=1e-4, atol=1e-4)
    assert {layer.name for layer in inserted.inventory.without_batch_norm() if layer.takes_batch_norm} == set()


def test_the_inventory_names_the_norms_and_the_uploaded_network_stays_as_it_is() -> None:
    loaded, batches = folded_network(), images()
    before = loaded.inventory
    inserted = normalised(loaded, batches)
    found = {layer.name: layer.batch_norm for layer in inserted.inventory.layers}
    assert found == {
        "stem": "inserted_norms.stem", "left": "inserted_norms.left", "right": "inserted_norms.right",
        "hidden": "inserted_norms.hidden", "scores": None,
    }  # fmt: skip
    assert isinstance(inserted.module.get_submodule("inserted_norms.hidden"), nn.BatchNorm1d)
    assert loaded.inventory == before
    assert "inserted_norms" not in dict(loaded.module.named_children())


def test_a_description_without_statistics_is_that_of_the_measured_network() -> None:
    loaded = folded_network()
    assert insert_normalisation(loaded).inventory == normalised(loaded, images()).inventory


def test_statistics_are_those_of_all_images_however_they_are_batched() -> None:
    loaded, batches = folded_network(), images()
    together = output_statistics(loaded, [torch.cat(batches)])["stem"]
    apart = output_statistics(loaded, batches)["stem"]
    with torch.inference_mode():
        output = loaded.module.stem(torch.cat(batches)).double()
    assert apart.mean == pytest.approx(output.mean((0, 2, 3)).tolist(), abs=1e-7)
    assert apart.variance == pytest.approx(output.var((0, 2, 3), correction=0).tolist(), abs=1e-7)
    assert apart.mean == pytest.approx(together.mean)
    assert apart.variance[1] == 0


def test_the_last_layer_and_layers_with_a_norm_are_left_alone() -> None:
    loaded = small_network()
    assert layers_to_normalise(loaded) == ()
    assert normalised(loaded, images()).inventory == loaded.inventory


def test_a_layer_over_positions_gets_no_norm_that_would_mix_them_up() -> None:
    assert [layer.name for layer in layers_to_normalise(load("sequence"))] == ["patches"]


def test_statistics_of_another_network_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'left' was not measured"):
        insert_normalisation(folded_network(), {"stem": output_statistics(folded_network(), images())["stem"]})
    with pytest.raises(InvalidInput, match="no image"):
        output_statistics(folded_network(), [])


@pytest.mark.parametrize("method", ["dorefa", "pact"])
def test_methods_that_need_norms_train_on_a_folded_network(method: str) -> None:
    data = Images(96, seed=1)
    loaded = trained(folded_network(), data)
    inserted = normalised(loaded, images())
    calibration = calibrate(inserted, images())
    policy = Policy(layers={layer.name: LayerBits(weights=4, activations=4) for layer in inserted.inventory.layers})
    model = quantize(inserted, policy, calibration, QuantizerChoice(method=method, granularity="tensor"))
    x, y = data.tensors(96)[0]

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(x), y)

    with torch.no_grad():
        float_loss, started = nn.functional.cross_entropy(loaded.module(x), y), loss()
    assert started < 1.5, f"calibrated it is already sensible: {started} against {float_loss}"
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        losses.append(loss())
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < losses[0]
    assert all(torch.isfinite(each) for each in losses)
    assert any(later != earlier for earlier, later in pairwise(losses))
