"""A run of several processes that torchrun started: one leads, and the others help with its final trainings.

The leader, process 0, does everything that a run does, alone. For a final training it hands the others a task, plain
data, over the store that torchrun provides. They make the same experiment of the same request for themselves, and take
part only if their key of the training is the leader's: then they have the same images, weights and settings.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # torch's documentation names them so
from torch.distributed.rendezvous import rendezvous

from thawline.callback import Callback
from thawline.config import Request
from thawline.errors import NonFiniteLossError, RunError, ThawlineError
from thawline.formatting import counted
from thawline.memory import is_out_of_memory
from thawline.model.apply import trains_statistics
from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord, environment
from thawline.runs.experiment import Experiment
from thawline.runs.folder import RunFolder
from thawline.training.processes import Group, together, why_alone
from thawline.training.trainer import TrainedModel

TOGETHER = timedelta(minutes=10)
"""Longest wait for another process within a training; it takes its steps at the same time as this one."""
PREPARING = timedelta(hours=2)
"""Longest wait for the others to read and decode the images."""
_CONNECTING = timedelta(minutes=10)
_LOOK = 0.1
"""Seconds between two looks at the store."""
_OVER, _LOST = "over", "lost"

Result = TypeVar("Result")


@dataclass
class Processes:
    """The processes of this run, seen from one of them."""

    rank: int
    """Number of this process, from 0; 0 leads."""
    count: int
    store: Store
    together: timedelta = TOGETHER
    preparing: timedelta = PREPARING
    _tasks: int = 0
    """Number of tasks so far, the ends of runs among them."""

    @contextmanager
    def leading(self, run: Path) -> Iterator[None]:
        """Within the context, the others wait for tasks; afterwards they know how the run in the folder ended."""
        how = _LOST
        try:
            yield
            how = _OVER
        finally:
            with suppress(RuntimeError):  # of a store that is gone, with whoever waited at it
                self._hand_out({"end": how, "run": str(run)})

    def shared(
        self, experiment: Experiment, record: TrainingRecord, train: Callable[..., TrainedModel]
    ) -> TrainedModel:
        """Train as `record` says together with the others; alone, which is said, where the training cannot be spread.

        Raises `RunError` if one of them cannot take part, is lost, or ends with other weights.
        """
        plan, trainer = FineTunePlan.from_dict(record.plan), experiment.trainer
        blocks = experiment.blocks(plan.granularity)
        batch = min(experiment.request.train.batch_size, len(experiment.data.train))
        if why := why_alone(plan, trainer.network, blocks, trainer.device, batch, self.count):
            experiment.callback.note(f"Process 0 trains {record.strategy} alone: {why}.")
            return train()
        self._hand_out(
            {"request": experiment.request.to_dict(), "record": record.to_dict(), "micro_batch": trainer.micro_batch}
        )
        self._hear("ready", self.preparing)
        self._say("go")
        moving = plan.norm == "train" and trains_statistics(trainer.network, blocks, plan)
        norms = "synchronized statistics of the whole batch (SyncBatchNorm)" if moving else "kept statistics"
        experiment.callback.note(
            f"{self.count} processes train {record.strategy} together, each with its part of every batch; batch norm "
            f"has {norms}. Rounding differs from that of one process."
        )
        with self._group(trainer.device) as group:
            trained = train(group=group)
            self._agree(trained)
        return trained

    def _agree(self, trained: TrainedModel) -> None:
        """Raise `RunError` if the processes ended a training with different weights."""
        mine = _digest(trained.state)
        self._say("weights", mine)
        if others := {theirs for theirs in self._hear("weights", self.together).values() if theirs != mine}:
            raise RunError(
                f"{counted(self.count, 'process', 'processes')} ended one training with {len(others) + 1} different "
                "weights; this is a bug in thawline or a fault of a machine."
            )

    def follow(self, open_experiment: Callable[[RunFolder, Callback], Any]) -> Path:
        """Help until the run of the leader is over; returns its folder. Raises `RunError` if it did not get to an end.

        `open_experiment` makes an experiment in a folder with a request.
        """
        with _Opened(open_experiment) as opened:
            while True:
                self._tasks += 1
                task = json.loads(self._awaited("task", None))
                if "end" in task:
                    if task["end"] == _LOST:
                        raise RunError("process 0 could not finish the run; it says why.")
                    return Path(task["run"])
                self._help(opened, task)

    def _help(self, opened: _Opened, task: Mapping[str, Any]) -> None:
        record = TrainingRecord.from_dict(task["record"])
        plan = FineTunePlan.from_dict(record.plan)
        try:
            experiment = opened.experiment(Request.from_dict(task["request"]))
            if experiment.key(plan, record.seed) != record.key:
                raise RunError("it has other images, weights or settings than process 0")
        except (ThawlineError, OSError) as error:
            self._say("ready", str(error))
            raise
        self._say("ready", "")
        self._awaited("go", self.preparing)
        trainer = experiment.trainer
        trainer.use_micro_batch(task["micro_batch"])
        with suppress(NonFiniteLossError), self._group(trainer.device) as group:
            self._agree(trainer.train(plan, experiment.blocks(plan.granularity), seed=record.seed, group=group))

    @contextmanager
    def _group(self, device: torch.device) -> Iterator[Group]:
        """The group of a task. What stops one process is one line in all of them."""
        store = PrefixStore(f"{self._tasks}", self.store)
        try:
            with together(store, self.rank, self.count, device, self.together) as group:
                yield group
        except ThawlineError as error:
            if not isinstance(error, NonFiniteLossError):  # which all processes find
                self._say("stopped", f"process {self.rank} of {self.count} stopped: {str(error).rstrip('.')}")
            raise
        except RuntimeError as error:
            stopped = self._out_of_memory() if is_out_of_memory(error) else self._why_stopped()
            raise RunError(f"{stopped}; `thawline resume` continues the run, with any number of processes.") from error

    def _out_of_memory(self) -> str:
        stopped = (
            f"process {self.rank} of {self.count} ran out of memory; use more processes, or a new run with a smaller "
            "`batch_size`"
        )
        with suppress(RuntimeError):
            self._say("stopped", stopped)
        return stopped

    def _why_stopped(self) -> str:
        """What another process said before it left the group; if nothing, it was lost."""
        with suppress(RuntimeError):
            for rank in range(self.count):
                if self.store.check([key := self._key("stopped", rank)]):
                    return self.store.get(key).decode()
        return f"one of the {self.count} processes was lost, or did not answer for {_minutes(self.together)}"

    def _hand_out(self, task: Mapping[str, Any]) -> None:
        self._tasks += 1
        self._say("task", json.dumps(task))

    def _key(self, what: str, rank: int) -> str:
        return f"thawline/{self._tasks}/{what}/{rank}"

    def _say(self, what: str, text: str = "") -> None:
        self.store.set(self._key(what, self.rank), text)

    def _hear(self, what: str, limit: timedelta) -> dict[int, str]:
        """What every other process says; of "ready", reasons not to be are raised as `RunError`."""
        found = {}
        for rank in range(self.count):
            if rank != self.rank:
                found[rank] = self._awaited(what, limit, rank)
                if what == "ready" and found[rank]:
                    raise RunError(f"process {rank} of {self.count} cannot take part: {found[rank].rstrip('.')}.")
        return found

    def _awaited(self, what: str, limit: timedelta | None, rank: int = 0) -> str:
        """What a process says, as soon as it says it; `RunError` after `limit`, or if the store is gone."""
        key, begun = self._key(what, rank), time.monotonic()
        try:
            while not self.store.check([key]):
                if self.store.check([stopped := self._key("stopped", rank)]):
                    raise RunError(f"{self.store.get(stopped).decode()}.")
                if limit is not None and time.monotonic() - begun > limit.total_seconds():
                    raise RunError(
                        f"process {rank} of {self.count} did not answer for {_minutes(limit)}; is it still running?"
                    )
                time.sleep(_LOOK)
            return self.store.get(key).decode()
        except RunError:
            raise
        except RuntimeError as error:
            raise RunError("the connection to the other processes is lost; process 0 may have ended.") from error


@dataclass
class _Opened:
    """The experiment of a helping process, in a folder that is removed afterwards."""

    open_experiment: Callable[[RunFolder, Callback], Any]
    _folder: TemporaryDirectory[str] = field(default_factory=lambda: TemporaryDirectory(prefix="thawline-"))
    _request: Request | None = None
    _experiment: Experiment | None = None

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def experiment(self, request: Request) -> Experiment:
        """The experiment that `request` describes, made once."""
        if self._experiment is None or request != self._request:
            name = str(sum(1 for _ in Path(self._folder.name).iterdir()))
            settings = environment(device=request.train.device, threads=request.train.threads)
            with RunFolder.create(Path(self._folder.name, name), request, settings) as folder:
                self._experiment = cast(Experiment, self.open_experiment(folder, Callback()).experiment)
            self._request = request
        return self._experiment


@cache
def joined() -> Processes | None:
    """The processes that torchrun started this one with; None if it is alone."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if not all(os.environ.get(name) for name in names) or int(os.environ["WORLD_SIZE"]) < 2:
        return None
    store, rank, count = next(rendezvous("env://", timeout=_CONNECTING))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    return Processes(rank, count, PrefixStore("thawline", store))


def _minutes(limit: timedelta) -> str:
    return f"{limit.total_seconds() / 60:g} minutes"


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
