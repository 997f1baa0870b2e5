"""Plans are compared image by image; parsimony stays within one standard error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.search.fakes import scored, training
from thawline.search.candidates import Scored
from thawline.search.selection import contenders, most_parsimonious, standard_error

RNG = np.random.default_rng(0)
EASY = RNG.random(400) < 0.7


def with_right(slot: int, right: np.ndarray, seeds: int = 1) -> Scored:
    record = training([float(right.mean())], right=right.tolist(), key=str(slot))
    return replace(scored(slot, 0.0), trainings=(record,) * seeds)


def flipped(count: int, *, down: bool) -> np.ndarray:
    """`EASY` with so many images changed in one direction."""
    changed = EASY.copy()
    changed[np.flatnonzero(changed == down)[:count]] = not down
    return changed


def test_images_that_both_get_right_do_not_blur_the_difference() -> None:
    same, worse = with_right(0, EASY), with_right(1, flipped(16, down=True))
    assert standard_error(same, same, 400) < 1e-6
    assert standard_error(same, worse, 400) == pytest.approx(np.sqrt(16) / 400)


def test_contenders_are_the_best_and_those_too_close_to_it() -> None:
    best = with_right(0, EASY)
    unlike = np.roll(EASY, 7)
    unlike[np.flatnonzero(unlike)[:4]] = False
    close, far = with_right(1, unlike), with_right(2, flipped(40, down=True))
    assert [result.candidate.slot for result in contenders([far, close, best], 400)] == [0, 1]
    assert contenders([], 400) == []


def test_of_plans_as_good_the_cheapest_wins() -> None:
    best = with_right(0, EASY)
    as_good, too_far = with_right(1, flipped(1, down=True)), with_right(2, flipped(40, down=True))
    prices = {0: 1.0, 1: 0.2, 2: 0.1}
    ranked = [best, as_good, too_far]
    assert (
        most_parsimonious(
            ranked, lambda result: (False, prices[result.candidate.slot]), 400, at_least=0.0
        ).candidate.slot
        == 1
    )
    assert (
        most_parsimonious(ranked, lambda result: (False, prices[result.candidate.slot]), 400, at_least=best.score[0])
        is best
    )


def test_one_lucky_seed_cannot_replace_the_best() -> None:
    best, lucky = with_right(0, EASY, seeds=2), with_right(1, flipped(1, down=True))
    assert most_parsimonious([best, lucky], lambda result: (False, -result.candidate.slot), 400, at_least=0.0) is best


def test_a_plan_that_no_seed_changes_can_replace_the_best_with_one_training() -> None:
    best, solved = with_right(0, EASY, seeds=2), with_right(1, flipped(1, down=True))
    complexity: dict[int, tuple[bool, float]] = {0: (False, 1.0), 1: (False, 0.1)}
    found = most_parsimonious(
        [best, solved],
        lambda result: complexity[result.candidate.slot],
        400,
        at_least=0.0,
        is_exact=lambda result: result is solved,
    )
    assert found is solved


@pytest.mark.parametrize("images", [8, 9, 12, 100, 237])
def test_plans_that_differ_by_one_image_are_as_good_however_many_there_are(images: int) -> None:
    every = np.ones(images, bool)
    one_less = every.copy()
    one_less[0] = False
    best, other = with_right(0, every), with_right(1, one_less)
    assert standard_error(best, other, images) == pytest.approx(1 / images)
    assert (
        most_parsimonious([best, other], lambda result: (False, -result.candidate.slot), images, at_least=0.0) is other
    )
