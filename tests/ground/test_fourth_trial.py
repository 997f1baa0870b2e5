"""The decision of the fourth trial, from made-up cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fourth_trial import cells, decided, differences
from benchmarks.ground.trial import AVERAGE, DISTILLED
from tests.ground.test_board import result, write


def test_a_data_set_that_waits_for_one_of_the_two_is_left_out(tmp_path: Path) -> None:
    rows = {"mobilenetv2_050": (0.50, 0.51), "efficientnet_lite0": (0.60, 0.63)}
    for backbone, (average, distilled) in rows.items():
        write(
            tmp_path,
            result(AVERAGE, "mnist", 202, backbone=backbone, test_accuracy=average),
            result(DISTILLED, "mnist", 202, backbone=backbone, test_accuracy=distilled),
            result(DISTILLED, "dtd10", 202, backbone=backbone, test_accuracy=0.9),
            result(AVERAGE, "mnist", 201, backbone=backbone, test_accuracy=0.1),
        )
    assert differences(cells(tmp_path)) == {"mnist": pytest.approx(2.0)}


@pytest.mark.parametrize(
    ("trial", "mean", "answer"),
    [
        ((0.4, 0.6, 0.5), (0.5, 1.0, -1.0), "distilled network"),
        ((0.4, 0.6, 0.4), (0.5, 1.0, -1.0), "average"),  # too little on the split alone
        ((0.4, 0.6, 0.5), (0.5, -0.1, 0.0), "average"),  # as many behind as ahead
        ((0.4, 0.6, 0.5), (0.5, 1.0, -1.1), "average"),  # too far behind on one
    ],
)
def test_the_default_changes_if_all_three_parts_of_the_rule_hold(
    trial: tuple[float, ...], mean: tuple[float, ...], answer: str
) -> None:
    named = [dict(zip(("dtd10", "mnist", "beans"), values, strict=True)) for values in (trial, mean)]
    assert decided(*named).endswith(f"So the default answer is the {answer}.")
