"""Measures of change in a block: its weights, its batch norm statistics, its features and a linear probe of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

State = Mapping[str, Tensor]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]

_MEAN, _VARIANCE = ".running_mean", ".running_var"
_FEWEST = 4
"""Fewest images for which the unbiased estimate of CKA is defined."""
_STEPS = 2000
"""Most steps of the solver; standardized features take a few hundred."""


def weight_change(before: State, after: State, parameters: Sequence[str]) -> float | None:
    """||w - w0|| / ||w0|| over all of `parameters` as one vector; None if the pretrained ones are all zero."""
    start = sum(float(before[name].double().square().sum()) for name in parameters)
    change = sum(float((after[name].double() - before[name].double()).square().sum()) for name in parameters)
    return (change / start) ** 0.5 if start else None


def norm_drift(network: nn.Module, before: State, after: State, buffers: Sequence[str]) -> float | None:
    """Change of the running statistics, in pretrained standard deviations; None without batch norm.

    The mean over channels of sqrt((m - m0)^2 + (s - s0)^2) / s0: the 2-Wasserstein distance of the two normal
    distributions that the statistics describe. s includes the layer's epsilon, as the layer's denominator does.
    """
    distances = []
    for layer in (name.removesuffix(_MEAN) for name in buffers if name.endswith(_MEAN)):
        epsilon = float(getattr(network.get_submodule(layer), "eps", 1e-5))
        mean, start = (state[layer + _MEAN].double() for state in (after, before))
        deviation, unit = ((state[layer + _VARIANCE].double() + epsilon).sqrt() for state in (after, before))
        distances.append(((mean - start).square() + (deviation - unit).square()).sqrt() / unit)
    return float(torch.cat(distances).mean()) if distances else None


def linear_cka(before: Features, after: Features) -> float | None:
    """Linear CKA of features [n, F] and [n, F'] of the same images, 0 to 1 (Kornblith et al. 2019, Eq. 3).

    Uses the unbiased estimate of HSIC (Song et al. 2012, Eq. 5; as in Nguyen et al. 2021): the biased one of Eq. 2
    rates unrelated features as similar once there are more features than images. None with fewer than 4 images, or if
    the features are the same for all images.
    """
    if len(before) < _FEWEST:
        return None
    first, second = (_similarities(features) for features in (before, after))
    product = _hsic(first, first) * _hsic(second, second)
    if not product > 0:
        return None
    return float(np.clip(_hsic(first, second) / product**0.5, 0.0, 1.0))


def _similarities(features: Features) -> NDArray[np.float64]:
    """[n, n] inner products of centered features, without the diagonal."""
    centered = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    products: NDArray[np.float64] = centered @ centered.T
    np.fill_diagonal(products, 0.0)
    return products


def _hsic(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Unbiased estimate, times n (n - 3), from [n, n] similarities without their diagonal."""
    n = len(first)
    sums = first.sum() * second.sum() / ((n - 1) * (n - 2))
    return float((first * second).sum() + sums - 2 / (n - 2) * (first.sum(axis=0) @ second.sum(axis=0)))


@dataclass(frozen=True)
class Probe:
    """A linear classifier of features: logits = features @ weight.T + bias."""

    weight: NDArray[np.float64]
    """[C, F]."""
    bias: NDArray[np.float64]
    """[C]."""

    @classmethod
    def fit(cls, features: Features, labels: Labels, classes: int) -> Probe:
        """Logistic regression (L2, C = 1) on standardized features [n, F]; labels [n] must hold every class."""
        fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_STEPS)).fit(features, labels)
        scaler, regression = fitted[0], fitted[1]
        weight, bias = regression.coef_, regression.intercept_
        if classes == 2:  # scikit-learn keeps the difference of the two logits only
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        weight = weight / scaler.scale_
        return cls(weight, bias - weight @ scaler.mean_)

    def accuracy(self, features: Features, labels: Labels) -> float:
        """Share of features [n, F] that are classified as their label."""
        return float(((features @ self.weight.T + self.bias).argmax(axis=1) == labels).mean())
