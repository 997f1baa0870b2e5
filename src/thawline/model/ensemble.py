"""Several networks as one module that gives their mean output; what they have in common runs once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from thawline.model.boundary import Boundary
from thawline.model.cut import TOLERANCE, cut
from thawline.model.trace import FAULTS, Call, Trace

_TRIAL_IMAGES = 4
"""Images with which it is proved that members which share their first blocks give what they give by themselves."""


class Ensemble(nn.Module):
    """The mean class probabilities of several networks, as logits (deep ensembles, Lakshminarayanan et al. 2017).

    The softmax of its output is the weighted mean of the softmax of its members' outputs, so whatever takes logits
    takes these. For inference: members are put into eval mode, and blocks that are bit-identical in two of them run
    once where the network can be cut behind these (`model/cut.py`); otherwise members run whole. One forward pass at a
    time: members hand outputs over to each other.
    """

    shares: Tensor
    """[members] float32: how much each counts; they sum to 1."""

    def __init__(self, members: Sequence[nn.Module], shares: Sequence[float], image_size: int) -> None:
        """`members` map images [B, 3, S, S] with S = `image_size` to logits [B, classes] and belong to it from now on.

        Raises `ValueError` unless there are as many shares as members, all above 0.
        """
        super().__init__()
        if not members or len(members) != len(shares) or min(shares) <= 0:
            raise ValueError(f"an ensemble needs a share above 0 for each member, got {len(members)} and {shares!r}.")
        self.members = nn.ModuleList(members).eval()
        self.register_buffer("shares", torch.tensor(shares, dtype=torch.float32) / sum(shares))
        self.shared: tuple[tuple[str, ...], ...] = _share_first_blocks(members, image_size)
        """For every member the modules that it does not run, because an earlier member does."""

    def forward(self, images: Tensor) -> Tensor:
        """Logarithms of the mean probabilities [B, classes] float32 of images [B, 3, S, S]."""
        outputs = torch.stack([torch.log_softmax(member(images).float(), dim=1) for member in self.members])
        return torch.logsumexp(outputs + self.shares.log()[:, None, None], dim=0)


@dataclass
class _Taken:
    """Outputs of modules of one member that another one needs, during a forward pass."""

    outputs: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class _Take:
    """A forward hook: keep a copy of the output, because the network may change it in place."""

    taken: _Taken
    name: str

    def __call__(self, module: nn.Module, args: object, output: object) -> None:
        self.taken.outputs[self.name] = _copied(output)


@dataclass(frozen=True)
class _Give:
    """Replaces the forward method of a module that an earlier member has run: gives what that one gave."""

    taken: _Taken
    name: str

    def __call__(self, *_: object, **__: object) -> object:
        return self.taken.outputs.pop(self.name)


@dataclass(frozen=True)
class _Imitate:
    """Replaces the forward method of a module whose output nobody needs: gives zeros of its shape."""

    call: Call
    images: _Images

    def __call__(self, *_: object, **__: object) -> object:
        parts = [value.empty(self.images.batch) for value in self.call.values if value]
        return pytree.tree_unflatten(parts, self.call.structure)


@dataclass
class _Images:
    """The batch of the forward pass that is running."""

    batch: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True)
class _Note:
    """A forward pre-hook of a member: note its images, for the shapes of what is imitated."""

    images: _Images

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.images.batch = args[0]


@dataclass(frozen=True)
class _Forget:
    """A forward hook of a member: let go of its images."""

    images: _Images

    def __call__(self, module: nn.Module, args: object, output: object) -> None:
        self.images.batch = torch.empty(0)


def _copied(output: object) -> object:
    return pytree.tree_map(lambda part: part.clone() if isinstance(part, Tensor) else part, output)


@torch.no_grad()
def _share_first_blocks(members: Sequence[nn.Module], image_size: int) -> tuple[tuple[str, ...], ...]:
    """Let members that can take the outputs of their first modules from an earlier one do so."""
    images = torch.randn(_TRIAL_IMAGES, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    device = next(chain(*(member.parameters() for member in members)), images).device
    images = images.to(device)
    boundaries = _boundaries(members, images)
    alone = [member(images) for member in members]
    shared: list[tuple[str, ...]] = [() for _ in members]
    for number, (member, boundary) in enumerate(zip(members, boundaries, strict=True)):
        if boundary is None:
            continue
        earlier, found = boundary
        undo = _Joined.join(members[earlier], member, found)
        if not _agree(members[: number + 1], alone, images):
            undo.part()
            continue
        shared[number] = tuple(found.stubs)
        _tie(members[earlier], member, found.stubs)
    return tuple(shared)


def _boundaries(members: Sequence[nn.Module], images: Tensor) -> list[tuple[int, Boundary] | None]:
    """For every member the earlier one with which it has most in common, and where to cut both; None = nowhere.

    Earlier members that take outputs themselves come into question as far as they run: up to their own boundary they
    have the same in common with the one that they take from, which comes first.
    """
    found: list[tuple[int, Boundary] | None] = []
    traces = [Trace.record(member, images, nullcontext) for member in members]
    for number, member in enumerate(members):
        pairs = [(earlier, _boundary(traces[earlier], member, images)) for earlier in range(number)]
        usable = [(earlier, cut_at) for earlier, cut_at in pairs if cut_at is not None]
        found.append(max(usable, key=lambda pair: pair[1].start, default=None))
    return found


def _boundary(trace: Trace, member: nn.Module, images: Tensor) -> Boundary | None:
    """Where to cut the traced network and `member` before the first module in which they differ."""
    differing = _differing(trace.network, member)
    first = trace.first(differing) if differing else None
    if first is None or not trace.stubs(first):
        return None
    return cut(trace, first, images, nullcontext, gradients="not needed")


def _differing(network: nn.Module, other: nn.Module) -> list[str]:
    """Modules whose own parameters or buffers differ; none if the networks are built differently."""
    pairs = zip(network.named_modules(), other.named_modules(), strict=False)
    alike = len(list(network.modules())) == len(list(other.modules())) and all(
        name == name_there and type(module) is type(there) for (name, module), (name_there, there) in pairs
    )
    if not alike:
        return []
    modules = dict(other.named_modules())
    return [name for name, module in network.named_modules() if not _same_tensors(module, modules[name])]


def _same_tensors(module: nn.Module, other: nn.Module) -> bool:
    own, others = _own_tensors(module), _own_tensors(other)
    return own.keys() == others.keys() and all(
        tensor.shape == others[name].shape and torch.equal(tensor, others[name]) for name, tensor in own.items()
    )


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    own = chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False))
    return {name: tensor.detach() for name, tensor in own}


@dataclass
class _Joined:
    """Two members of which the second takes outputs from the first; `part` undoes it."""

    member: nn.Module
    replaced: Sequence[str]
    hooks: Sequence[torch.utils.hooks.RemovableHandle]

    @classmethod
    def join(cls, earlier: nn.Module, member: nn.Module, boundary: Boundary) -> _Joined:
        """Replace what comes before the boundary in `member`."""
        taken, images = _Taken(), _Images()
        hooks = [earlier.get_submodule(name).register_forward_hook(_Take(taken, name)) for name in boundary.kept]
        hooks += [
            member.register_forward_pre_hook(_Note(images)),
            member.register_forward_hook(_Forget(images)),
        ]
        for name, call in boundary.stubs.items():
            stub = _Give(taken, name) if name in boundary.kept else _Imitate(call, images)
            vars(member.get_submodule(name))["forward"] = stub
        return cls(member, tuple(boundary.stubs), hooks)

    def part(self) -> None:
        """Let both run whole again."""
        for hook in self.hooks:
            hook.remove()
        for name in self.replaced:
            vars(self.member.get_submodule(name)).pop("forward", None)


def _tie(earlier: nn.Module, member: nn.Module, stubs: Mapping[str, Call]) -> None:
    """Keep the tensors of modules that are run by `earlier` only once in memory."""
    for name in stubs:
        module, there = member.get_submodule(name), earlier.get_submodule(name)
        parts = dict(there.named_modules())
        for path, part in module.named_modules():
            part._parameters.update(parts[path]._parameters)
            part._buffers.update(parts[path]._buffers)


def _agree(members: Sequence[nn.Module], alone: Sequence[Tensor], images: Tensor) -> bool:
    """Whether members, one after the other, give what each gave by itself."""
    try:
        together = [member(images) for member in members]
    except FAULTS:
        return False
    pairs = zip(together, alone, strict=False)
    return all(torch.allclose(logits, expected, rtol=TOLERANCE, atol=TOLERANCE) for logits, expected in pairs)
