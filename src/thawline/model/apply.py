"""Obey a plan. This is the only place that freezes, sets norm-layer modes or builds optimiser groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from timm.layers.norm import RmsNorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from thawline.config import Optimizer
from thawline.model import adapters
from thawline.plan import Block, FineTunePlan, NormMode, Phase

_OPTIMIZERS: Mapping[Optimizer, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adamw": (torch.optim.AdamW, {}),
    "adam": (torch.optim.Adam, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "rmsprop": (torch.optim.RMSprop, {}),
}
_FUSED_DEVICES = {"cpu", "cuda"}
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, RmsNorm)


class AppliedPlan:
    """A plan laid upon a model: its optimiser groups, and what is frozen in the current epoch.

    Parameters that train in any phase are in the optimiser from the start, the others never; groups are not added or
    removed later, so optimiser state and schedules stay whole (traps of Lightning's finetuning callbacks). Call
    `finish` at the end, whatever happened: it takes adapters off the model.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[Block],
        plan: FineTunePlan,
        *,
        optimizer: Optimizer = "adamw",
        weight_decay: float = 1e-4,
        seed: int = 0,
    ) -> None:
        """`seed` draws the adapters, if the plan has any. A plan with a penalty has no weight decay."""
        plan.check(blocks)
        self.model = model
        self.blocks = blocks
        self.plan = plan
        self._tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.parameters = _trainable(model, blocks, plan)
        """What the optimiser may change, by name, adapters apart."""
        trained = [block for block in blocks if block.name in plan.trained]
        self._adapters = adapters.install(model, trained, plan.adapter, seed) if plan.adapter else {}
        groups = self._groups(0.0 if plan.penalty else weight_decay)
        self.optimizer = _build_optimizer(groups, optimizer)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Freeze, thaw and set modes for `epoch` (from 0); a pure function of the plan, so a resumed run does the same.

        Call it before every epoch of training: evaluation puts the whole model into eval mode.
        """
        phase = self.plan.phase_at(epoch)
        self._set_requires_grad(phase)
        set_modes(self.model, self.blocks, phase, self.plan.norm)
        for group in self.optimizer.param_groups:
            group["base_rate"] = phase.learning_rates[group["block"]] or 0.0
        self.scale_rates(1.0)

    def scale_rates(self, factor: float) -> None:
        """Multiply every block's rate by one factor: warm-up and cosine never change the ratios between blocks."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_rate"] * factor

    def scale_tensors(self, factors: Mapping[str, float]) -> None:
        """Give each tensor its own share of its block's rate for the rest of the epoch (rate rule of the plan)."""
        for group in self.optimizer.param_groups:
            group["base_rate"] *= factors[group["name"]]

    def rates(self) -> dict[str, float]:
        """The rate at which each parameter that is not frozen just now takes its next step, adapters apart."""
        name_of = {id(parameter): name for name, parameter in self.parameters.items()}
        return {
            name_of[id(parameter)]: group["lr"]
            for group in self.optimizer.param_groups
            for parameter in group["params"]
            if id(parameter) in name_of and parameter.requires_grad
        }

    def trained_state(self) -> dict[str, Tensor]:
        """Copies of the parameters and buffers that the plan may change, adapters merged: all to keep of a training."""
        merged = adapters.merged_weights(self.model)
        names = (name for block in self.blocks if block.name in self.plan.trained for name in _names(block))
        return {name: merged.get(name, self._tensors[name]).detach().clone() for name in names}

    def finish(self) -> None:
        """Take adapters off. The weights under them are the pretrained ones: load a `trained_state` to have more."""
        adapters.remove(self.model)

    def _groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """One optimiser group per block and kind of decay; one per tensor where a rule gives each its own rate."""
        no_weight_decay: Callable[[], Iterable[str]] = getattr(self.model, "no_weight_decay", tuple)
        exempt = set(no_weight_decay())
        groups: dict[tuple[str, ...], dict[str, Any]] = {}
        for block in self.blocks:
            for name in block.parameters:
                if name not in self.parameters:
                    continue
                parameter = self.parameters[name]
                decay = 0.0 if parameter.ndim <= 1 or name in exempt else weight_decay
                own = name if self.plan.rate_rule == "relative_gradient" else ""
                group = {"params": [], "weight_decay": decay, "block": block.name, "name": own}
                groups.setdefault((block.name, str(decay), own), group)["params"].append(parameter)
            if added := self._adapters.get(block.name):
                groups[block.name, "adapters"] = {
                    "params": added, "weight_decay": weight_decay, "block": block.name, "name": ""
                }  # fmt: skip
        return [{**group, "lr": self.plan.highest_rate(group["block"])} for group in groups.values()]

    def _set_requires_grad(self, phase: Phase) -> None:
        for block in self.blocks:
            trains = phase.learning_rates[block.name] is not None
            for name in block.parameters:
                self._tensors[name].requires_grad_(trains and name in self.parameters)
            for parameter in self._adapters.get(block.name, ()):
                parameter.requires_grad_(trains)


