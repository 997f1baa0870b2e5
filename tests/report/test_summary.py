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
from thawline.plan import FineTunePlan, Ingredient, Mixed, Mixture, Phase
from thawline.report import summary
from thawline.results import BaselineTrial, Comparison, FitResults, Latency, NearestNeighbors, ScoredRow


def plan(*rates: float | None, **others: Any) -> FineTunePlan:
    names = [*(f"blocks.{number}" for number in range(len(rates) - 1)), "head"]
    return FineTunePlan((Phase(dict(zip(names, rates, strict=True))),), **others)


def saved(how: FineTunePlan, chosen: str, *, test: bool = True, **others: Any) -> FitResults:
    found = row(chosen, (None, None, None, 1e-3), 0.7, 1.0, test=test, versus_full=None, **others)
    baseline = row("full", (1e-3, 1e-3, 1e-3, 1e-3), 0.7, 1.0)
    return fit_results(replace(found, plan=how), [baseline])


def test_a_mixture_is_made_again_by_its_search() -> None:
    alone = plan(1e-4, 1e-3)
    both = replace(alone, mixture=Mixture("weights", (Ingredient(alone, 1),)))
    found = row("auto:budget=3x", (None, None, None, 1e-3), 0.75, 1.0, chosen="last_blocks:k=1", search=search())
    command = summary.fit_command(comparison(replace(found, plan=both)))
    assert "--strategy auto:budget=3x --" in str(command)
    assert summary.table_row(replace(found, plan=both), comparison(found).data).strategy == "auto:budget=3x"


def test_what_an_ensemble_adds_and_costs_is_said() -> None:
    alone = plan(1e-4, 1e-3)
    both = replace(alone, mixture=Mixture("outputs", (Ingredient(alone, 1),)))
    mean = row("ensemble", (None, None, None, 1e-3), 0.75, 1.0)
    latency = [Latency(batch_size=32, ensemble=2.0, single=1.0), Latency(batch_size=1, ensemble=8.123, single=4.0)]
    results = replace(saved(alone, "auto"), baselines={"ensemble": replace(mean, plan=both)})
    assert summary.ensemble_note(saved(alone, "auto")) == ""
    said = (
        "The mean output of 2 networks has 0.750 on validation and 0.750 on test, against 0.700 on validation and 0.700"
    )
    saves = " To save it, run the same command with --answer ensemble and another --out."
    assert summary.ensemble_note(results) == f"{said} on test for the saved network.{saves}"
    took = "; it takes 2 ms per image against 1 (batch 32; batch 1: 8.12 against 4; this machine)."
    assert summary.ensemble_note(replace(results, latency=latency)).endswith(f"saved network{took}{saves}")
    pick = replace(row("pick", (None, None, None, 1e-3), 0.65, 1.0), plan=alone)
    told = summary.ensemble_note(replace(saved(both, "auto"), baselines={"pick": pick}, latency=latency))
    assert told.endswith(f"0.650 on test for the pick alone{took}")
    full = summary.ensemble_note(replace(saved(both, "auto"), pick="full"))
    assert full.endswith("0.700 on test for the pick alone (full).")


def test_an_ensemble_of_one_network_adds_nothing() -> None:
    alone = plan(1e-4, 1e-3)
    mean = replace(row("ensemble", (None, None, None, 1e-3), 0.75, 1.0), plan=alone)
    assert summary.ensemble_note(replace(saved(alone, "auto"), baselines={"ensemble": mean})) == ""


def test_a_pick_that_is_a_baseline_is_named() -> None:
    results = saved(plan(1e-4, 1e-3), "auto")
    assert summary.pick_note(replace(results, pick="full")) == (
        "full is the pick of the search; the cost of the search is in the work of auto."
    )
    for own in (None, "pick", "auto"):
        assert summary.pick_note(replace(results, pick=own)) == ""


def test_training_everything_in_another_way_is_not_full_fine_tuning() -> None:
    found = summary.headline(saved(plan(1e-4, 1e-3, norm="eval"), "auto", batch_norm="kept"))
    assert "so use it" not in found
    assert "(head from random weights; batch norm keeps its running statistics): accuracy 0.700" in found


def test_the_first_line_says_so_when_full_fine_tuning_wins() -> None:
    found = summary.headline(saved(plan(1e-3, 1e-3), "full"))
    assert found.startswith("On validation full fine-tuning is as good as anything tried, so use it.")
    assert "accuracy 0.700 on test (95 % interval over 60 test images: 0.660 to 0.740; mean of 3 trainings, " in found


@pytest.mark.parametrize("of", ["weights", "outputs"])
def test_full_fine_tuning_as_one_of_several_trainings_is_no_advice_to_use_it(of: Mixed) -> None:
    alone = plan(1e-3, 1e-3)
    mixed = replace(alone, mixture=Mixture(of, (Ingredient(alone, 1),)))
    found = summary.headline(replace(saved(mixed, "full"), strategy="auto"))
    assert found.startswith(("Average the weights of 2 trainings: ", "Ensemble of 2 networks, "))


def test_without_a_test_split_the_sentence_says_validation() -> None:
    found = summary.headline(saved(plan(None, 1e-3), "linear_probe", test=False, val=scores(0.7, seeds=1)))
    assert "accuracy 0.700 on validation (also used for selection; no test split; one training)." in found


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


def test_the_best_row_is_the_best_of_what_is_shown() -> None:
    lucky = tuned("auto", 0.9, search=search(candidates=[candidate(0, 0, 0.9)], winner=[0, 0], optimism=0.05))
    rows = tuned("full", 0.88), lucky
    assert summary.comparison_headline(compared(*rows)).startswith("Best on validation: full")


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


