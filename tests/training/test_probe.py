"""The solved probe against scikit-learn's logistic regression, and at the edges of what data can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn.functional import cross_entropy

from thawline.errors import NonFiniteLossError
from thawline.training import probe as module
from thawline.training.probe import STRENGTHS, Probe, knn_probabilities, pick_neighbors, solve_probe, solve_probe_at
from thawline.training.temperature import scaled_log_loss

Split = tuple[Tensor, Tensor]


def images(n: int, d: int, classes: int, seed: int, spread: float = 1.0) -> Split:
    """Features [n, d] of overlapping classes, each feature with a mean and a scale of its own; labels [n]."""
    rules = np.random.default_rng(0)
    centers, scale, shift = rules.normal(size=(classes, d)), rules.lognormal(size=d), rules.normal(size=d)
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    features = (centers[labels] * 3 / d**0.5 + spread * generator.normal(size=(n, d)) + shift) * scale
    return torch.tensor(features, dtype=torch.float32), torch.from_numpy(labels)


def solved(train: Split, val: Split, classes: int, weights: Tensor | None = None, balanced: bool = False) -> Probe:
    return solve_probe(*train, *val, classes, class_weights=weights, balanced_validation=balanced)


def logits(probe: Probe, features: Tensor) -> Tensor:
    return features @ probe.weight.T + probe.bias


def outputs(probe: Probe, features: Tensor) -> np.ndarray:
    return np.asarray(logits(probe, features).double().softmax(dim=1).numpy())


def reference(probe: Probe, train: Split, others: Tensor, weights: Tensor | None = None) -> np.ndarray:
    """What scikit-learn predicts with the same strength and temperature."""
    classes = np.unique(train[1].numpy())
    shares = torch.ones(len(train[1])) if weights is None else weights[train[1]]
    # scikit-learn's sum of losses is n times the mean, and its two-class form has half the squared weights.
    strength = probe.strength * float(shares.sum()) * (0.5 if len(classes) == 2 else 1)
    regression = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=20_000)
    deviation = train[0].double().numpy().std(axis=0)
    mean, scale = train[0].double().numpy().mean(axis=0), np.sqrt(deviation * np.sqrt(np.square(deviation).mean()))
    regression.fit((train[0].double().numpy() - mean) / scale, train[1].numpy(), sample_weight=shares.numpy())
    scores = torch.from_numpy(regression.decision_function((others.double().numpy() - mean) / scale))
    if scores.ndim == 1:
        scores = torch.stack([torch.zeros_like(scores), scores], dim=1)
    return np.asarray((scores / probe.temperature).softmax(dim=1).numpy())


@pytest.mark.parametrize(
    ("n", "d", "classes", "spread"),
    [(300, 20, 4, 1.0), (60, 150, 5, 1.0), (90, 12, 2, 2.0), (60, 8, 3, 0.1), (64, 8, 32, 1.0)],
    ids=["more images", "more features", "two classes", "separable", "two images a class"],
)
def test_it_is_the_minimum_that_scikit_learn_finds(n: int, d: int, classes: int, spread: float) -> None:
    train, val = images(n, d, classes, 1, spread), images(80, d, classes, 2, spread)
    probe = solved(train, val, classes)
    assert outputs(probe, val[0]) == pytest.approx(reference(probe, train, val[0]), abs=1e-4)
    assert probe.train_loss == pytest.approx(cross_entropy(logits(probe, train[0]), train[1]).item(), abs=1e-5)


@pytest.mark.parametrize("strength", [1e2, 1e-1, 1e-3])
def test_every_strength_is_solved_exactly(monkeypatch: pytest.MonkeyPatch, strength: float) -> None:
    monkeypatch.setattr(module, "STRENGTHS", (strength,))
    train, val = images(120, 20, 3, 1), images(50, 20, 3, 2)
    probe = solved(train, val, 3)
    assert probe.strength == strength
    assert outputs(probe, val[0]) == pytest.approx(reference(probe, train, val[0]), abs=1e-4)


def test_class_weights_weight_the_loss() -> None:
    train, val = images(120, 10, 3, 1), images(60, 10, 3, 2)
    weights = torch.tensor([1.0, 5.0, 0.5])
    probe = solved(train, val, 3, weights)
    assert outputs(probe, val[0]) == pytest.approx(reference(probe, train, val[0], weights), abs=1e-4)
    expected = cross_entropy(logits(probe, train[0]), train[1], weights).item()
    assert probe.train_loss == pytest.approx(expected, abs=1e-5)


def test_a_class_of_weight_0_is_left_finite() -> None:
    train = images(60, 10, 3, 1)
    probe = solved(train, train, 3, torch.tensor([1.0, 1.0, 0.0]))
    assert probe.weight.isfinite().all()
    assert probe.bias.isfinite().all()


def test_the_strength_has_the_least_scaled_validation_loss_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    train, val = images(100, 30, 3, 1), images(200, 30, 3, 2)
    picked = solved(train, val, 3)
    losses = {}
    for strength in STRENGTHS:
        monkeypatch.setattr(module, "STRENGTHS", (strength,))
        losses[strength] = scaled_log_loss(logits(solved(train, val, 3), val[0]), val[1])[0]
    assert losses[picked.strength] == pytest.approx(min(losses.values()), abs=2e-4)
    assert scaled_log_loss(logits(picked, val[0]), val[1])[1] == pytest.approx(1.0, abs=1e-3)


def test_ties_go_to_the_stronger_penalty_and_end_the_path() -> None:
    constant = torch.ones(30, 4), torch.arange(30) % 3
    probe = solved(constant, constant, 3)
    assert probe.strength == STRENGTHS[0]
    assert probe.weight.abs().max() == 0
    assert outputs(probe, constant[0]) == pytest.approx(np.full((30, 3), 1 / 3), abs=1e-6)


def test_balanced_validation_counts_every_class_alike() -> None:
    train, (features, labels) = images(90, 10, 3, 1), images(90, 10, 3, 2)
    rare = torch.cat([torch.nonzero(labels != 0)[:, 0], torch.nonzero(labels == 0)[:3, 0]])
    few, many = (features[rare], labels[rare]), torch.cat([rare, rare[-3:].repeat(9)])
    balanced = solved(train, few, 3, balanced=True)
    copied = solved(train, (features[many], labels[many]), 3)
    assert balanced.strength == copied.strength
    assert balanced.temperature == pytest.approx(copied.temperature, rel=0.1)
    assert balanced.temperature != pytest.approx(solved(train, few, 3).temperature, rel=1e-3)


def test_a_class_without_training_image_is_unlikely_everywhere() -> None:
    features, labels = images(60, 10, 3, 1)
    train = features, torch.where(labels == 2, 4, labels)
    probe = solved(train, train, 5, torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0]))
    shares = (logits(probe, 5 * features) * probe.temperature).double().softmax(dim=1)
    assert shares[:, [2, 3]].max() <= 1 / 61 + 1e-6
    assert shares[:, [2, 3]].min() > 0


def test_a_single_class_is_always_predicted() -> None:
    train = images(6, 4, 3, 1)[0], torch.full((6,), 1)
    assert (outputs(solved(train, train, 3), train[0]).argmax(axis=1) == 1).all()


def test_an_image_per_class_and_a_single_validation_image_are_enough() -> None:
    train, val = images(3, 10, 3, 1, 0.1), images(1, 10, 3, 2, 0.1)
    assert (outputs(solved(train, val, 3), train[0]).argmax(axis=1) == train[1].numpy()).all()


@pytest.mark.parametrize("factor", [1e4, 1e-6])
def test_the_scale_of_features_does_not_matter(factor: float) -> None:
    train, val = images(90, 10, 3, 1), images(40, 10, 3, 2)
    scaled = solved((train[0] * factor, train[1]), (val[0] * factor, val[1]), 3)
    assert outputs(scaled, val[0] * factor) == pytest.approx(outputs(solved(train, val, 3), val[0]), abs=1e-4)


def test_constant_features_are_ignored() -> None:
    train, val = images(90, 10, 3, 1), images(40, 10, 3, 2)
    wider = [torch.cat([part[0], torch.full((len(part[0]), 1), 0.1)], dim=1) for part in (train, val)]
    probe = solved((wider[0], train[1]), (wider[1], val[1]), 3)
    assert probe.weight[:, -1].abs().max() < 1e-6
    assert outputs(probe, wider[1]) == pytest.approx(outputs(solved(train, val, 3), val[0]), abs=1e-4)


@pytest.mark.parametrize(("split", "named"), [(0, "training"), (1, "validation")])
def test_features_that_are_not_finite_are_refused(split: int, named: str) -> None:
    both = images(30, 4, 3, 1), images(30, 4, 3, 2)
    both[split][0][3, 1] = float("nan")
    with pytest.raises(NonFiniteLossError, match=f"1 of 30 {named} images are NaN or infinite"):
        solved(*both, 3)


def test_chunks_a_mapped_file_and_the_global_generators_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, val = images(90, 10, 3, 1), images(40, 10, 3, 2)
    whole = solved(train, val, 3)
    np.save(tmp_path / "features.npy", train[0].numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "features.npy", mmap_mode="c"))
    torch.manual_seed(3)
    again = solved((mapped, train[1]), val, 3)
    assert torch.equal(whole.weight, again.weight)
    assert torch.equal(whole.bias, again.bias)
    # Rounding may decide between strengths of nearly the same validation loss, so only one is tried here.
    monkeypatch.setattr(module, "STRENGTHS", (0.1,))
    expected = outputs(solved(train, val, 3), val[0])
    monkeypatch.setattr(module, "_AT_ONCE", 100)
    monkeypatch.setattr(module, "_IMAGES_FOR_CURVATURE", 20)
    assert outputs(solved(train, val, 3), val[0]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("at_once", [100, 1 << 20])
def test_neighbors_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    monkeypatch.setattr(module, "_SIMILARITIES_AT_ONCE", at_once)
    train, val = images(90, 10, 3, 1), images(40, 10, 3, 2)
    expected = KNeighborsClassifier(5, metric="cosine").fit(train[0].numpy(), train[1].numpy())
    shares = knn_probabilities(*train, val[0], 4, 5)
    assert shares[:, :3] == pytest.approx(expected.predict_proba(val[0].numpy()), abs=1e-4)
    assert shares.sum(axis=1) == pytest.approx(1.0)


def test_a_tied_vote_goes_to_the_nearer_class() -> None:
    train = torch.tensor([[1.0, 0.3], [1.0, 0.1], [1.0, -0.2]])
    shares = knn_probabilities(train, torch.tensor([0, 2, 1]), torch.tensor([[2.0, 0.0]]), 3, 3)
    assert shares.argmax(axis=1).tolist() == [2]
    assert shares == pytest.approx(np.full((1, 3), 1 / 3), abs=1e-4)


def test_the_number_of_neighbors_is_the_most_accurate_the_larger_of_two_and_never_above_the_images() -> None:
    clear, labels = images(60, 10, 3, 1, 0.1)
    assert pick_neighbors(clear, labels, clear, labels, 3) == 20
    assert pick_neighbors(clear[:9], labels[:9], clear, labels, 3) == 5
    shuffled = labels[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    assert pick_neighbors(clear, shuffled, clear, shuffled, 3) == 1


@pytest.mark.parametrize("classes", [2, 4])
def test_a_known_strength_needs_no_validation_images_and_is_exact(classes: int) -> None:
    train, val = images(60, 12, classes, 1), images(40, 12, classes, 2)
    found = solved(train, val, classes)
    both = torch.cat([train[0], val[0]]), torch.cat([train[1], val[1]])
    again = solve_probe_at(*both, classes, strength=found.strength, temperature=found.temperature, class_weights=None)
    assert (again.strength, again.temperature) == (found.strength, found.temperature)
    others = images(50, 12, classes, 3)[0]
    np.testing.assert_allclose(outputs(again, others), reference(again, both, others), atol=1e-4)
    assert np.abs(outputs(again, others) - outputs(found, others)).max() > 1e-3
