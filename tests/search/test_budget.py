"""What a budget allows: up to the saved model, prefixes once, and at least one answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.search.fakes import PriceList, scored
from thawline.plan import Block
from thawline.search.budget import CandidateLimit, Limit, ScoredSoFar, SearchBudget, TimeLimit, WorkLimit
from thawline.search.candidates import Candidate
from thawline.search.encoding import MOVING, FreeEncoding, Space

BLOCKS = tuple(Block(name, (), (), (), 1, 1, (), name == "head") for name in ("a", "b", "c", "head"))
ENCODING = FreeEncoding(4)
HEAD = ENCODING.genes_of((None, None, None, 0), MOVING)
LAST = ENCODING.genes_of((None, None, 0, 0), MOVING)
FULL = ENCODING.genes_of((0, 0, 0, 0), MOVING)


def budget(limit: Limit, passing: dict[str, float] | None = None) -> SearchBudget:
    return SearchBudget(Space(ENCODING, BLOCKS, "stage", 1e-3), PriceList(passing), limit)


def batch(*genes: tuple[float, ...], rung: int = 0) -> list[Candidate]:
    return [replace(scored(slot, 0.5, genes=own).candidate, rung=rung) for slot, own in enumerate(genes)]


def tried(*candidates: tuple[tuple[float, ...], float]) -> ScoredSoFar:
    found = (scored(slot, 0.5, genes=genes, work=work) for slot, (genes, work) in enumerate(candidates))
    return {scored.candidate.address: scored for scored in found}


def slots(candidates: list[Candidate]) -> list[int]:
    return [candidate.slot for candidate in candidates]


def test_a_prefix_is_paid_once() -> None:
    own = budget(WorkLimit(5), {"c": 0.1, "head": 0.2})
    assert own.spent(tried((LAST, 0.3), (LAST, 0.4), (HEAD, 0.05))) == pytest.approx(0.75 + 0.3)


def test_what_is_taken_can_be_trained_to_the_end() -> None:
    """A head takes 0.25 to its end, of which a quarter is the first rung; everything takes 1."""
    assert slots(budget(WorkLimit(1.06)).affordable(batch(HEAD, FULL), {}, None, kept=0)) == [0]
    assert slots(budget(WorkLimit(1.07)).affordable(batch(HEAD, FULL), {}, None, kept=0)) == [0, 1]


def test_what_is_too_expensive_is_left_out_and_what_comes_after_it_is_not() -> None:
    assert slots(budget(WorkLimit(1.0)).affordable(batch(HEAD, FULL, LAST), {}, None, kept=0)) == [0, 2]


def test_the_best_so_far_must_stay_payable() -> None:
    """A quarter of everything was paid for."""
    for left, taken in ((0.81, []), (0.82, [0])):
        own = budget(WorkLimit(left))
        assert slots(own.affordable(batch(HEAD, rung=0), tried((LAST, 0.0)), batch(FULL)[0], kept=0)) == taken


def test_a_share_can_be_kept_back() -> None:
    known = tried((LAST, 0.0))
    single = [replace(candidate, slot=7) for candidate in batch(HEAD)]
    assert slots(budget(WorkLimit(1.0)).affordable(single, known, None, kept=0.7)) == [7]
    assert slots(budget(WorkLimit(1.0)).affordable(single, known, None, kept=0.8)) == []


def test_a_share_is_of_the_whole_budget_whatever_was_spent() -> None:
    known = tried((LAST, 2.0))
    assert budget(WorkLimit(5.0)).share(0.1, {}) == pytest.approx(0.5)
    assert budget(WorkLimit(5.0)).share(0.1, known) == pytest.approx(0.5)
    assert budget(CandidateLimit(40)).share(0.1, known) == 0
    slow = TimeLimit(100.0, 10.0, [], clock=iter((0.0, 60.0)).__next__)  # two units in 60 s: three more make five
    assert budget(slow).share(0.1, known) == pytest.approx(0.1 * (2 + 40 / (70 / 3)))


def test_going_on_costs_what_is_missing() -> None:
    """Half of a head's training is done; the rest takes 0.125."""
    known = tried((HEAD, 0.125))
    going_on = batch(HEAD, rung=2)
    assert slots(budget(WorkLimit(0.26)).affordable(going_on, known, None, kept=0)) == [0]
    assert slots(budget(WorkLimit(0.24)).affordable(going_on, known, None, kept=0)) == []


def test_there_is_always_an_answer() -> None:
    """The cheapest that there is."""
    assert slots(budget(WorkLimit(0.1)).affordable(batch(FULL, HEAD, LAST), {}, None, kept=0)) == [1]
    expensive_prefix = budget(WorkLimit(0.1), {"head": 1.0})
    assert slots(expensive_prefix.affordable(batch(FULL, HEAD, LAST), {}, None, kept=0)) == [2]
    assert slots(budget(WorkLimit(0.1)).affordable([], {}, None, kept=0)) == []


def test_a_number_of_candidates_counts_new_ones_only() -> None:
    own = budget(CandidateLimit(2))
    assert slots(own.affordable(batch(HEAD, LAST, FULL), {}, None, kept=0.15)) == [0, 1]
    known = tried((HEAD, 0.1), (LAST, 0.1))
    assert slots(own.affordable(batch(HEAD, LAST, rung=1), known, None, kept=0.15)) == [0, 1]


def test_another_seed_is_a_whole_training() -> None:
    own, (head, full) = budget(WorkLimit(2.0)), batch(HEAD, FULL)
    assert own.allows_another_seed(head, tried((HEAD, 1.75)))
    assert not own.allows_another_seed(head, tried((HEAD, 1.76)))
    assert own.allows_another_seed(full, tried((HEAD, 1.0)))
    assert not own.allows_another_seed(full, tried((HEAD, 1.01)))
