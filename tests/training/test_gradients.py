"""Relative gradient norms by hand, and what Auto-RGN's plan makes of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.training.tiny_chain import BLOCKS, chain
from thawline.errors import PlanError
from thawline.model.apply import AppliedPlan
from thawline.plan import Adapter, FineTunePlan
from thawline.strategies.base import variants
from thawline.testing import PlainContext
from thawline.training.gradients import relative_gradient_norms


def parameter(*values: float, trains: bool = True) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values), requires_grad=trains)


def test_by_hand() -> None:
    a, b = parameter(3.0, 4.0), parameter(1.0)
    # Gradients (6, 8) and 4: norms 10 and 4, over norms 5 and 1, are 2 and 4.
    shares = relative_gradient_norms({"a": a, "b": b}, [(a.square().sum() + 4 * b).sum()])
    assert shares == pytest.approx({"a": 0.5, "b": 1.0})
    assert a.grad is None


def test_the_mean_is_over_minibatches_before_scaling() -> None:
    a, b = parameter(1.0), parameter(2.0)
    # Ratios 1 and 3, mean 2; 8/2 and 0/2, mean 2.
    losses = [(a + 8 * b).sum(), (3 * a + 0 * b).sum()]
    assert relative_gradient_norms({"a": a, "b": b}, losses) == pytest.approx({"a": 1.0, "b": 1.0})
    assert relative_gradient_norms({"a": a, "b": b}, [(a + 8 * b).sum()]) == pytest.approx({"a": 0.25, "b": 1.0})


def test_no_gradient_is_a_share_of_zero() -> None:
    a, unused, frozen = parameter(1.0), parameter(1.0), parameter(1.0, trains=False)
    shares = relative_gradient_norms({"a": a, "unused": unused, "frozen": frozen}, [(a + frozen).sum()])
    assert shares == {"a": 1.0, "unused": 0.0, "frozen": 0.0}


def test_a_tensor_of_zeros_trains_fully_and_does_not_stop_the_others() -> None:
    a, b, zero, still = parameter(1.0), parameter(1.0), parameter(0.0, 0.0), parameter(0.0)
    loss = (2 * a + 4 * b).sum() + zero.sum() + (0 * still).sum()
    shares = relative_gradient_norms({"a": a, "b": b, "zero": zero, "still": still}, [loss])
    assert shares == {"a": 0.5, "b": 1.0, "zero": 1.0, "still": 0.0}


def test_where_nothing_has_a_gradient_nothing_is_scaled() -> None:
    a = parameter(1.0)
    assert relative_gradient_norms({"a": a}, [(0 * a).sum()]) == {"a": 1.0}


def test_the_largest_share_is_one_for_a_real_network() -> None:
    model = chain()
    parameters = dict(model.named_parameters())
    model.eval()
    inputs = torch.randn(8, 2).double()
    losses = (nn.functional.cross_entropy(model(inputs), torch.arange(8) % 2) for _ in range(3))
    shares = relative_gradient_norms(parameters, losses)
    assert max(shares.values()) == 1.0
    assert all(0 <= share <= 1 for share in shares.values())


def auto_rgn(epochs: int = 4) -> FineTunePlan:
    return variants("auto_rgn")[0].propose(PlainContext(BLOCKS, learning_rate=0.1, epochs=epochs))


@pytest.mark.parametrize(("epochs", "alone"), [(2, 1), (4, 1), (8, 2), (20, 5)])
def test_the_head_alone_trains_first(epochs: int, alone: int) -> None:
    plan = auto_rgn(epochs)
    trained = [set(plan.phase_at(epoch).trained) for epoch in range(epochs)]
    assert trained == [{"head"}] * alone + [{"stem", "body", "head"}] * (epochs - alone)


def test_norm_layers_are_not_optimized() -> None:
    applied = AppliedPlan(chain(), BLOCKS, auto_rgn())
    optimized = {id(parameter) for group in applied.optimizer.param_groups for parameter in group["params"]}
    names = {name for name, parameter in applied.model.named_parameters() if id(parameter) in optimized}
    assert names == {"0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias"}


def test_each_tensor_steps_at_its_share_and_warm_up_keeps_the_shares() -> None:
    applied = AppliedPlan(chain(), BLOCKS, auto_rgn())
    applied.start_epoch(1)
    shares = {name: (place + 1) / 6 for place, name in enumerate(applied.parameters)}
    applied.scale_tensors(shares)
    for factor in (0.5, 1.0):
        applied.scale_rates(factor)
        assert applied.rates() == pytest.approx({name: 0.1 * share * factor for name, share in shares.items()})
    applied.start_epoch(2)
    assert set(applied.rates().values()) == {0.1}, "shares are for one epoch"


def test_the_state_of_adam_survives_epochs() -> None:
    applied = AppliedPlan(chain(), BLOCKS, auto_rgn(), optimizer="adam", weight_decay=0.0)
    weight = applied.parameters["2.weight"]
    for epoch in (1, 2):
        applied.start_epoch(epoch)
        applied.scale_tensors(dict.fromkeys(applied.parameters, 0.5))
        applied.scale_rates(1.0)
        applied.optimizer.zero_grad()
        weight.sum().backward()  # type: ignore[no-untyped-call]
        applied.optimizer.step()
    assert int(applied.optimizer.state[weight]["step"]) == 2
    # beta1 0.9, gradient 1: 0.1, then 0.9 x 0.1 + 0.1.
    torch.testing.assert_close(applied.optimizer.state[weight]["exp_avg"], torch.full((2, 2), 0.19).double())


def test_an_adapter_has_no_relative_gradient() -> None:
    with pytest.raises(PlanError, match="use rate_rule 'constant'"):
        FineTunePlan.constant(BLOCKS, {"head": 0.1}, adapter=Adapter(4, 2.0), rate_rule="relative_gradient")
