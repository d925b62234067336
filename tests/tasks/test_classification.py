"""Evaluating classifiers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import InvalidInput
from core.tasks.classification import evaluate, loss, losses

LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 3.0, 0.0], [1.0, 0.0, 5.0]])
LABELS = torch.tensor([0, 1, 2, 2])


def test_accuracy_and_loss_are_means_over_all_images_whatever_the_batches() -> None:
    found = evaluate(nn.Identity(), [(LOGITS[:3], LABELS[:3]), (LOGITS[3:], LABELS[3:])])
    shares = torch.softmax(LOGITS.double(), 1)[range(4), LABELS]
    assert found.accuracy == 0.75
    assert found.loss == pytest.approx(float(-shares.log().mean()), rel=1e-6)
    assert found.samples == 4
    assert found.predictions.tolist() == [0, 1, 1, 2]
    assert found.logits.dtype == np.float32


def test_the_model_keeps_its_mode_and_is_evaluated_in_eval_mode() -> None:
    seen = []

    class Probe(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((self.training, torch.is_grad_enabled()))
            return x

    for training in (True, False):
        probe = Probe().train(training)
        evaluate(probe, [(LOGITS, LABELS)])
        assert probe.training is training
    assert seen == [(False, False)] * 2


def test_scores_that_are_no_numbers_are_told_by_the_loss() -> None:
    assert math.isnan(evaluate(nn.Identity(), [(LOGITS * float("nan"), LABELS)]).loss)


def test_no_images_and_classes_without_an_output_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no image"):
        evaluate(nn.Identity(), [])
    with pytest.raises(InvalidInput, match="class 7"):
        evaluate(nn.Identity(), [(LOGITS, LABELS + 5)])


def test_with_probabilities_for_labels_the_loss_is_the_divergence_and_its_gradient_that_of_the_cross_entropy() -> None:
    torch.manual_seed(0)
    exact, logits = torch.randn(8, 5), torch.randn(8, 5, requires_grad=True)
    probabilities = exact.softmax(1)
    divergence = (probabilities * (exact.log_softmax(1) - logits.log_softmax(1))).sum(1)
    assert torch.allclose(losses(logits, probabilities), divergence, atol=1e-6)
    assert torch.allclose(loss(logits, probabilities), divergence.mean(), atol=1e-6)
    assert losses(exact, probabilities).abs().max() < 1e-6
    (own,) = torch.autograd.grad(loss(logits, probabilities), logits)
    (theirs,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, probabilities), logits)
    assert torch.allclose(own, theirs, atol=1e-7)


def test_with_probabilities_for_labels_accuracy_is_agreement() -> None:
    scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    labels = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    assert evaluate(torch.nn.Identity(), [(scores, labels)]).accuracy == pytest.approx(2 / 3)
