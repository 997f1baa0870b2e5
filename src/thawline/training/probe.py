"""The linear probe, solved: multinomial logistic regression on cached features; and nearest neighbors beside it.

As in Kornblith et al. (2019), the probe is minimized by L-BFGS and the strength of its L2 penalty is picked on
validation images; here by the log-loss after temperature scaling, which ranks more reliably than accuracy where images
are few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from thawline.errors import NonFiniteLossError
from thawline.training.balance import image_weights
from thawline.training.temperature import scaled_log_loss

Features = Tensor
"""Pooled features [n, d], float32, in memory or mapped from a file."""

STRENGTHS = tuple(10.0 ** (2 - half / 2) for half in range(17))
"""L2 strengths lambda that are tried: mean loss + lambda / 2 * |weight|^2, on scaled features (`_moments`)."""
SCALING = 0.5
"""Power of a feature's standard deviation that divides it: 0 = as it is, 1 = standardized, which blows up features that
hardly vary (`benchmarks/probe_scaling.py`)."""
PATIENCE = 3
"""The path ends after so many strengths without a better validation loss."""
MARGIN = 1e-4
"""Nats; validation losses that differ by less are tied, and the stronger penalty wins."""
MOST_ITERATIONS = 1000
NEIGHBOURS = (1, 3, 5, 10, 20)


class _Precision(NamedTuple):
    gain: float
    """A minimisation ends with the iteration that lowers the objective by less than this share."""
    dtype: torch.dtype
    """Type of the matrix products; the rounding of float32 hides gains below 1e-8."""


ON_THE_WAY = _Precision(1e-5, torch.float32)
AT_THE_END = _Precision(1e-11, torch.float64)

_AT_ONCE = 1 << 19
"""Numbers in one chunk: few enough to stay in the processor's cache."""
_SIMILARITIES_AT_ONCE = 1 << 24
_IMAGES_FOR_CURVATURE = 8192


@dataclass(frozen=True)
class Probe:
    """A linear head for pooled features: logits = features @ weight.T + bias."""

    weight: Tensor
    """[C, d], float32."""
    bias: Tensor
    """[C], float32."""
    strength: float
    """L2 strength that was picked, one of `STRENGTHS`."""
    temperature: float
    """Divisor of the logits; it is folded into weight and bias."""
    iterations: int
    """L-BFGS iterations over all strengths."""
    train_loss: float
    """Mean cross-entropy in nats of the training images, weighted if the classes are, after the temperature."""


def solve_probe(
    train: Features,
    train_labels: Tensor,
    val: Features,
    val_labels: Tensor,
    classes: int,
    *,
    class_weights: Tensor | None,
    balanced_validation: bool,
) -> Probe:
    """Solve the probe along `STRENGTHS`, strongest first, and keep the one with the least scaled validation log-loss.

    `class_weights` [C] weight the training loss; with `balanced_validation`, the validation loss is the mean over the
    classes that occur there. The result is exact: a function of the data alone, without a rate, an order or a seed.
    A class without training image gets a probability of at most 1 / (n + 1) before the temperature.
    Raises `NonFiniteLossError` if a feature is NaN or infinite.
    """
    problem = _Problem(train, train_labels, classes, class_weights)
    _check_finite(val, "validation")
    val_weights = image_weights(val_labels) if balanced_validation else None

    def validated(solution: _Solution) -> tuple[float, float]:
        return scaled_log_loss(_logits(val, *problem.head(solution)), val_labels, val_weights)

    picked, picked_loss, iterations, behind = problem.start(), math.inf, 0, 0
    solution = picked
    for strength in STRENGTHS:
        solution = problem.minimized(solution, strength, ON_THE_WAY)
        iterations += solution.iterations
        loss, _ = validated(solution)
        behind += 1
        if loss < picked_loss - MARGIN:
            picked, picked_loss, behind = solution, loss, 0
        if behind == PATIENCE:
            break
    picked = problem.minimized(picked, picked.strength, AT_THE_END)
    _, temperature = validated(picked)
    return _probe(problem, picked, temperature, iterations + picked.iterations)


