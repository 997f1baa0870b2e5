"""Metrics of predicted probabilities (accuracy, macro averages, likelihood, calibration) and their uncertainty."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from thawline.results import ClassScores, Figure, SplitScores

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "negative_log_likelihood",
    "calibration_error",
)

CALIBRATION_BINS = 15
BOOTSTRAP_DRAWS = 10_000
_VALUES_AT_ONCE = 100_000
"""Values that resampling draws in one call: few enough to stay in the processor's cache."""

Probabilities = NDArray[np.float64]
Labels = NDArray[np.int64]


def score(probabilities: Probabilities, labels: Labels) -> dict[str, float]:
    """All `METRICS` for probabilities [n, C] and labels [n].

    Macro averages are over the classes that occur in `labels`; a class that is never predicted has precision 0.
    """
    predicted = probabilities.argmax(axis=1)
    present = np.unique(labels)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=present, average="macro", zero_division=0.0
    )
    every_class = np.arange(probabilities.shape[1])
    return {
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": float(recall),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
        "negative_log_likelihood": float(log_loss(labels, _normalized(probabilities), labels=every_class)),
        "calibration_error": calibration_error(probabilities, labels),
    }


def macro_f1(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Mean F1 over the classes that occur in `labels`."""
    figures = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0.0
    )
    return float(figures[2])


def calibration_error(probabilities: Probabilities, labels: Labels) -> float:
    """Expected calibration error over 15 equal bins of confidence (Guo et al. 2017, Eq. 3), 0 to 1."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gap = np.bincount(bins, weights=correct - confidence, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(labels))


def per_class(probabilities: Probabilities, labels: Labels, classes: Sequence[str]) -> list[ClassScores]:
    """Precision, recall, F1 and number of images of every class, in the order of `classes`."""
    figures = precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=np.arange(len(classes)), average=None, zero_division=0.0
    )
    return [
        ClassScores(name=name, precision=float(p), recall=float(r), f1=float(f), images=int(n))
        for name, p, r, f, n in zip(classes, *figures, strict=True)
    ]


def confusion(probabilities: Probabilities, labels: Labels) -> list[list[int]]:
    """Confusion matrix: counts by [true class][predicted class]."""
    every_class = np.arange(probabilities.shape[1])
    counts: list[list[int]] = confusion_matrix(labels, probabilities.argmax(axis=1), labels=every_class).tolist()
    return counts


def over_seeds(values: Sequence[float]) -> Figure:
    """Mean and standard error of a metric over seeds; the latter is None for a single seed."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return Figure(mean=statistics.fmean(values), standard_error=error, n=len(values), per_seed=list(values))


def summarise(scores: Sequence[Mapping[str, float]]) -> SplitScores:
    """`over_seeds` of every metric."""
    return SplitScores(**{name: over_seeds([seed[name] for seed in scores]) for name in METRICS})


def correctness(probabilities: Sequence[Probabilities], labels: Labels) -> NDArray[np.float64]:
    """Fraction of seeds that classified each image correctly, [n]."""
    right = np.array([seed.argmax(axis=1) == labels for seed in probabilities], np.float64)
    return np.asarray(right.mean(axis=0))


def bootstrap_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of the mean over images, from 10,000 seeded resamples."""
    generator = np.random.default_rng(0)
    # Many resamples in one call, which draws the same numbers as one call for each, in a tenth of the time.
    at_once = max(1, _VALUES_AT_ONCE // len(values))
    sizes = [min(at_once, BOOTSTRAP_DRAWS - start) for start in range(0, BOOTSTRAP_DRAWS, at_once)]
    means = np.concatenate([generator.choice(values, (size, len(values))).mean(axis=1) for size in sizes])
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _normalized(probabilities: Probabilities) -> Probabilities:
    """Rows renormalized in double precision, because scikit-learn rejects the rounding of float32 softmax outputs."""
    wide = probabilities.astype(np.float64)
    return np.asarray(wide / wide.sum(axis=1, keepdims=True))
