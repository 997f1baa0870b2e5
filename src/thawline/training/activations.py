"""Outputs of frozen prefixes, computed once and read ever after, within a budget of memory and disk.

Everything here belongs to one network, one data set and one precision, so a store is known by its boundary, its view
and its images. Stores are filled in one fixed order of batches of one size: what is in them does not depend on which
training came first, and so a resumed run reads the same numbers.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thawline.config import CacheConfig
from thawline.data.cache import user_cache
from thawline.model.boundary import Boundary
from thawline.training.images import Images

_WITNESSES = 4
"""Images, the last of a batch, that show whether it rounds as the stores do: what is left over is done otherwise."""
_SMALL = 16
"""Images in a batch below which its size was seen to change rounding."""


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
    """Answers with prefix outputs where keeping them is possible, exact and faster than computing them."""

    images: Images
    device: torch.device
    config: CacheConfig
    batch: int
    """Images per forward pass while a store is filled; the last pass is padded."""
    note: Callable[[str], None]
    """Told what the user should know: a full disk."""
    hits: int = 0
    """Images whose prefix was read instead of computed, so far."""
    _groups: list[np.ndarray] = field(default_factory=list)
    _stores: OrderedDict[_Key, _Store | None] = field(default_factory=OrderedDict)
    """By last use; None where computing is the better way."""
    _sizes: dict[int, dict[int, bool]] = field(default_factory=dict)
    """Images in a batch -> start of a boundary -> whether such a batch gives what is in the stores, bit for bit."""
    _fingerprints: dict[str, Tensor] = field(default_factory=dict)
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
        """Prefix outputs [B, ...] of images of one group; None where the caller had better run the whole network."""
        group = int(self._group_of[rows].min())
        endless = view is not None and self.images.views is None
        if endless or group < 0 or group != self._group_of[rows].max():
            return None
        store = self._store(boundary, _Key(boundary.name, view, group))
        if store is None or not self._fits(boundary, len(rows)):
            return None
        self.hits += len(np.unique(rows))  # a last batch is filled up with images that were there before
        return store.read(torch.from_numpy(self._slot_of[rows]), self.device)

    def _store(self, boundary: Boundary, key: _Key) -> _Store | None:
        if key not in self._stores:
            self._stores[key] = self._filled(boundary, key)
        self._stores.move_to_end(key)
        return self._stores[key]

    def _fits(self, boundary: Boundary, size: int) -> bool:
        """Whether a batch of `size` images gives the stored bits: kernels may round by a batch's size, or by place.

        What holds of a longer prefix holds of a shorter one. Where the self-check has already found that rounding
        depends on the place, nothing can be equal bit for bit and nothing is asked.
        """
        if not boundary.exact:
            return True
        known = self._sizes.setdefault(size, {})
        for start, fits in known.items():
            if (fits and start >= boundary.start) or (not fits and start <= boundary.start):
                return fits
        if boundary.name not in self._fingerprints:
            self._first_outputs(boundary)
        known[boundary.start] = all(self._agrees(boundary, order) for order in _orders(size))
        return known[boundary.start]

    def _agrees(self, boundary: Boundary, order: np.ndarray) -> bool:
        """Whether the images that come first in the store, last in a batch of this order, give the stored bits."""
        batch = self.images.batch(np.resize(self._groups[0], len(order))[order], None)
        _, found = boundary.fingerprints(batch, slice(-min(_WITNESSES, len(order)), None))
        return torch.equal(found, self._fingerprints[boundary.name][:, order[-found.shape[1] :]])

    def _first_outputs(self, boundary: Boundary) -> tuple[Tensor, ...]:
        """Prefix outputs of the first images of all; their fingerprints [layers, batch] are kept."""
        batch = self._padded(self._groups[0][: self.batch], None)
        outputs, self._fingerprints[boundary.name] = boundary.fingerprints(batch, slice(None))
        return outputs

    def _filled(self, boundary: Boundary, key: _Key) -> _Store | None:
        """A store with all images of a group; None where there is no room or reading takes longer than computing."""
        rows = self._groups[key.group]
        if key.group == 0 and key.view is None:
            computing, first = self._timed(lambda: self._first_outputs(boundary))
        else:
            computing, first = self._timed(lambda: boundary.prefix(self._padded(rows[: self.batch], key.view)))
        store = self._allocated(first, len(rows))
        if store is None:
            return None
        store.write(0, first)
        reading, _ = self._timed(lambda: store.read(torch.arange(min(self.batch, len(rows))), self.device))
        # No bit depends on this measurement, unless the network rounds by the place in the batch: then always read.
        if boundary.exact and reading > computing:
            return None
        for start in range(self.batch, len(rows), self.batch):
            store.write(start, boundary.prefix(self._padded(rows[start : start + self.batch], key.view)))
        return store

    def _padded(self, rows: np.ndarray, view: int | None) -> Tensor:
        return self.images.batch(np.resize(rows, self.batch), view)

    def _timed(self, action: Callable[[], tuple[Tensor, ...]]) -> tuple[float, tuple[Tensor, ...]]:
        """Seconds that it took, and what came of it."""
        self._synchronize()
        started = time.perf_counter()
        found = action()
        self._synchronize()
        return time.perf_counter() - started, found

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

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
                f"No room on disk for kept activations ({reason}): frozen blocks are computed anew. "
                "--cache-disk limits them, THAWLINE_CACHE moves them."
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


def _orders(size: int) -> list[np.ndarray]:
    """In which orders a batch is tried. Reversed; small ones, which round most easily, with every image last once."""
    turned = np.arange(size)[::-1].copy()
    if size >= _SMALL:
        return [turned]
    return [np.roll(turned, shift) for shift in range(0, size, _WITNESSES)]


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
