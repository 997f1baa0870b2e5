"""The answer in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.report.synthetic import (
    candidate,
    comparison,
    fit_results,
    over_seeds,
    row,
    scores,
    scores_on_test,
    search,
)
from thawline import formatting
from thawline.config import Request, TrainConfig, TuningConfig
from thawline.plan import Adapter, FineTunePlan, Phase
from thawline.report import summary
from thawline.results import BaselineTrial, Comparison, FitResults, ScoredRow


def plan(*rates: float | None, **others: Any) -> FineTunePlan:
    names = [*(f"blocks.{number}" for number in range(len(rates) - 1)), "head"]
    return FineTunePlan((Phase(dict(zip(names, rates, strict=True))),), **others)


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
def test_plan_in_words(rates: tuple[float | None, ...], words: str) -> None:
    assert summary.plan_in_words(plan(*rates)) == words


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"parts": "norms_and_biases"}, "only norms and biases of each block"),
        ({"adapter": Adapter(8, 2.0)}, "low-rank updates in place of the weights"),
        ({"rate_rule": "relative_gradient"}, "each tensor's rate follows its gradient"),
    ],
)
def test_what_rates_do_not_tell_is_said(others: dict[str, Any], words: str) -> None:
    assert summary.plan_in_words(plan(1e-3, 1e-3, **others)) == f"Train everything at 1e-3 ({words})"


def test_norm_layers_that_keep_their_statistics_are_named() -> None:
    kept = ", norm layers keep the statistics they started with"
    assert summary.plan_in_words(plan(1e-3, 1e-3, 1e-3, norm="eval")) == f"Train everything at 1e-3{kept}"
    assert summary.plan_in_words(plan(None, 1e-3, norm="eval")).endswith("freeze the rest")


def saved(how: FineTunePlan, chosen: str, *, test: bool = True, **others: Any) -> FitResults:
    found = row(chosen, (None, None, None, 1e-3), 0.7, 1.0, test=test, versus_full=None, **others)
    baseline = row("full", (1e-3, 1e-3, 1e-3, 1e-3), 0.7, 1.0)
    return fit_results(replace(found, plan=how.to_dict()), [baseline])


def test_phases_are_said() -> None:
    rates = {"blocks.0": 1e-3, "head": 1e-3}
    words = summary.plan_in_words(FineTunePlan((Phase(rates, 1), Phase(rates))))
    assert words == "Train everything at 1e-3 (2 phases, from the top: 1 epoch, the rest)"


def test_training_everything_in_another_way_is_not_full_fine_tuning() -> None:
    found = summary.headline(saved(plan(1e-4, 1e-3, norm="eval"), "auto"))
    assert "so use it" not in found
    assert "norm layers keep the statistics they started with: accuracy 0.700" in found


def test_the_first_line_says_so_when_full_fine_tuning_wins() -> None:
    found = summary.headline(saved(plan(1e-3, 1e-3), "full"))
    assert found.startswith("On validation full fine-tuning is as good as anything tried, so use it.")
    assert "accuracy 0.700 on test (95 % interval over 60 test images: 0.660 to 0.740; mean of 3 trainings, " in found


def test_without_a_test_split_the_sentence_says_validation() -> None:
    found = summary.headline(saved(plan(None, 1e-3), "linear_probe", test=False, val=scores(0.7, seeds=1)))
    assert "accuracy 0.700 on validation, which also chose (no test split; one training)." in found


def test_one_seed_has_the_same_kind_of_interval() -> None:
    results = replace(saved(plan(None, 1e-3), "linear_probe"), test=scores_on_test(0.7, seeds=1))
    found = summary.headline(results)
    assert "accuracy 0.700 on test (95 % interval over 60 test images: 0.660 to 0.740; one training)." in found


def tuned(strategy: str, accuracy: float, macro_f1: float = 0.5, **others: Any) -> ScoredRow:
    val = replace(scores(accuracy), macro_f1=over_seeds(macro_f1))
    usual = row(strategy, (None, None, None, 1e-3), accuracy, 1.0, test=False, val=val, versus_full=None)
    return replace(usual, **others)


def compared(*rows: ScoredRow, metric: str = "accuracy", rate: float | None = None) -> Comparison:
    request = Request(
        verb="compare", data="photos", model="net", strategies=("full",), train=TrainConfig(metric=metric),  # type: ignore[arg-type]
        search=TuningConfig(learning_rate=rate),
    )  # fmt: skip
    return comparison(*rows, request=request)


def test_the_best_row_is_the_best_by_the_metric_that_was_asked_for() -> None:
    rows = tuned("full", 0.90, 0.50), tuned("linear_probe", 0.88, 0.70)
    assert summary.comparison_headline(compared(*rows)).startswith("Best on validation: full")
    assert "linear_probe" in summary.comparison_headline(compared(*rows, metric="macro_f1"))


def test_the_command_trains_that_row_again() -> None:
    found = tuned("auto", 0.9, chosen="full", search=search(), learning_rate=0.00316228)
    command = summary.fit_command(compared(found))
    assert command == "thawline fit photos --model net --strategy full --learning-rate 0.00316228 --out MODEL"


@pytest.mark.parametrize("rate", [None, 3e-4])
def test_a_search_is_repeated_from_the_rate_it_was_given(rate: float | None) -> None:
    found = tuned("auto", 0.9, search=search(), learning_rate=3.2e-3)
    command = summary.fit_command(compared(found, rate=rate))
    given = "" if rate is None else " --learning-rate 3e-4"
    assert command == f"thawline fit photos --model net --strategy auto{given} --out MODEL"


def test_rates_and_durations() -> None:
    assert [formatting.rate(value) for value in (1e-3, 3e-4, 7.5e-4, 1.0)] == ["1e-3", "3e-4", "7.5e-4", "1e0"]
    assert [formatting.duration(value) for value in (0.2, 40, 840, 7500)] == ["1 s", "40 s", "14 min", "2 h 5 min"]


def test_why_the_plan_of_a_search_is_not_that_of_the_highest_score() -> None:
    candidates = [candidate(0, slot, score) for slot, score in enumerate((0.5, 0.6, 0.6))]
    found = search(candidates=candidates, winner=[0, 0], best=[0, 1])
    chosen = "Chosen in the search: 0.500 on validation (one training); the table has new trainings."
    assert summary.choice_note(found) == (
        f"{chosen} The best candidate (generation 0, candidate 1) had 0.600 (one training); the difference is within "
        "one standard error, so the simpler plan wins."
    )
    assert "a tie with generation 0, candidate 1" in summary.choice_note(replace(found, winner=[0, 2]))
    assert summary.choice_note(replace(found, best=[0, 0])) == chosen
    assert summary.choice_note(search(candidates=candidates, winner=[0, 0])) == chosen, "an evolution"


def test_a_score_of_several_seeds_is_called_their_mean() -> None:
    several = candidate(0, 0, 0.683, per_seed=[0.7, 0.66, 0.69])
    note = summary.choice_note(search(candidates=[several], winner=[0, 0], best=[0, 0]))
    assert "0.683 on validation (mean over 3 seeds)" in note


def test_baselines_that_a_search_did_not_finish_are_named() -> None:
    trials = {
        "linear_probe": BaselineTrial(strategy="linear_probe", score=0.5, epochs=5),
        "last_blocks": BaselineTrial(strategy="last_blocks:k=1", score=0.5, epochs=2),
        "full": None,
    }
    short, none = summary.unfinished_notes(search(rungs=[2, 5], ways=trials))
    assert short.startswith("last_blocks was trained for 2 of 5 epochs")
    assert none.startswith("The budget had no room to try full")
    assert summary.unfinished_notes(search()) == []