def solve_probe_at(
    train: Features,
    train_labels: Tensor,
    classes: int,
    *,
    strength: float,
    temperature: float,
    class_weights: Tensor | None,
) -> Probe:
    """The probe at a strength and a temperature that are known, without validation images; see `solve_probe`."""
    problem = _Problem(train, train_labels, classes, class_weights)
    rough = problem.minimized(problem.start(), strength, ON_THE_WAY)
    exact = problem.minimized(rough, strength, AT_THE_END)
    return _probe(problem, exact, temperature, rough.iterations + exact.iterations)


@dataclass(frozen=True)
class _Solution:
    weight: Tensor
    """[r, present classes], float64, in the eigenbasis of the scaled features."""
    bias: Tensor
    """[present classes], float64, of centered features."""
    strength: float
    iterations: int


class _Problem:
    """The training images' loss as L-BFGS sees it: over the classes that have images, in well-scaled coordinates.

    The Hessian at uniform outputs is, up to a factor, covariance + lambda; in the eigenbasis of the covariance it is
    diagonal, so dividing by its root makes all directions about equally curved, and L-BFGS needs few iterations.
    """

    def __init__(self, features: Features, labels: Tensor, classes: int, class_weights: Tensor | None) -> None:
        self.features, self.classes = features, classes
        self.present, self.targets = torch.unique(labels, return_inverse=True)
        weights = torch.ones(len(labels)) if class_weights is None else class_weights[labels]
        self.weights = weights.double() / weights.double().sum()
        self.mean, self.scale = _moments(features)
        self.variances, self.basis = _principal_axes(features, self.mean, self.scale)
        # With few images, turning their features once costs less than turning weights and gradients at every step.
        self.turned = self._turned() if len(features) <= _IMAGES_FOR_CURVATURE else None

    def start(self) -> _Solution:
        """No weight, and the logarithm of the classes' frequencies, centered, as the bias."""
        frequencies = torch.bincount(self.targets, self.weights, minlength=len(self.present))
        bias = frequencies.clamp(min=1e-12).log()
        weight = torch.zeros(len(self.variances), len(self.present), dtype=torch.float64)
        return _Solution(weight, bias - bias.mean(), math.inf, 0)

    def minimized(self, start: _Solution, strength: float, precision: _Precision) -> _Solution:
        """The minimum at `strength`, searched from `start`."""
        begin, dtype = torch.cat([start.weight, start.bias[None]]), precision.dtype
        loss = self._loss_and_gradient(start.weight, start.bias, dtype)[0]
        whole = max(_penalised(loss, start.weight, strength), 1e-30)
        unit = self._units(loss, strength)

        def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            both = torch.from_numpy(flat).view(begin.shape) * unit
            loss, gradient = self._loss_and_gradient(both[:-1], both[-1], dtype)
            gradient[:-1] += strength * both[:-1]
            return _penalised(loss, both[:-1], strength) / whole, (gradient * unit / whole).numpy().ravel()

        options = {"maxiter": MOST_ITERATIONS, "maxfun": 2 * MOST_ITERATIONS, "ftol": precision.gain, "gtol": 1e-8}
        found = minimize(objective, (begin / unit).numpy().ravel(), jac=True, method="L-BFGS-B", options=options)
        both = torch.from_numpy(found.x).view(begin.shape) * unit
        return _Solution(both[:-1], both[-1], strength, int(found.nit))

    def _units(self, loss: float, strength: float) -> Tensor:
        """Steps [r + 1, 1] along each axis, and of the bias, that change the gradient equally, while the loss is this.

        The outputs' share of the Hessian is (1 - 1 / C) / C if they are uniform, and shrinks with the loss.
        """
        curvature = max((1 - math.exp(-loss)) / len(self.present), 1e-12)
        hessian = torch.cat([curvature * self.variances + strength, torch.tensor([curvature])])
        return hessian.rsqrt()[:, None]

    def head(self, solution: _Solution) -> tuple[Tensor, Tensor]:
        """Weight [C, d] and bias [C] for the features as they are, float64, every class included."""
        weight = torch.zeros(self.classes, len(self.mean), dtype=torch.float64)
        weight[self.present] = self._raw(solution.weight)
        # Centered logits sum to 0, so their log-sum-exp is never below log(present classes).
        absent = math.log(len(self.present) / (len(self.features) + 1))
        bias = torch.full((self.classes,), absent, dtype=torch.float64)
        bias[self.present] = solution.bias - solution.bias.mean()
        return weight, bias - weight @ self.mean

    def loss(self, solution: _Solution, temperature: float) -> float:
        """Weighted mean cross-entropy after the temperature."""
        loss, _ = self._loss_and_gradient(solution.weight / temperature, solution.bias / temperature, torch.float32)
        return loss

    def _raw(self, weight: Tensor) -> Tensor:
        """Weights [r, present classes] as those of centered, unscaled features, [present classes, d], row by row."""
        return (self.basis @ weight / self.scale[:, None]).T.contiguous()

    def _loss_and_gradient(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> tuple[float, Tensor]:
        """Loss without the penalty, and its gradient [r + 1, present classes] in the eigenbasis, the bias' row last."""
        raw = (self._raw(weight) if self.turned is None else weight.T.contiguous()).to(dtype)
        offset, by_weight = bias.to(dtype), torch.zeros(raw.shape, dtype=torch.float64)
        by_bias, loss = torch.zeros_like(bias), 0.0
        for rows in _chunks(len(self.features), sum(raw.shape)):
            centered = self._centered(rows, dtype)
            log_outputs = torch.addmm(offset, centered, raw.T).log_softmax(dim=1)
            targets, weights = self.targets[rows, None], self.weights[rows, None].to(dtype)
            loss -= float((log_outputs.gather(1, targets) * weights).sum(dtype=torch.float64))
            residuals = log_outputs.exp_().scatter_add_(1, targets, torch.full_like(weights, -1.0)).mul_(weights)
            by_weight += residuals.T @ centered
            by_bias += residuals.sum(dim=0)
        turned = by_weight.T if self.turned is not None else self.basis.T @ (by_weight / self.scale).T
        return loss, torch.cat([turned, by_bias[None]])

    def _centered(self, rows: slice, dtype: torch.dtype) -> Tensor:
        """Centered features [rows, d], or in the eigenbasis [rows, r] if they are turned."""
        if self.turned is not None:
            return self.turned[rows].to(dtype)
        return self.features[rows] - self.mean.to(dtype)

    def _turned(self) -> Tensor:
        """Scaled features in the eigenbasis, [n, r] float32."""
        basis = (self.basis / self.scale[:, None]).float()
        mean = self.mean.float()
        return torch.cat([(self.features[rows] - mean) @ basis for rows in _chunks(*self.features.shape)])


def _probe(problem: _Problem, solution: _Solution, temperature: float, iterations: int) -> Probe:
    weight, bias = (part / temperature for part in problem.head(solution))
    return Probe(
        weight=weight.float(),
        bias=bias.float(),
        strength=solution.strength,
        temperature=temperature,
        iterations=iterations,
        train_loss=problem.loss(solution, temperature),
    )


def _penalised(loss: float, weight: Tensor, strength: float) -> float:
    return loss + strength / 2 * float(weight.square().sum())


def _chunks(images: int, numbers_each: int) -> Iterator[slice]:
    size = max(1, _AT_ONCE // numbers_each)
    return (slice(start, start + size) for start in range(0, images, size))


def _check_finite(features: Features, split: str) -> None:
    bad = sum(int((~features[rows].isfinite().all(dim=1)).sum()) for rows in _chunks(*features.shape))
    if bad:
        raise NonFiniteLossError(
            f"The features of {bad} of {len(features)} {split} images are NaN or infinite; the pretrained network "
            "cannot be used on these images. Check its weights and how pixels are normalized."
        )


def _moments(features: Features) -> tuple[Tensor, Tensor]:
    """Mean and scale [d] of every feature, float64; see `SCALING`."""
    _check_finite(features, "training")
    mean = sum((features[rows].sum(dim=0, dtype=torch.float64) for rows in _chunks(*features.shape)), torch.zeros(()))
    mean = mean / len(features)
    squares = ((features[rows].double() - mean).square().sum(dim=0) for rows in _chunks(*features.shape))
    deviation = (sum(squares, torch.zeros(())) / len(features)).sqrt()
    # The mean of equal float32 values is off by rounding in float64, so a constant feature's deviation is not quite 0.
    varies = deviation > 1e-7 * mean.abs()
    typical = deviation[varies].square().mean().sqrt()
    return mean, torch.where(varies, deviation**SCALING * typical ** (1 - SCALING), 1.0)


def _principal_axes(features: Features, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Variances [r] and orthonormal axes [d, r] of the scaled features, float64, r = min(n, d).

    They only speed up the minimisation, so evenly spaced images are enough.
    """
    some = features[:: math.ceil(len(features) / _IMAGES_FOR_CURVATURE)]
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for rows in _chunks(*some.shape):
        scaled = ((some[rows] - mean) / scale).float()
        covariance += scaled.T @ scaled
    variances, axes = torch.linalg.eigh(covariance / len(some))
    # There are no more than n directions with a variance, and no weight outside them.
    return variances[-len(features) :].clamp(min=0), axes[:, -len(features) :]


def _logits(features: Features, weight: Tensor, bias: Tensor) -> Tensor:
    """[n, C], float64."""
    chunks = (features[rows].double() @ weight.T + bias for rows in _chunks(len(features), sum(weight.shape)))
    return torch.cat(list(chunks))


def knn_probabilities(
    train: Features, train_labels: Tensor, others: Features, classes: int, neighbors: int
) -> NDArray[np.float64]:
    """Vote shares [n, C] of the `neighbors` training images with the largest cosine similarity to each of `others`."""
    return _vote_shares(train_labels[_nearest(train, others, neighbors)], classes)


def pick_neighbors(train: Features, train_labels: Tensor, val: Features, val_labels: Tensor, classes: int) -> int:
    """Number of neighbors among `NEIGHBOURS` with the best validation accuracy.

    Ties go to the larger number, whose vote depends less on single training images.
    """
    possible = [number for number in NEIGHBOURS if number <= len(train)]
    labels = train_labels[_nearest(train, val, possible[-1])]

    def accuracy(number: int) -> float:
        predicted = _vote_shares(labels[:, :number], classes).argmax(axis=1)
        return float((predicted == val_labels.numpy()).mean())

    return max(possible, key=lambda number: (accuracy(number), number))


def _nearest(train: Features, others: Features, neighbors: int) -> Tensor:
    """Positions [n, neighbors] in `train`, the most similar image first."""
    _check_finite(train, "training")
    _check_finite(others, "other")
    lengths = torch.cat([train[rows].norm(dim=1) for rows in _chunks(*train.shape)]).clamp(min=1e-12)
    # A row's own length changes nothing in its order.
    size = max(1, _SIMILARITIES_AT_ONCE // len(train))
    chunks = (others[start : start + size] for start in range(0, len(others), size))
    return torch.cat([(chunk @ train.T).div_(lengths).topk(neighbors, dim=1).indices for chunk in chunks])


def _vote_shares(labels: Tensor, classes: int) -> NDArray[np.float64]:
    """[n, C] from the neighbors' labels [n, k]; nearer ones count a trifle more, so a tie goes to the nearer class."""
    ranks = torch.arange(labels.shape[1], dtype=torch.float64)
    votes = (1 - 1e-4 * ranks / len(ranks)).expand(labels.shape)
    shares = torch.zeros(len(labels), classes, dtype=torch.float64).scatter_add_(1, labels, votes / votes[0].sum())
    return shares.numpy()
