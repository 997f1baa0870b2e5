"""The log-loss that logits have once they are divided by their best temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from thawline.errors import NonFiniteLossError

LARGEST = 1000.0
"""The temperature lies between 1 / 1000 and 1000."""
FOLDS = 5
"""Parts of the images that the gain is cross-validated on."""
LEAST_IMAGES = 20
"""Fewer say nothing about a temperature."""


def scaled_log_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> tuple[float, float]:
    """Log-loss in nats of `logits` [n, C] / temperature for `labels` [n], and the temperature (Guo et al. 2017, 4.2).

    The temperature is the best one for the images and one more whose label is unknown, each class being equally likely:
    Platt's smoothed targets (1999). So it stays finite where every image is classified correctly, and a single
    image does not make the outputs certain. It is 1 where none is better. `weights` [n] are those of the images.
    Raises `NonFiniteLossError` if a logit is NaN or infinite.
    """
    if not torch.isfinite(logits).all():
        raise NonFiniteLossError("The validation logits contain NaN or infinite values, so they have no log-loss.")
    wide = logits.double()
    shares = torch.full((len(labels),), 1.0 / len(labels)) if weights is None else weights / weights.sum()
    shares = shares.double()
    own = float(shares @ wide.gather(1, labels[:, None])[:, 0])
    smoothed = (len(labels) * own + float(shares @ wide.mean(dim=1))) / (len(labels) + 1)

    def loss(log_temperature: float, target: float = smoothed) -> float:
        inverse = math.exp(-log_temperature)
        return float(shares @ (wide * inverse).logsumexp(dim=1)) - inverse * target

    bound = math.log(LARGEST)
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-4})
    best = float(found.x) if found.fun < loss(0.0) - 1e-12 else 0.0
    return loss(best, own), math.exp(best)


@dataclass(frozen=True)
class Fitted:
    """A temperature, and what it is worth on images that it was not fitted on."""

    temperature: float
    gain: float
    """By how much it lowers the mean log-loss in nats, cross-validated; 0 with too few images."""
    gain_error: float | None
    """Standard error of the gain over images; None = too few images to say."""

    @property
    def helps(self) -> bool:
        """Whether the gain is more than its standard error."""
        return self.gain_error is not None and self.gain > self.gain_error


def fit_temperature(logits: Tensor, labels: Tensor) -> Fitted:
    """The temperature of `logits` [n, C] for `labels` [n], as in `scaled_log_loss`, with its cross-validated gain."""
    _, best = scaled_log_loss(logits, labels)
    if len(labels) < LEAST_IMAGES:
        return Fitted(best, 0.0, None)
    wide = logits.double()
    fold = torch.arange(len(labels)) % FOLDS
    temperatures = torch.empty(len(labels), dtype=torch.float64)
    for number in range(FOLDS):
        rest = fold != number
        temperatures[~rest] = scaled_log_loss(wide[rest], labels[rest])[1]
    gains = F.cross_entropy(wide, labels, reduction="none") - F.cross_entropy(
        wide / temperatures[:, None], labels, reduction="none"
    )
    return Fitted(best, float(gains.mean()), float(gains.std()) / math.sqrt(len(labels)))
