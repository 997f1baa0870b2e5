"""Which networks go on, and which is chosen: by loss, accuracy, what the images can tell, and cost in use."""

from __future__ import annotations

import math

import pytest

from thawline.search.networks import AS_ACCURATE, AS_LIKELY, REACH, Standing, chosen, promoted, ranked, within_reach


def standing(name: str, loss: float, accuracy: float = 0.8, behind: float = 0.0, flops: int = 100) -> Standing:
    return Standing(name, loss, accuracy, behind, flops)


def names(standings: list[Standing]) -> list[str]:
    return [each.name for each in standings]


def test_the_lowest_loss_is_first_then_the_highest_accuracy_then_the_cheapest() -> None:
    found = ranked(
        [
            standing("dear", 0.5, 0.8, flops=200),
            standing("cheap", 0.5, 0.8, flops=100),
            standing("accurate", 0.5, 0.9, flops=300),
            standing("likely", 0.4, 0.7),
            standing("unknown", math.inf, 0.0),
        ]
    )
    assert names(found) == ["likely", "accurate", "cheap", "dear", "unknown"]


def test_out_of_reach_is_what_the_images_show_to_be_clearly_worse() -> None:
    found = within_reach(
        [
            standing("best", 0.4),
            standing("at the edge", 0.5, behind=REACH),
            standing("beyond it", 0.45, behind=REACH + 1e-9),
        ]
    )
    assert names(found) == ["best", "at the edge"]


def test_what_was_not_scored_is_within_reach() -> None:
    assert names(within_reach([standing("best", 0.4), standing("unknown", math.inf, 0.0, behind=1.0)])) == [
        "best",
        "unknown",
    ]


@pytest.mark.parametrize(("count", "on"), [(2, 2), (3, 2), (4, 2), (5, 3), (6, 3)])
def test_half_of_them_is_promoted_rounded_up_and_two_at_least(count: int, on: int) -> None:
    level = [standing(str(number), 0.4 + number / 100) for number in range(count)]
    assert names(promoted(level)) == [str(number) for number in range(on)]


def test_nothing_out_of_reach_is_promoted() -> None:
    assert names(promoted([standing("best", 0.4), standing("far", 0.5, behind=0.2)])) == ["best"]


def test_of_equals_the_cheapest_to_run_is_chosen() -> None:
    equal = standing("cheap", 0.4 * (1 + AS_LIKELY), 0.8 - AS_ACCURATE, flops=10)
    assert chosen([standing("best", 0.4, 0.8), equal]).name == "cheap"


@pytest.mark.parametrize(
    "other",
    [
        standing("less likely", 0.4 * (1 + AS_LIKELY) + 1e-9, 0.8, flops=10),
        standing("less accurate", 0.4, 0.8 - AS_ACCURATE - 1e-9, flops=10),
        standing("as cheap", 0.4, 0.8, flops=100),
    ],
)
def test_what_is_worse_or_no_cheaper_is_not_chosen(other: Standing) -> None:
    assert chosen([standing("best", 0.4, 0.8), other]).name == "best"
