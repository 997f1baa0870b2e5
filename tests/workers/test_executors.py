"""Whoever trains, the answer is that of one process; what is finished is kept, whatever happens to the rest."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.small_runs import Stop, small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import Request, WorkerOptions
from thawline.errors import OptionError
from thawline.records import TrainingRecord, read_json
from thawline.results import ScoredRow
from thawline.runs.files import CHECKPOINTS, LEDGER
from thawline.runs.ledger import Ledger
from thawline.runs.remote import NotThereError
from thawline.runs.workforce import MODULE, Workers, opened_workers
from thawline.workers.machine import Machine, UnlikeMachineError
from thawline.workers.processes import Processes

ROWS = ("last_blocks:k=1", "full")


def request_for(images: Path) -> Request:
    return small_request(images, ROWS, learning_rate=1e-3, norm="moving", seeds=2)


def determined(record: TrainingRecord) -> TrainingRecord:
    """Without what depends on the machine and its load."""
    return replace(record, seconds=0.0, cache_hits=0, peak_memory_bytes=0)


def kept(run: Path) -> list[TrainingRecord]:
    return [determined(record) for record in Ledger(run / LEDGER).records]


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.thorough
def test_threads_find_what_one_process_finds(images: Path, tmp_path: Path, threads: Executor) -> None:
    alone = api.run(request_for(images), tmp_path / "alone")
    found = api.run(request_for(images), tmp_path / "run", None, Workers(threads))
    assert found.digest == alone.digest
    assert kept(tmp_path / "run") == kept(tmp_path / "alone"), "in the same order, in the same names"
    assert scores(tmp_path / "run") == scores(tmp_path / "alone")


def scores(run: Path) -> list[Any]:
    rows = read_json(run / "comparison.json")["rows"]
    return [(row["strategy"], row["plan"], row["val"], row["test"]) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "verb"),
    [
        (("auto:budget=4x", "full", "linear_probe", "subtune:most=1,gain=0"), "compare"),
        (("biotune:population=4,elites=1,generations=2,seeds=2,folds=2,top=2", "full"), "compare"),
        (("auto:budget=6x,answer=ensemble",), "fit"),
        (("auto:budget=6candidates,answer=distilled",), "fit"),
    ],
)
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_every_study_is_the_same(
    images: Path, tmp_path: Path, rows: tuple[str, ...], verb: str, kind: str, request: pytest.FixtureRequest
) -> None:
    wanted = small_request(images, rows, verb, seeds=2)
    alone = api.run(wanted, tmp_path / "alone")
    found = api.run(wanted, tmp_path / "run", None, Workers(request.getfixturevalue(kind)))
    assert found.digest == alone.digest
    assert kept(tmp_path / "run") == kept(tmp_path / "alone")


def test_an_executor_is_a_keyword_of_fit(images: Path, tmp_path: Path, threads: Executor) -> None:
    options: dict[str, Any] = {"model": "test_efficientnet", "weights": "random", "image_size": 32, "epochs": 1}
    run = api.fit(
        images, tmp_path / "run", strategy="linear_probe", executor=threads, callback=None, explain=False, **options
    )
    assert isinstance(run.baselines, dict)
    assert Ledger(tmp_path / "run" / LEDGER).trained_ahead(Ledger(tmp_path / "run" / LEDGER).records[0].key)


class Failing(ThreadPoolExecutor):
    """The task of this number raises; the others run at once, one after the other."""

    def __init__(self, number: int) -> None:
        super().__init__(1)
        self.left, self.finished = number, 0

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.left -= 1
        if self.left == -1:
            failed: Future[Any] = Future()
            failed.set_exception(ZeroDivisionError("of the task's own"))
            return failed
        done: Future[Any] = Future()
        done.set_result(function(*args, **kwargs))
        self.finished += 1
        return done


@pytest.mark.thorough
def test_a_task_raises_its_own_error_and_what_is_finished_is_kept(images: Path, tmp_path: Path) -> None:
    request = request_for(images)
    failing = Failing(2)
    with pytest.raises(ZeroDivisionError, match="of the task's own"):
        api.run(request, tmp_path / "run", None, Workers(failing))
    ledger = Ledger(tmp_path / "run" / LEDGER)
    alone = api.run(request, tmp_path / "alone")
    done = [record for record in Ledger(tmp_path / "alone" / LEDGER).records if ledger.trained_ahead(record.key)]
    assert len(done) == failing.finished - 1 > 0, "all but the look at the images"
    resumed = api.resume(tmp_path / "run", None)
    assert resumed.digest == alone.digest


@pytest.mark.thorough
def test_a_run_that_others_began_is_resumed_alone(images: Path, tmp_path: Path, threads: Executor) -> None:
    request = request_for(images)
    with pytest.raises(KeyboardInterrupt):
        api.run(request, tmp_path / "run", Stop(1), Workers(threads))
    ledger = Ledger(tmp_path / "run" / LEDGER)
    ahead = [record for record in map(ledger.trained_ahead, ledger._ahead) if record]
    assert len(ahead) == 4 > len(ledger.records), "both rows were trained before the first was asked for"
    stopped = {record.key: record.seconds for record in ahead}
    resumed = api.resume(tmp_path / "run", None)
    found = {record.key: record.seconds for record in Ledger(tmp_path / "run" / LEDGER).records}
    assert found == stopped, "nothing was trained again"
    assert isinstance(resumed.rows[0], ScoredRow)


@pytest.mark.thorough
def test_weights_that_were_trained_ahead_and_lost_are_trained_again(
    images: Path, tmp_path: Path, threads: Executor
) -> None:
    request = request_for(images)
    with pytest.raises(KeyboardInterrupt):
        api.run(request, tmp_path / "run", Stop(1), Workers(threads))
    lost = [*(tmp_path / "run" / CHECKPOINTS).glob("*.safetensors")]
    assert lost
    for path in lost:
        path.unlink()
    resumed = api.resume(tmp_path / "run", None)
    assert resumed.digest == api.run(request, tmp_path / "alone").digest


class Told(Callback):
    """Kills a worker's process when the first training is over."""

    def __init__(self, pool: Processes) -> None:
        self.pool, self.killed, self.notes = pool, list[str](), list[str]()

    def trained_ahead(self, record: TrainingRecord, running: int) -> None:
        busy = [seat for seat, _ in self.pool._busy.values()]
        if not self.killed and busy:
            self.killed.append(busy[0].place)
            os.kill(int(busy[0].place.rpartition(":")[2]), signal.SIGKILL)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.slow
