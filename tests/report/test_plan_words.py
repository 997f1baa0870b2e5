"""A plan in words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.report import synthetic
from thawline.plan import Adapter, FineTunePlan, Phase
from thawline.report import plan_words
from thawline.results import ScoredRow


def row_of(*rates: float | None, batch_norm: str | None = None, rate: float = 1e-3, **others: Any) -> ScoredRow:
    names = [*(f"blocks.{number}" for number in range(len(rates) - 1)), "head"]
    strength = 1e-2 if others.get("head_start") == "probe" else None
    return row_with(
        FineTunePlan((Phase(dict(zip(names, rates, strict=True))),), **others),
        batch_norm=batch_norm,
        learning_rate=rate,
        probe_strength=strength,
    )


def row_with(plan: FineTunePlan, **others: Any) -> ScoredRow:
    return synthetic.row("full", (1e-3,) * 4, 0.7, 1.0, plan=plan.to_dict(), **others)


SOLVED = row_of(None, None, rate=0.0, head_start="probe")
RANDOM = " (head from random weights)"


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ((None, None, 1e-2), "Train the head alone at 1e-2, freeze the rest"),
        ((None, None, 1e-3, 1e-3), "Train blocks.2 and the head at 1e-3, freeze the rest"),
        ((None, 1e-3, 1e-3, 1e-3), "Train blocks.1, blocks.2 and the head at 1e-3, freeze the rest"),
        ((None, 1e-3, 1e-3, 1e-3, 1e-3), "Train blocks.1 to blocks.3 and the head at 1e-3, freeze the rest"),
        ((1e-3, 1e-3, 1e-3), "Train everything at 1e-3"),
        ((1e-4, 1e-4, 1e-3), "Train everything at 1e-4 and the head at 1e-3"),
        (
            (None, 7.5e-4, 1e-4, 1.0),
            "Train blocks.1, blocks.2 at 1e-4 to 7.5e-4 and the head at 1e0, freeze the rest",
        ),
    ],
)
def test_rates_in_words(rates: tuple[float | None, ...], words: str) -> None:
    assert plan_words.plan_in_words(row_of(*rates)) == words + RANDOM


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"parts": "norms_and_biases"}, "only norms and biases of each block"),
        ({"adapter": Adapter(8, 2.0)}, "low-rank updates in place of the weights"),
        ({"rate_rule": "relative_gradient"}, "each tensor's rate follows its gradient"),
        ({"batch_norm": "kept"}, "batch norm keeps its stored statistics"),
        ({"batch_norm": "moving"}, "batch norm with the statistics of each batch"),
    ],
)
def test_what_rates_do_not_tell_is_said(others: dict[str, Any], words: str) -> None:
    found = plan_words.plan_in_words(row_of(1e-3, 1e-3, **others))
    assert found == f"Train everything at 1e-3 (head from random weights; {words})"


def test_phases_are_said() -> None:
    rates = {"blocks.0": 1e-3, "head": 1e-3}
    words = plan_words.plan_in_words(row_with(FineTunePlan((Phase(rates, 1), Phase(rates)))))
    assert words == "Train everything at 1e-3 (head from random weights; 2 phases, from the top: 1 epoch, the rest)"


def test_a_solved_probe_has_a_penalty_and_no_rate() -> None:
    assert plan_words.plan_in_words(SOLVED) == "Solve the head alone as a linear probe (L2 1e-2), freeze the rest"
    assert plan_words.named(SOLVED) == "full, solved (L2 1e-2)"
    assert plan_words.besides_rates(SOLVED) == []
    (head,) = plan_words.defined(SOLVED)
    assert head.startswith("The head is the linear probe: a logistic regression")
    assert "L2 penalty of 1e-2" in head
    assert head.endswith("It has no learning rate.")


def test_a_head_that_starts_from_the_probe_is_said_whether_it_trains_or_not() -> None:
    found = row_of(1e-4, 1e-3, head_start="probe", batch_norm="kept")
    facts = "head from the linear probe, L2 1e-2; batch norm keeps its stored statistics"
    assert plan_words.plan_in_words(found) == f"Train blocks.0 at 1e-4 and the head at 1e-3 ({facts})"
    still = row_of(None, 1e-4, None, head_start="probe", batch_norm="kept")
    assert plan_words.plan_in_words(still) == f"Train blocks.1 at 1e-4, keep the head, freeze the rest ({facts})"
    head, norm = plan_words.defined(found)
    assert head.startswith("The head starts from the linear probe: a logistic regression")
    assert norm.startswith("Batch norm of the trained blocks: kept.")


def test_a_network_without_batch_norm_has_no_word_of_it() -> None:
    assert not [words for words in plan_words.defined(row_of(1e-3, 1e-3)) if "atch norm" in words]


def test_a_probe_above_moving_statistics_is_doubted() -> None:
    *_, doubt = plan_words.defined(row_of(1e-4, 1e-3, head_start="probe", batch_norm="moving"))
    assert doubt.startswith("The head starts from a probe that was made with the stored statistics")
    assert doubt.endswith("compare it with norm=kept or head_start=random.")
