"""Apply a plan to a model: the only place that freezes, sets norm-layer modes or builds optimizer groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypedDict

import torch
from timm.layers.norm import RmsNorm
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from thawline.config import Optimizer
from thawline.model import adapters
from thawline.plan import Block, FineTunePlan, NormMode, Phase

_OPTIMIZERS: Mapping[Optimizer, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "rmsprop": torch.optim.RMSprop,
}
_FUSED_DEVICES = {"cpu", "cuda"}
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, RmsNorm)


class _Group(TypedDict):
    """A parameter group of the optimizer."""

    params: list[nn.Parameter]
    weight_decay: float
    block: str
    name: str
    """The tensor, if each tensor has its own learning rate; else empty."""
    lr: float


class AppliedPlan:
    """A plan applied to a model: optimizer groups, and which parameters are frozen in the current epoch.

    The optimizer holds every parameter that trains in any phase from the start, and no others. Groups are never added
    or removed, so that optimizer state and schedules stay intact (a pitfall of Lightning's finetuning callbacks).
    Always call `finish` at the end, also after errors: it removes adapters from the model.
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
        """`seed` initialises the adapters, if the plan has any. Plans with a penalty use no weight decay."""
        plan.check(blocks)
        self.model = model
        self.blocks = blocks
        self.plan = plan
        self._tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.parameters = _trainable(model, blocks, plan)
        """Parameters that the optimizer may change, by name, without adapters."""
        trained = [block for block in blocks if block.name in plan.trained]
        self._adapters = adapters.install(model, trained, plan.adapter, seed) if plan.adapter else {}
        groups = self._groups(0.0 if plan.penalty else weight_decay)
        self.optimizer = _build_optimizer(groups, optimizer)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Freeze, unfreeze and set modes for `epoch` (from 0); depends on the plan only, so resumed runs do the same.

        Call it before every training epoch, because evaluation puts the whole model into eval mode.
        """
        phase = self.plan.phase_at(epoch)
        self._set_requires_grad(phase)
        set_modes(self.model, self.blocks, phase, self.plan.norm)
        for group in self.optimizer.param_groups:
            group["base_rate"] = phase.learning_rates[group["block"]] or 0.0
        self.scale_rates(1.0)

    def scale_rates(self, factor: float) -> None:
        """Scale all learning rates by `factor`: warm-up and cosine keep the ratios between blocks."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_rate"] * factor

    def scale_tensors(self, factors: Mapping[str, float]) -> None:
        """Scale each tensor's learning rate for the rest of the epoch, as the plan's rate rule requires."""
        for group in self.optimizer.param_groups:
            group["base_rate"] *= factors[group["name"]]

    def rates(self) -> dict[str, float]:
        """Current learning rate of each parameter that is not frozen, without adapters."""
        name_of = {id(parameter): name for name, parameter in self.parameters.items()}
        return {
            name_of[id(parameter)]: group["lr"]
            for group in self.optimizer.param_groups
            for parameter in group["params"]
            if id(parameter) in name_of and parameter.requires_grad
        }

    def trained_state(self) -> dict[str, Tensor]:
        """Copies of all parameters and buffers that the plan may change, with adapters merged."""
        merged = adapters.merged_weights(self.model)
        names = [name for block in self.blocks if block.name in self.plan.trained for name in _names(block)]
        if self.plan.statistics == "recomputed":
            names += statistics(self.model)
        # A network may have put another tensor in the place of a buffer.
        found = {**self._tensors, **dict(self.model.named_buffers()), **merged}
        return {name: found[name].detach().clone() for name in names}

    def finish(self) -> None:
        """Remove the adapters, which restores the pretrained weights; load a `trained_state` for trained ones."""
        adapters.remove(self.model)

    def _groups(self, weight_decay: float) -> list[_Group]:
        """One group per block and weight decay, or per tensor if the rate rule gives each tensor its own rate."""
        no_weight_decay: Callable[[], Iterable[str]] = getattr(self.model, "no_weight_decay", tuple)
        exempt = set(no_weight_decay())
        groups: dict[tuple[str, ...], _Group] = {}
        for block in self.blocks:
            rate = self.plan.highest_rate(block.name) or 0.0
            for name in block.parameters:
                if name not in self.parameters:
                    continue
                parameter = self.parameters[name]
                decay = 0.0 if parameter.ndim <= 1 or name in exempt else weight_decay
                own = name if self.plan.rate_rule == "relative_gradient" else ""
                group = _Group(params=[], weight_decay=decay, block=block.name, name=own, lr=rate)
                groups.setdefault((block.name, str(decay), own), group)["params"].append(parameter)
            if added := self._adapters.get(block.name):
                groups[block.name, "adapters"] = _Group(
                    params=added, weight_decay=weight_decay, block=block.name, name="", lr=rate
                )
        return list(groups.values())

    def _set_requires_grad(self, phase: Phase) -> None:
        for block in self.blocks:
            trains = phase.learning_rates[block.name] is not None
            for name in block.parameters:
                self._tensors[name].requires_grad_(trains and name in self.parameters)
            for parameter in self._adapters.get(block.name, ()):
                parameter.requires_grad_(trains)


