"""A file of options: all of them in the template, one line for every mistake, a copy in every run that repeats it."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from thawline.cli.app import _with_config
from thawline.config import (
    MAKE_A_PLAN,
    CompareOptions,
    DataConfig,
    FitOptions,
    Request,
    TrainConfig,
    TuningConfig,
    WorkerOptions,
)
from thawline.config_file import VERBS, Verb, read_config, resolved, template
from thawline.errors import OptionError
from thawline.field_docs import field_docs


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "options.toml"
    path.write_text(text, encoding="utf-8")
    return path


def without_marks(text: str) -> str:
    return re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)


def test_the_template_sets_nothing_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, template())
    assert read_config(path, "fit") == read_config(path, "compare") == {}


@pytest.mark.parametrize("verb", VERBS)
def test_the_template_has_every_option_with_its_meaning_and_default(verb: Verb, tmp_path: Path) -> None:
    text = template()
    found = read_config(written(tmp_path, without_marks(text)), verb)
    assert set(found) == {field.name for field in fields(VERBS[verb])} | {"data"}
    for field in fields(VERBS[verb]):
        if isinstance(field.default, tuple):
            assert found[field.name] == ",".join(field.default)
        elif field.default is not None:
            assert found[field.name] == field.default
    flowing = " ".join(text.replace("\n# ", " ").split())
    assert all(doc in flowing for doc in field_docs(VERBS[verb]).values())


@pytest.mark.parametrize("verb", VERBS)
def test_every_line_of_the_template_can_be_set_alone(verb: Verb, tmp_path: Path) -> None:
    for field in fields(VERBS[verb]):
        text = re.sub(rf"^#(?={field.name} = )", "", template(), flags=re.MULTILINE)
        assert list(read_config(written(tmp_path, text), verb)) == [field.name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown option 'epoch'; did you mean 'epochs'?"),
        ("[fit]\nbudgets = '5x'", "unknown option 'budgets' in [fit]; did you mean 'budget'?"),
        ("lr = 1e-3", "unknown option 'lr'; did you mean 'learning_rate'?"),
        ("[fit]\nval_split = 0.1", "unknown option 'val_split' in [fit]; did you mean 'test_share'?"),
        ("xyzzy = 3", "unknown option 'xyzzy'."),
        ("[model]\nname = 'resnet18'", "model must be a string, got {'name': 'resnet18'}."),
        ("epochs = '3'", "epochs must be a whole number from 1 to 1,000,000, got '3'."),
        ("epochs = 3.5", "epochs must be a whole number from 1 to 1,000,000, got 3.5."),
        ("epochs = true", "epochs must be a whole number from 1 to 1,000,000, got True."),
        ("model = 18", "model must be a string, got 18."),
        ("data = 18", "data must be a string, got 18."),
        ("refit = 'yes'", "refit must be True or False, got 'yes'."),
        ("optimizer = 'lion'", "optimizer must be one of adamw, adam, sgd, rmsprop, got 'lion'."),
        ("fit = 3", "[fit] must be a table of options, got 3."),
        ("strategies = ['full']", "strategies is an option of compare alone; put it below [compare]."),
        ("strategy = 'full'\n[fit]\nstrategy = 'lora'", "strategy is given twice, at the top and in [fit]"),
        ("epochs = \nseed = 1", "is not valid TOML (Invalid value (at line 1, column 10))."),
        ("epochs = 1\nepochs = 2\n", "is not valid TOML (Cannot overwrite a value (at line 2, column 11))."),
    ],
)
def test_a_mistake_is_one_line_with_the_file(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(OptionError) as caught:
        read_config(path, "fit")
    assert str(caught.value).startswith(f"{path}")
    assert message in str(caught.value)


def test_options_of_the_other_command_are_left_to_it_but_checked(tmp_path: Path) -> None:
    both = written(
        tmp_path, "epochs = 3\n[fit]\nbudget = '2x'\n[compare]\nstrategies = ['full', 'lora:rank=8,alpha=4']"
    )
    assert read_config(both, "fit") == {"epochs": 3, "budget": "2x"}
    assert read_config(both, "compare") == {"epochs": 3, "strategies": "full,lora:rank=8,alpha=4"}
    with pytest.raises(OptionError, match=r"unknown option 'strategys' in \[compare\]; did you mean 'strategies'\?"):
        read_config(written(tmp_path, "[compare]\nstrategys = ['full']"), "fit")


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"^`config` .*gone.toml cannot be read \(No such file or directory\)\.$"):
        read_config(tmp_path / "gone.toml", "fit")
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(OptionError, match=r"is not the run\.json of a run"):
        read_config(tmp_path / "run.json", "fit")


ASKED = Request(
    verb="fit",
    data='/photos/"a" \\ ü',
    model="resnet18",
    strategies=("auto:budget=5x,answer=pick",),
    train=TrainConfig(epochs=7, weight_decay=0, clip_norm=1e-9, device="cpu"),
    images=DataConfig(group_pattern=r"(patient\d+)", bit_depth="12"),
    search=TuningConfig(learning_rate=3e-4, seeds=2),
    refit=True,
)


def asked_again(verb: Verb, options: dict[str, Any]) -> Request:
    data, strategy = options.pop("data"), options.pop("strategy", None)
    strategies = tuple(options.pop("strategies").split(";")) if strategy is None else (strategy,)
    return Request.from_options(verb, data, strategies, options)


@pytest.mark.parametrize(
    "request_",
    [ASKED, replace(ASKED, verb="compare", strategies=("full",), explain=False, refit=False)],
    ids=["fit", "compare"],
)
def test_the_resolved_copy_asks_for_the_same(request_: Request, tmp_path: Path) -> None:
    text = resolved(request_, tmp_path / "plan.json")
    tomllib.loads(text)
    assert asked_again(request_.verb, read_config(written(tmp_path, text), request_.verb)) == request_


def test_no_option_is_missing_in_the_resolved_copy() -> None:
    """A new option that is not in the request's parts would be lost without a word."""
    spoken_for = {"preset", "budget", "answer", "track"}  # a preset's values, the strategy's arguments, not stored
    optional = {"weights", "image_size", "crop_pct", "test_share", "limit", "schedule_epochs"}
    optional |= {"plan", "latency", "parameters"}
    spoken_for |= {field.name for field in fields(WorkerOptions)}  # who trains is no part of a run
    stored = tomllib.loads(resolved(ASKED, Path("run/plan.json")))
    names = {*stored, *stored["fit"]}
    assert {field.name for field in fields(FitOptions)} - names <= spoken_for | optional
    compared = tomllib.loads(
        resolved(replace(ASKED, verb="compare", explain=False, refit=False), Path("run/plan.json"))
    )
    assert {field.name for field in fields(CompareOptions)} - {*compared, *compared["compare"]} <= spoken_for | optional


