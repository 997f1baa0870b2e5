"""Jobs done elsewhere: what a worker needs to know once, and the function that any executor can be given.

Only plain data goes there and comes back, so that threads, processes and machines of a cluster are alike. A worker
keeps the network, the pixels and its cache of frozen blocks for as long as it gets jobs of the same run.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from thawline.config import Preprocessing, Request
from thawline.data.augment import augmenter
from thawline.errors import InputError, ModelError
from thawline.model.kept_head import KeptHead
from thawline.model.load import LoadedModel, load_model
from thawline.reading import digest_of
from thawline.records import fingerprint
from thawline.runs.problem import Problem
from thawline.runs.worker import Job, Outcome, Worker
from thawline.training.device import apply
from thawline.training.images import LabelledRows, TrainingData
from thawline.workers.machine import Machine, place

MOST_BYTES = 4 << 30
"""Images and weights that are sent to workers that cannot read them, at most."""


class Shared(Protocol):
    """Something that any worker can get, wherever it is."""

    def get(self) -> Any:
        """The thing itself."""
        ...


class NotThereError(InputError):
    """A worker cannot read the images or the weights of the run."""


@dataclass(frozen=True)
class PixelFile:
    """The decoded images of a run."""

    path: Path
    shape: tuple[int, ...]
    """[N, S, S, 3]."""
    sha256: str
    shared: Shared | None = None
    """The array itself, where the file cannot be read at its path."""

    def opened(self) -> np.ndarray:
        """Read-only images [N, S, S, 3] uint8. Raises `NotThereError` unless the file there is that of the run."""
        if self.shared is not None:
            array: np.ndarray = self.shared.get()
            return array
        try:
            if digest_of(self.path) == self.sha256:
                found: np.ndarray = np.load(self.path, mmap_mode="r", allow_pickle=False)
                return found
            reason = "it is another file"
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        raise NotThereError(
            f"the worker {place()} cannot read the decoded images at {self.path} ({reason}); put THAWLINE_CACHE on a "
            "disk that all workers share."
        )


@dataclass(frozen=True)
class Setting:
    """All that a worker needs to know of a run, as plain data."""

    request: Request
    """With device, precision and threads resolved."""
    classes: int
    preprocessing: Preprocessing
    weights_fingerprint: str
    kept_head: KeptHead | None
    pixels: PixelFile
    train: LabelledRows
    val: LabelledRows
    machine: Machine
    """The process that asks; others must be like it."""
    mixed_machines: bool = False
    """Whether they need not be."""
    model: Shared | None = None
    """The pickled network, where its weights cannot be read at their place."""

    @cached_property
    def fingerprint(self) -> str:
        """Equal settings have equal ones."""
        head = self.kept_head.fingerprint if self.kept_head else ""
        rows = [(part.rows.tolist(), part.labels.tolist()) for part in (self.train, self.val)]
        network = (self.weights_fingerprint, asdict(self.preprocessing), head)
        return fingerprint(self.request.to_dict(), *network, self.pixels.sha256, rows)

    def problem(self) -> Problem:
        """The network and the images, read in this process; raises `InputError` if they are not those of the run."""
        if not self.mixed_machines:
            Machine.here(self.request.train.device).require_like(self.machine)
        apply(self.request.train)
        pixels = self.pixels.opened()
        views = augmenter(self.request.images, len(pixels), self.preprocessing)
        return Problem(self.request, self._loaded(), TrainingData(pixels, self.train, self.val, views))

    def _loaded(self) -> LoadedModel:
        request = self.request
        if self.model is not None:
            model: LoadedModel = pickle.loads(self.model.get())
        else:
            size = request.images.image_size
            try:
                model = load_model(request.model, self.classes, weights=request.weights, image_size=size)
            except ModelError as error:
                raise NotThereError(f"the worker {place()} cannot read the model: {error}") from error
        if model.weights_fingerprint != self.weights_fingerprint:
            raise NotThereError(
                f"the worker {place()} finds other weights of {request.model} than this run began with; make the same "
                "ones readable there."
            )
        model.preprocessing, model.kept_head = self.preprocessing, self.kept_head
        return model


@dataclass(frozen=True)
class Returned:
    """What a worker sends back."""

    outcome: Outcome
    notes: Sequence[str]
    """Messages for the user."""
    micro_batch: int | None
    """Images that fit into memory at a time, if the batch did not."""
    place: str
    """Which machine and process it was."""
    began: float
    """Seconds since the epoch, by that machine's clock."""
    ended: float
    unlike: str
    """In what it is unlike the machine that asked; empty = in nothing."""


class _Resident(threading.local):
    """What a thread keeps between jobs; the main thread of a process of its own, too."""

    key: tuple[str, int | None] | None = None
    worker: Worker | None = None
    notes: list[str]
    smaller: list[int]


_RESIDENT = _Resident()
_BUILDING = threading.Lock()
"""Networks are built one at a time: the libraries that do it have state of their own."""


def prepare(setting: Setting, micro_batch: int | None = None) -> str:
    """Read what jobs of this run need, unless it is there; returns the `place`. Raises `InputError` as `problem`."""
    key = (setting.fingerprint, micro_batch)
    if _RESIDENT.key != key or _RESIDENT.worker is None:
        _RESIDENT.key = _RESIDENT.worker = None  # before the next, so that two networks are never in memory
        _RESIDENT.notes, _RESIDENT.smaller = [], []
        with _BUILDING:
            _RESIDENT.worker = Worker(
                setting.problem(),
                micro_batch=micro_batch,
                note=_RESIDENT.notes.append,
                on_smaller_batch=_RESIDENT.smaller.append,
            )
        _RESIDENT.key = key
    return place()


def perform(setting: Setting, packed: bytes) -> bytes:
    """Do a job that `pack` packed; returns what `unpack` reads."""
    began = time.time()
    job, micro_batch = pickle.loads(packed)
    prepare(setting, micro_batch)
    worker = _RESIDENT.worker
    assert worker is not None, "it was just prepared"
    outcome = worker.perform(job)
    notes, smaller = [*_RESIDENT.notes], [*_RESIDENT.smaller]
    _RESIDENT.notes.clear()
    _RESIDENT.smaller.clear()
    found = smaller[-1] if smaller else None
    if found is not None:
        assert _RESIDENT.key is not None, "it was just prepared"
        _RESIDENT.key = (_RESIDENT.key[0], found)
    unlike = "; ".join(Machine.here(setting.request.train.device).differences(setting.machine))
    return pickle.dumps(Returned(outcome, notes, found, place(), began, time.time(), unlike))


def pack(job: Job, micro_batch: int | None) -> bytes:
    """A job as bytes: tensors would else travel in files that a worker which ends takes with it."""
    return pickle.dumps((job, micro_batch))


def unpack(returned: bytes) -> Returned:
    """What came back; only from workers that this process asked."""
    found = pickle.loads(returned)
    assert isinstance(found, Returned)
    return found


def with_everything(
    setting: Setting, model: LoadedModel, pixels: np.ndarray, share: Callable[[Any], Any], refusal: NotThereError
) -> Setting:
    """A setting that brings the network and the images with it; raises the `refusal` if they are too large for that.

    So it does for a network of the user's own code, which is sent nowhere.
    """
    weights = 2 * sum(tensor.nbytes for tensor in model.pristine().values())
    if pixels.nbytes + weights > MOST_BYTES or not model.is_timm:
        raise refusal
    sent = share(pickle.dumps(model))
    return replace(setting, pixels=replace(setting.pixels, shared=share(np.asarray(pixels))), model=sent)
