"""A training spread over processes is that of a single one but for rounding, and the same in all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.training.forked import in_group
from tests.training.test_steps import CONFIG, Setup, steady
from tests.training.tiny_chain import BLOCKS, EVERYTHING
from thawline.plan import FineTunePlan, Penalty
from thawline.training.processes import Group, synchronized, why_alone

ODD = 11
"""Batches of 4, 4 and 3: one process gets two images of the last, the other one."""
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def _trained(setup: Setup, group: Group | None = None, epochs: int = 17) -> tuple[dict[str, Tensor], list[float]]:
    """Weights and losses after 51 steps."""
    setup.steps._group = group
    losses = [setup.steps.epoch(0, epoch) for epoch in range(epochs)]
    return setup.state(), losses


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"class_weights": torch.tensor([0.3, 2.0])}, id="weighted classes"),
        pytest.param({"micro_batch": 1}, id="accumulated gradients"),
    ],
)
def test_two_processes_train_what_one_trains(tmp_path: Path, options: dict[str, object]) -> None:
    config = replace(CONFIG, epochs=17, clip_norm=0.5, label_smoothing=0.1)
    plan = steady(Penalty("l2_sp", 0.1, 0.1))

    def setup() -> Setup:
        return Setup(plan, config, images=ODD, **options)  # type: ignore[arg-type]

    alone, losses = _trained(setup())
    (first, its_losses), (second, _) = in_group(tmp_path, 2, lambda group: _trained(setup(), group))
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-6)  # logits are in single precision
    assert its_losses == pytest.approx(losses, rel=1e-6)  # summed in single precision
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
        assert not torch.equal(tensor, Setup(plan).state()[name]) or "running" in name or "tracked" in name


def test_a_parameter_that_the_network_does_not_use_is_left_alone(tmp_path: Path) -> None:
    def setup() -> Setup:
        made = Setup(steady(), images=ODD)
        made.network[3].forward = lambda inputs: F.linear(inputs, made.network.get_parameter("3.weight"))
        return made

    alone, _ = _trained(setup(), epochs=3)
    for state, _ in in_group(tmp_path, 2, lambda group: _trained(setup(), group, epochs=3)):
        torch.testing.assert_close(state, alone, rtol=0, atol=1e-12)


def test_what_is_frozen_takes_no_part(tmp_path: Path) -> None:
    plan = FineTunePlan.constant(BLOCKS, {**EVERYTHING, "stem": None}, norm="eval")
    start = Setup(plan).state()
    alone, _ = _trained(Setup(plan, images=ODD), epochs=2)
    for state, _ in in_group(tmp_path, 2, lambda group: _trained(Setup(plan, images=ODD), group, epochs=2)):
        torch.testing.assert_close(state, alone, rtol=0, atol=1e-12)
        for name in (name for block in BLOCKS if block.name == "stem" for name in (*block.parameters, *block.buffers)):
            assert torch.equal(state[name], start[name])


def test_outputs_of_all_processes_are_gathered_in_order(tmp_path: Path) -> None:
    whole = torch.randn(7, 2)

    def own(group: Group) -> Tensor:
        starts = range(0, 7, 3)
        mine = group.part(np.asarray(starts))
        return group.gathered(whole[mine[0] : mine[-1] + 3], starts, 7)

    for gathered in in_group(tmp_path, 2, own):
        assert torch.equal(gathered, whole)


def test_what_cannot_be_spread_says_why() -> None:
    network, kept, moving = Setup(steady()).network, steady(), FineTunePlan.constant(BLOCKS, EVERYTHING, norm="train")
    assert why_alone(kept, network, BLOCKS, CPU, batch=8, count=2) == ""
    assert "`batch_size` 6 is too small: 2 processes need at least 8" in why_alone(kept, network, BLOCKS, CPU, 6, 2)
    assert "on GPUs only" in why_alone(moving, network, BLOCKS, CPU, 8, 2)
    assert why_alone(moving, network, BLOCKS, CUDA, 8, 2) == ""
    odd = nn.Sequential(network[0], nn.InstanceNorm1d(2, track_running_stats=True), network[2], network[3])
    assert "InstanceNorm1d cannot be synchronized" in why_alone(moving, odd, BLOCKS, CUDA, 8, 2)


def test_norms_are_synchronized_where_they_train_and_afterwards_as_before() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    network[1].eval()
    before = dict(network[0].__dict__)
    with synchronized(network):
        assert [type(norm) for norm in network] == [nn.SyncBatchNorm, nn.BatchNorm2d]
    assert [type(norm) for norm in network] == [nn.BatchNorm2d, nn.BatchNorm2d]
    assert network[0].__dict__ == before
