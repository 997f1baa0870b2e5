"""Class imbalance: class weights for the loss, or a sampler that draws every class equally often."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thawline.config import Balance

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
