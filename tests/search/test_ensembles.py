"""Members of an ensemble are added while they lower the loss of the mean output."""

from __future__ import annotations

import numpy as np

from thawline.search.ensembles import best_members

TRUTH = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])


def loss(outputs: np.ndarray) -> float:
    return float(((outputs - TRUTH) ** 2).mean())


def right_but_for(image: int) -> np.ndarray:
    outputs = TRUTH.copy()
    outputs[image] = 1 - outputs[image]
    return outputs


def test_those_that_err_elsewhere_are_added() -> None:
    outputs = {"a": right_but_for(0), "same": right_but_for(0), "b": right_but_for(1), "c": right_but_for(2)}
    assert best_members(outputs, "a", loss, 3) == ["a", "b", "c"]
    assert best_members(outputs, "a", loss, 2) == ["a", "b"]


def test_none_is_added_that_does_not_help() -> None:
    outputs = {"a": TRUTH * 0.9 + 0.05, "wrong": 1 - TRUTH}
    assert best_members(outputs, "a", loss, 3) == ["a"]
    assert best_members({"a": TRUTH}, "a", loss, 3) == ["a"]


def test_the_first_stays_first_even_if_others_are_better_without_it() -> None:
    outputs = {"wrong": 1 - TRUTH, "right": TRUTH}
    assert best_members(outputs, "wrong", loss, 3) == ["wrong", "right"]