def test_networks_to_choose_among_and_their_limits_are_repeated(tmp_path: Path) -> None:
    asked = Request.from_options(
        "fit",
        "photos",
        ("auto",),
        {"model": ["resnet18", "resnet50"], "image_size": [96, 160], "latency": "5ms", "parameters": "3M"},
    )
    (tmp_path / "config.toml").write_text(resolved(asked, tmp_path / "plan.json"))
    again = read_config(tmp_path / "config.toml", "fit")
    assert Request.from_options("fit", "photos", ("auto",), {**again}).candidates == asked.candidates


def test_a_run_that_was_given_its_plan_is_not_repeated_without_it(tmp_path: Path) -> None:
    given = replace(ASKED, strategies=("given",), plan={"phases": []})
    found = read_config(written(tmp_path, resolved(given, tmp_path / "plan.json")), "fit")
    assert found["plan"] == str(tmp_path / "plan.json")
    assert not found.keys() & set(MAKE_A_PLAN)
    (tmp_path / "run.json").write_text(json.dumps({"request": given.to_dict()}))
    with pytest.raises(OptionError, match="was given its plan; repeat it with `plan`"):
        read_config(tmp_path / "run.json", "fit")


def test_a_plan_and_a_strategy_of_the_command_line_replace_those_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "epochs = 3\n[fit]\nstrategy = 'full'\nlearning_rate = 0.01")
    assert _with_config("fit", path, "photos", {"plan": "run"}) == ("photos", {"epochs": 3, "plan": "run"})
    path = written(tmp_path, "epochs = 3\n[fit]\nplan = 'run'")
    assert _with_config("fit", path, None, {"budget": "2x"}) == (None, {"epochs": 3, "budget": "2x"})