@contextmanager
def requiring_gradients(network: nn.Module, chosen: set[int]) -> Iterator[list[nn.Parameter]]:
    """Within the context, only the parameters with the ids in `chosen` require gradients."""
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
    """Names of parameters and buffers of always-frozen blocks that are not bit-identical to `pristine`.

    Statistics that the plan recomputes are not among them.
    """
    recomputed = statistics(model) if plan.statistics == "recomputed" else ()
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return tuple(
        name
        for block in blocks
        if block.name not in plan.trained
        for name in _names(block)
        if name in pristine
        and name not in recomputed
        and not _same_bits(state[name].detach().cpu(), pristine[name].cpu())
    )


def trainable_size(model: nn.Module, blocks: Sequence[Block], plan: FineTunePlan) -> int:
    """Number of trainable scalars under a plan, including adapters. The model is left unchanged."""
    applied = AppliedPlan(model, blocks, plan)
    try:
        groups = applied.optimizer.param_groups
        # A kept head that does not train is in the optimizer, but stays as it is.
        if plan.head_start == "kept" and not plan.mixture:
            groups = [group for group in groups if plan.highest_rate(group["block"]) is not None]
        return sum(parameter.numel() for group in groups for parameter in group["params"])
    finally:
        applied.finish()


def load_trained_state(model: nn.Module, trained: Mapping[str, Tensor]) -> None:
    """Load what `AppliedPlan.trained_state` returned."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, tensor in trained.items():
            state[name].copy_(tensor)


def _same_bits(tensor: Tensor, other: Tensor) -> bool:
    """Bitwise equality, which also holds for NaN."""
    return torch.equal(tensor.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _names(block: Block) -> tuple[str, ...]:
    return (*block.parameters, *block.buffers)


def _trainable(model: nn.Module, blocks: Sequence[Block], plan: FineTunePlan) -> dict[str, nn.Parameter]:
    """Parameters that train in any phase, by name: those of trained blocks that its parts and rate rule select."""
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
                # As in the authors' code: norm layers have no relative gradient, and their weights stay frozen.
                or (of_norm and plan.rate_rule == "relative_gradient")
            ):
                chosen[name] = parameters[name]
    return chosen


def _build_optimizer(groups: list[_Group], name: Optimizer) -> torch.optim.Optimizer:
    device = groups[0]["params"][0].device.type
    # Fused: one kernel per group instead of several per tensor; RMSprop has no fused implementation.
    fast = {"fused": True} if name != "rmsprop" and device in _FUSED_DEVICES else {}
    optimizer = _OPTIMIZERS[name](groups, **fast)
    optimizer.register_step_post_hook(_mark_changed)
    return optimizer


def _mark_changed(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Fused optimizers leave the version of a tensor as it is, by which is known what was derived from it."""
    increment_version(parameter for group in optimizer.param_groups for parameter in group["params"])


def set_modes(model: nn.Module, blocks: Sequence[Block], phase: Phase, norm: NormMode) -> None:
    """Train mode for modules of trained blocks, eval mode (running statistics, no dropout) for frozen ones.

    A module with children is in train mode if any of them is, because some modules read `self.training` in their
    forward. Some of these own tensors too, such as norms that contain their activation, so frozen modules are set last.
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


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """The layers whose statistics can be recomputed, by name."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    return {name: norm for name, norm in found.items() if norm.running_mean is not None}


def statistics(model: nn.Module) -> frozenset[str]:
    """Names of the running statistics of all batch norms, their counters included."""
    return frozenset(f"{name}.{part}" for name, norm in batch_norms(model).items() for part, _ in norm.named_buffers())


def has_statistics(model: nn.Module) -> bool:
    """Whether any layer has running statistics, so that the mode of norm layers matters."""
    return any(isinstance(module, _NormBase) and module.track_running_stats for module in model.modules())


def trained_norms(model: nn.Module, blocks: Sequence[Block], plan: FineTunePlan) -> list[_NormBase]:
    """The layers with running statistics in the blocks that the plan trains; their mode makes a difference."""
    modules = dict(model.named_modules())
    trained = (modules[name] for block in blocks if block.name in plan.trained for name in block.modules)
    found = {id(module): module for part in trained for module in part.modules() if isinstance(module, _NormBase)}
    return [norm for norm in found.values() if norm.track_running_stats]


def trains_statistics(model: nn.Module, blocks: Sequence[Block], plan: FineTunePlan) -> bool:
    """Whether a block that the plan trains has running statistics, so that the mode of norm layers matters."""
    return bool(trained_norms(model, blocks, plan))


def _path_to(name: str) -> Iterator[str]:
    """Names of the module and of every module that contains it; the model is ''."""
    yield name
    while name:
        name = name.rpartition(".")[0]
        yield name
