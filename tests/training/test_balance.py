"""Weights and orders for classes of unequal size, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thawline.training.balance import BETA, class_weights, draw_order

LABELS = torch.tensor([0] * 30 + [1] * 10)


def test_weights_are_inverse_effective_numbers_and_one_on_average() -> None:
    weights = class_weights(LABELS, 3, "loss")
    assert weights is not None
    effective = [(1 - BETA**n) / (1 - BETA) for n in (30, 10)]
    assert (weights[1] / weights[0]).item() == pytest.approx(effective[0] / effective[1])
    assert weights[LABELS].mean().item() == pytest.approx(1.0)
    assert weights[2] == 0
    assert class_weights(LABELS, 3, "sampler") is None


def test_the_sampler_draws_every_class_equally_often() -> None:
    drawn = np.concatenate([LABELS[draw_order(LABELS, "sampler", 0, epoch)].numpy() for epoch in range(50)])
    assert len(drawn) == 50 * 40
    assert drawn.mean() == pytest.approx(0.5, abs=0.04)


def test_without_it_every_image_comes_once_and_epochs_differ() -> None:
    orders = [draw_order(LABELS, "none", 7, epoch) for epoch in (0, 1, 0)]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert np.array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0], orders[1])
