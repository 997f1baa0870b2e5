"""Changes of a block: numbers counted by hand, and zero where nothing changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from thawline.explanation.drift import Features, Probe, linear_cka, norm_drift, weight_change


def features(rows: int, columns: int, seed: int = 0) -> Features:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def plain_cka(first: Features, second: Features) -> float:
    """Kornblith et al. 2019, section 3, as printed for linear kernels."""
    first, second = first - first.mean(0), second - second.mean(0)
    cross = np.linalg.norm(second.T @ first) ** 2
    return float(cross / (np.linalg.norm(first.T @ first) * np.linalg.norm(second.T @ second)))


def test_weight_change_by_hand() -> None:
    before = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}
    after = {"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([[4.0]])}
    assert weight_change(before, after, ["a", "b"]) == pytest.approx(1 / 5)
    assert weight_change(before, before, ["a", "b"]) == 0
    assert weight_change(before, after, []) is None


def test_norm_drift_by_hand() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2, eps=0.0))
    before = {"0.running_mean": torch.tensor([0.0, 1.0]), "0.running_var": torch.tensor([4.0, 1.0])}
    after = {"0.running_mean": torch.tensor([6.0, 1.0]), "0.running_var": torch.tensor([36.0, 1.0])}
    buffers = ["0.running_mean", "0.running_var", "0.num_batches_tracked"]
    # first channel: 6 / 2 = 3 away in mean, (6 - 2) / 2 = 2 in deviation; the second did not move
    assert norm_drift(network, before, after, buffers) == pytest.approx((13**0.5 + 0) / 2)
    assert norm_drift(network, before, before, buffers) == 0
    assert norm_drift(network, before, after, []) is None


def test_cka_of_the_same_features_is_1() -> None:
    first = features(30, 5)
    assert linear_cka(first, first) == pytest.approx(1)


def test_cka_sees_no_rotation_no_scale_and_no_shift() -> None:
    first = features(40, 6)
    rotation, _ = np.linalg.qr(features(6, 6, seed=1))
    assert linear_cka(first, (2.5 * first @ rotation + 3).astype(np.float32)) == pytest.approx(1, abs=1e-5)
    second = first + features(40, 6, seed=2)
    assert linear_cka(first, second @ rotation) == pytest.approx(linear_cka(first, second), abs=1e-5)


def test_cka_by_hand() -> None:
    # Inner products without their diagonal: K = x x' of x = (1, 1, -1, -1), L = y y' of y = (1, -1, 1, -1); both sum to
    # -4 with rows of -1. The unbiased sum of a product: trace(KL) + 16 / 6 - 2 / 2 * 4, with trace(KK) = 12, and
    # trace(KL) = -4: the signs agree in the 2 pairs (1, 4) and (2, 3) and differ in 4, each counted twice.
    first = np.array([[1], [1], [-1], [-1]], np.float32)
    second = np.array([[1], [-1], [1], [-1]], np.float32)
    mixed = np.concatenate([first, 2 * second], axis=1)  # L = K + 4 M
    same, cross = 12 + 16 / 6 - 4, -4 + 16 / 6 - 4
    expected = (same + 4 * cross) / (same * (17 * same + 8 * cross)) ** 0.5
    assert linear_cka(first, mixed) == pytest.approx(max(expected, 0.0))
    mixed = np.concatenate([2 * first, second], axis=1)
    expected = (4 * same + cross) / (same * (17 * same + 8 * cross)) ** 0.5
    assert expected > 0
    assert linear_cka(first, mixed) == pytest.approx(expected)


@pytest.mark.thorough
def test_cka_is_the_printed_formula_where_images_abound() -> None:
    first = features(4000, 3)
    second = first @ features(3, 4, seed=1) + features(4000, 4, seed=2)
    assert linear_cka(first, second) == pytest.approx(plain_cka(first, second), abs=0.01)


def test_unrelated_features_are_unlike_however_many_there_are() -> None:
    first, second = features(50, 800), features(50, 800, seed=1)
    assert plain_cka(first, second) > 0.8
    assert linear_cka(first, second) == pytest.approx(0, abs=0.05)


def test_cka_of_nothing() -> None:
    assert linear_cka(features(3, 2), features(3, 2)) is None
    assert linear_cka(np.ones((9, 2), np.float32), features(9, 2)) is None


@pytest.mark.parametrize("classes", [2, 3])
def test_a_probe_is_a_linear_classifier_of_raw_features(classes: int) -> None:
    labels = np.arange(60) % classes
    centers = 1000 + 50 * features(classes, 4, seed=3)
    train = (centers[labels] + features(60, 4)).astype(np.float32)
    val = (centers[labels] + features(60, 4, seed=1)).astype(np.float32)
    probe = Probe.fit(train, labels, classes)
    assert probe.weight.shape == (classes, 4)
    assert probe.bias.shape == (classes,)
    assert probe.accuracy(val, labels) == 1
    assert probe.accuracy(val, (labels + 1) % classes) == 0


def test_a_probe_gives_the_probabilities_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    labels = np.arange(40) % 2
    raw = features(40, 3)
    standard = (raw - raw.mean(0)) / raw.std(0)
    expected = LogisticRegression().fit(standard, labels).predict_proba(standard)
    probe = Probe.fit(raw, labels, 2)
    logits = torch.from_numpy(raw @ probe.weight.T + probe.bias)
    np.testing.assert_allclose(torch.softmax(logits, dim=1).numpy(), expected, atol=1e-3)


def test_a_feature_that_never_varies_does_no_harm() -> None:
    labels = np.arange(20) % 2
    constant = np.concatenate([labels[:, None], np.full((20, 1), 5)], axis=1).astype(np.float32)
    assert Probe.fit(constant, labels, 2).accuracy(constant, labels) == 1
