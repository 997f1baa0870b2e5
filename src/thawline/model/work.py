"""Work (training cost) of a plan, computed from FLOPs and thus the same on every machine.

One unit of work is a full fine-tuning for the nominal number of epochs, including validation after every epoch. The
forward pass of a convolution or linear layer costs its FLOPs, the gradient of its input the same, and the gradient of
its weights the same again. Products without weights (attention) are counted like layers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from thawline.model.execution import Execution, forward_blank_image, is_layer, leaf_modules, record_execution
from thawline.plan import Block, FineTunePlan

SMALLEST_STEP = 0.02
"""Smallest cost of a training step, as a fraction of a full step, for the optimizer, the loss and overhead."""
_BYTES_PER_VALUE = 4


@dataclass(frozen=True)
class BlockWork:
    """Work of a block, for one image in fp32."""

    name: str
    parameters: int
    """Trainable scalars."""
    layers: int
    """Convolutions and linear layers."""
    flops: int
    """FLOPs of the forward pass of one image; a multiply-add counts as two."""
    entry_flops: int
    """FLOPs of the block's first layer, whose input needs no gradient if nothing before it trains."""
    boundary_bytes: int
    """Size of the output: bytes that enter the next block's first module with parameters; for the head, the logits."""


@dataclass(frozen=True)
class WorkTable:
    """The work of each block, in order of execution, and the work of plans."""

    blocks: tuple[BlockWork, ...]

    @classmethod
    def measure(cls, model: nn.Module, blocks: Sequence[Block], image_size: int) -> WorkTable:
        """Count the FLOPs of one blank image `[1, 3, image_size, image_size]`, also on the meta device."""
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
        """FLOPs of the forward pass of one image through the whole network."""
        return sum(block.flops for block in self.blocks)

    def first_trained(self, plan: FineTunePlan) -> str:
        """The first block that trains in any phase; everything before it is the frozen prefix.

        With recomputed statistics there is none: no block computes what it did.
        """
        if plan.statistics == "recomputed":
            return self.blocks[0].name
        return next(block.name for block in self.blocks if block.name in plan.trained)

    def step_share(self, trained: Collection[str], *, behind: str | None = None) -> float:
        """Cost of one training step relative to a step of full fine-tuning, at least `SMALLEST_STEP`.

        Counts the forward pass from block `behind` (None = the first trained block; `prefix` counts those before),
        activation gradients down to the first trained block, and weight gradients of the trained blocks.
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
        solver_iterations: int = 0,
        validated_images: int | None = None,
    ) -> float:
        """Units of work of a training of `epochs_run` epochs, without the plan's frozen prefix.

        `prefix` counts the frozen prefix, once for all trainings that share it. `share` is the fraction of the training
        split that was used; the unit remains that of the whole split. It is above 1 in a refit, which trains on val,
        too, and has no `validated_images` (None = the validation split). The plan says after which epochs it is
        validated. `further_passes` is the number of images that were forwarded without gradients, besides training and
        validation. A plan that starts from the probe forwards all images once more, and each iteration of the solver
        runs the training images through the head; recomputed statistics take the training images once. A plan that
        trains nothing has no epochs.
        """
        start = self.first_trained(plan)
        validated = validation_images if validated_images is None else validated_images
        if plan.is_untrained:
            epochs_run = 0
        steps = sum(self.step_share(plan.phase_at(epoch).trained, behind=start) for epoch in range(epochs_run))
        # The features behind a mixture's start are those of its ingredients.
        if plan.statistics == "recomputed" and not plan.mixture:
            further_passes += round(share * train_images)
        if (plan.head_start == "probe" or plan.is_untrained) and not plan.mixture:
            further_passes += round(share * train_images) + validated
        validations = sum(plan.is_validated(epoch, nominal_epochs) for epoch in range(epochs_run))
        forward = (validations * validated + further_passes) * self._flops_from(self._index(start))
        # Each iteration computes the loss and its gradient.
        solving = solver_iterations * share * train_images * 2 * self.blocks[-1].flops
        spent = steps * share * train_images * self._full_step + forward + solving
        return spent / self.unit(nominal_epochs, train_images, validation_images)

    def prefix(
        self,
        plan: FineTunePlan,
        views: int,
        train_images: int,
        validation_images: int,
        nominal_epochs: int,
        share: float = 1.0,
    ) -> float:
        """Units of work to run the frozen prefix once over all training views and the validation images.

        `views` per training image; 0 = a new view in every epoch, that is, as many as nominal epochs. `share` as in
        `training`.
        """
        passes = min(views or nominal_epochs, nominal_epochs) * round(share * train_images) + validation_images
        flops = self.flops - self._flops_from(self._index(self.first_trained(plan)))
        return passes * flops / self.unit(nominal_epochs, train_images, validation_images)

    @property
    def _full_step(self) -> int:
        """FLOPs of forward pass, activation and weight gradients of one image, which itself needs no gradient."""
        return 3 * self.flops - self.blocks[0].entry_flops

    def unit(self, nominal_epochs: int, train_images: int, validation_images: int) -> float:
        """FLOPs of a unit of work: a full fine-tuning with validation after every epoch."""
        return nominal_epochs * (train_images * self._full_step + validation_images * self.flops)

    def _index(self, name: str) -> int:
        return [block.name for block in self.blocks].index(name)

    def _flops_from(self, index: int) -> int:
        return sum(block.flops for block in self.blocks[index:])


def _entering_values(block: Block, execution: Execution) -> int:
    """Input scalars of the block's first module that owns parameters: the size of a cache there.

    The root ('') does not count, because its input is the image.
    """
    owners = {name.rpartition(".")[0] for name in block.parameters} - {""}
    ran = (name for name in block.modules if name in owners and name in execution.input_values)
    return next((execution.input_values[name] for name in ran), 0)


def _leaving_values(block: Block, execution: Execution) -> int:
    ran = [name for name in block.modules if name in execution.output_values]
    return execution.output_values[ran[-1]] if ran else 0


class _ModuleFlops:
    """FLOPs of each childless module, and of the functions (attention's products) that ran just before it."""

    def __init__(self, counter: FlopCounterMode) -> None:
        self.own: dict[str, int] = {}
        self.before: dict[str, int] = {}
        self.after = 0
        self._counter = counter
        self._seen = 0

    def watch(self, name: str, module: nn.Module) -> tuple[RemovableHandle, RemovableHandle]:
        """Count FLOPs under `name` until the returned handles are removed."""
        return (
            module.register_forward_pre_hook(lambda *_: self._book(self.before, name)),
            module.register_forward_hook(lambda *_: self._book(self.own, name)),
        )

    def of(self, name: str) -> int:
        """FLOPs of a module, including the functions just before it."""
        return self.own.get(name, 0) + self.before.get(name, 0)

    def finish(self) -> None:
        """Count what ran after the last module."""
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
        # The math attention kernel consists of matrix products, which the counter supports on every device.
        with sdpa_kernel(SDPBackend.MATH), counter:
            forward_blank_image(model, image_size)
    finally:
        for handle in handles:
            handle.remove()
    flops.finish()
    return flops
