"""How the choice of a network is put into words, rows and a picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from thawline.report import networks
from thawline.results import ImageAccuracy, NetworkChoice, NetworkDifference, NetworkFacts, NetworkTrial


def facts(milliseconds: float, **others: Any) -> NetworkFacts:
    usual: dict[str, Any] = {
        "architecture": "net",
        "image_size": 96,
        "parameters": 2_000_000,
        "flops": 30_000_000,
        "unit_flops": 1e12,
        "milliseconds": milliseconds,
        "milliseconds_batched": milliseconds / 3,
        "memory_bytes": 100 * 2**20,
    }
    return NetworkFacts(**{**usual, **others})


def accuracy(value: float) -> ImageAccuracy:
    return ImageAccuracy(accuracy=value, interval95=(value - 0.05, value + 0.05))


def trial(
    name: str, outcome: str, milliseconds: float, versus: tuple[float, float, float] | None = None, **others: Any
) -> NetworkTrial:
    """`versus` = difference from the chosen one and its interval."""
    usual: dict[str, Any] = {
        "name": name,
        "model": name,
        "asked_size": 96,
        "outcome": outcome,
        "words": "",
        "facts": facts(milliseconds),
        "probe": accuracy(0.7),
        "epochs": 4,
        "trained": accuracy(0.75),
        "unit_share": 0.5,
    }
    if versus:
        difference, *ends = versus
        usual["versus_chosen"] = NetworkDifference(difference=difference, interval95=(ends[0], ends[1]), epochs=4)
    return NetworkTrial(**{**usual, **others})


BEST = trial("best", "chosen", 10.0, epochs=8)
WORSE = trial("worse", "trained", 5.0, (-0.03, -0.05, -0.01))
EQUAL = trial("equal", "trained", 10.2, (-0.004, -0.02, 0.012))
PROBED = trial("probed", "probed", 2.0, (-0.2, -0.25, -0.15), epochs=None, trained=None)
MISSING = trial("missing", "missing", 1.0, facts=None, probe=None, trained=None, words="timm has no such model")


def choice(*trials: NetworkTrial) -> NetworkChoice:
    return NetworkChoice(
        format_version=1,
        trials=trials,
        chosen="best",
        strategy="auto:budget=3.00x",
        work_of_probes=0.1,
        work_of_trainings=1.2,
        work_of_others=0.8,
        unit_ratio=2.0,
        seconds_of_probes=3.0,
        validation_images=250,
        epochs=8,
        words="",
        doubled="",
        digest="",
    )


def test_the_answer_names_the_nearest_and_the_fastest_of_the_others() -> None:
    words = networks.choice_in_words(choice(WORSE, BEST, EQUAL))
    assert words == (
        "best; equal cannot be told apart from it by accuracy: -0.4 points (95 % interval over 250 validation images: "
        "-2.0 to +1.2; 4 epochs each), as fast; worse is 3.0 points worse (95 % interval over 250 validation images: "
        "-5.0 to -1.0; 4 epochs each), 2 times faster."
    )


def test_a_network_alone_is_the_whole_answer() -> None:
    assert networks.choice_in_words(choice(BEST, MISSING)) == "best."


def test_what_was_only_probed_says_so() -> None:
    found = replace(PROBED, versus_chosen=NetworkDifference(difference=-0.2, interval95=(-0.25, -0.15), epochs=0))
    assert "linear probes" in networks.choice_in_words(choice(BEST, found))


@pytest.mark.parametrize(
    ("trials", "room", "said"),
    [
        ((BEST, WORSE), 1.0, "would not change the network"),
        ((BEST, replace(EQUAL, epochs=8)), 1.0, "cannot tell equal apart from it after full-length trainings"),
        ((BEST, EQUAL), 1.0, "might change the network: it would also train equal to the end"),
        ((BEST, EQUAL), 0.4, "would still not cover a full-length training of equal"),
    ],
)
def test_twice_the_budget_matters_where_the_images_leave_it_open(
    trials: tuple[NetworkTrial, ...], room: float, said: str
) -> None:
    assert said in networks.doubled_in_words(choice(*trials), room)


def test_the_table_has_the_chosen_one_first_and_what_is_missing_last() -> None:
    rows = networks.network_rows(choice(MISSING, PROBED, WORSE, BEST, EQUAL))
    assert [row.name for row in rows] == ["best", "equal", "worse", "probed", "missing"]
    best, _, worse, probed, missing = rows
    assert best.outcome == "chosen"
    assert best.trained == "0.750 (0.700 to 0.800) after 8 epochs"
    assert (worse.parameters, worse.single, worse.memory) == ("2.00 M", "5", "100 MiB")
    assert "points worse (95 %: -5.0 to -1.0; 4 epochs each), 2 times faster" in worse.outcome
    assert probed.trained == ""
    assert (missing.parameters, missing.outcome) == ("", "timm has no such model")


def test_the_picture_has_numbers_as_in_the_table_and_needs_two_networks() -> None:
    assert networks.networks_chart(choice(BEST, MISSING)) is None
    drawn = str(networks.networks_chart(choice(WORSE, BEST, MISSING)))
    assert "best: linear probe 0.700, 10 ms an image" in drawn
    assert "worse: 0.750 after 4 epochs" in drawn
    assert "missing" not in drawn


def test_work_is_in_full_fine_tunings_of_the_costliest_pair() -> None:
    words = networks.work_in_words(choice(BEST))
    assert "the work of 1.30 full fine-tunings of the costliest pair, 0.10 of them for measuring" in words
    assert "full fine-tuning of best, of which that pair's takes 2.0" in words


def test_names_say_the_size_that_is_known() -> None:
    assert networks.name_of("net", facts(1.0), None) == "net at 96 px"
    assert networks.name_of("net", None, 64) == "net at 64 px"
    assert networks.name_of("net", None, None) == "net"


@pytest.mark.parametrize(
    ("own", "others", "words"),
    [(10.0, 10.4, "as fast"), (5.0, 19.0, "3.8 times faster"), (19.0, 5.0, "3.8 times slower")],
)
def test_times_that_are_nearly_equal_are_equal(own: float, others: float, words: str) -> None:
    assert networks.speed_in_words(own, others) == words
