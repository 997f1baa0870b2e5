"""How much work a plan costs, from a table of FLOPs: the same on every machine.

One unit of work = a full fine-tuning at the nominal number of epochs, validation after every epoch included.
A forward pass through a convolution or linear layer costs its FLOPs, the gradient of its input the same again, and the
gradient of its weights the same once more. Products without weights (attention) are counted like layers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from thawline.model.execution import Execution, forward_blank_image, is_layer, leaf_modules, record_execution
from thawline.plan import Block, FineTunePlan

SMALLEST_STEP = 0.02
"""Share of a full step that every training step costs at least: optimiser, loss and Python are never free."""
_BYTES_PER_VALUE = 4


@dataclass(frozen=True)
class BlockWork:
    """What one block weighs, for one image in fp32."""

    name: str
    parameters: int
    """Trainable scalars."""
    layers: int
    """Convolutions and linear layers."""
    flops: int
    """Forward pass of one image; a multiplication and an addition are two."""
    entry_flops: int
    """The part of `flops` in the block's first layer: its input needs no gradient if nothing before it trains."""
    boundary_bytes: int
    """Output boundary: bytes that enter the next block's first module with parameters; the logits, for the head."""


@dataclass(frozen=True)
class WorkTable:
    """The blocks' work in order of execution, and what plans cost with it."""

    blocks: tuple[BlockWork, ...]

    @classmethod
    def measure(cls, model: nn.Module, blocks: Sequence[Block], image_size: int) -> WorkTable:
        """Count one blank image `[1, 3, image_size, image_size]`, on real weights or on the meta device alike."""
        execution = record_execution(model, image_size)
        flops = _count_flops(model, image_size)
        leaves = leaf_modules(model)
        leaving = [
            *(_entering_values(block, execution) for block in blocks[1:]),
            _leaving_values(blocks[-1], execution),
        ]
        return cls(
            tuple(
                BlockWork(
                    name=block.name,
                    parameters=block.size,
                    layers=block.layers,
                    flops=sum(flops.of(name) for name in block.modules) + (flops.after if block.is_head else 0),
                    entry_flops=next((flops.own.get(name, 0) for name in block.modules if is_layer(leaves[name])), 0),
                    boundary_bytes=values * _BYTES_PER_VALUE,
                )
                for block, values in zip(blocks, leaving, strict=True)
            )
        )

    @property
    def flops(self) -> int:
        """Forward pass of one image through the whole network."""
        return sum(block.flops for block in self.blocks)

    def first_trained(self, plan: FineTunePlan) -> str:
        """The first block that trains in any phase: everything before it is the plan's frozen prefix."""
        return next(block.name for block in self.blocks if block.name in plan.trained)

    def step_share(self, trained: Collection[str], *, behind: str | None = None) -> float:
        """Cost of one training step relative to a step of full fine-tuning, at least `SMALLEST_STEP`.

        Forward from block `behind` (None = the first trained one; what lies before is counted by `prefix`), gradients
        of activations down to the first trained block, gradients of weights for the trained blocks.
        """
        first = min(self._index(name) for name in trained)
        start = first if behind is None else self._index(behind)
        forward = self._flops_from(start)
        activations = self._flops_from(first) - self.blocks[first].entry_flops
        weights = sum(block.flops for block in self.blocks if block.name in trained)
        return max(SMALLEST_STEP, (forward + activations + weights) / self._full_step)

    def training(
        self,
        plan: FineTunePlan,
        *,
        epochs_run: int,
        nominal_epochs: int,
        train_images: int,
        validation_images: int,
        share: float = 1.0,
        further_passes: int = 0,
    ) -> float:
        """Units of work of a training that ran `epochs_run` epochs behind the plan's frozen prefix.

        The prefix itself is not in it: `prefix` counts that once for all trainings that share it. `share` of the
        training split was trained on; the unit stays that of the whole split. `further_passes` images went through
        the network without gradients, besides those of training and validation.
        """
        start = self.first_trained(plan)
        steps = sum(self.step_share(plan.phase_at(epoch).trained, behind=start) for epoch in range(epochs_run))
        validation = (epochs_run * validation_images + further_passes) * self._flops_from(self._index(start))
        spent = steps * share * train_images * self._full_step + validation
        return spent / self._unit(nominal_epochs, train_images, validation_images)

    def prefix(
        self, plan: FineTunePlan, views: int, train_images: int, validation_images: int, nominal_epochs: int
    ) -> float:
        """Units of work to run the plan's frozen prefix once over every training view and the validation images.

        `views` per training image; 0 = a new draw in every epoch, so as many as there are nominal epochs.
        """
        passes = min(views or nominal_epochs, nominal_epochs) * train_images + validation_images
        flops = self.flops - self._flops_from(self._index(self.first_trained(plan)))
        return passes * flops / self._unit(nominal_epochs, train_images, validation_images)

    @property
    def _full_step(self) -> int:
        """Forward, activation and weight gradients of one image; the image itself needs no gradient."""
        return 3 * self.flops - self.blocks[0].entry_flops

    def _unit(self, nominal_epochs: int, train_images: int, validation_images: int) -> float:
        return nominal_epochs * (train_images * self._full_step + validation_images * self.flops)

    def _index(self, name: str) -> int:
        return [block.name for block in self.blocks].index(name)

    def _flops_from(self, index: int) -> int:
        return sum(block.flops for block in self.blocks[index:])