def test_a_killed_process_loses_its_task_alone(images: Path, tmp_path: Path) -> None:
    request = request_for(images)
    alone = api.run(request, tmp_path / "alone")
    with Processes(2, MODULE) as pool:
        told = Told(pool)
        found = api.run(request, tmp_path / "run", told, Workers(pool))
        assert pool.size == 2, "another process took its place"
    assert found.digest == alone.digest
    (loss,) = Ledger(tmp_path / "run" / LEDGER).losses
    assert [loss["place"]] == told.killed
    assert loss["attempt"] == 1
    assert loss["training"] in {record.key for record in Ledger(tmp_path / "run" / LEDGER).records}
    assert any(f"Lost the worker {told.killed[0]} " in note for note in told.notes)
    assert not multiprocessing.active_children()


def test_workers_read_the_images_of_the_run_or_nothing_is_trained(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Executor
) -> None:
    monkeypatch.setattr("thawline.runs.remote.digest_of", lambda path: "another")
    with pytest.raises(NotThereError, match=r"cannot read the decoded images at .* \(it is another file\)") as refused:
        api.run(request_for(images), tmp_path / "run", None, Workers(threads))
    assert refused.value.exit_code == 2
    assert not (tmp_path / "run").exists()


@dataclass(frozen=True)
class Copied:
    value: Any

    def get(self) -> Any:
        return self.value


