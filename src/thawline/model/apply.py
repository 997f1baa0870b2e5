"""Obey a plan. This is the only place that freezes, sets norm-layer modes or builds optimiser groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from thawline.config import Optimizer
from thawline.plan import Block, FineTunePlan, NormMode, Phase

_OPTIMIZERS: Mapping[Optimizer, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adamw": (torch.optim.AdamW, {}),
    "adam": (torch.optim.Adam, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "rmsprop": (torch.optim.RMSprop, {}),
}
_FUSED_DEVICES = {"cpu", "cuda"}


class AppliedPlan:
    """A plan laid upon a model: its optimiser groups, and what is frozen in the current epoch.

    Parameters that train in any phase are in the optimiser from the start, the others never; groups are not added or
    removed later, so optimiser state and schedules stay whole (traps of Lightning's finetuning callbacks).
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[Block],
        plan: FineTunePlan,
        *,
        optimizer: Optimizer = "adamw",
        weight_decay: float = 1e-4,
    ) -> None:
        plan.check(blocks)
        self.model = model
        self.blocks = blocks
        self.plan = plan
        self.optimizer = _build_optimizer(_groups(model, blocks, plan, weight_decay), optimizer)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Freeze, thaw and set modes for `epoch` (from 0); a pure function of the plan, so a resumed run does the same.

        Call it before every epoch of training: evaluation puts the whole model into eval mode.
        """
        phase = self.plan.phase_at(epoch)
        _set_requires_grad(self.model, self.blocks, phase)
        _set_modes(self.model, self.blocks, phase, self.plan.norm)
        for group in self.optimizer.param_groups:
            group["base_rate"] = phase.learning_rates[group["block"]] or 0.0
        self.scale_rates(1.0)

    def scale_rates(self, factor: float) -> None:
        """Multiply every block's rate by one factor: warm-up and cosine never change the ratios between blocks."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_rate"] * factor


def moved_tensors(
    model: nn.Module, blocks: Sequence[Block], plan: FineTunePlan, pristine: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Names of parameters and buffers of always-frozen blocks that are not bit-identical to `pristine`."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return tuple(
        name
        for block in blocks
        if block.name not in plan.trained
        for name in (*block.parameters, *block.buffers)
        if name in pristine and not torch.equal(state[name].detach().cpu(), pristine[name].cpu())
    )


def trained_state(model: nn.Module, blocks: Sequence[Block], plan: FineTunePlan) -> dict[str, Tensor]:
    """Copies of the parameters and buffers that the plan may change: all that must be kept of a training."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    names = (name for block in blocks if block.name in plan.trained for name in (*block.parameters, *block.buffers))
    return {name: state[name].detach().clone() for name in names}


def load_trained_state(model: nn.Module, trained: Mapping[str, Tensor]) -> None:
    """Put back what `trained_state` copied."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, tensor in trained.items():
            state[name].copy_(tensor)


def _groups(model: nn.Module, blocks: Sequence[Block], plan: FineTunePlan, weight_decay: float) -> list[dict[str, Any]]:
    parameters = dict(model.named_parameters())
    no_weight_decay: Callable[[], Iterable[str]] = getattr(model, "no_weight_decay", tuple)
    exempt = set(no_weight_decay())
    groups = []
    for block in blocks:
        if block.name not in plan.trained:
            continue
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for name in block.parameters:
            parameter = parameters[name]
            (plain if parameter.ndim <= 1 or name in exempt else decayed).append(parameter)
        for members, decay in ((decayed, weight_decay), (plain, 0.0)):
            if members:
                rate = plan.highest_rate(block.name)
                groups.append({"params": members, "lr": rate, "weight_decay": decay, "block": block.name})
    return groups


def _build_optimizer(groups: list[dict[str, Any]], name: Optimizer) -> torch.optim.Optimizer:
    kind, options = _OPTIMIZERS[name]
    device = groups[0]["params"][0].device.type
    # One kernel per group instead of several per tensor; RMSprop has no fused form.
    fast: dict[str, Any] = {"fused": True} if name != "rmsprop" and device in _FUSED_DEVICES else {}
    return kind(groups, **options, **fast)


def _set_requires_grad(model: nn.Module, blocks: Sequence[Block], phase: Phase) -> None:
    parameters = dict(model.named_parameters())
    for block in blocks:
        trains = phase.learning_rates[block.name] is not None
        for name in block.parameters:
            parameters[name].requires_grad_(trains)


def _set_modes(model: nn.Module, blocks: Sequence[Block], phase: Phase, norm: NormMode) -> None:
    """Train mode for modules of trained blocks, eval mode (running statistics, no dropout) for frozen ones.

    A module with children is in train mode if anything below it is: some read `self.training` in their own forward.
    Norm layers that contain their activation (timm's BatchNormAct2d) are such modules, so norms are settled last.
    """
    model.eval()
    modules = dict(model.named_modules())
    for block in blocks:
        if phase.learning_rates[block.name] is not None:
            for path in {path for name in block.modules for path in _path_to(name)}:
                modules[path].training = True
    for block in blocks:
        if phase.learning_rates[block.name] is None or norm == "eval":
            for name in block.modules:
                if isinstance(modules[name], _NormBase):
                    modules[name].training = False


def _path_to(name: str) -> Iterator[str]:
    """The module itself and every module that contains it, by name; the model is ''."""
    yield name
    while name:
        name = name.rpartition(".")[0]
        yield name
