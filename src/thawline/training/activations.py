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
"""Images that show whether a batch rounds as the stores do."""


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
        # In reversed order, so that the images that come first in the store come last here.
        last = self.images.batch(np.resize(self._groups[0], size)[::-1], None)
        _, found = boundary.fingerprints(last, slice(-min(_WITNESSES, size), None))
        if boundary.name not in self._fingerprints:
            self._first_outputs(boundary)
        known[boundary.start] = torch.equal(found.flip(1), self._fingerprints[boundary.name][:, : found.shape[1]])
        return known[boundary.start]

    def _first_outputs(self, boundary: Boundary) -> tuple[Tensor, ...]:
        """Prefix outputs of the first images of all; their fingerprints [layers, `_WITNESSES`] are kept."""
        batch = self._padded(self._groups[0][: self.batch], None)
        outputs, self._fingerprints[boundary.name] = boundary.fingerprints(batch, slice(_WITNESSES))
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
        shapes = [(count, *tensor.shape[1:]) for tensor in like]
        if self._make_room(nbytes, self.config.memory_bytes, on_disk=False):
            tensors = [
                torch.empty(shape, dtype=one.dtype, device=self.device) for shape, one in zip(shapes, like, strict=True)
            ]
            return _Store(tensors, False, nbytes)
        if self._make_room(nbytes, self.config.disk_bytes, on_disk=True):
            try:
                tensors = [mapped(shape, one.dtype) for shape, one in zip(shapes, like, strict=True)]
            except OSError as error:
                self.note(
                    f"No room on disk for kept activations ({error.strerror}): frozen blocks are computed anew. "
                    "--cache-disk limits them, THAWLINE_CACHE moves them."
                )
                return None
            return _Store(tensors, True, nbytes)
        return None

    def _make_room(self, nbytes: int, budget: int, *, on_disk: bool) -> bool:
        """Drop the stores that have not been used for longest until `nbytes` fit into the budget."""
        if nbytes > budget:
            return False
        kept = {key: store for key, store in self._stores.items() if store is not None and store.on_disk is on_disk}
        used = sum(store.nbytes for store in kept.values())
        for key, store in kept.items():
            if used + nbytes <= budget:
                break
            del self._stores[key]
            used -= store.nbytes
        return True


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