def _entering_values(block: Block, execution: Execution) -> int:
    """Scalars that enter the block's first module with parameters of its own: what a cache there would hold.

    The root ('') is entered by the image and does not count.
    """
    owners = {name.rpartition(".")[0] for name in block.parameters} - {""}
    ran = (name for name in block.modules if name in owners and name in execution.input_values)
    return next((execution.input_values[name] for name in ran), 0)


def _leaving_values(block: Block, execution: Execution) -> int:
    ran = [name for name in block.modules if name in execution.output_values]
    return execution.output_values[ran[-1]] if ran else 0


class _ModuleFlops:
    """FLOPs by childless module: its own, and those of plain functions (attention's products) just before it ran."""

    def __init__(self, counter: FlopCounterMode) -> None:
        self.own: dict[str, int] = {}
        self.before: dict[str, int] = {}
        self.after = 0
        self._counter = counter
        self._seen = 0

    def watch(self, name: str, module: nn.Module) -> tuple[Any, Any]:
        """Book under `name` from now on; returns the handles that end it."""
        return (
            module.register_forward_pre_hook(lambda *_: self._book(self.before, name)),
            module.register_forward_hook(lambda *_: self._book(self.own, name)),
        )

    def of(self, name: str) -> int:
        """What a module costs with the functions that lead to it."""
        return self.own.get(name, 0) + self.before.get(name, 0)

    def finish(self) -> None:
        """Book what ran after the last module."""
        self.after = self._counter.get_total_flops() - self._seen

    def _book(self, account: dict[str, int], name: str) -> None:
        total = self._counter.get_total_flops()
        account[name] = account.get(name, 0) + total - self._seen
        self._seen = total


@torch.no_grad()
def _count_flops(model: nn.Module, image_size: int) -> _ModuleFlops:
    counter = FlopCounterMode(display=False)
    flops = _ModuleFlops(counter)
    childless = {name: module for name, module in leaf_modules(model).items() if not list(module.children())}
    handles = [handle for name, module in childless.items() for handle in flops.watch(name, module)]
    try:
        # The plain attention kernel is made of matrix products, which the counter knows on every device.
        with sdpa_kernel(SDPBackend.MATH), counter:
            forward_blank_image(model, image_size)
    finally:
        for handle in handles:
            handle.remove()
    flops.finish()
    return flops