def test_images_and_weights_are_sent_where_they_cannot_be_read(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Executor
) -> None:
    shared: list[object] = []

    def share(value: object) -> Copied:
        shared.append(value)
        return Copied(value)

    alone = api.run(one_epoch(images), tmp_path / "alone")
    monkeypatch.setattr("thawline.runs.remote.digest_of", lambda path: "another")
    found = api.run(one_epoch(images), tmp_path / "run", None, Workers(threads, share=share))
    assert found.digest == alone.digest
    assert len(shared) == 2
    monkeypatch.setattr("thawline.runs.remote.MOST_BYTES", 1000)
    with ThreadPoolExecutor(1) as others, pytest.raises(NotThereError, match="another file"):
        api.run(one_epoch(images), tmp_path / "large", None, Workers(others, share=share))


def one_epoch(images: Path) -> Request:
    request = small_request(images, ("linear_probe",))
    return replace(request, train=replace(request.train, epochs=1))


def test_a_worker_that_is_unlike_this_machine_is_refused_unless_it_is_allowed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Executor
) -> None:
    here = Machine.here("cpu")
    others: Iterator[Machine] = iter([here, replace(here, instructions=("riscv64",))])
    monkeypatch.setattr(Machine, "here", lambda device: next(others))
    with pytest.raises(UnlikeMachineError, match="processor with riscv64"):
        api.run(one_epoch(images), tmp_path / "run", None, Workers(threads))
    assert not (tmp_path / "run").exists(), "nothing was trained"
    others = itertools.chain([here], itertools.repeat(replace(here, instructions=("riscv64",))))
    found = api.run(one_epoch(images), tmp_path / "run", None, Workers(threads, mixed_machines=True))
    assert isinstance(found.rows[0], ScoredRow)
    ledger = Ledger(tmp_path / "run" / LEDGER)
    assert all("processor with riscv64" in where for where in ledger.places.values())
    assert ledger.places.keys() == {record.key for record in ledger.records}


def test_threads_that_are_left_open_do_not_depend_on_the_number_of_workers(
    images: Path, tmp_path: Path, threads: Executor
) -> None:
    request = one_epoch(images)
    found = api.run(
        replace(request, train=replace(request.train, threads=0)), tmp_path / "run", None, Workers(threads, threads=1)
    )
    assert found.environment.threads == found.request["train"]["threads"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "`workers` must be a whole number from 1 to 10,000, or auto, got 0"),
        ({"workers": "many"}, "`workers` must be .* or auto, got 'many'"),
        ({"cpus_per_worker": 2}, "`cpus_per_worker` must be left out without `workers`"),
        ({"workers": 2, "gpus_per_worker": 1}, "`gpus_per_worker` must be left out without `ray`"),
        ({"ray": ""}, "`ray` must be local, auto or the address of a cluster"),
        ({"ray": "ray://10.0.0.1:10001"}, "`ray` must be .*, got 'ray://10.0.0.1:10001'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        WorkerOptions(**options)


def test_an_executor_and_workers_cannot_both_be_given(threads: Executor) -> None:
    with (
        pytest.raises(OptionError, match="`executor` and `workers`"),
        opened_workers(WorkerOptions(workers=2), threads),
    ):
        pass


def test_without_workers_this_process_is_alone() -> None:
    with opened_workers(WorkerOptions()) as workers:
        assert workers is None


@pytest.mark.slow
def test_the_command_with_one_worker_and_resumed_with_two(images: Path, tmp_path: Path) -> None:
    options = ("--model", "test_efficientnet", "--weights", "random", "--image-size", "32", "--epochs", "2")
    thawline = (sys.executable, "-m", "thawline")
    run, whole = str(tmp_path / "run"), str(tmp_path / "whole")
    begun = (*thawline, "compare", str(images), *options, "--strategies", "last_blocks:k=1,full")
    subprocess.run([*begun, "--out", whole, "--workers", "1"], check=True, capture_output=True)
    # Killed as it trains, so that something is left to do.
    with subprocess.Popen([*begun, "--out", run, "--workers", "1"], stdout=subprocess.DEVNULL) as process:
        journal = tmp_path / "run" / LEDGER
        while process.poll() is None and not (journal.exists() and b'"ahead:' in journal.read_bytes()):
            time.sleep(0.05)
        process.kill()
    subprocess.run([*thawline, "resume", run, "--workers", "2"], check=True, capture_output=True)
    assert (
        read_json(tmp_path / "run" / "comparison.json")["digest"]
        == read_json(Path(whole) / "comparison.json")["digest"]
    )
