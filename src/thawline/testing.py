"""The contract that every strategy and every model must meet, public so that you can check yours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from thawline.model.apply import AppliedPlan, moved_tensors
from thawline.model.blocks import partition
from thawline.model.load import LoadedModel, load_model
from thawline.plan import Block, FineTunePlan, Granularity
from thawline.strategies.auto import AutoConfig
from thawline.strategies.base import variants
from thawline.strategies.biotune import EvolutionConfig
from thawline.strategies.context import Score, Tuned

TINY_MODELS = ("test_resnet", "test_efficientnet", "test_vit", "test_convnext")
"""Small timm models of both kinds of norm, with random weights."""
IMAGE_SIZE = 96
CLASSES = 3


@dataclass(frozen=True)
class PlainContext:
    """A strategy's context over given blocks; `tune` answers with the untuned plan."""

    blocks: tuple[Block, ...]
    granularity: Granularity = "stage"
    learning_rate: float = 1e-2
    epochs: int = 4
    seed: int = 0
    head_is_linear: bool = True
    given_plan: FineTunePlan | None = None
    head_is_known: bool = False

    def score(self, plan: FineTunePlan) -> Score:
        """The same for every plan: nothing is trained."""
        return (0.5, -1.0)

    def tune(self, strategy: str) -> Tuned:
        """The strategy's plan at this context's rate."""
        return Tuned(strategy, self.learning_rate, variants(strategy)[0].plan(self), (0.5, -1.0))

    def evolve(self, settings: EvolutionConfig) -> Tuned:
        """Full fine-tuning at this context's rate: nothing is trained."""
        return self.tune("full")

    def halve(self, settings: AutoConfig) -> Tuned:
        """Full fine-tuning at this context's rate: nothing is trained."""
        return self.tune("full")


def tiny_model(name: str) -> LoadedModel:
    """One of `TINY_MODELS` with a head for `CLASSES` classes."""
    return load_model(name, CLASSES, weights="random", image_size=IMAGE_SIZE)


def check_model(model: LoadedModel, granularity: Granularity = "stage") -> tuple[Block, ...]:
    """Assert that the blocks partition the network and end with the head; returns them."""
    blocks = partition(model.module, granularity, model.preprocessing.image_size)
    parameters = [name for block in blocks for name in block.parameters]
    buffers = [name for block in blocks for name in block.buffers]
    assert sorted(parameters) == sorted(name for name, _ in model.module.named_parameters()), "a parameter is astray"
    assert sorted(buffers) == sorted(name for name, _ in model.module.named_buffers()), "a buffer is astray"
    assert [block.is_head for block in blocks] == [False] * (len(blocks) - 1) + [True], "the head is not the last block"
    assert len({block.name for block in blocks}) == len(blocks), "two blocks share a name"
    return blocks


def check_strategy(spec: str, model: LoadedModel, granularity: Granularity = "stage") -> FineTunePlan:
    """Assert that a strategy's plan is whole, reaches the optimizer exactly, and freezes for good; returns the plan.

    Trains `model` for two steps in each epoch of the plan on random images.
    """
    strategy = variants(spec)[0]
    granularity = strategy.granularity or granularity
    blocks = check_model(model, granularity)
    context = PlainContext(blocks, granularity)
    plan = strategy.plan(context)
    plan.check(blocks)
    assert FineTunePlan.from_json(plan.to_json()) == plan, f"{spec}: the plan does not survive JSON"
    assert strategy.plan(context) == plan, f"{spec}: the same context gives another plan"
    model.restore(seed=0)
    applied = AppliedPlan(model.module, blocks, plan)
    for epoch in range(context.epochs):
        applied.start_epoch(epoch)
        assert_rates(applied, blocks, plan.phase_at(epoch).learning_rates)
        _train_steps(applied, model, steps=0 if plan.is_untrained else 2)
    assert_moved_as_planned(applied, model.pristine())
    applied.finish()
    moved = moved_tensors(model.module, blocks, plan, model.pristine())
    assert not moved, f"{spec}: frozen tensors moved: {moved}"
    return plan


def assert_rates(applied: AppliedPlan, blocks: Sequence[Block], rates: Mapping[str, float | None]) -> None:
    """Assert that the optimizer steps every parameter at exactly the rate its block has, and frozen ones never."""
    group_of = {id(p): group for group in applied.optimizer.param_groups for p in group["params"]}
    for group in applied.optimizer.param_groups:
        rate = rates[group["block"]]
        assert group["lr"] == (rate or 0.0), f"{group['block']}: steps at {group['lr']}, planned {rate}"
        assert {p.requires_grad for p in group["params"]} == {rate is not None}, f"{group['block']}: wrongly frozen"
    for name, parameter in applied.model.named_parameters():
        assert not parameter.requires_grad or id(parameter) in group_of, f"{name}: has gradients, but never steps"
    for block in blocks:
        for name in set(block.parameters) & set(applied.parameters):
            found = group_of[id(applied.parameters[name])]["block"]
            assert found == block.name, f"{name}: steps with {found}, belongs to {block.name}"


def assert_moved_as_planned(applied: AppliedPlan, pristine: Mapping[str, Tensor]) -> None:
    """Assert that training changed every block that the plan trains, and in it nothing that must stay."""
    state = applied.trained_state()
    for block in applied.blocks:
        if block.is_head or block.name not in applied.plan.trained:
            continue
        moved = {name for name in block.parameters if not torch.equal(state[name], pristine[name])}
        movable = set(block.parameters) & set(applied.parameters)
        if applied.plan.adapter is None:
            assert moved <= movable, f"{block.name}: {sorted(moved - movable)[:3]} moved against the plan"
        assert moved or not movable, f"block {block.name} is trained by the plan and did not move"


def _train_steps(applied: AppliedPlan, model: LoadedModel, steps: int) -> None:
    size = model.preprocessing.image_size
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        images: Tensor = torch.randn(4, 3, size, size, generator=generator)
        labels = torch.arange(4) % model.num_classes
        applied.optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model.module(images), labels).backward()  # type: ignore[no-untyped-call]
        applied.optimizer.step()
