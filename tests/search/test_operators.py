"""The operators of the evolution against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from thawline.search import operators


class Draws:
    """Stands in for a generator: gives what it was given, one after the other."""

    def __init__(self, *values: Sequence[float] | float, integer: int = 0) -> None:
        self.values = list(values)
        self.integer = integer

    def random(self, size: int | None = None) -> Any:
        value = self.values.pop(0)
        return value if size is None else np.array(value, dtype=float)

    def integers(self, high: int) -> int:
        assert self.integer < high
        return self.integer


def approx(*values: float) -> Any:
    return pytest.approx(values)


def test_extinction_is_the_published_formula() -> None:
    # (error + 0.2 * (rank / 3 - 1)) / 0.5
    factors = operators.extinction([0.2, 0.3, 0.4, 0.5])
    assert factors.tolist() == approx(0.0, (0.3 - 0.2 * 2 / 3) / 0.5, (0.4 - 0.2 / 3) / 0.5, 1.0)


def test_extinction_of_equal_errors_is_the_rank() -> None:
    assert operators.extinction([0.4, 0.4, 0.4]).tolist() == approx(0.0, 0.5, 1.0)


def test_extinction_without_any_error_is_the_rank() -> None:
    assert operators.extinction([0.0, 0.0, 0.0]).tolist() == [0.0, 0.5, 1.0]
    assert operators.extinction([0.0, 0.0, 0.3]).tolist() == [0.0, 0.0, 1.0]


def test_extinction_of_one_alone_is_zero() -> None:
    assert operators.extinction([0.3]).tolist() == [0.0]


def test_one_diverged_candidate_does_not_kill_mutation() -> None:
    sound, diverged = [0.30, 0.32, 0.35, 0.40, 0.45], 1.0
    with_it = operators.extinction([*sound, diverged])
    # The highest error that counts is 0.45: (0.45 + 0.3 * (4/5 - 1)) / 0.45 for the last sound one.
    assert with_it[4] == pytest.approx((0.45 - 0.3 / 5) / 0.45)
    assert with_it[5] == 1.0
    assert with_it[1] > (0.32 - 0.3 * 4 / 5) / diverged * 2


def test_extinction_is_capped_by_the_linear_probe_where_it_is_known() -> None:
    factors = operators.extinction([0.2, 0.3, 0.9], baseline=0.4)
    assert factors.tolist() == approx(0.0, (0.3 - 0.1) / 0.4, 1.0)


def test_a_linear_probe_among_the_best_does_not_make_children_noise() -> None:
    factors = operators.extinction([0.24, 0.25, 0.30, 0.35, 0.40], baseline=0.25)
    assert factors.tolist() == operators.extinction([0.24, 0.25, 0.30, 0.35, 0.40]).tolist()
    assert factors[1] < 0.2


def test_chances_fall_linearly_with_the_rank() -> None:
    assert operators.rank_weights(4).tolist() == approx(0.4, 0.3, 0.2, 0.1)
    assert operators.rank_weights(10)[0] == pytest.approx(10 / 55)


def test_parents_are_two_and_drawn_by_rank() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([operators.select(4, rng) for _ in range(3000)])
    assert (drawn[:, 0] != drawn[:, 1]).all()
    shares = np.bincount(drawn[:, 2], minlength=4) / 3000
    assert shares.tolist() == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.03)
    assert operators.select(1, rng) == (0, 0, 0)


def test_crossover_blends_gene_by_gene() -> None:
    child = operators.crossover(np.array([0.0, 1.0]), np.array([1.0, 0.0]), Draws([0.25, 0.1]))  # type: ignore[arg-type]
    assert child.tolist() == approx(0.75, 0.1)


def test_momentum_comes_from_both_parents() -> None:
    draws = Draws([0.5, 1.0], [0.1, 0.2])
    momentum = operators.inherited_momentum(np.array([0.2, -0.4]), np.array([1.0, 0.5]), draws)  # type: ignore[arg-type]
    assert momentum.tolist() == approx(0.5 * 0.2 + 0.1 * 1.0, -0.4 + 0.2 * 0.5)


def test_mutation_touches_one_gene_of_n_at_least() -> None:
    assert operators.mutation_rate(0.0, 5) == pytest.approx(0.2)
    assert operators.mutation_rate(1.0, 5) == pytest.approx(1.0)
    assert operators.mutation_rate(0.5, 4) == pytest.approx(0.5 * 0.75 + 0.25)


def test_mutation_moves_by_up_to_the_factor() -> None:
    # rate 0.6 for factor 0.2 and two genes: only the first moves, by (2 * 0.9 - 1) * 0.2
    genes = operators.mutate(np.array([0.5, 0.5]), 0.2, Draws([0.59, 0.61], [0.9, 0.9]))  # type: ignore[arg-type]
    assert genes.tolist() == approx(0.5 + 0.16, 0.5)
    still = operators.mutate(np.array([0.5]), 0.0, Draws([0.0], [1.0]))  # type: ignore[arg-type]
    assert still.tolist() == [0.5]


def test_adoption_mixes_the_parents_mean_and_the_prototype() -> None:
    a, b, prototype = np.array([0.2]), np.array([0.4]), np.array([0.9])
    genes = operators.adopt(np.array([0.5]), a, b, prototype, Draws([0.5], [0.25], [0.1]))  # type: ignore[arg-type]
    # 0.9 * 0.5 * (0.3 - 0.5) + 0.1 * 0.25 * (0.9 - 0.5)
    assert genes.tolist() == approx(0.5 - 0.09 + 0.01)


def test_probes_step_one_gene_both_ways_and_are_clipped() -> None:
    draws = Draws(0.9, integer=1)  # the second of the positions, a step of 0.25 * 0.8
    up, down = operators.probes(np.array([0.5, 0.9, 0.1]), (0, 2), 0.25, draws)  # type: ignore[arg-type]
    assert up.tolist() == approx(0.5, 0.9, 0.3)
    assert down.tolist() == approx(0.5, 0.9, 0.0)
