"""Weights and orders for classes of unequal size, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thawline.training import balance
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


def test_up_to_one_window_shards_limit_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.arange(200) % 3
    assert balance.draw_order_in_shards(labels, "none", 1, 2).tolist() == draw_order(labels, "none", 1, 2).tolist()
    monkeypatch.setattr(balance, "WINDOW", 64)
    assert balance.draw_order_in_shards(labels, "none", 1, 2).tolist() != draw_order(labels, "none", 1, 2).tolist()
    sampled = balance.draw_order_in_shards(labels, "sampler", 1, 2)
    assert sampled.tolist() == draw_order(labels, "sampler", 1, 2).tolist()


def test_images_are_shuffled_within_windows_of_whole_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "WINDOW", 10 * balance.SHARD)
    labels = torch.arange(4).repeat_interleave(400)  # sorted by class, as folders are
    order = balance.draw_order_in_shards(labels, "none", 5, 0)
    assert sorted(order) == list(range(1600))
    for start in range(0, 1600, 160):
        window = order[start : start + 160]
        shards = np.bincount(window // balance.SHARD, minlength=100)
        assert set(shards) == {0, balance.SHARD}
        assert (np.diff(window) != 1).mean() > 0.9, "shuffled"
        assert np.bincount(labels.numpy()[window], minlength=4) == pytest.approx([40] * 4, abs=16), "every class"
    assert order.tolist() == balance.draw_order_in_shards(labels, "none", 5, 0).tolist()
    assert order.tolist() != balance.draw_order_in_shards(labels, "none", 5, 1).tolist()
    odd = balance.draw_order_in_shards(labels[:1509], "none", 5, 0)
    assert sorted(odd) == list(range(1509))
