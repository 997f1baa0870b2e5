"""Whoever trains, the answer is that of one process; what is finished is kept, whatever happens to the rest."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.small_runs import Stop, small_request
from thawline import api
from thawline.config import Request
from thawline.records import TrainingRecord, read_json
from thawline.results import ScoredRow
from thawline.runs.files import LEDGER
from thawline.runs.ledger import Ledger
from thawline.runs.workforce import Workers

ROWS = ("last_blocks:k=1", "full")


def request_for(images: Path) -> Request:
    return small_request(images, ROWS, learning_rate=1e-3)


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


def test_a_run_that_others_began_is_resumed_alone(images: Path, tmp_path: Path, threads: Executor) -> None:
    request = request_for(images)
    with pytest.raises(KeyboardInterrupt):
        api.run(request, tmp_path / "run", Stop(1), Workers(threads))
    ledger = Ledger(tmp_path / "run" / LEDGER)
    ahead = [record for record in map(ledger.trained_ahead, ledger._ahead) if record]
    assert len(ahead) == 6 > len(ledger.records), "both rows were trained before the first was asked for"
    stopped = {record.key: record.seconds for record in ahead}
    resumed = api.resume(tmp_path / "run", None)
    found = {record.key: record.seconds for record in Ledger(tmp_path / "run" / LEDGER).records}
    assert found == stopped, "nothing was trained again"
    assert isinstance(resumed.rows[0], ScoredRow)
