"""How a trial is judged: what counts as our one line, and what as silence."""

from __future__ import annotations

import pytest

from benchmarks.faults.outcomes import Outcome, difference, failure, judge
from benchmarks.faults.sandbox import Ran


def _ran(code: int | None, said: str) -> Ran:
    return Ran(("report", "run"), code, b"", said, 1.0)


@pytest.mark.parametrize(
    ("code", "said", "outcome"),
    [
        (2, "Reading images\nthawline: run is damaged.\n", "one_line"),
        (2, "Usage: thawline report\n\nError: Missing argument 'RUN'.\n", "one_line"),
        (2, "thawline: run is damaged\nin two places.\n", "traceback"),
        (1, "Traceback (most recent call last):\nKeyError: 'x'\n", "traceback"),
        (0, "Exception ignored in: <stdout>\n", "traceback"),
        (1, "", "silent"),
        (None, "", "hang"),
        (-11, "", "died"),
        (99, "open outside the trial's folder: /x\n", "outside"),
    ],
)
def test_failures_by_what_was_said(code: int | None, said: str, outcome: Outcome) -> None:
    verdict = failure(_ran(code, said))
    assert verdict is not None
    assert verdict.outcome == outcome


def test_other_answer_is_silent_unless_a_line_says_why() -> None:
    assert failure(_ran(0, "")) is None
    assert judge(_ran(0, ""), lambda: {"digest": 1}, {"digest": 1}).outcome == "held"
    silent = judge(_ran(0, "Training\n"), lambda: {"digest": [1, 2]}, {"digest": [1, 3]})
    assert (silent.outcome, silent.detail) == ("silent", ".digest[1]: 2 instead of 3")
    noted = judge(_ran(0, "pixels.npy is damaged: built again.\n"), lambda: {"digest": 2}, {"digest": 1})
    assert noted.outcome == "noted"


def test_no_answer_with_exit_code_0_is_silent() -> None:
    def answer() -> object:
        raise FileNotFoundError("results.json")

    assert judge(_ran(0, ""), answer, {}).outcome == "silent"


def test_difference_names_the_first_place() -> None:
    assert difference({"a": 1}, {"a": 1, "b": 2}) == ".b: None instead of 2"
