"""L2-SP and L1-SP against hand-computed gradients and steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.training.tiny_chain import BLOCKS, EVERYTHING, chain
from thawline.model.apply import AppliedPlan
from thawline.plan import FineTunePlan, Penalty, PenaltyKind
from thawline.training.penalties import StartingPoint

KERNELS = ("0.weight", "2.weight")


def applied_with(penalty: Penalty | None, rates: dict[str, float] | None = None) -> AppliedPlan:
    plan = FineTunePlan.constant(BLOCKS, rates or EVERYTHING, penalty=penalty)
    return AppliedPlan(chain(), BLOCKS, plan, optimizer="sgd", weight_decay=0.1)


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def move(applied: AppliedPlan, distance: float) -> None:
    with torch.no_grad():
        for parameter in applied.model.parameters():
            parameter.add_(distance)


def gradients(applied: AppliedPlan, pull: StartingPoint) -> dict[str, Tensor | None]:
    applied.optimizer.zero_grad(set_to_none=True)
    pull.loss().backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad for name, parameter in applied.model.named_parameters()}


def test_l2_sp_pulls_kernels_to_the_start_and_the_head_to_zero_and_nothing_else() -> None:
    applied = applied_with(Penalty("l2_sp", 0.3, 0.7))
    pull = StartingPoint(Penalty("l2_sp", 0.3, 0.7), applied)
    move(applied, 0.25)
    found = gradients(applied, pull)
    for name, parameter in applied.model.named_parameters():
        gradient = found[name]
        if name in KERNELS:
            torch.testing.assert_close(gradient, torch.full_like(parameter, 0.3 * 0.25))
        elif name == "3.weight":
            torch.testing.assert_close(gradient, 0.7 * parameter.detach())
        else:
            assert gradient is None, name


def test_l2_sp_is_half_the_strength_times_the_squared_distance() -> None:
    applied = applied_with(Penalty("l2_sp", 0.3, 0.7))
    pull = StartingPoint(applied.plan.penalty, applied)  # type: ignore[arg-type]
    move(applied, 0.5)
    head = applied.model.get_parameter("3.weight")
    expected = 0.3 / 2 * (8 * 0.5**2) + 0.7 / 2 * head.square().sum().item()
    assert pull.loss().item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["l1_sp", "l2_sp"])
def test_a_penalty_replaces_weight_decay(kind: PenaltyKind) -> None:
    def decays(penalty: Penalty | None) -> set[float]:
        return {group["weight_decay"] for group in applied_with(penalty).optimizer.param_groups}

    assert decays(Penalty(kind, 0.0)) == {0.0}
    assert decays(None) == {0.0, 0.1}


def test_frozen_kernels_are_not_pulled() -> None:
    applied = applied_with(Penalty("l2_sp", 0.3), {"body": 0.1, "head": 1.0})
    pull = StartingPoint(applied.plan.penalty, applied)  # type: ignore[arg-type]
    assert set(pull.body) == {"2.weight"}
    assert gradients(applied, pull)["0.weight"] is None


def test_l1_sp_adds_only_the_pull_on_the_head_to_the_loss() -> None:
    applied = applied_with(Penalty("l1_sp", 0.3, 0.7))
    pull = StartingPoint(applied.plan.penalty, applied)  # type: ignore[arg-type]
    move(applied, 0.25)
    found = gradients(applied, pull)
    assert {name for name, gradient in found.items() if gradient is not None} == {"3.weight"}


def test_the_proximal_step_shrinks_by_rate_times_strength_and_never_past_the_start() -> None:
    applied = applied_with(Penalty("l1_sp", 0.2))
    before = copies(applied.model)
    pull = StartingPoint(applied.plan.penalty, applied)  # type: ignore[arg-type]
    distances = torch.tensor([[0.5, -0.5], [0.05, -0.05]], dtype=torch.float64)
    with torch.no_grad():
        for name in (*KERNELS, "3.weight"):
            applied.model.get_parameter(name).add_(distances)
        applied.model.get_parameter("1.weight").add_(0.05)
    moved = copies(applied.model)
    pull.after_step(applied.rates())
    after = copies(applied.model)
    # 0.5 x 0.2 = 0.1 for the stem, 0.1 x 0.2 = 0.02 for the body.
    expected = {"0.weight": [[0.4, -0.4], [0.0, 0.0]], "2.weight": [[0.48, -0.48], [0.03, -0.03]]}
    for name, distance in expected.items():
        torch.testing.assert_close(after[name] - before[name], torch.tensor(distance, dtype=torch.float64))
    assert torch.equal(after["0.weight"][1], before["0.weight"][1]), "those that return are the pretrained ones exactly"
    untouched = set(after) - set(expected)
    assert all(torch.equal(after[name], moved[name]) for name in untouched)


def test_the_proximal_step_follows_warm_up_and_cosine() -> None:
    applied = applied_with(Penalty("l1_sp", 0.2))
    pull = StartingPoint(applied.plan.penalty, applied)  # type: ignore[arg-type]
    start = copies(applied.model)["0.weight"]
    move(applied, 0.5)
    applied.scale_rates(0.1)
    pull.after_step(applied.rates())
    torch.testing.assert_close(copies(applied.model)["0.weight"], start + 0.5 - 0.1 * 0.5 * 0.2)


def test_the_proximal_step_leaves_blocks_alone_that_are_frozen_just_now() -> None:
    penalty = Penalty("l1_sp", 0.2)
    plan = FineTunePlan.phased(BLOCKS, [(1, {"head": 1.0}), (None, EVERYTHING)], penalty=penalty)
    applied = AppliedPlan(chain(), BLOCKS, plan)
    pull = StartingPoint(penalty, applied)
    move(applied, 0.5)
    moved = copies(applied.model)
    pull.after_step(applied.rates())
    assert all(torch.equal(tensor, moved[name]) for name, tensor in copies(applied.model).items())
    applied.start_epoch(1)
    pull.after_step(applied.rates())
    assert not torch.equal(copies(applied.model)["0.weight"], moved["0.weight"])


def test_with_adam_l1_sp_returns_weights_without_gradient_to_the_start() -> None:
    """The reason for a proximal step: in Adam's gradient the sign would be scaled to a full step, and oscillate."""
    penalty = Penalty("l1_sp", 0.2)
    applied = AppliedPlan(chain(), BLOCKS, FineTunePlan.constant(BLOCKS, EVERYTHING, penalty=penalty), optimizer="adam")
    pull = StartingPoint(penalty, applied)
    start = copies(applied.model)["0.weight"]
    move(applied, 0.35)
    for _ in range(4):
        applied.optimizer.zero_grad(set_to_none=True)
        applied.optimizer.step()
        pull.after_step(applied.rates())
    assert torch.equal(copies(applied.model)["0.weight"], start)
