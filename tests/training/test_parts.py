"""Distillation, augmentation, divergence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sixty_four import GRADIENT, VALUES
from torch import nn

from core.jobs.specification import TrainingChoice
from core.training.augmentation import flip_and_crop
from core.training.distillation import Teacher, distilled_loss
from core.training.divergence import bad_loss, bad_select_loss, collapsed, only_class


def softmax(z: np.ndarray) -> np.ndarray:
    shares = np.exp(z - z.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def test_the_distilled_loss_and_its_gradient_follow_the_paper() -> None:
    """Hinton et al., arXiv 1503.02531, eq. 2: the soft part's gradient is T (softmax(z/T) - softmax(t/T)) / N."""
    student, teacher, temperature = VALUES.reshape(16, 4), 2 * GRADIENT.reshape(16, 4), 3.0
    labels = np.arange(16) % 4
    z = torch.tensor(student, requires_grad=True)
    choice = TrainingChoice(distillation_share=0.7, temperature=temperature)
    loss = distilled_loss(z, torch.tensor(labels), torch.tensor(teacher), choice)
    loss.backward()
    soft_teacher, soft_student = softmax(teacher / temperature), softmax(student / temperature)
    divergence = (soft_teacher * np.log(soft_teacher / soft_student)).sum(1).mean()
    hard = -np.log(softmax(student)[range(16), labels]).mean()
    a = choice.distillation_share
    assert float(loss.detach()) == pytest.approx((1 - a) * hard + a * temperature**2 * divergence, rel=1e-9)
    gradient = (1 - a) * (softmax(student) - np.eye(4)[labels]) + a * temperature * (soft_student - soft_teacher)
    assert np.allclose(z.grad.numpy(), gradient / 16, atol=1e-12)


def test_without_a_teacher_the_loss_is_the_cross_entropy() -> None:
    z, labels = torch.tensor(VALUES.reshape(16, 4)), torch.arange(16) % 4
    assert torch.equal(distilled_loss(z, labels, None, TrainingChoice()), nn.functional.cross_entropy(z, labels))


def test_kept_scores_are_those_of_the_images_asked_for() -> None:
    teacher, x = Teacher(nn.Linear(3, 2)), torch.randn(10, 3)
    indices = np.array([7, 0, 3])
    fresh = teacher.scores(indices, x[indices])
    teacher.keep_all(iter(x.split(4)))
    assert torch.allclose(teacher.scores(indices, x[indices]), fresh, atol=1e-6)
    assert not fresh.requires_grad


def test_an_augmented_image_is_the_image_moved_or_mirrored() -> None:
    images = np.arange(1, 3 * 2 * 5 * 6 + 1, dtype=np.float32).reshape(3, 2, 5, 6)
    moved = flip_and_crop(images, np.random.default_rng(0))
    padded = np.pad(images, ((0, 0), (0, 0), (4, 4), (4, 4)))
    for image, (channels_first, wide) in zip(moved, zip(images, padded, strict=True), strict=True):
        assert image.shape == channels_first.shape
        assert any(
            np.array_equal(image, crop) or np.array_equal(image, crop[:, :, ::-1])
            for down in range(9)
            for right in range(9)
            for crop in [wide[:, down : down + 5, right : right + 6]]
        )


def test_augmentation_follows_from_its_generator() -> None:
    images = np.random.default_rng(1).random((8, 3, 6, 6), np.float32)
    one, other = (flip_and_crop(images, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, flip_and_crop(images, np.random.default_rng(8)))


def test_losses_that_end_a_training_are_named() -> None:
    assert bad_loss(2.0, 1.0, 10, 1) is None
    assert "not a number" in str(bad_loss(float("nan"), 1.0, 10, 4))
    assert "infinite in epoch 4" in str(bad_loss(float("inf"), 1.0, 10, 4))
    assert "exploded to 50" in str(bad_loss(50.0, 1.0, 10, 2))
    assert bad_loss(30.0, 5.0, 10, 2) is None, "a large first loss allows a large one"


def test_a_loss_on_select_that_is_no_number_is_named() -> None:
    assert bad_select_loss(2.0, 3) is None
    assert bad_select_loss(float("nan"), 3) == "the loss on the select split was not a number after epoch 3"
    assert "infinite" in str(bad_select_loss(float("inf"), 3))


def test_one_predicted_class_is_a_collapse_only_where_labels_differ() -> None:
    one, two = np.zeros(5, np.int64), np.array([0, 1, 0, 1, 0])
    assert only_class(one, two) == 0
    assert collapsed(one, two) == "the network gives every image class 0"
    assert only_class(two, two) is collapsed(two, two) is None
    assert only_class(one, one) is collapsed(one, one) is None
