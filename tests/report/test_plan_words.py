"""A plan in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.report import synthetic
from thawline.plan import Adapter, FineTunePlan, Ingredient, Mixed, Mixture, Phase
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
    return synthetic.row("full", (1e-3,) * 4, 0.7, 1.0, plan=plan, **others)


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
        ({"adapter": Adapter(8, 2.0)}, "low-rank updates instead of full weights"),
        ({"rate_rule": "relative_gradient"}, "each tensor's rate follows its relative gradient norm"),
        ({"batch_norm": "kept"}, "batch norm keeps its running statistics"),
        ({"batch_norm": "moving"}, "batch norm with batch statistics"),
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
    facts = "head from the linear probe, L2 1e-2; batch norm keeps its running statistics"
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
    assert doubt.startswith("The head starts from a probe solved with the running statistics")
    assert doubt.endswith("compare it with norm=kept or head_start=random.")


def mixed(of: Mixed, *others: Ingredient, start_share: float = 0.0, **first: Any) -> ScoredRow:
    row = row_of(None, 1e-3, 1e-3, **first)
    plan = replace(row.plan, mixture=Mixture(of, others, start_share))
    return replace(row, plan=plan)


def other(*rates: float | None, seed: int = 0, share: float = 1.0, **others: Any) -> Ingredient:
    return Ingredient(row_of(*rates, **others).plan, seed, share)


def test_an_average_lists_its_trainings_and_says_once_what_they_share() -> None:
    kept: dict[str, Any] = {"head_start": "probe", "norm": "eval"}
    row = mixed(
        "weights",
        other(1e-4, 1e-4, 1e-4, **kept),
        other(None, 1e-3, 1e-3, seed=1, **kept),
        other(1e-4, 1e-4, 1e-4, seed=1, **kept),
        batch_norm="kept",
        **kept,
    )
    listed = (
        "1: blocks.1 and the head at 1e-3; 2: everything at 1e-4; 3: the same as 1 with another seed; 4: the same as 2 "
        "with another seed"
    )
    shared = "head from the linear probe, L2 1e-2; batch norm keeps its running statistics"
    assert plan_words.plan_in_words(row) == f"Average the weights of 4 trainings ({listed}; {shared})"
    assert plan_words.besides_rates(row) == [f"mean weights of 4 trainings ({listed}; {shared})"]
    assert plan_words.named(row) == "full, mean weights of 4 trainings"
    assert plan_words.base_rate(row) == "several"
    assert (plan_words.head_in_words(row), plan_words.batch_norm_in_words(row)) == ("probe", "kept")
    made, head, norm = plan_words.defined(row)
    assert made.startswith(f"The network has the mean weights of 4 trainings: {listed}. ")
    assert head.startswith("The head starts from the linear probe")
    assert norm == plan_words.BATCH_NORM_DEFINED["kept"]


def test_an_average_with_the_weights_before_training_says_their_share() -> None:
    row = mixed("weights", other(1e-4, 1e-4, 1e-4), other(1e-5, 1e-5, 1e-5), start_share=0.3)
    weights = "weights of 3 trainings and, with a share of 0.3, of the weights before training"
    assert plan_words.plan_in_words(row).startswith(f"Average the {weights} (1: blocks.1 and the head at 1e-3; ")
    assert plan_words.named(row) == f"full, mean {weights}"


def test_a_single_training_is_mixed_with_the_weights_before_it() -> None:
    row = mixed("weights", start_share=0.3)
    words = "trained weights with a share of 0.3 of those before training"
    assert plan_words.plan_in_words(row).startswith(f"Mix the {words} (1: blocks.1 and the head at 1e-3; ")
    assert plan_words.named(row) == "full, trained weights mixed with a share of 0.3 of those before training"


def test_what_a_training_of_an_average_does_besides_rates_is_said_with_it() -> None:
    row = mixed("weights", other(1e-4, 1e-4, 1e-4, parts="norms_and_biases"))
    assert plan_words.plan_in_words(row) == (
        "Average the weights of 2 trainings (1: blocks.1 and the head at 1e-3; 2: everything at 1e-4, only norms and "
        "biases of each block; head from random weights)"
    )


def test_a_distilled_network_is_said_with_what_it_learned_from() -> None:
    row = mixed(
        "distilled",
        other(1e-4, 1e-4, 1e-4, norm="train"),
        head_start="probe",
        norm="eval",
        batch_norm="kept",
    )
    listed = (
        "1: blocks.1 and the head at 1e-3, head from the linear probe, batch norm keeps its running statistics; 2: "
        "everything at 1e-4, head from random weights, batch norm with batch statistics"
    )
    said = "rain one network once more on the mean output of 2 candidates"
    assert plan_words.plan_in_words(row) == f"T{said} ({listed})"
    assert plan_words.named(row) == "full, trained once more on the mean output of 2 candidates"
    # The network is that of the first; the other one only teaches.
    assert (plan_words.head_in_words(row), plan_words.batch_norm_in_words(row)) == ("probe", "kept")
    assert plan_words.base_rate(row) == "1e-3"
    made, norm = plan_words.defined(row)
    assert made == (
        f"The network was trained once more on the mean output of 2 candidates ({listed}). It started from the "
        "trained weights of 1, with the same learning rates and a restarted schedule; in the loss, the mean output "
        "has a weight of 0.7 and the labels of 0.3."
    )
    assert norm == plan_words.BATCH_NORM_DEFINED["kept"]


def test_an_ensemble_lists_its_networks_with_what_is_different() -> None:
    row = mixed(
        "outputs",
        other(None, None, None, rate=0.0, head_start="probe", norm="eval", share=2.0),
        other(1e-4, 1e-4, 1e-2, head_start="probe", norm="eval"),
        other(None, None, 1e-2),
        batch_norm="moving",
    )
    listed = (
        "1: blocks.1 and the head at 1e-3, head from random weights, batch norm with batch statistics, share 0.2; 2: "
        "the solved linear probe, share 0.4; 3: everything at 1e-4 and the head at 1e-2, head from the linear probe, "
        "batch norm keeps its running statistics, share 0.2; 4: the head alone at 1e-2, head from random weights, "
        "share 0.2"
    )
    assert plan_words.plan_in_words(row) == f"Ensemble of 4 networks, mean of their probabilities ({listed})"
    assert plan_words.besides_rates(row) == [f"mean output of 4 networks ({listed})"]
    assert plan_words.named(row) == "full, mean output of 4 networks"
    assert (plan_words.head_in_words(row), plan_words.batch_norm_in_words(row)) == ("several", "several")
    (made,) = plan_words.defined(row)
    assert made.startswith("4 networks were trained, and their class probabilities are averaged: 1: blocks.1")


def test_networks_of_an_ensemble_that_train_alike_say_so_once() -> None:
    """A solved probe trains no batch norm, so its mode makes no difference."""
    solved = other(None, None, None, rate=0.0, head_start="probe", norm="train")
    row = mixed("outputs", solved, batch_norm="kept", head_start="probe", norm="eval")
    assert plan_words.plan_in_words(row) == (
        "Ensemble of 2 networks, mean of their probabilities (1: blocks.1 and the head at 1e-3; 2: the solved linear "
        "probe; head from the linear probe, L2 1e-2; batch norm keeps its running statistics)"
    )


def test_an_ensemble_without_batch_norm_has_no_word_of_it() -> None:
    row = mixed("outputs", other(1e-4, 1e-4, 1e-4, head_start="probe", norm="eval"))
    assert "atch norm" not in plan_words.plan_in_words(row)


def test_a_mixture_whose_first_member_is_solved_is_none_that_is() -> None:
    row = mixed("outputs", other(None, None, 1e-2))
    solved = replace(SOLVED.plan, mixture=None)
    plan = replace(solved, mixture=Mixture("outputs", (Ingredient(row_of(None, 1e-3).plan),)))
    first = replace(SOLVED, plan=plan)
    assert not plan_words.is_solved(first)
    assert (
        "1: the solved linear probe; 2: the head alone at 1e-3, head from random weights"
        in plan_words.plan_in_words(first)
    )
    assert not plan_words.is_solved(row)
