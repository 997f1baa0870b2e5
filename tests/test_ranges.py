"""Every number that somebody gives is checked in one place: its type, its range, and how it is written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pytest

from thawline import api
from thawline.cli import app as cli
from thawline.config import CacheConfig, DataConfig, PredictOptions, Request, TrainConfig, TuningConfig, parse_bytes
from thawline.errors import InputError, OptionError
from thawline.ranges import Range, kinds, plain_number, read_number, shown
from thawline.strategies import OWN_STRATEGIES
from thawline.strategies.auto import Budget, with_answer, with_budget
from thawline.strategies.base import strategy_class, variants

HOLDERS = (TrainConfig, DataConfig, TuningConfig, CacheConfig, PredictOptions)
HUGE = 10**400
ENDLESS = 10**5000
"""Python refuses to write it."""
NOT_NUMBERS: tuple[object, ...] = (HUGE, -HUGE, ENDLESS, math.inf, -math.inf, math.nan, True, "3", "nan", [1], {}, 1j)
TEXTS = (
    *("9" * 400, "9" * 5000, "inf", "-inf", "nan", "٣", "１２", "1_0", " 1_0 ", "0x10", "1e999"),
    *("1e-99999999999999", "", "-", "½"),
)


def number_fields() -> Iterator[tuple[type, str]]:
    for holder in HOLDERS:
        for name, kind in kinds(holder).items():
            if {int, float} & set(kind.types):
                yield holder, name


def arguments() -> Iterator[tuple[str, str]]:
    for name in OWN_STRATEGIES:
        for field in fields(strategy_class(name)):
            if not isinstance(field.default, str):
                yield name, field.name


@pytest.mark.parametrize(("holder", "name"), list(number_fields()))
def test_every_number_has_a_range_that_holds_its_default(holder: type, name: str) -> None:
    kind = kinds(holder)[name]
    assert kind.range is not None
    default = getattr(holder(), name)
    assert default is None or default in kind.range


@pytest.mark.parametrize(("holder", "name"), list(number_fields()))
def test_what_is_not_a_number_in_range_is_one_line(holder: type, name: str) -> None:
    for value in NOT_NUMBERS:
        with pytest.raises(OptionError, match=f"^`{name}` must be a .*number ") as caught:
            holder(**{name: value})
        assert len(str(caught.value)) < 250


@pytest.mark.parametrize(("holder", "name"), list(number_fields()))
def test_numbers_of_numpy_become_plain(holder: type, name: str) -> None:
    kind = kinds(holder)[name]
    assert kind.range is not None
    types = [np.int64, np.int32] if int in kind.types else [np.float64, np.float32, np.float16]
    within = 2 if int in kind.types else 0.5
    given = np.int64(kind.range.lowest) if within not in kind.range else types[-1](within)
    extra = {"epochs": 1} if name == "schedule_epochs" else {}
    value = getattr(holder(**{name: given}, **extra), name)
    assert type(value) is (int if int in kind.types else float) or isinstance(given, np.integer)
    assert json.loads(json.dumps(value)) == value


def test_a_negative_zero_is_zero_and_a_whole_number_stays_one() -> None:
    assert math.copysign(1, TrainConfig(weight_decay=-0.0).weight_decay) == 1
    assert type(TrainConfig(weight_decay=0).weight_decay) is int  # keys of runs begun with it depend on that


@pytest.mark.parametrize(("strategy", "argument"), list(arguments()))
def test_every_argument_has_a_range_and_refuses_the_rest_in_one_line(strategy: str, argument: str) -> None:
    cls = strategy_class(strategy)
    assert kinds(cls)[argument].range is not None
    for text in TEXTS:
        with pytest.raises(OptionError, match=f"{argument} must be a ") as caught:
            variants(f"{strategy}:{argument}={text}")
        assert len(str(caught.value)) < 250
    for value in NOT_NUMBERS:
        with pytest.raises(OptionError):
            cls(**{argument: value})  # type: ignore[arg-type]


BUDGETS = (*TEXTS, *(f"{text}x" for text in TEXTS), "1e3x", "1000001x", "-5x", "0.5x")


@pytest.mark.parametrize("text", BUDGETS, ids=range(len(BUDGETS)))
def test_a_budget_that_is_none(text: str) -> None:
    for given in (text, f"{text} x", f"auto:budget={text}"):
        with pytest.raises(OptionError) as caught:
            variants(given) if given.startswith("auto") else with_budget("auto", given)
        assert len(str(caught.value)) < 300


def test_budgets_may_be_written_by_numpy_and_with_a_space() -> None:
    assert Budget.parse(np.str_("5x")) == Budget.parse(" 5 x ") == Budget(5, "work")


def test_the_answer_is_an_argument_of_auto() -> None:
    assert with_answer("auto:budget=3x", "ensemble") == "auto:budget=3x,answer=ensemble"
    assert with_answer("full", None) == "full"
    for strategy, answer, says in (
        ("auto", "votes", "`answer` must be one of pick, average, ensemble, distilled, got 'votes'."),
        ("auto", ["pick"], "`answer` must be one of"),
        ("full", "pick", "`answer` is for `strategy` auto; full returns the model it trains."),
        ("auto:answer=pick", "pick", "the answer is given twice, as `answer` pick and in `strategy` auto:answer=pick"),
        (5, "pick", "`strategy` must be a string, got 5."),
    ):
        with pytest.raises(OptionError, match=re.escape(says)):
            with_answer(strategy, answer)  # type: ignore[arg-type]


SIZES: tuple[object, ...] = (*TEXTS, "9" * 400 + "T", "1025T", HUGE, ENDLESS, math.inf, math.nan, True, None, [])


@pytest.mark.parametrize("size", SIZES, ids=range(len(SIZES)))
def test_a_size_that_is_none(size: object) -> None:
    with pytest.raises(OptionError, match=r"`cache_memory` must be a number of bytes .* at most 1024T"):
        parse_bytes("cache_memory", size)  # type: ignore[arg-type]


def test_sizes_may_be_numbers() -> None:
    assert parse_bytes("cache_memory", np.int64(512)) == 512  # type: ignore[arg-type]
    assert parse_bytes("cache_memory", 1e9) == 10**9  # type: ignore[arg-type]


STRANGE: tuple[tuple[str, object], ...] = (
    *(("strategy", value) for value in (5, None, "full" * 2000)),
    *(("budget", value) for value in (HUGE, ENDLESS, 5)),
    *(("preset", value) for value in (3, HUGE)),
    *((name, ["x"]) for name in ("strategy", "budget", "preset", "model", "explain", "train")),
    *((name, value) for name in ("model", "granularity", "explain") for value in (3, HUGE, ENDLESS)),
    *(("cache_memory", value) for value in (HUGE, ENDLESS)),
    *(("train", value) for value in (ENDLESS, 3)),
)


@pytest.mark.parametrize(("option", "value"), STRANGE, ids=range(len(STRANGE)))
def test_values_of_any_type_are_one_line_of_the_library(option: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        api.fit("photos", "run", **{option: value})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("strategies", [5, None, [], [5], "", [["full"]]])
def test_strategies_of_any_type_are_one_line_of_the_library(strategies: object) -> None:
    with pytest.raises(InputError, match="`strategies` must be"):
        api.compare("photos", "run", strategies=strategies)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("option", ["epochs", "weight_decay", "learning_rate"])
def test_the_command_line_reads_numbers_as_people_write_them(
    option: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = f"--{option.replace('_', '-')}"
    monkeypatch.setattr("sys.argv", ["thawline", "fit", "photos", "--out", "run", f"{flag}={text}"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert line.startswith(f"thawline: {flag} must be a ")
    assert len(line) < 250


def test_a_stored_request_with_a_number_out_of_range_is_one_line() -> None:
    stored = Request("fit", "photos", "resnet18", ("full",)).to_dict()
    assert Request.from_dict(stored).to_dict() == stored
    for part, name in (("train", "epochs"), ("images", "seed"), ("cache", "disk_bytes"), ("search", "seeds")):
        for value in NOT_NUMBERS:
            with pytest.raises(OptionError):
                Request.from_dict({**stored, part: {**stored[part], name: value}})


@pytest.mark.parametrize(
    ("limits", "words", "inside", "outside"),
    [
        (Range(8, 4096, "pixels"), "from 8 to 4,096 (pixels)", (8, 4096), (7, 4097)),
        (Range(0, 1, above=True), "above 0 and at most 1", (0.5, 1), (0, 1.1)),
        (Range(0, 1, below=True), "at least 0 and below 1", (0, 0.5), (1, -0.1)),
        (Range(1e-9, 1e9), "from 1e-9 to 1,000,000,000", (1e-9,), (0, math.inf, math.nan)),
    ],
)
def test_a_range_in_words(limits: Range, words: str, inside: tuple[float, ...], outside: tuple[float, ...]) -> None:
    assert str(limits) == words
    assert all(number in limits for number in inside)
    assert not any(number in limits for number in outside)


def test_numbers_as_people_write_them() -> None:
    assert [read_number(text, float) for text in ("1", "1.", ".5", "1e-3", "-2E+1")] == [1, 1, 0.5, 1e-3, -20]
    assert [read_number(text, int) for text in ("12", "+3", "-4", "1.5", "1e3")] == [12, 3, -4, None, None]
    assert plain_number(np.bool_(True), int) is None
    assert shown(ENDLESS) == "a number of thousands of digits"
