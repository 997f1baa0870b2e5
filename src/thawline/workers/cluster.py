"""Workers on a cluster of Ray, which may be this machine alone."""

from __future__ import annotations

import math
import os
import socket
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from thawline.errors import MissingExtraError, OptionError
from thawline.telemetry import keep_ray_quiet
from thawline.workers.pool import Pool, Seat

LOCAL = "local"
_PATIENCE = 10.0
"""Seconds in which a cluster must answer."""
_POLL = 2.0
"""Seconds between two looks at the nodes of the cluster."""


class Cluster(Pool):
    """Workers that Ray places where there is room: so many, or as many as the nodes have room for.

    Each holds its processors, and its GPUs, for as long as it lives. Nodes may go and come: workers that were on them
    are dropped, and new ones are placed where there is room. Ray itself repeats nothing.
    """

    def __init__(self, address: str, count: int | None, cpus: int, gpus: float = 0.0) -> None:
        """`address`: local, auto, or that of a cluster; `count` = None: as many as there is room for.

        Raises `MissingExtraError` without Ray, and `OptionError` for a cluster that cannot be reached.
        """
        super().__init__()
        self._ray = _ray()
        errors = self._ray.exceptions
        self.losses = (
            *super().losses,
            *(errors.RayActorError, errors.NodeDiedError, errors.WorkerCrashedError, errors.OutOfMemoryError),
            *(errors.ObjectLostError, errors.RaySystemError),
        )
        self._count, self._needs = count, {"CPU": float(cpus), "GPU": gpus}
        self._placing: list[Any] = []
        """Actors that wait for room."""
        self._own = not self._ray.is_initialized()
        if self._own:
            self._begin(address, count, cpus)
        self._actor = self._ray.remote(_Worker).options(
            num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0
        )
        self._over = threading.Event()
        self._fill()
        self._watch = threading.Thread(target=self._watched, name="thawline-cluster", daemon=True)
        self._watch.start()

    def share(self, value: Any) -> SharedObject:
        """Put something into the cluster's store of objects."""
        return SharedObject(self._ray.put(value))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all workers, and the cluster if it was made for them."""
        self._over.set()
        super().shutdown(wait, cancel_futures=cancel_futures)
        with self._lock:
            waiting, self._placing = self._placing, []
        for actor in waiting:
            self._kill(actor)
        self._watch.join()
        if self._own:
            self._ray.shutdown()

    def _begin(self, address: str, count: int | None, cpus: int) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        if address == LOCAL:
            # Workers that were asked for by number are there, however few processors are.
            room = {} if count is None else {"num_cpus": max(count * cpus, 1)}
            self._ray.init(address=LOCAL, include_dashboard=False, **room, **quiet)
            return
        try:
            if address != "auto":
                _knock(address)
            self._ray.init(address=address, **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            said = " ".join((getattr(error, "strerror", None) or str(error)).split())[:200].rstrip(".")
            raise OptionError(
                f"`ray` {address}: no cluster can be reached ({said}); start one on the machine that it names, or take "
                "`ray='local'`."
            ) from error

    def _watched(self) -> None:
        """Follow the nodes that come and go."""
        while not self._over.wait(_POLL):
            with suppress(*self.losses, ConnectionError):
                self._drop_gone({node["NodeID"] for node in self._ray.nodes() if node["Alive"]})
                self._fill()

    def _drop_gone(self, alive: Collection[str]) -> None:
        for seat in self.remove(lambda seat: isinstance(seat, _Actor) and seat.node not in alive):
            seat.close()

    def _fill(self) -> None:
        """Ask for workers up to the number wanted; those without room wait until there is some."""
        wanted = self._wanted()
        with self._lock:
            if self._closed:
                return
            missing = wanted - self.size - len(self._placing)
            actors = [self._actor.remote() for _ in range(missing)]
            self._placing += actors
        for actor in actors:
            placed: Future[Any] = actor.place.remote().future()
            placed.add_done_callback(partial(self.later, self._placed, actor))

    def _wanted(self) -> int:
        if self._count is not None:
            return self._count
        total: dict[str, float] = self._ray.cluster_resources()
        room = min(math.floor(total.get(kind, 0.0) / each) for kind, each in self._needs.items() if each)
        return max(room, 1)

    def _placed(self, actor: Any, done: Future[Any]) -> None:
        with self._lock:
            if actor not in self._placing:
                return
            self._placing.remove(actor)
        if done.exception() is None:
            node, place = done.result()
            self.add(_Actor(actor, node, place, self._kill, self._ray.exceptions.RayTaskError))

    def _replace(self, seat: Seat) -> None:
        seat.close()
        with suppress(*self.losses, ConnectionError):
            self._fill()

    def _kill(self, actor: Any) -> None:
        with suppress(Exception):  # it is gone, or Ray is
            self._ray.kill(actor, no_restart=True)


@dataclass(frozen=True)
class SharedObject:
    """Something in the cluster's store."""

    reference: Any

    def get(self) -> Any:
        """The thing itself; arrays lie in memory that the workers of a node share."""
        return _ray().get(self.reference)


class _Worker:
    """What Ray runs: any function, one call at a time, in a process that stays."""

    def place(self) -> tuple[str, str]:
        """The node, and the machine and the process."""
        node: str = _ray().get_runtime_context().get_node_id()
        return node, f"{socket.gethostname()}:{os.getpid()}"

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Do a task."""
        return function(*args)


class _Actor:
    """A worker that is placed."""

    def __init__(
        self, actor: Any, node: str, place: str, kill: Callable[[Any], None], task_error: type[BaseException]
    ) -> None:
        self.node = node
        self.place = f"{place} on node {node[:8]}"
        self._actor, self._kill, self._task_error = actor, kill, task_error

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Begin a task; its own exception is raised as itself, and not as Ray's."""
        outcome: Future[Any] = Future()

        def passed_on(done: Future[Any]) -> None:
            error = done.exception()
            if error is None:
                outcome.set_result(done.result())
            else:
                cause = getattr(error, "cause", None) if isinstance(error, self._task_error) else None
                outcome.set_exception(cause if isinstance(cause, BaseException) else error)

        self._actor.run.remote(function, *args).future().add_done_callback(passed_on)
        return outcome

    def close(self) -> None:
        """End its process."""
        self._kill(self._actor)


def _knock(address: str) -> None:
    """Raise `OSError` if nothing listens there: Ray itself waits for minutes, and then ends the process."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE):
        pass


def _ray() -> Any:
    """Ray, without its telemetry."""
    keep_ray_quiet()
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise MissingExtraError("`ray` needs Ray; install it with `pip install 'thawline[ray]'`.") from None
    return ray
