"""Outputs of frozen prefixes, computed once and read ever after, within a budget of memory and disk.

Everything here belongs to one network, one data set and one precision, so a store is identified by its boundary, its
view and its images. A store is always filled in the same padded batches of the same rows, and whether there is one
depends only on its size and the budgets. What a training reads therefore depends on the settings of the run alone: not
on which training came first, on what had to be dropped in between, or on timing. A resumed run reads the same bits.

A training that reads its prefix and one that computes it differ by rounding, because a kernel may round an image's
output differently at another place in the batch. Making them equal would mean running the prefix on fixed batches
even where nothing is kept: image by image, 1.0 to 3.2 times the time of its forward pass (`benchmarks/README.md`).
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
from thawline.model.boundary import Boundary
from thawline.training.images import Images


class _Key(NamedTuple):
    boundary: str
    view: int | None
    group: int


@dataclass
class _Store:
    """Prefix outputs of one group of images: one tensor [n, ...] per output that is kept."""

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
    """Prefix outputs of the images, computed once and kept where the budgets have room."""

    images: Images
    device: torch.device
    config: CacheConfig
    batch: int
    """Images per forward pass while a store is filled; the last pass is padded."""
    note: Callable[[str], None]
    """Called with what the user should know: a full disk."""
    hits: int = 0
    """Images whose prefix was read instead of computed, so far."""
    _groups: list[np.ndarray] = field(default_factory=list)
    _stores: OrderedDict[_Key, _Store | None] = field(default_factory=OrderedDict)
    """By last use; None where there is no room."""
    _disk_works: bool = True

    def __post_init__(self) -> None:
        self._group_of = np.full(self.images.count, -1)
        self._slot_of = np.zeros(self.images.count, np.int64)

    def add_group(self, rows: np.ndarray) -> None:
        """Make `rows` a group, a split for instance; a store holds a group. Rows that are in one stay there."""
        fresh = rows[self._group_of[rows] < 0]
        if len(fresh):
            self._group_of[fresh] = len(self._groups)
            self._slot_of[fresh] = np.arange(len(fresh))
            self._groups.append(fresh)

    def read(self, boundary: Boundary, rows: np.ndarray, view: int | None) -> tuple[Tensor, ...] | None:
        """Prefix outputs `[B, ...]` of images of one group; None where the caller has to run the whole network."""
        group = int(self._group_of[rows].min())
        endless = view is not None and self.images.views is None
        if endless or group < 0 or group != self._group_of[rows].max():
            return None
        store = self._store(boundary, _Key(boundary.name, view, group))
        if store is None:
            return None
        self.hits += len(np.unique(rows))  # a last batch is filled up with images that were there before
        return store.read(torch.from_numpy(self._slot_of[rows]), self.device)

    def _store(self, boundary: Boundary, key: _Key) -> _Store | None:
        if key not in self._stores:
            self._stores[key] = self._filled(boundary, key)
        self._stores.move_to_end(key)
        return self._stores[key]

    def _filled(self, boundary: Boundary, key: _Key) -> _Store | None:
        """A store with all images of a group; None where there is no room."""
        rows = self._groups[key.group]
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
        """Room for `count` images in memory, else on disk, else nowhere; older stores make way."""
        nbytes = count * sum(tensor[0].nbytes for tensor in like)
        on_disk = self._tier(nbytes)
        if on_disk is None:
            return None
        if not on_disk:
            return _Store([one.new_empty((count, *one.shape[1:])) for one in like], False, nbytes)
        try:
            return _Store([mapped((count, *one.shape[1:]), one.dtype) for one in like], True, nbytes)
        except (OSError, RuntimeError) as error:  # the latter where a file cannot be mapped
            self._disk_works = False
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:100]
            self.note(
                f"No room on disk to keep the outputs of frozen blocks ({reason}): they are recomputed, which takes "
                "longer and may change the last digits. `cache_disk` limits them, THAWLINE_CACHE moves them."
            )
            return None

    def _tier(self, nbytes: int) -> bool | None:
        """Where `nbytes` more can go: memory (False) or disk (True), where there is room, else where room can be made.

        None if nowhere.
        """
        budgets = {False: self.config.memory_bytes, True: self.config.disk_bytes if self._disk_works else 0}
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
        """Drop the stores that have not been used for longest until the others fit into the budget."""
        for key in [key for key, store in self._stores.items() if store and store.on_disk is on_disk]:
            if self._used(on_disk) <= budget:
                return
            del self._stores[key]


def mapped(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor in a file of its own that vanishes with it, even in a kill; `OSError` if the disk is full.

    The room is reserved first: writing to a mapped file that cannot grow would end the process.
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
    except PermissionError:  # Windows keeps the name of a file that is in use
        return
