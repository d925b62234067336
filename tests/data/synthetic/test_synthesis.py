"""Images made from a network: how close they come, that they are reproducible, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.data.preprocessing import Preprocessing
from core.data.synthetic.card import batch_sizes
from core.data.synthetic.input_range import input_range, largest_pixel, to_pixels
from core.data.synthetic.registry import SOURCES, source_by_id
from core.data.synthetic.synthesis import Synthesis, synthesize
from core.data.transform import transform
from core.errors import InvalidSpecification, UnsupportedModel
from core.graph.loaded_model import LoadedModel
from tests.harness.colour_network import PREPROCESSING, colour_network
from tests.harness.small_networks import small_network


class Interrupted(Exception):
    """As a killed process."""


def made(directory: Path, loaded: LoadedModel | None = None, stop: str = "", **choice: Any) -> Synthesis:
    """`stop`: end when this is told."""

    def tell(_: float, message: str) -> None:
        if stop and stop in message:
            raise Interrupted

    return synthesize(
        loaded or colour_network(), choice.pop("preprocessing", PREPROCESSING), checkpoints=directory, tell=tell,
        **{"source": "distilled", "images": 32, "held_out": 16, "iterations": 60, "seed": 0, **choice},
    )  # fmt: skip


def same(one: Synthesis, other: Synthesis) -> bool:
    return all(np.array_equal(one.pixels[split], other.pixels[split]) for split in ("train", "select", "report"))


def test_distilled_images_match_the_batch_norms_at_least_20_times_better_than_noise(tmp_path: Path) -> None:
    report = made(tmp_path, iterations=100).report
    assert report.statistics_loss is not None
    assert report.noise_statistics_loss is not None
    assert report.statistics_loss < report.noise_statistics_loss / 20
    assert report.batch_norms == 2


def test_a_generator_draws_images_closer_to_the_batch_norms_than_noise(tmp_path: Path) -> None:
    report = made(tmp_path, source="generator", iterations=150).report
    assert report.statistics_loss is not None
    assert report.noise_statistics_loss is not None
    assert report.statistics_loss < report.noise_statistics_loss / 1.5


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_splits_are_as_large_as_asked_and_share_no_image(tmp_path: Path, source: str) -> None:
    pixels = made(tmp_path, source=source, images=40, iterations=3).pixels
    assert {split: each.shape for split, each in pixels.items()} == {
        "train": (40, 8, 8, 3), "select": (16, 8, 8, 3), "report": (16, 8, 8, 3)
    }  # fmt: skip
    assert all(each.dtype == np.uint8 for each in pixels.values())
    images = np.concatenate([each.reshape(len(each), -1) for each in pixels.values()])
    assert len(np.unique(images, axis=0)) == 72


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_the_same_seed_gives_the_same_images_to_the_bit_and_another_seed_others(tmp_path: Path, source: str) -> None:
    first, again, other = (
        made(tmp_path / name, source=source, iterations=5, seed=seed) for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize(
    ("source", "stop"), [("distilled", "batch 2 of 3: statistics loss"), ("generator", "after step 57")]
)
def test_an_interrupted_synthesis_goes_on_to_the_same_bits(tmp_path: Path, source: str, stop: str) -> None:
    """It ends between two checkpoints, and does not begin anew."""
    whole = made(tmp_path / "whole", source=source)
    with pytest.raises(Interrupted):
        made(tmp_path / "cut", source=source, stop=stop)
    told = []
    resumed = synthesize(
        colour_network(), PREPROCESSING, source=source, images=32, held_out=16, iterations=60, seed=0,
        checkpoints=tmp_path / "cut", tell=lambda _, message: told.append(message),
    )  # fmt: skip
    assert same(whole, resumed)
    assert not any(message[-12:] == "after step 1" and "batch 1 " in message for message in told)
    assert len(told) < (180 if source == "distilled" else 60)


def test_a_damaged_checkpoint_is_begun_anew(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole", iterations=10)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "distilled-0-0.safetensors").write_bytes(b"\0" * 40)
    assert same(whole, made(tmp_path / "cut", iterations=10))


@pytest.mark.parametrize(
    ("preprocessing", "largest"),
    [
        (Preprocessing(), 255),
        (Preprocessing(scale=127.5, mean=(1,)), 255),
        (Preprocessing(scale=1, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4), channel_order="bgr"), 255),
        (Preprocessing(scale=1, mean=(0.5,), std=(0.5,)), 1),
        (Preprocessing(scale=65535), 65535),
    ],
)
def test_pixels_give_the_inputs_again_that_they_were_made_from(preprocessing: Preprocessing, largest: float) -> None:
    within = input_range(preprocessing, 3)
    x = within.clamp_(torch.randn(8, 3, 6, 6) * 3 * within.deviation + within.mean)
    assert largest_pixel(preprocessing) == largest
    pixels = to_pixels(x, preprocessing)
    assert pixels.min() >= 0
    assert pixels.max() <= largest
    step = 0.51 / preprocessing.scale / min(preprocessing.std, default=1) if largest == 255 else 1e-4
    assert np.abs(transform(pixels, preprocessing) - x.numpy()).max() <= step


def test_images_stay_in_the_range_that_pixels_have(tmp_path: Path) -> None:
    within = input_range(PREPROCESSING, 3)
    for pixels in made(tmp_path, iterations=20).pixels.values():
        x = torch.from_numpy(transform(pixels, PREPROCESSING))
        assert bool((x >= within.lower - 1e-5).all())
        assert bool((x <= within.upper + 1e-5).all())


def test_networks_of_two_channels_get_images_of_two(tmp_path: Path) -> None:
    pixels = made(tmp_path, small_network(), preprocessing=Preprocessing(), iterations=3).pixels["train"]
    assert pixels.shape == (32, 6, 6, 2)


def test_a_network_without_batch_norm_is_refused_with_what_to_do_and_noise_works(tmp_path: Path) -> None:
    bare = colour_network(normalised=False)
    with pytest.raises(UnsupportedModel, match="has no batch norm") as refused:
        made(tmp_path, bare)
    assert "at least 32 unlabelled images" in refused.value.hint
    report = made(tmp_path, bare, source="range-noise").report
    assert (report.batch_norms, report.statistics_loss) == (0, None)


def test_dead_channels_are_left_out_and_told(tmp_path: Path) -> None:
    loaded = colour_network()
    norm = loaded.module.get_submodule("first_norm")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    norm.running_var[:3] = 0
    norm.running_mean[:3] = 1e6
    report = made(tmp_path, loaded, iterations=60).report
    assert any("3 channels with a variance of zero" in note and "first_norm" in note for note in report.notes)
    assert report.statistics_loss is not None
    assert report.statistics_loss < 100


def test_batch_norms_that_are_all_dead_or_hold_nothing_are_refused(tmp_path: Path) -> None:
    dead, empty, broken = colour_network(), colour_network(), colour_network()
    for norm in (module for module in dead.module.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_var = torch.zeros(8)
    for norm in (module for module in empty.module.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean = norm.running_var = None
    broken.module.get_submodule("first_norm").running_var = torch.full((8,), float("nan"))
    for loaded, words in ((dead, "is dead"), (empty, "no running statistics"), (broken, "no numbers")):
        with pytest.raises(UnsupportedModel, match=words):
            made(tmp_path, loaded)


def test_statistics_that_were_never_learned_are_told(tmp_path: Path) -> None:
    loaded = colour_network()
    for norm in (module for module in loaded.module.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean, norm.running_var = torch.zeros(8), torch.ones(8)
    assert any("was the network trained" in note for note in made(tmp_path, loaded, iterations=2).report.notes)


def test_what_gives_no_class_scores_is_refused(tmp_path: Path) -> None:
    loaded = colour_network()
    detector = LoadedModel(loaded.module, loaded.inventory.model_copy(update={"classes": 0}))
    with pytest.raises(UnsupportedModel, match="no class scores"):
        made(tmp_path, detector)


def test_the_network_itself_is_left_as_it_was(tmp_path: Path) -> None:
    loaded = colour_network()
    before = {name: value.clone() for name, value in loaded.module.state_dict().items()}
    made(tmp_path, loaded, iterations=2)
    assert all(torch.equal(value, before[name]) for name, value in loaded.module.state_dict().items())
    assert all(parameter.requires_grad for parameter in loaded.module.parameters())
    assert not any(module._forward_pre_hooks for module in loaded.module.modules())


def test_batches_are_even_and_at_most_32() -> None:
    assert [batch_sizes(count) for count in (32, 33, 70)] == [[32], [17, 16], [24, 23, 23]]


def test_unknown_sources_are_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidSpecification) as refused:
        source_by_id("camera")
    assert "range-noise" in refused.value.hint
