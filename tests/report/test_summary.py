"""The answer in words."""

from __future__ import annotations

from typing import Any

import pytest

from thawline.config import Request, TrainConfig, TuningConfig
from thawline.report import summary


def blocks(*rates: float | None) -> list[dict[str, Any]]:
    names = [*(f"blocks.{number}" for number in range(len(rates) - 1)), "head"]
    return [
        {"name": name, "learning_rate": rate, "frozen": rate is None, "parameters": 1}
        for name, rate in zip(names, rates, strict=True)
    ]


def plan(norm: str = "train", **others: Any) -> dict[str, Any]:
    usual = {"phases": [{"epochs": None}], "parts": "all", "adapter": None, "penalty": None, "interpolation": []}
    return {**usual, "rate_rule": "constant", "norm": norm, **others}


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
    assert summary.plan_in_words(blocks(*rates), plan()) == words


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"parts": "norms_and_biases"}, "of each block only: norms and biases"),
        ({"adapter": {"rank": 8}}, "low-rank updates in place of the weights"),
        ({"rate_rule": "relative_gradient"}, "each tensor's rate follows its gradient"),
        ({"phases": [{"epochs": 1}, {"epochs": None}]}, "2 phases, from the top: 1 epoch, the rest"),
    ],
)
def test_what_rates_do_not_tell_is_said(others: dict[str, Any], words: str) -> None:
    assert summary.plan_in_words(blocks(1e-3, 1e-3), plan(**others)) == f"Train everything at 1e-3 ({words})"


def test_norm_layers_that_keep_their_statistics_are_named() -> None:
    kept = ", norm layers keep their pretrained statistics"
    assert summary.plan_in_words(blocks(1e-3, 1e-3, 1e-3), plan("eval")) == f"Train everything at 1e-3{kept}"
    assert summary.plan_in_words(blocks(None, 1e-3), plan("eval")).endswith("freeze the rest")


def test_training_everything_in_another_way_is_not_full_fine_tuning() -> None:
    test = {"accuracy": {"mean": 0.7, "standard_error": 0.01}}
    own = {"blocks": blocks(1e-4, 1e-3), "plan": plan("eval"), "chosen": "auto"}
    found = summary.headline({**own, "test": test, "baselines": {"full": {}}, "versus_full": None})
    assert "so use it" not in found
    assert "norm layers keep their pretrained statistics: accuracy 0.700" in found


def test_the_first_line_says_so_when_full_fine_tuning_wins() -> None:
    test = {"accuracy": {"mean": 0.7, "standard_error": 0.01}}
    own = {"blocks": blocks(1e-3, 1e-3), "plan": plan(), "chosen": "full"}
    results = {**own, "test": test, "baselines": {"full": {}}, "versus_full": None}
    assert summary.headline(results).startswith(
        "On validation full fine-tuning is as good as anything tried, so use it."
    )
    assert "0.700 ± 0.010 on test" in summary.headline(results)


def test_without_a_test_split_the_sentence_says_validation() -> None:
    val = {"accuracy": {"mean": 0.7, "standard_error": None}}
    own = {"blocks": blocks(None, 1e-3), "plan": plan(), "chosen": "linear_probe"}
    results = {**own, "test": None, "val": val, "baselines": {}}
    assert "accuracy 0.700 on validation (there is no test split)." in summary.headline(results)


def row(strategy: str, accuracy: float, macro_f1: float = 0.5, **others: Any) -> dict[str, Any]:
    val = {"accuracy": {"mean": accuracy}, "macro_f1": {"mean": macro_f1}}
    return {"strategy": strategy, "chosen": strategy, "learning_rate": 1e-3, "val": val, "test": None, **others}


def comparison(*rows: dict[str, Any], metric: str = "accuracy", rate: float | None = None) -> dict[str, Any]:
    asked = Request(
        verb="compare", data="photos", model="net", strategies=("full",), train=TrainConfig(metric=metric),  # type: ignore[arg-type]
        search=TuningConfig(learning_rate=rate),
    )  # fmt: skip
    return {"rows": list(rows), "request": asked.to_dict()}


def test_the_best_row_is_the_best_by_the_metric_that_was_asked_for() -> None:
    rows = row("full", 0.90, 0.50), row("linear_probe", 0.88, 0.70)
    assert summary.comparison_headline(comparison(*rows)).startswith("Best on validation: full")
    assert "linear_probe" in summary.comparison_headline(comparison(*rows, metric="macro_f1"))


def test_the_command_trains_that_row_again() -> None:
    command = summary.fit_command(comparison(row("auto", 0.9, chosen="full", search={}, learning_rate=0.00316228)))
    assert command == "thawline fit photos --model net --strategy full --learning-rate 0.00316228 --out MODEL"


@pytest.mark.parametrize("rate", [None, 3e-4])
def test_a_search_is_repeated_from_the_rate_it_was_given(rate: float | None) -> None:
    found = row("auto", 0.9, search={"work": 4.0}, learning_rate=3.2e-3)
    command = summary.fit_command(comparison(found, rate=rate))
    given = "" if rate is None else " --learning-rate 3e-4"
    assert command == f"thawline fit photos --model net --strategy auto{given} --out MODEL"


def test_rates_and_durations() -> None:
    assert [summary.rate(value) for value in (1e-3, 3e-4, 7.5e-4, 1.0)] == ["1e-3", "3e-4", "7.5e-4", "1e0"]
    assert [summary.duration(value) for value in (0.2, 40, 840, 7500)] == ["1 s", "40 s", "14 min", "2 h 5 min"]


def test_why_the_plan_of_a_search_is_not_that_of_the_highest_score() -> None:
    candidates = [{"generation": 0, "slot": slot, "score": score} for slot, score in enumerate((0.5, 0.6, 0.6))]
    found = {"candidates": candidates, "winner": [0, 0], "best": [0, 1]}
    assert "has 0.500 on validation, within one standard error of the best" in summary.choice_note(found)
    assert "as accurate on validation as the best" in summary.choice_note({**found, "winner": [0, 2]})
    assert summary.choice_note({**found, "best": [0, 0]}) == ""
    assert summary.choice_note({"candidates": candidates, "winner": [0, 0]}) == ""  # of an evolution


def test_ways_that_a_search_did_not_finish_are_named() -> None:
    ways = {"linear_probe": {"epochs": 5}, "last_blocks": {"epochs": 2}, "full": None}
    short, none = summary.unfinished_notes({"rungs": [2, 5], "ways": ways})
    assert short.startswith("last_blocks had 2 of 5 epochs")
    assert none.startswith("The budget had no room to try full")
    assert summary.unfinished_notes({}) == []
