"""Class imbalance: class weights for the loss, or a sampler that draws every class equally often."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thawline.config import Balance
from thawline.data.splits import spread_evenly

SHARD = 16
"""Neighboring images that a streamed training reads one after the other."""
WINDOW = 1024 * SHARD
"""Images among which the images of shards are shuffled; fewer images than that are shuffled as in any training."""
BETA = 0.999
"""Beta of the effective number of images; 0 = no weighting, towards 1 = inverse frequency."""


def class_weights(labels: Tensor, num_classes: int, balance: Balance) -> Tensor | None:
    """Weights [C] for the loss, 1 on average over the images; None unless `balance` is "loss".

    They are inverse effective numbers of images, (1 - beta) / (1 - beta^n) (Cui et al. 2019, Eq. 6); 0 for classes
    without images.
    """
    if balance != "loss":
        return None
    counts = torch.bincount(labels, minlength=num_classes).double()
    weights = torch.where(counts > 0, (1 - BETA) / (1 - BETA**counts), 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def solver_weights(labels: Tensor, num_classes: int, balance: Balance) -> Tensor | None:
    """Weights [C] of the loss of a solved probe, which sees every image once; None if all classes count alike.

    For "sampler", classes weigh as much as in an epoch that draws every class equally often.
    """
    if balance != "sampler":
        return class_weights(labels, num_classes, balance)
    counts = torch.bincount(labels, minlength=num_classes).double()
    present = counts > 0
    return torch.where(present, counts.sum() / (present.sum() * counts.clamp(min=1)), 0.0).float()


def image_weights(labels: Tensor) -> Tensor:
    """Weights [n] that give every class that occurs the same total."""
    return 1 / torch.bincount(labels).double()[labels]


def draw_order_in_shards(labels: Tensor, balance: Balance, seed: int, epoch: int) -> np.ndarray:
    """The same for images that are read from files: those that lie together are read at about the same time.

    Shards of `SHARD` neighbors come in random order, each class spread evenly over the epoch, and the images of every
    `WINDOW` are shuffled. Up to one window, and for "sampler", it is `draw_order`.
    """
    if balance == "sampler" or len(labels) <= WINDOW:
        return draw_order(labels, balance, seed, epoch)
    generator = np.random.default_rng([seed, epoch])
    starts = np.arange(0, len(labels), SHARD)
    shards = starts[spread_evenly(labels.numpy()[starts], generator)]
    order = (shards[:, None] + np.arange(SHARD)).ravel()
    order = order[order < len(labels)]
    windows = (order[start : start + WINDOW] for start in range(0, len(order), WINDOW))
    return np.concatenate([generator.permutation(window) for window in windows])


def draw_order(labels: Tensor, balance: Balance, seed: int, epoch: int) -> np.ndarray:
    """Positions of the training images in the order of one epoch, drawn from (seed, epoch).

    Each image occurs once; for "sampler", images are drawn with replacement, every class being equally likely.
    """
    generator = np.random.default_rng([seed, epoch])
    if balance != "sampler":
        return generator.permutation(len(labels))
    counts = np.bincount(labels.numpy())
    share = 1.0 / counts[labels.numpy()]
    return generator.choice(len(labels), len(labels), p=share / share.sum())
