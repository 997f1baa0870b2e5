"""The answer in words."""

from __future__ import annotations

from typing import Any

import pytest

from thawline.report import summary


def blocks(*rates: float | None) -> list[dict[str, Any]]:
    names = [*(f"blocks.{number}" for number in range(len(rates) - 1)), "head"]
    return [
        {"name": name, "learning_rate": rate, "frozen": rate is None, "parameters": 1}
        for name, rate in zip(names, rates, strict=True)
    ]


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
    assert summary.plan_in_words(blocks(*rates)) == words


def test_norm_layers_that_keep_their_statistics_are_named() -> None:
    kept = ", norm layers keep their pretrained statistics"
    assert summary.plan_in_words(blocks(1e-3, 1e-3, 1e-3), "eval") == f"Train everything at 1e-3{kept}"
    assert summary.plan_in_words(blocks(None, 1e-3), "eval").endswith("freeze the rest")


def test_training_everything_in_another_way_is_not_full_fine_tuning() -> None:
    test = {"accuracy": {"mean": 0.7, "standard_error": 0.01}}
    own = {"blocks": blocks(1e-4, 1e-3), "plan": {"norm": "eval"}, "chosen": "auto"}
    found = summary.headline({**own, "test": test, "baselines": {"full": {}}, "versus_full": None})
    assert "so use it" not in found
    assert "norm layers keep their pretrained statistics: accuracy 0.700" in found


def test_the_first_line_says_so_when_full_fine_tuning_wins() -> None:
    test = {"accuracy": {"mean": 0.7, "standard_error": 0.01}}
    own = {"blocks": blocks(1e-3, 1e-3), "plan": {"norm": "train"}, "chosen": "full"}
    results = {**own, "test": test, "baselines": {"full": {}}, "versus_full": None}
    assert summary.headline(results).startswith("Full fine-tuning is as good as anything tried, so use it.")
    assert "0.700 ± 0.010 on test" in summary.headline(results)


def test_without_a_test_split_the_sentence_says_validation() -> None:
    val = {"accuracy": {"mean": 0.7, "standard_error": None}}
    own = {"blocks": blocks(None, 1e-3), "plan": {"norm": "train"}, "chosen": "linear_probe"}
    results = {**own, "test": None, "val": val, "baselines": {}}
    assert "accuracy 0.700 on validation (there is no test split)." in summary.headline(results)


def test_rates_and_durations() -> None:
    assert [summary.rate(value) for value in (1e-3, 3e-4, 7.5e-4, 1.0)] == ["1e-3", "3e-4", "7.5e-4", "1e0"]
    assert [summary.duration(value) for value in (0.2, 40, 840, 7500)] == ["1 s", "40 s", "14 min", "2 h 5 min"]
