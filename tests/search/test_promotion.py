"""Who goes on: the best third, and what is close and costs next to nothing."""

from __future__ import annotations

from dataclasses import replace

from tests.search.fakes import IMAGES, failed, scored
from thawline.search.candidates import Scored
from thawline.search.promotion import at_rung, promoted


def going(level: list[Scored], cheap: tuple[int, ...] = (), to: int = 1) -> list[int]:
    """Slots that go on from a level in which everybody is new."""
    ordered = sorted(level, key=lambda result: result.score, reverse=True)
    found = promoted(
        [result.candidate for result in level],
        ordered,
        IMAGES,
        lambda result: result.candidate.slot in cheap,
    )
    assert {candidate.rung for candidate in found} <= {to}
    return [candidate.slot for candidate in found]


def test_the_best_third_goes_on_the_best_first() -> None:
    assert going([scored(slot, 0.1 * slot) for slot in range(7)]) == [6, 5, 4]


def test_what_costs_next_to_nothing_goes_on_if_it_is_close() -> None:
    level = [scored(0, 0.8), scored(1, 0.77), scored(2, 0.75)]
    assert going(level, cheap=(1, 2)) == [0, 1]


def test_what_diverged_never_goes_on() -> None:
    assert going([failed(0)], cheap=(0,)) == []


def test_a_batch_is_held_against_all_that_were_trained_as_long() -> None:
    before = [scored(slot, 0.9, generation=0) for slot in range(3)]
    batch = [scored(0, 0.5, generation=1), scored(1, 0.95, generation=1)]
    level = sorted([*before, *batch], key=lambda result: result.score, reverse=True)
    found = promoted([result.candidate for result in batch], level, IMAGES, lambda result: False)
    assert [candidate.address for candidate in found] == [(1, 1)]


def test_scores_of_a_rung_are_those_of_its_epochs_alone() -> None:
    longer, shorter, below = scored(0, 0.3, 0.2, 0.9, rung=1), scored(1, 0.4, rung=1), scored(2, 0.8)
    assert [result.candidate.slot for result in at_rung([longer, shorter, below], 0, 2)] == [2, 1, 0]
    assert [result.score[0] for result in at_rung([longer, shorter, below], 1, 4)] == [0.9, 0.4]


def test_whoever_fails_later_had_a_score_before() -> None:
    record = replace(scored(0, 0.6, 0.7).trainings[0], best_epoch=None, error="the loss became nan")
    late = replace(scored(0, 0.6, rung=1), trainings=(record,))
    assert [result.score[0] for result in at_rung([late], 0, 2)] == [0.7]
    assert [result.score[0] for result in at_rung([late], 1, 4)] == [0.0]


def test_a_perfect_score_has_an_error_too() -> None:
    level = [scored(0, 1.0, rung=1), scored(1, 0.995, rung=1), scored(2, 0.8, rung=1)]
    assert going(level, cheap=(0, 1, 2), to=2) == [0, 1]
