"""Freezing, modes and optimizer groups, against what a plan says."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thawline.config import Optimizer
from thawline.model.apply import AppliedPlan, load_trained_state, moved_tensors
from thawline.plan import Block, FineTunePlan, Phase

BLOCKS = (
    Block("stem", ("0", "1", "2"), ("0.weight", "0.bias", "1.weight", "1.bias"), (
        "1.running_mean", "1.running_var", "1.num_batches_tracked"), 12, 1, ("0", "1")),
    Block("body", ("3", "4"), ("3.weight", "3.bias", "4.weight", "4.bias"), (
        "4.running_mean", "4.running_var", "4.num_batches_tracked"), 12, 1, ("3", "4")),
    Block("head", ("5",), ("5.weight", "5.bias"), (), 6, 1, ("5",), True),
)  # fmt: skip


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5), nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2)
    )


def step(applied: AppliedPlan) -> None:
    applied.optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(applied.model(torch.randn(8, 2)), torch.arange(8) % 2).backward()  # type: ignore[no-untyped-call]
    applied.optimizer.step()


def test_one_sgd_step_moves_every_block_by_rate_times_gradient() -> None:
    model = network().double()
    rates = {"stem": 0.5, "body": 0.01, "head": 2.0}
    applied = AppliedPlan(model, BLOCKS, FineTunePlan.constant(BLOCKS, rates), optimizer="sgd", weight_decay=0.0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    applied.optimizer.zero_grad()
    F.cross_entropy(model(torch.randn(8, 2).double()), torch.arange(8) % 2).backward()  # type: ignore[no-untyped-call]
    applied.optimizer.step()
    for block in BLOCKS:
        for name in block.parameters:
            parameter = dict(model.named_parameters())[name]
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.detach(), before[name] - rates[block.name] * parameter.grad)


def test_warm_up_and_cosine_never_change_the_ratios() -> None:
    applied = AppliedPlan(network(), BLOCKS, FineTunePlan.constant(BLOCKS, {"body": 1e-3, "head": 1e-2}))
    for factor in (0.1, 1.0, 0.03):
        applied.scale_rates(factor)
        rates = {group["block"]: group["lr"] for group in applied.optimizer.param_groups}
        assert rates == {"body": 1e-3 * factor, "head": 1e-2 * factor}


def test_frozen_batch_norm_and_dropout_are_in_eval_mode_and_stay_there() -> None:
    model = network()
    applied = AppliedPlan(model, BLOCKS, FineTunePlan.constant(BLOCKS, {"body": 1e-1, "head": 1e-1}))
    pristine = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for epoch in range(3):
        model.train()  # what any loop does between epochs
        applied.start_epoch(epoch)
        assert [module.training for module in model] == [False, False, False, True, True, True]
        step(applied)
    assert moved_tensors(model, BLOCKS, applied.plan, pristine) == ()
    assert not torch.equal(model.get_buffer("4.running_mean"), pristine["4.running_mean"])


def test_a_moved_buffer_is_found() -> None:
    model = network()
    plan = FineTunePlan.constant(BLOCKS, {"head": 1e-1})
    pristine = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.get_buffer("1.running_var").add_(1e-6)
    assert moved_tensors(model, BLOCKS, plan, pristine) == ("1.running_var",)


def test_norm_eval_trains_the_affine_and_keeps_the_statistics() -> None:
    model = network()
    plan = FineTunePlan.constant(BLOCKS, {"stem": 1e-1, "body": 1e-1, "head": 1e-1}, norm="eval")
    applied = AppliedPlan(model, BLOCKS, plan)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step(applied)
    assert torch.equal(model.get_buffer("1.running_mean"), before["1.running_mean"])
    assert not torch.equal(model.get_parameter("1.weight").detach(), before["1.weight"])
    assert model[2].training


def test_phases_thaw_without_touching_the_groups() -> None:
    model = network()
    frozen = {"stem": None, "body": None, "head": 1e-2}
    plan = FineTunePlan((Phase(frozen, epochs=1), Phase({"stem": None, "body": 1e-3, "head": 1e-3})))
    applied = AppliedPlan(model, BLOCKS, plan)
    groups = [id(group) for group in applied.optimizer.param_groups]
    body = model.get_parameter("3.weight").detach().clone()
    step(applied)
    assert torch.equal(model.get_parameter("3.weight").detach(), body)
    applied.start_epoch(1)
    step(applied)
    assert not torch.equal(model.get_parameter("3.weight").detach(), body)
    assert [id(group) for group in applied.optimizer.param_groups] == groups
    in_optimizer = {id(p) for group in applied.optimizer.param_groups for p in group["params"]}
    assert not in_optimizer & {id(p) for p in model[0].parameters()}


def test_biases_and_norms_do_not_decay() -> None:
    applied = AppliedPlan(network(), BLOCKS, FineTunePlan.constant(BLOCKS, {"head": 1e-3}), weight_decay=0.1)
    decay = {p.ndim: group["weight_decay"] for group in applied.optimizer.param_groups for p in group["params"]}
    assert decay == {2: 0.1, 1: 0.0}


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_every_optimizer_takes_a_step(name: Optimizer) -> None:
    model = network()
    before = model.get_parameter("5.weight").detach().clone()
    applied = AppliedPlan(model, BLOCKS, FineTunePlan.constant(BLOCKS, {"head": 1e-1}), optimizer=name)
    step(applied)
    assert not torch.equal(model.get_parameter("5.weight").detach(), before)


def test_the_trained_state_comes_back_bit_for_bit() -> None:
    model = network()
    plan = FineTunePlan.constant(BLOCKS, {"body": 1e-1, "head": 1e-1})
    applied = AppliedPlan(model, BLOCKS, plan)
    step(applied)
    kept = applied.trained_state()
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step(applied)
    load_trained_state(model, kept)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_a_buffer_that_the_network_replaces_is_saved_as_it_is() -> None:
    model = network()
    applied = AppliedPlan(model, BLOCKS, FineTunePlan.constant(BLOCKS, {"body": 1e-3, "head": 1e-2}))
    model[4].running_mean = torch.full((2,), 7.0)
    assert applied.trained_state()["4.running_mean"].tolist() == [7.0, 7.0]
