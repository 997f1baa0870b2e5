"""Ten situations as typed results, and what thawline says of each: `python -m tests.report.ten_sentences` prints both.

The sentences before are those of commit ecafc57 for the same figures; docs/reliability.md holds the table.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.report.synthetic import fit_results, row, scores, scores_on_test
from thawline import verdicts
from thawline.plan import FineTunePlan, Phase
from thawline.report.summary import headline
from thawline.results import FitResults, TestScores, Versus
from thawline.studies.depth_curve import depth_curve

CLASSES = 5
HEAD_ALONE = (None, None, None, 1e-2)
LAST_BLOCK = (None, None, 1e-3, 1e-3)

Difference = tuple[float, float, float, float]
"""Difference to full, the ends of its 95 % interval, and p."""

BEFORE: Mapping[str, str] = {
    "60 test images": (
        "Train blocks.2 and the head at 1e-3, freeze the rest: accuracy 0.517 (0.383 to 0.650) on test, no "
        "significant difference to full (p = 1)."
    ),
    "guessing": (
        "Train the head alone at 1e-2, freeze the rest: accuracy 0.200 (0.120 to 0.280) on test, no "
        "significant difference to full (p = 1)."
    ),
    "one seed": (
        "Train blocks.2 and the head at 1e-3, freeze the rest: accuracy 0.700 (0.583 to 0.817) on test, 15.0 "
        "points better than full (p = 0.035)."
    ),
    "three seeds": (
        "Train blocks.2 and the head at 1e-3, freeze the rest: accuracy 0.700 ± 0.031 on test, 11.7 points "
        "better than full (p = 0.014)."
    ),
    "random weights": ("3 frozen blocks bit-identical to the pretrained network, checked after every training."),
    "own model": ("3 frozen blocks bit-identical to the pretrained network, checked after every training."),
    "a tie": (
        "Train blocks.2 and the head at 1e-3, freeze the rest: accuracy 0.853 ± 0.031 on test, no "
        "significant difference to full (p = 0.66)."
    ),
    "a clear win": (
        "Train blocks.2 and the head at 1e-3, freeze the rest: accuracy 0.718 ± 0.031 on test, 8.1 points "
        "better than full (p < 0.001)."
    ),
    "a clear loss": (
        "Train blocks.2 and the head at 1e-3, freeze the rest: accuracy 0.565 ± 0.031 on test, 9.7 points "
        "worse than full (p < 0.001)."
    ),
    "a depth study": (
        "Sweet spot (highest test accuracy): 50 % of the layers; 25 test images cannot separate any of "
        "these: 0, 25, 50, 100 % (95 %, paired over test images and seeds). One rate for all: 0.001. "
        "Overfitting: the gap between train and test accuracy grows significantly from 25 % on, compared "
        "with the smallest share."
    ),
}


def on_test(accuracy: float, images: int, seeds: int, interval: tuple[float, float]) -> TestScores:
    """A confusion matrix of equally frequent classes, with equally many images of each classified correctly."""
    each = images // CLASSES
    right = round(each * accuracy)
    wrong = (each - right) // (CLASSES - 1)
    matrix = [[right if at == true else wrong for at in range(CLASSES)] for true in range(CLASSES)]
    if accuracy == 1 / CLASSES:
        matrix = [[each] + [0] * (CLASSES - 1)] * CLASSES  # names the first class whatever it sees
    plain = scores_on_test(accuracy, seeds=seeds)
    over_seeds = replace(plain.accuracy, standard_error=0.031 if seeds > 1 else None)
    return replace(plain, accuracy=over_seeds, interval95=interval, confusion_matrix=matrix)


def fitted(
    accuracy: float,
    interval: tuple[float, float],
    difference: Difference,
    *,
    images: int,
    seeds: int = 1,
    rates: Sequence[float | None] = LAST_BLOCK,
) -> FitResults:
    """A `fit` with the baseline full."""
    value, low, high, p = difference
    versus = Versus(difference=value, interval95=(low, high), p_holm=p, words="")
    plan = FineTunePlan((Phase(dict(zip(("stem", "blocks.1", "blocks.2", "head"), rates, strict=True))),))
    saved = row("last_blocks:k=1", rates, accuracy, 1.0, versus_full=versus, plan=plan)
    saved = replace(saved, val=scores(accuracy, seeds=seeds), test=on_test(accuracy, images, seeds, interval))
    found = fit_results(saved, [row("full", (1e-3,) * 4, accuracy - value, 1.0, versus_full=None)])
    counts = {"train": 20 * images, "val": images, "test": images}
    data = replace(found.data, images=counts, classes=[f"class {at}" for at in range(CLASSES)])
    return replace(found, data=data)


TIE = (0.0, -0.15, 0.15, 1.0)
FITS: Mapping[str, FitResults] = {
    "60 test images": fitted(0.517, (0.383, 0.650), TIE, images=60),
    "guessing": fitted(0.2, (0.12, 0.28), (0.0, 0.0, 0.0, 1.0), images=100, rates=HEAD_ALONE),
    "one seed": fitted(0.7, (0.583, 0.817), (0.15, 0.033, 0.267, 0.035), images=60),
    "three seeds": fitted(0.7, (0.594, 0.800), (0.117, 0.028, 0.206, 0.014), images=60, seeds=3),
    "a tie": fitted(0.853, (0.838, 0.868), (0.003, -0.009, 0.015, 0.66), images=2000, seeds=3),
    "a clear win": fitted(0.718, (0.677, 0.758), (0.081, 0.042, 0.120, 0.0002), images=400, seeds=3),
    "a clear loss": fitted(0.565, (0.520, 0.610), (-0.097, -0.137, -0.057, 0.0002), images=400, seeds=3),
}
STARTS: Mapping[str, Mapping[str, object]] = {
    "random weights": {"model": "mobilenetv2_050", "weights": "random"},
    "own model": {"model": "net.py:make", "weights": None},
}


def depth_study() -> dict[str, Any]:
    """Shares [k], train accuracy [k, 1] and test images got right [k, 1, 25] of one seed.

    Both smaller shares are right on the same test images, so that resampling them moves nothing; the others are not.
    """
    numbers = np.arange(25)
    right = [numbers < 15, numbers < 15, (numbers < 12) | (numbers > 20), (numbers < 10) | (numbers > 18)]
    return {
        "shares": np.array([0.0, 25, 50, 100]),
        "train": np.array([[0.62], [0.74], [0.76], [0.78]]),
        "right": np.array(right)[:, None, :],
    }


def sentences() -> dict[str, str]:
    """What thawline says of every situation today."""
    found = {name: headline(results) for name, results in FITS.items()}
    found |= {name: verdicts.frozen_kept(3, request) for name, request in STARTS.items()}
    curve = depth_curve(**depth_study(), train_images=100)
    tests = [on_test(accuracy, 25, 1, (accuracy - 0.2, accuracy + 0.2)) for accuracy in curve.test]
    return found | {"a depth study": verdicts.depth(curve, tests, 25, 1)}


def table() -> str:
    """Every situation with the sentence before and after, in Markdown."""
    after = sentences()
    assert after.keys() == BEFORE.keys()
    lines = [f"| {name} | {BEFORE[name]} | {after[name]} |" for name in BEFORE]
    return "\n".join(["| situation | before (ecafc57) | after |", "|---|---|---|", *lines])


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