@contextmanager
def requiring_gradients(network: nn.Module, chosen: set[int]) -> Iterator[list[nn.Parameter]]:
    """Let only the parameters with these ids require gradients."""
    before = {parameter: parameter.requires_grad for parameter in network.parameters()}
    try:
        for parameter in before:
            parameter.requires_grad_(id(parameter) in chosen)
        yield [parameter for parameter in before if parameter.requires_grad]
    finally:
        for parameter, required in before.items():
            parameter.requires_grad_(required)


def moved_tensors(
    model: nn.Module, blocks: Sequence[Block], plan: FineTunePlan, pristine: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Names of parameters and buffers of always-frozen blocks that are not bit-identical to `pristine`."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return tuple(
        name
        for block in blocks
        if block.name not in plan.trained
        for name in _names(block)
        if name in pristine and not _same_bits(state[name].detach().cpu(), pristine[name].cpu())
    )


def trainable_size(model: nn.Module, blocks: Sequence[Block], plan: FineTunePlan) -> int:
    """Number of scalars that the optimiser changes under a plan, those of adapters included; leaves no trace."""
    applied = AppliedPlan(model, blocks, plan)
    try:
        return sum(p.numel() for group in applied.optimizer.param_groups for p in group["params"])
    finally:
        applied.finish()


def load_trained_state(model: nn.Module, trained: Mapping[str, Tensor]) -> None:
    """Put back what `AppliedPlan.trained_state` copied."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, tensor in trained.items():
            state[name].copy_(tensor)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Equality that also holds for NaN."""
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _names(block: Block) -> tuple[str, ...]:
    return (*block.parameters, *block.buffers)


def _trainable(model: nn.Module, blocks: Sequence[Block], plan: FineTunePlan) -> dict[str, nn.Parameter]:
    """Parameters that train in any phase, by name: those of trained blocks, as far as the plan's parts and rule say."""
    parameters = dict(model.named_parameters())
    modules = dict(model.named_modules())
    chosen = {}
    for block in blocks:
        if block.name not in plan.trained:
            continue
        for name in block.parameters:
            of_norm = isinstance(modules[name.rpartition(".")[0]], _NORMS)
            kernel = parameters[name].ndim > 1
            if block.is_head or not (
                (kernel and (plan.parts == "norms_and_biases" or plan.adapter is not None))
                # As in the authors' code: norm layers have no relative gradient and keep their weights.
                or (of_norm and plan.rate_rule == "relative_gradient")
            ):
                chosen[name] = parameters[name]
    return chosen


def _build_optimizer(groups: list[dict[str, Any]], name: Optimizer) -> torch.optim.Optimizer:
    kind, options = _OPTIMIZERS[name]
    device = groups[0]["params"][0].device.type
    # One kernel per group instead of several per tensor; RMSprop has no fused form.
    fast: dict[str, Any] = {"fused": True} if name != "rmsprop" and device in _FUSED_DEVICES else {}
    return kind(groups, **options, **fast)


def set_modes(model: nn.Module, blocks: Sequence[Block], phase: Phase, norm: NormMode) -> None:
    """Train mode for modules of trained blocks, eval mode (running statistics, no dropout) for frozen ones.

    A module with children is in train mode if anything below it is: some read `self.training` in their own forward.
    Some of them own tensors too, such as norms that contain their activation, so frozen ones are settled last.
    """
    model.eval()
    modules = dict(model.named_modules())
    for block in blocks:
        if phase.learning_rates[block.name] is not None:
            for path in {path for name in block.modules for path in _path_to(name)}:
                modules[path].training = True
    for block in blocks:
        frozen = phase.learning_rates[block.name] is None
        for name in block.modules:
            if frozen or (norm == "eval" and isinstance(modules[name], _NormBase)):
                modules[name].training = False


def has_statistics(model: nn.Module) -> bool:
    """Whether any layer keeps running statistics, so that it matters what norm layers do."""
    return any(isinstance(module, _NormBase) and module.track_running_stats for module in model.modules())


def _path_to(name: str) -> Iterator[str]:
    """The module itself and every module that contains it, by name; the model is ''."""
    yield name
    while name:
        name = name.rpartition(".")[0]
        yield name
