"""The mirror test: whether a linear probe recognizes mirrored images as well as the images themselves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import t as student
from torch import Tensor

from thawline.config import CacheConfig, TrainConfig
from thawline.model.load import LoadedModel
from thawline.results import MirrorTest
from thawline.training.balance import image_weights, solver_weights
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.probe import Probe, solve_probe
from thawline.training.temperature import scaled_log_loss
from thawline.training.trainer import Trainer

MOST_TRAINING_IMAGES, MOST_VALIDATION_IMAGES = 5000, 2000
"""Images that the test uses at most; of larger splits a random part, drawn from the seed."""
_NO_CACHE = CacheConfig(memory_bytes=0, disk_bytes=0)


def mirror_test(model: LoadedModel, data: TrainingData, config: TrainConfig, seed: int) -> MirrorTest | None:
    """Compare validation images with their mirror images; None if the head is not a single linear layer.

    The probe is solved on the training images as they are. The network is left with its pretrained weights. Raises
    `NonFiniteLossError` for features that are not finite, `TooLittleMemoryError` if the network does not fit.
    """
    train, val = (
        _part(split, most, seed)
        for split, most in ((data.train, MOST_TRAINING_IMAGES), (data.val, MOST_VALIDATION_IMAGES))
    )
    data = TrainingData(data.pixels, train, val)
    plain = Trainer(model, data, config, _NO_CACHE)
    if plain.linear_head is None:
        return None
    model.restore(0)
    features = plain.head_inputs(val.rows)
    probe = _probe(plain, plain.head_inputs(train.rows), features)
    mirrored = Trainer(model, replace(data, pixels=np.asarray(data.pixels)[:, :, ::-1]), config, _NO_CACHE).head_inputs(
        val.rows
    )
    weights = image_weights(val.labels) if config.metric == "macro_f1" else torch.ones(len(val))
    found = compared(_logits(probe, features), _logits(probe, mirrored), val.labels, weights)
    return replace(found, passes=found.passes + len(train))


def compared(plain: Tensor, mirrored: Tensor, labels: Tensor, weights: Tensor) -> MirrorTest:
    """Figures of the logits [n, C] of images and of their mirror images; `weights` [n] are those of the images."""
    shares = weights.double() / weights.double().sum()
    losses = [_losses(logits, labels, weights) for logits in (plain, mirrored)]
    right = [(logits.argmax(dim=1) == labels).double() for logits in (plain, mirrored)]
    return MirrorTest(
        images=len(labels),
        passes=2 * len(labels),
        log_loss=float(shares @ losses[0]),
        mirrored_log_loss=float(shares @ losses[1]),
        accuracy=float(shares @ right[0]),
        mirrored_accuracy=float(shares @ right[1]),
        p=_p_of_rise(losses[1] - losses[0], shares),
    )


def _losses(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Log-loss of every image, [n] float64; either side gets its own temperature, or the probe's would favor one."""
    _, temperature = scaled_log_loss(logits, labels, weights)
    return F.cross_entropy(logits.double() / temperature, labels, reduction="none")


def _p_of_rise(rises: Tensor, shares: Tensor) -> float:
    """One-sided p-value of a mean rise above 0 by Student's t; 1 where rises that are all alike cannot tell.

    Weighted images count as 1 / sum(shares^2) images of equal weight (Kish 1965).
    """
    number = 1 / float(shares.square().sum())
    mean = float(shares @ rises)
    spread = float((shares * (rises - mean)).square().sum())
    if number < 2 or spread < 1e-30:
        return 1.0
    return float(student.sf(mean / math.sqrt(spread * number / (number - 1)), number - 1))


def _probe(trainer: Trainer, train: Tensor, val: Tensor) -> Probe:
    data, classes, config = trainer.data, trainer.model.num_classes, trainer.config
    return solve_probe(
        train,
        data.train.labels,
        val,
        data.val.labels,
        classes,
        class_weights=solver_weights(data.train.labels, classes, config.balance),
        balanced_validation=config.metric == "macro_f1",
    )


def _logits(probe: Probe, features: Tensor) -> Tensor:
    return torch.addmm(probe.bias, features, probe.weight.T)


def _part(split: LabelledRows, most: int, seed: int) -> LabelledRows:
    """The split, or a random part of it, in its order."""
    if len(split) <= most:
        return split
    chosen = np.sort(np.random.default_rng(seed).permutation(len(split))[:most])
    return LabelledRows(split.rows[chosen], split.labels[chosen])
