from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ground import queue
from benchmarks.ground.methods import GROUPS, METHODS, Method
from benchmarks.ground.peers import SkippedError
from benchmarks.ground.queue import Worker, claimed, jobs
from benchmarks.ground.schema import CellResult
from benchmarks.ground.settings import Place, Settings
from thawline.records import environment, read_json

PLACES = [Place("tiny", "first", 0, 32), Place("tiny", "second", 0, 32)]
SOME = [Method("full", "baselines"), Method("depth", "depths"), Method("linear_probe", "baselines")]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "shared", tmp_path / "runs", tmp_path / "results")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Set and method of every cell that is run, without training anything; `broken` raises, `timm` is skipped."""
    done: list[tuple[str, str]] = []

    @contextmanager
    def opened(*_: object) -> Iterator[None]:
        yield

    def run_cell(_: object, place: Place, method: Method, settings: Settings) -> CellResult:
        done.append((place.data, method.spec))
        if method.spec == "broken":
            raise RuntimeError("a fault of the program")
        if method.spec == "timm":
            raise SkippedError("auto is not there yet")
        return _cell(place, method)

    monkeypatch.setattr(queue, "opened", opened)
    monkeypatch.setattr(queue, "run_cell", run_cell)
    return done


def _cell(place: Place, method: Method) -> CellResult:
    facts: dict[str, Any] = {"images": {}, "classes": 2, "commit": "", "load_at_start": 0.0}
    return CellResult(
        backbone=place.backbone,
        set=place.data,
        split=place.split,
        method=method.name,
        spec=method.spec,
        group=method.group,
        image_size=place.image_size,
        environment=environment(device="cpu", threads=1, command=""),
        **facts,
    )


def test_all_sets_have_a_group_before_any_has_the_next(settings: Settings, ran: list[tuple[str, str]]) -> None:
    Worker(settings).work_off(jobs(PLACES, SOME))
    baselines = [(name, method) for name in ("first", "second") for method in ("full", "linear_probe")]
    assert ran == [*baselines, ("first", "depth"), ("second", "depth")]


def test_a_cell_that_is_there_stays_as_it_is(settings: Settings, ran: list[tuple[str, str]]) -> None:
    kept = settings.cell(PLACES[0], SOME[0])
    kept.parent.mkdir(parents=True)
    kept.write_text("{}\n")
    Worker(settings).work_off(jobs(PLACES[:1], SOME[:2]))
    assert ran == [("first", "depth")]
    assert kept.read_text() == "{}\n"
    assert read_json(settings.cell(PLACES[0], SOME[1]))["method"] == "depth"


def test_a_place_that_another_process_works_at_is_left_to_it(settings: Settings, ran: list[tuple[str, str]]) -> None:
    with claimed(settings.lock(PLACES[0])) as ours:
        assert ours
        Worker(settings).work_off(jobs(PLACES, SOME[:1]))
    assert ran == [("second", "full")]


def test_a_killed_process_leaves_no_claim(tmp_path: Path) -> None:
    path = tmp_path / "place.lock"
    code = f"import filelock, sys; lock = filelock.FileLock({str(path)!r}); lock.acquire(); print(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with claimed(path) as ours:
            assert not ours
        holder.kill()
    with claimed(path) as ours:
        assert ours


def test_a_fault_of_the_program_costs_its_own_cell_only(
    settings: Settings, ran: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    worker = Worker(settings)
    broken = Method("broken", "baselines")
    worker.work_off(jobs(PLACES, [broken, SOME[0]]))
    assert ran == [(name, method) for name in ("first", "second") for method in ("broken", "full")]
    assert worker.failed == {settings.cell(place, broken) for place in PLACES}
    assert "a fault of the program" in capsys.readouterr().err


def test_a_peer_that_cannot_take_part_is_skipped_with_one_line(
    settings: Settings, ran: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    worker = Worker(settings)
    worker.work_off(jobs(PLACES[:1], [Method("timm", "peers"), SOME[0]]))
    assert ran == [("first", "full"), ("first", "timm")]
    assert not worker.failed
    assert "timm on first skipped: auto is not there yet\n" in capsys.readouterr().out


def test_every_method_has_a_file_of_its_own_and_groups_come_in_order() -> None:
    assert len({method.file_name for method in METHODS}) == len(METHODS)
    order = [GROUPS.index(method.group) for method in METHODS]
    assert order == sorted(order)


def test_parts_of_auto_are_left_out_on_development_splits_only() -> None:
    lever = Method("auto:without=norms", "levers")
    assert [lever.takes("mnist", split) for split in (0, 1, 200)] == [True, True, False]
    published = Place("tiny", "mnist", 200, 32)
    assert not jobs([published], [lever])
    assert jobs([replace(published, split=0)], [lever])
