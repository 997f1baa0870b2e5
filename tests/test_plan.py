"""The plan: checks, JSON, phases, and the plain PyTorch that it prints."""

from __future__ import annotations

import contextlib
import json
import re
from collections import OrderedDict
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from thawline.errors import PlanError
from thawline.plan import Block, FineTunePlan, Ingredient, Mixture, Penalty, Phase

RATES = {"stem": None, "body": 1e-4, "head": 1e-3}


def two_phases() -> FineTunePlan:
    return FineTunePlan(
        (Phase({"stem": None, "body": None, "head": 1e-2}, epochs=2), Phase(RATES)),
        prefixes={"stem": ("0",), "body": ("1",), "head": ("2",)},
    )


def test_json_round_trip_is_equal() -> None:
    plan = two_phases()
    assert FineTunePlan.from_json(plan.to_json()) == plan


def test_phases_follow_each_other() -> None:
    plan = two_phases()
    assert [plan.phase_at(epoch).learning_rates["body"] for epoch in range(5)] == [None, None, 1e-4, 1e-4, 1e-4]
    assert plan.trained == {"body", "head"}
    assert plan.highest_rate("stem") is None
    assert plan.highest_rate("head") == 1e-2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format_version": 99}, "format_version"),
        ({"phases": []}, "at least one phase"),
        ({"phases": [{"learning_rates": {"a": -1}}]}, "a number above 0 and at most 1e"),
        ({"phases": [{"learning_rates": {"a": "fast"}}]}, "a number above 0 and at most 1e"),
        ({"phases": [{"rates": {}}]}, "learning_rates"),
        ({"phases": 3}, "learning_rates"),
        ({"granularity": "atom"}, "granularity"),
        ({"norm": "off"}, "norm"),
        ({"phases": [{"learning_rates": {"a": 1}, "epochs": 0}]}, "epochs must be a whole number from 1"),
        ({"phases": [{"learning_rates": {"a": 1}}, {"learning_rates": {"a": 1}}]}, "only the last phase"),
        ({"extra": 1}, "unknown keys"),
    ],
)
def test_a_hand_edited_plan_that_cannot_be_used_gets_one_line(change: dict[str, object], says: str) -> None:
    with pytest.raises(PlanError, match=says) as error:
        FineTunePlan.from_json(json.dumps({**two_phases().to_dict(), **change}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"format_version": ' + "1" * 5000 + "}", '{"phases": NaN}'])
def test_text_that_is_no_json(text: str) -> None:
    with pytest.raises(PlanError, match="not JSON"):
        FineTunePlan.from_json(text)


STRANGE: tuple[object, ...] = (
    None,
    True,
    -1,
    10**400,
    -(10**5000),
    float("nan"),
    "",
    "x",
    "\ud800",
    [],
    [None],
    {},
    {"": {}},
    [[[[]]]],
)


@pytest.mark.parametrize("value", STRANGE, ids=range(len(STRANGE)))
def test_any_value_anywhere_in_a_plan_is_taken_or_refused(value: object) -> None:
    plain = two_phases().to_dict()
    phase = {"epochs": None, "learning_rates": {"stem": 1e-3, "body": 1e-3, "head": 1e-3}}
    plans = [{**plain, key: value} for key in plain]
    plans += [{**plain, key: [value]} for key in ("phases", "interpolation")]
    plans += [{**plain, "phases": [{**phase, key: value}]} for key in phase]
    plans += [
        {**plain, "phases": [{**phase, "learning_rates": {"stem": value}}]},
        {**plain, "prefixes": {"stem": value}},
    ]
    plans += [
        {**plain, "penalty": {"kind": "l2_sp", "strength": 1, key: value}} for key in ("strength", "other", "kind")
    ]
    plans += [{**plain, "adapter": {"rank": 1, "scale": 1, key: value}} for key in ("rank", "scale")]
    for changed in plans:
        with contextlib.suppress(PlanError):
            plan = FineTunePlan.from_dict(changed)
            assert FineTunePlan.from_json(plan.to_json()) == plan
            assert plan.to_pytorch()


def test_a_list_of_prefixes_holds_names() -> None:
    wrong: tuple[object, ...] = ({}, "stem", [5], [None], 5)
    for value in wrong:
        with pytest.raises(PlanError, match="prefixes"):
            FineTunePlan.from_dict({**two_phases().to_dict(), "prefixes": {"stem": value}})


def test_a_plan_for_another_model_names_the_blocks() -> None:
    blocks = (Block("stem", (), (), (), 0, 0, ()), Block("head", (), (), (), 0, 0, (), True))
    with pytest.raises(PlanError, match="body"):
        two_phases().check(blocks)


def test_to_pytorch_rebuilds_the_groups_without_thawline() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2), nn.Linear(2, 2))
    found: dict[str, object] = {"model": model, "torch": torch}
    exec(two_phases().to_pytorch(), found)
    optimizer = found["optimizer"]
    assert isinstance(optimizer, torch.optim.Optimizer)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rate_of.get(id(p)) for p in model.parameters()] == [None, None, 1e-4, 1e-4, 1e-3, 1e-3]
    assert [module.training for module in model] == [False, True, True]
    assert not model[0].weight.requires_grad


