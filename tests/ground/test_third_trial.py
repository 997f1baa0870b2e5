"""The decision of the third trial, from made-up cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.ground.trial import AVERAGE, DISTILLED
from benchmarks.third_trial import differences, outcome
from tests.ground.test_board import result, write
from thawline.records import write_json

ALL_AHEAD = {1: {"dtd10": 1.0, "mnist": 1.0}, 200: {"dtd10": 0.6, "mnist": 0.6}, 201: {"dtd10": 0.5, "mnist": 0.6}}


def test_a_data_set_counts_once_however_many_networks_it_has(tmp_path: Path) -> None:
    answers = {"average": {"test": 0.5}, "distilled": {"test": 0.52}}
    write_json(tmp_path / "answers" / "tiny" / "mnist" / "1.json", {"set": "mnist", "answers": answers})
    for backbone, gain in (("tiny", 0.01), ("other", 0.03)):
        rows = {"full": 0.1, AVERAGE: 0.5, DISTILLED: 0.5 + gain}
        cells = [
            result(name, "mnist", 201, backbone=backbone, test_accuracy=accuracy) for name, accuracy in rows.items()
        ]
        write(tmp_path / "ground", *cells)
    found = differences(tmp_path)
    assert found == {1: {"mnist": pytest.approx(2.0)}, 201: {"mnist": pytest.approx(2.0)}}


def test_the_default_changes_where_the_trial_and_all_splits_are_ahead() -> None:
    assert outcome(ALL_AHEAD).notes[0].endswith("So the default answer is the distilled network.")


@pytest.mark.parametrize("trial", [{"dtd10": 0.5, "mnist": 0.4}, {"dtd10": 9.0, "mnist": 0.0}])
def test_the_average_stays_where_one_of_the_two_is_missing(trial: dict[str, float]) -> None:
    """Too little on the trial's own split, then an interval over data sets that contains zero."""
    table = outcome({**ALL_AHEAD, 201: trial})
    assert table.notes[0].endswith("So the default answer is the average.")
