"""One training spread over several processes, each on a device of its own, by PyTorch's DistributedDataParallel.

All processes take every step together. The global batch is that of a single process, in the same order: each process
forwards its part of it, and gradients are summed, so that all weights stay the same everywhere. Validation is divided
too, and every process gets all of its outputs: what is decided on validation is the same everywhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn
from torch.distributed import Store  # type: ignore[attr-defined]  # torch's own documentation names it so
from torch.nn.parallel import DistributedDataParallel

from thawline.formatting import counted
from thawline.model.apply import trained_norms
from thawline.plan import Block, FineTunePlan
from thawline.training.forward import Forward

SYNCHRONIZED: dict[type[nn.Module], type[nn.SyncBatchNorm]] = {
    nn.BatchNorm1d: nn.SyncBatchNorm,
    nn.BatchNorm2d: nn.SyncBatchNorm,
    nn.BatchNorm3d: nn.SyncBatchNorm,
    BatchNormAct2d: SyncBatchNormAct,
}
"""Batch norms, and what computes the same from the images of all processes."""


@dataclass(frozen=True)
class Group:
    """The processes of one training, within `together`."""

    rank: int
    """Number of this process, from 0."""
    count: int
    """Number of processes."""

    def part(self, rows: np.ndarray) -> np.ndarray:
        """What this process takes of `rows` [n]; parts differ by one row at most."""
        return np.array_split(rows, self.count)[self.rank]

    def total(self, value: Tensor) -> Tensor:
        """The sum of `value` over all processes."""
        summed = value.clone()
        dist.all_reduce(summed)
        return summed

    def gathered(self, own: Tensor, starts: Sequence[int], rows: int) -> Tensor:
        """All `rows` rows of a tensor of which this process has those that begin at its part of `starts`."""
        whole = own.new_zeros((rows, *own.shape[1:]))
        mine = self.part(np.asarray(starts))
        if len(mine):
            whole[int(mine[0]) : int(mine[0]) + len(own)] = own
        return self.total(whole)  # adding zeros changes no bit

    def wrapped(self, network: nn.Module, forward: Forward) -> DistributedDataParallel:
        """`forward.logits` such that the backward pass adds up the gradients of all processes and divides by `count`.

        For the parameters that require gradients now. Gradients of passes that did not go through it, since they were
        set to none, are added up, too.
        """
        # Buffers are the same everywhere or, where statistics move, synchronized. Parameters that the network does not
        # use are found in the first step, and are the same in all steps of an epoch.
        return DistributedDataParallel(
            _Pass(network, forward), broadcast_buffers=False, static_graph=True, init_sync=False
        )


class _Pass(nn.Module):
    """A forward pass as a module, which is what DistributedDataParallel takes."""

    def __init__(self, network: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.network = network
        self._logits = forward.logits

    def forward(self, rows: np.ndarray, view: int | None) -> Tensor:
        return self._logits(rows, view)


@contextmanager
def together(store: Store, rank: int, count: int, device: torch.device, limit: timedelta) -> Iterator[Group]:
    """Within the context, the processes compute together; one that waits for the others longer than `limit` fails.

    `store` is new to them. Raises PyTorch's errors of the connection.
    """
    # Several processes on one GPU, as in tests, cannot use NCCL.
    own_gpus = device.type == "cuda" and torch.cuda.device_count() >= count
    backend = "nccl" if own_gpus else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=limit)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            # The name that replaces it does not exist before torch 2.15.
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
            yield Group(rank, count)
    finally:
        dist.destroy_process_group()


@contextmanager
def synchronized(network: nn.Module) -> Iterator[None]:
    """Within the context, batch norms that train take the statistics of the whole batch, not of a process's part."""
    norms = [module for module in network.modules() if type(module) in SYNCHRONIZED and module.training]
    kinds = [type(norm) for norm in norms]
    try:
        for norm in norms:
            # The same module with the same tensors: others hold on to it.
            norm.process_group = None  # type: ignore[assignment]
            norm.__class__ = SYNCHRONIZED[type(norm)]
        yield
    finally:
        for norm, kind in zip(norms, kinds, strict=True):
            norm.__class__ = kind
            del norm.process_group


def why_alone(
    plan: FineTunePlan, network: nn.Module, blocks: Sequence[Block], device: torch.device, batch: int, count: int
) -> str:
    """Why a training of `plan` cannot be spread over `count` processes, as a clause; empty if it can."""
    if plan.is_untrained:
        return "nothing of this plan is trained by gradient descent"
    # The last batches may be half as large, and norms need two images.
    if batch < 4 * count:
        return f"`batch_size` {batch} is too small: {counted(count, 'process', 'processes')} need at least {4 * count}"
    if plan.norm != "train" or not (norms := trained_norms(network, blocks, plan)):
        return ""
    if device.type != "cuda":
        return "its batch norms train with the statistics of the batch, which PyTorch synchronizes on GPUs only"
    if others := {type(norm).__name__ for norm in norms if type(norm) not in SYNCHRONIZED}:
        return f"statistics of {', '.join(sorted(others))} cannot be synchronized"
    return ""