def test_to_pytorch_keeps_the_statistics_that_the_plan_keeps() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    rates = {"0": None, "1": 1e-3, "2": 1e-3}
    for norm, trains in (("train", True), ("eval", False)):
        plan = FineTunePlan((Phase(rates),), norm=norm)  # type: ignore[arg-type]
        exec(plan.to_pytorch(), {"model": model, "torch": torch})
        assert [module.training for module in model] == [False, trains, True]


def test_numbers_of_numpy_become_plain() -> None:
    rates = {"stem": None, "body": np.float32(0.5), "head": np.int64(1)}
    plan = FineTunePlan((Phase({"stem": None, "body": 1e-3, "head": 1.0}, np.int64(2)), Phase(rates)))  # type: ignore[arg-type]
    assert FineTunePlan.from_json(plan.to_json()) == plan
    assert plan.phases[1].learning_rates == {"stem": None, "body": 0.5, "head": 1}
    assert Penalty("l2_sp", np.float64(0.1)).strength == 0.1
    for rate in (10**400, 10**5000, float("nan"), float("inf"), 0, -0.0, True):
        with pytest.raises(PlanError, match="must be a number above 0"):
            Phase({"head": rate})


A = FineTunePlan((Phase({"body": None, "head": 1e-3}),), norm="eval", head_start="probe")
B = FineTunePlan((Phase({"body": 1e-4, "head": 1e-3}),), norm="eval", head_start="probe")
SOUP = replace(A, mixture=Mixture("weights", (Ingredient(B, seed_offset=1, share=2),), start_share=0.3))


def test_a_mixture_reads_back_and_is_left_out_of_plans_without_one() -> None:
    assert FineTunePlan.from_json(SOUP.to_json()) == SOUP
    assert "mixture" not in A.to_dict()


def test_a_mixture_moves_what_any_member_trains() -> None:
    assert sorted(A.trained) == ["head"]
    assert sorted(SOUP.trained) == ["body", "head"]
    assert dict(SOUP.united.phases[0].learning_rates) == {"body": 1e-4, "head": 1e-3}
    assert [member.plan for member in SOUP.members] == [A, B]
    assert list(SOUP.shares) == [1, 2]
    assert [member.plan for member in A.members] == [A]


def test_weights_and_outputs_are_averaged_in_plain_pytorch() -> None:
    models = [nn.Linear(2, 3) for _ in range(3)]
    start, first, second = ({name: tensor.clone() for name, tensor in model.state_dict().items()} for model in models)
    model = nn.Linear(2, 3)
    exec(SOUP.to_pytorch(), {"states": [start, first, second], "model": model})
    torch.testing.assert_close(model.weight, 0.3 * start["weight"] + 0.7 * (first["weight"] + 2 * second["weight"]) / 3)
    ensemble = replace(A, mixture=Mixture("outputs", (Ingredient(B, share=2),)))
    found: dict[str, object] = {"models": models[:2], "images": torch.ones(1, 2), "torch": torch}
    exec(ensemble.to_pytorch(), found)
    outputs = [each(torch.ones(1, 2)).softmax(1) for each in models[:2]]
    torch.testing.assert_close(found["probabilities"], (outputs[0] + 2 * outputs[1]) / 3)


DISTILLED = replace(B, mixture=Mixture("distilled", (Ingredient(A, share=3),), output_share=0.6, temperature=3.0))


