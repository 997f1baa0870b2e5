"""Scores against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thawline.training import evaluation, significance

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])
LABELS = np.array([0, 1, 1, 1])


def test_scores_by_hand() -> None:
    scores = evaluation.score(PROBABILITIES, LABELS)
    assert scores["accuracy"] == 0.75
    assert scores["balanced_accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["macro_precision"] == pytest.approx((1 / 2 + 1) / 2)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    expected = -np.mean([math.log(p) for p in (0.7, 0.8, 0.3, 0.5)])
    assert scores["negative_log_likelihood"] == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    # Confidences 0.7, 0.8, 0.6, 0.5 lie in four bins: |1-.7|, |1-.8|, |0-.6|, |1-.5|, a quarter each.
    assert evaluation.calibration_error(PROBABILITIES, LABELS) == pytest.approx((0.3 + 0.2 + 0.6 + 0.5) / 4)


def test_a_class_without_images_does_not_count() -> None:
    assert evaluation.score(PROBABILITIES[:2], LABELS[:2])["macro_recall"] == 1.0


def test_standard_error_needs_two_seeds() -> None:
    assert evaluation.over_seeds([0.5])["standard_error"] is None
    spread = evaluation.over_seeds([0.4, 0.6])
    assert (spread["mean"], spread["n"]) == (0.5, 2)
    assert spread["standard_error"] == pytest.approx(0.1)


@pytest.mark.parametrize(("images", "at_once"), [(1, 100), (7, 100), (40, 39), (40, 40), (40, 100_000)])
def test_resampling_in_one_call_draws_what_one_call_for_each_draws(
    images: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "BOOTSTRAP_DRAWS", 50)
    monkeypatch.setattr(evaluation, "_VALUES_AT_ONCE", at_once)
    values, generator = np.random.default_rng(5).random(images), np.random.default_rng(0)
    means = [generator.choice(values, images).mean() for _ in range(50)]
    assert evaluation.bootstrap_interval(values) == tuple(np.quantile(means, (0.025, 0.975)))


def test_bootstrap_interval_matches_the_normal_approximation() -> None:
    values = np.repeat([0.0, 1.0], [120, 280])
    low, high = evaluation.bootstrap_interval(values)
    half = 1.96 * math.sqrt(0.7 * 0.3 / 400)
    assert [low, high] == pytest.approx([0.7 - half, 0.7 + half], abs=0.005)


def test_a_real_difference_is_found_and_an_imagined_one_is_not() -> None:
    generator = np.random.default_rng(0)
    reference = (generator.random(400) < 0.6).astype(float)
    better = np.maximum(reference, (generator.random(400) < 0.3).astype(float))
    found = significance.compare(better, reference)
    assert found.p < 0.001
    assert found.interval95[0] > 0
    shuffled = generator.permutation(reference)
    assert significance.compare(shuffled, reference).p > 0.05
    assert significance.compare(reference, reference).p == 1.0


def test_holm_by_hand() -> None:
    assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert significance.holm([0.5, 0.9]) == (1.0, 1.0)
