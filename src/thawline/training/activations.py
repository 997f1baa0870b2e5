"""Cache of the outputs of frozen prefixes, computed once and reused, within a budget of memory and disk.

The cache belongs to one network, one dataset and one precision, so a store is identified by its boundary, its view and
its images. A store is always filled in the same padded batches of the same rows, and whether it exists depends only on
its size and the budgets. What a training reads therefore depends only on the settings of the run: not on which training
came first, on what was evicted in between, or on timing. A resumed run reads the same bits.

A training that reads its prefix and one that computes it may differ by rounding, because a kernel may round an image's
output differently in a batch of another size or at another position, and training can amplify that. Making them equal
would mean running the prefix on fixed batches even where nothing is cached: image by image, 1.0 to 3.2 times the time
of its forward pass (`benchmarks/rounding.py --passes`).
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thawline.config import CacheConfig
from thawline.data.cache import user_cache
from thawline.memory import is_out_of_memory
from thawline.model.boundary import Boundary
from thawline.training.images import Images


class _Key(NamedTuple):
    boundary: str
    view: int | None
    group: int


@dataclass
class _Store:
    """Prefix outputs of a group of images: one tensor [n, ...] per kept output."""

    tensors: list[Tensor]
    on_disk: bool
    nbytes: int

    def read(self, slots: Tensor, device: torch.device) -> tuple[Tensor, ...]:
        return tuple(tensor[slots.to(tensor.device)].to(device) for tensor in self.tensors)

    def write(self, start: int, outputs: Sequence[Tensor]) -> None:
        for tensor, output in zip(self.tensors, outputs, strict=True):
            part = tensor[start : start + len(output)]
            part.copy_(output[: len(part)])


@dataclass
class Activations:
    """Prefix outputs of the images, computed once and kept within the budgets."""

    images: Images
    device: torch.device
    config: CacheConfig
    batch: int
    """Images per forward pass when filling a store; the last batch is padded."""
    note: Callable[[str], None]
    """Called with messages for the user, such as a full disk."""
    hits: int = 0
    """Number of images whose prefix outputs were read from the cache so far."""
    _groups: list[np.ndarray] = field(default_factory=list)
    _stores: OrderedDict[_Key, _Store | None] = field(default_factory=OrderedDict)
    """Sorted by last use; None = does not fit."""
    _memory_works: bool = True
    _disk_works: bool = True

    def __post_init__(self) -> None:
        self._group_of = np.full(self.images.count, -1)
        self._slot_of = np.zeros(self.images.count, np.int64)

    def add_group(self, rows: np.ndarray) -> None:
        """Make `rows` a group, such as a split. Each store holds a group; rows already in a group stay there."""
        fresh = rows[self._group_of[rows] < 0]
        if len(fresh):
            self._group_of[fresh] = len(self._groups)
            self._slot_of[fresh] = np.arange(len(fresh))
            self._groups.append(fresh)

    def read(self, boundary: Boundary, rows: np.ndarray, view: int | None) -> tuple[Tensor, ...] | None:
        """Prefix outputs `[B, ...]` of images of one group; None if the caller must run the whole network."""
        group = int(self._group_of[rows].min())
        endless = view is not None and self.images.views is None
        if endless or group < 0 or group != self._group_of[rows].max():
            return None
        store = self._store(boundary, _Key(boundary.name, view, group))
        if store is None:
            return None
        self.hits += len(np.unique(rows))  # the last batch is padded with repeated images
        return store.read(torch.from_numpy(self._slot_of[rows]), self.device)

    def _store(self, boundary: Boundary, key: _Key) -> _Store | None:
        if key not in self._stores:
            self._stores[key] = self._filled(boundary, key)
        self._stores.move_to_end(key)
        return self._stores[key]

    def _filled(self, boundary: Boundary, key: _Key) -> _Store | None:
        """A store with all images of a group; None if it does not fit."""
        rows = self._groups[key.group]
        self.images.expect(rows)
        starts = range(0, len(rows), self.batch)
        outputs = (boundary.prefix(self._padded(rows[start : start + self.batch], key.view)) for start in starts)
        first = next(outputs)
        store = self._allocated(first, len(rows))
        if store is not None:
            for start, part in zip(starts, chain([first], outputs), strict=True):
                store.write(start, part)
        return store

    def _padded(self, rows: np.ndarray, view: int | None) -> Tensor:
        return self.images.batch(np.resize(rows, self.batch), view)

    def _allocated(self, like: Sequence[Tensor], count: int) -> _Store | None:
        """Allocate a store for `count` images in memory, else on disk, evicting old stores; None if it does not fit."""
        nbytes = count * sum(tensor[0].nbytes for tensor in like)
        on_disk = self._tier(nbytes)
        if on_disk is False:
            if (tensors := self._in_memory(like, count)) is not None:
                return _Store(tensors, False, nbytes)
            on_disk = self._tier(nbytes)
        tensors = self._on_disk(like, count) if on_disk else None
        return None if tensors is None else _Store(tensors, True, nbytes)

    def _in_memory(self, like: Sequence[Tensor], count: int) -> list[Tensor] | None:
        """Empty tensors, or None if there is less memory than the budget allows."""
        try:
            return [output.new_empty((count, *output.shape[1:])) for output in like]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._memory_works = False
            self.note(
                "Less memory than `cache_memory` is available for the outputs of frozen blocks: the rest is kept on "
                "disk (`cache_disk`) or recomputed, which takes longer and may change the last digits."
            )
            return None

    def _on_disk(self, like: Sequence[Tensor], count: int) -> list[Tensor] | None:
        """Empty tensors in mapped files, or None if the disk is full."""
        try:
            return [mapped((count, *output.shape[1:]), output.dtype) for output in like]
        except (OSError, RuntimeError) as error:  # RuntimeError: the file cannot be mapped
            self._disk_works = False
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:100]
            self.note(
                f"Not enough disk space to cache the outputs of frozen blocks ({reason}): they are recomputed, which "
                "takes longer and may change the last digits. `cache_disk` limits the cache, THAWLINE_CACHE moves it."
            )
            return None

    def _tier(self, nbytes: int) -> bool | None:
        """Whether `nbytes` more go to disk (True) or memory (False), evicting older stores if neither has room.

        None if the store exceeds both budgets.
        """
        budgets = {
            False: self.config.memory_bytes if self._memory_works else 0,
            True: self.config.disk_bytes if self._disk_works else 0,
        }
        for on_disk, budget in budgets.items():
            if self._used(on_disk) + nbytes <= budget:
                return on_disk
        for on_disk, budget in budgets.items():
            if nbytes <= budget:
                self._drop_oldest(on_disk, budget - nbytes)
                return on_disk
        return None

    def _used(self, on_disk: bool) -> int:
        return sum(store.nbytes for store in self._stores.values() if store and store.on_disk is on_disk)

    def _drop_oldest(self, on_disk: bool, budget: int) -> None:
        """Evict the least recently used stores until the others fit into the budget."""
        for key in [key for key, store in self._stores.items() if store and store.on_disk is on_disk]:
            if self._used(on_disk) <= budget:
                return
            del self._stores[key]


def mapped(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor in a memory-mapped file that is deleted with it, even if the process is killed.

    The space is reserved first, because writing to a mapped file on a full disk would crash the process. Raises
    `OSError` if the disk is full.
    """
    folder = user_cache() / "activations"
    folder.mkdir(parents=True, exist_ok=True)
    size = int(np.prod(shape))
    handle, name = tempfile.mkstemp(dir=folder)
    try:
        _reserve(handle, size * dtype.itemsize)
        return torch.from_file(name, shared=True, size=size, dtype=dtype).view(*shape)
    finally:
        os.close(handle)
        _unlink(Path(name))


def _reserve(handle: int, nbytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, nbytes)
    else:  # Windows
        os.truncate(handle, nbytes)


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except PermissionError:  # Windows does not delete files that are in use
        return
