"""The decision and the claims of the third trial, from made-up cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.ground.board import TUNED_FULL, read_boards
from benchmarks.ground.trial import AVERAGE, DISTILLED, ENSEMBLE, HEAD_FIRST
from benchmarks.third_trial import claims, decided, decision, development, differences
from tests.ground.test_board import result, write
from thawline.records import write_json

ALL_AHEAD = {1: {"dtd10": 1.0, "mnist": 1.0}, 200: {"dtd10": 0.6, "mnist": 0.6}, 201: {"dtd10": 0.5, "mnist": 0.6}}


def test_differences_on_the_development_split(tmp_path: Path) -> None:
    answers = {"average": {"test": 0.5}, "distilled": {"test": 0.52}}
    write_json(tmp_path / "tiny" / "mnist" / "1.json", {"set": "mnist", "answers": answers})
    assert development(tmp_path) == {"mnist": pytest.approx(2.0)}


def test_a_data_set_counts_once_however_many_networks_it_has(tmp_path: Path) -> None:
    for backbone, gain in (("tiny", 0.01), ("other", 0.03)):
        rows = {TUNED_FULL: 0.1, AVERAGE: 0.5, DISTILLED: 0.5 + gain}
        cells = [
            result(name, "mnist", 201, backbone=backbone, test_accuracy=accuracy) for name, accuracy in rows.items()
        ]
        write(tmp_path, *cells)
    assert differences(read_boards(tmp_path), 201, DISTILLED, AVERAGE) == {"mnist": pytest.approx(2.0)}


def test_the_default_changes_where_the_trial_and_all_splits_are_ahead() -> None:
    assert decision(ALL_AHEAD, decided).notes[0].endswith("So the default answer is the distilled network.")


@pytest.mark.parametrize("trial", [{"dtd10": 0.5, "mnist": 0.4}, {"dtd10": 9.0, "mnist": 0.0}])
def test_the_average_stays_where_one_of_the_two_is_missing(trial: dict[str, float]) -> None:
    """Too little on the trial's own split, then an interval over data sets that contains zero."""
    assert decision({**ALL_AHEAD, 201: trial}, decided).notes[0].endswith("So the default answer is the average.")


def test_a_claim_says_what_of_it_is_missed(tmp_path: Path) -> None:
    rows = {
        TUNED_FULL: (0.5, 0.5),
        HEAD_FIRST: (0.5, 0.6),
        AVERAGE: (0.51, 0.61),  # +1 on both
        DISTILLED: (0.6, 0.57),  # +10 and -3: the interval contains zero, and the worst set is too low
        ENSEMBLE: (0.51, 0.61),  # +1 is less than was wanted of it
    }
    for name, accuracies in rows.items():
        write(
            tmp_path,
            *(
                result(name, data, 201, test_accuracy=each)
                for data, each in zip(("dtd10", "mnist"), accuracies, strict=True)
            ),
        )
    outcome = {line[0]: line[-1] for line in claims(read_boards(tmp_path)).rows}
    assert outcome[f"`{AVERAGE}` - `{HEAD_FIRST}`"] == "met"
    assert outcome[f"`{DISTILLED}` - `{HEAD_FIRST}`"] == "missed: interval, worst set"
    assert outcome[f"`{ENSEMBLE}` - `{HEAD_FIRST}`"] == "missed: mean"
    assert len(outcome) == 6