def test_a_distilled_network_reads_back_and_moves_only_what_it_trains_itself() -> None:
    assert FineTunePlan.from_json(DISTILLED.to_json()) == DISTILLED
    narrow = replace(A, phases=(Phase({"body": None, "head": 1e-2}),), mixture=Mixture("distilled", (Ingredient(B),)))
    assert sorted(narrow.trained) == ["head"]
    assert sorted(narrow.as_ensemble.trained) == ["body", "head"]
    assert dict(narrow.united.phases[0].learning_rates) == {"body": None, "head": 1e-2}
    assert [member.plan for member in narrow.members] == [replace(narrow, mixture=None), B]


def test_a_network_is_distilled_in_plain_pytorch() -> None:
    body = nn.Linear(2, 3)
    model = nn.Sequential(OrderedDict(body=body, head=nn.Linear(3, 3)))
    teachers = [nn.Linear(2, 3) for _ in range(2)]
    images, labels = torch.randn(4, 2), torch.tensor([0, 1, 2, 0])
    before, logits = body.weight.detach().clone(), model(images).detach()
    found: dict[str, Any] = {"model": model, "teachers": teachers, "batches": [(images, labels)], "torch": torch}
    exec(DISTILLED.to_pytorch(), found)
    mean = (teachers[0](images).softmax(1) + 3 * teachers[1](images).softmax(1)) / 4
    soft = (mean.log() / 3).softmax(1)
    cross_entropy = nn.functional.cross_entropy
    expected = 0.4 * cross_entropy(logits, labels) + 0.6 * 9 * cross_entropy(logits / 3, soft)
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert not torch.equal(body.weight, before)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temperature": 0.5}, "a number from 1 to 100"),
        ({"output_share": 1.5}, "a number from 0 to 1"),
        ({"start_share": 0.5}, "start_share is for mixtures of weights; leave it out of one of 'distilled'"),
        ({"of": "outputs"}, "output_share and temperature are for 'distilled'"),
        ({"ingredients": []}, "needs ingredients"),
    ],
)
def test_a_distilled_network_that_cannot_be_trained_gets_one_line(change: dict[str, object], says: str) -> None:
    stored = DISTILLED.to_dict()
    stored["mixture"] = {**cast("dict[str, object]", stored["mixture"]), **change}
    with pytest.raises(PlanError, match=re.escape(says)):
        FineTunePlan.from_dict(stored)


def test_neither_a_solved_probe_nor_a_pulled_network_is_distilled() -> None:
    still, mixture = replace(B, phases=(Phase({"body": None, "head": None}),)), DISTILLED.mixture
    for plan, says in ((still, "nothing of it trains"), (replace(B, penalty=Penalty("l2_sp", 0.1)), "a penalty pulls")):
        with pytest.raises(PlanError, match=says):
            replace(plan, mixture=mixture)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"of": "votes"}, "one of weights, outputs"),
        ({"of": "outputs"}, "start_share is for mixtures of weights"),
        ({"start_share": 2}, "a number from 0 to 1"),
        ({"ingredients": [], "start_share": 0}, "needs ingredients"),
        ({"ingredients": 3}, "could not read 3, which is not a list"),
        ({"ingredients": [3]}, "could not read 3, which is not an object"),
        ({"ingredients": [{"share": 1}]}, "could not read 'plan'"),
        ({"ingredients": [{"plan": 3}]}, "must be a JSON object"),
        ({"ingredients": [{"plan": SOUP.to_dict()}]}, "has a mixture itself"),
        ({"ingredients": [{"plan": {**B.to_dict(), "norm": "train"}}]}, "another norm, head_start or statistics"),
        ({"ingredients": [{"plan": {**B.to_dict(), "granularity": "layer"}}]}, "other blocks"),
        ({"ingredients": [{"plan": B.to_dict(), "share": 0}]}, "a number above 0"),
        ({"ingredients": [{"plan": B.to_dict(), "color": 1}]}, "color"),
        ({"color": 1}, "color"),
    ],
)
def test_a_mixture_that_cannot_be_used_gets_one_line(change: dict[str, object], says: str) -> None:
    stored = SOUP.to_dict()
    stored["mixture"] = {**cast("dict[str, object]", stored["mixture"]), **change}
    with pytest.raises(PlanError, match=re.escape(says)) as caught:
        FineTunePlan.from_dict(stored)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("plan: ")