PROBE = plan(None, None, None, head_start="probe")


def test_the_command_of_a_solved_probe_has_no_rate() -> None:
    found = tuned("linear_probe", 0.9, plan=PROBE, learning_rate=0.0, probe_strength=1e-2)
    comparison = compared(found)
    assert summary.fit_command(comparison) == "thawline fit photos --model net --strategy linear_probe --out MODEL"
    assert summary.comparison_headline(comparison).startswith(
        "Best on validation: linear_probe, solved (L2 1e-2), accuracy 0.900"
    )


@pytest.mark.parametrize(
    ("chosen", "exact"),
    [
        ("full", "full:norm=moving,head_start=probe"),
        ("full:norm=moving", "full:norm=moving,head_start=probe"),
        ("last_blocks:k=2,norm=moving,head_start=probe", "last_blocks:k=2,norm=moving,head_start=probe"),
    ],
)
def test_the_command_says_what_would_be_tuned_again(chosen: str, exact: str) -> None:
    """A search names the baseline that makes its plan; its norm mode and head start are those of the search."""
    started = plan(1e-3, 1e-3, head_start="probe")
    found = tuned("auto", 0.9, chosen=chosen, search=search(), plan=started, batch_norm="moving")
    assert summary.exact_spec(found) == exact
    assert f"--strategy {exact} --learning-rate 1e-3" in str(summary.fit_command(compared(found)))


def test_a_row_of_the_table_has_short_words() -> None:
    data = compared().data
    line = summary.table_row(tuned("full", 0.9, batch_norm="kept"), data)
    assert (line.rate, line.batch_norm, line.head) == ("1e-3", "kept", "random")
    line = summary.table_row(tuned("linear_probe", 0.9, plan=PROBE, learning_rate=0.0, probe_strength=1e-2), data)
    assert (line.rate, line.batch_norm, line.head) == ("solved (L2 1e-2)", "", "probe")


def test_nearest_neighbors_are_a_note_beside_the_probe() -> None:
    neighbors = NearestNeighbors(val=0.544, test=0.485)
    found = tuned("linear_probe", 0.9, nearest_neighbors=neighbors)
    words = "linear_probe: nearest neighbors in the same features have accuracy"
    assert summary.row_notes(found) == [f"{words} 0.485 on test and 0.544 on validation."]
    found = replace(found, nearest_neighbors=NearestNeighbors(val=0.544, test=None))
    assert summary.row_notes(found) == [f"{words} 0.544 on validation."]
    assert summary.row_notes(tuned("full", 0.9)) == []


@pytest.mark.parametrize(
    ("start", "mode", "notes"), [("probe", "moving", 1), ("probe", "kept", 0), ("random", "moving", 0)]
)
def test_a_probes_head_above_moving_statistics_has_a_note(start: Any, mode: str, notes: int) -> None:
    found = tuned("full", 0.9, plan=plan(1e-3, 1e-3, head_start=start), batch_norm=mode)
    assert ["solved with the running statistics" in note for note in summary.row_notes(found)] == [True] * notes


def test_rates_and_durations() -> None:
    assert [formatting.rate(value) for value in (1e-3, 3e-4, 7.5e-4, 1.0)] == ["1e-3", "3e-4", "7.5e-4", "1e0"]
    assert [formatting.duration(value) for value in (0.2, 40, 840, 7500)] == ["1 s", "40 s", "14 min", "2 h 5 min"]


def test_why_the_plan_of_a_search_is_not_that_of_the_highest_score() -> None:
    candidates = [candidate(0, slot, score) for slot, score in enumerate((0.5, 0.6, 0.6))]
    found = search(candidates=candidates, winner=[0, 0], best=[0, 1])
    chosen = "Chosen in the search: 0.500 on validation (one training); the table shows new trainings."
    assert summary.choice_note(found) == (
        f"{chosen} The best candidate (generation 0, candidate 1) had 0.600 (one training); the difference is within "
        "one standard error, so the simpler plan wins."
    )
    assert "a tie with generation 0, candidate 1" in summary.choice_note(replace(found, winner=[0, 2]))
    assert summary.choice_note(replace(found, best=[0, 0])) == chosen
    assert summary.choice_note(search(candidates=candidates, winner=[0, 0])) == chosen, "an evolution"


def test_a_search_with_rungs_hands_over_what_it_trained() -> None:
    found = search(candidates=[candidate(0, 0, 0.5)], winner=[0, 0], best=[0, 0], rungs=[2, 4])
    assert summary.choice_note(found) == "Chosen in the search: 0.500 on validation (one training)."
    on_a_sample = summary.choice_note(found, trained_anew=True)
    assert on_a_sample == "Chosen in the search: 0.500 on validation (one training); the table shows new trainings."


def test_the_validation_accuracy_of_an_answer_is_shown_without_the_luck_of_its_selection() -> None:
    lucky = search(candidates=[candidate(0, 0, 0.5)], winner=[0, 0], best=[0, 0], optimism=0.02)
    row = tuned("auto", 0.9)
    measured = row.val.accuracy.mean
    assert summary.shown_val(replace(row, search=lucky)).accuracy.mean == pytest.approx(measured - 0.02)
    assert summary.shown_val(replace(row, search=replace(lucky, optimism=None))).accuracy.mean == measured
    assert "shown 0.020 lower than measured" in summary.optimism_note(lucky)
    assert summary.optimism_note(replace(lucky, optimism=0.0001)) == ""


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
    assert none.startswith("The budget was too small to try full")
    assert summary.unfinished_notes(search()) == []
