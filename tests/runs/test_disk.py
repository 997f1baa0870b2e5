"""Disks that are full, read-only or gone: what was computed is told, what was there stays, and the advice fits."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.small_runs import small_request
from thawline import api
from thawline.callback import Callback
from thawline.cli import app as cli
from thawline.errors import RunError, cause, remedy
from thawline.records import TrainingRecord, replacing, write_bytes
from thawline.results import EvaluationLog
from thawline.runs import classifier, reporting
from thawline.runs.files import read

ERRORS = (
    (errno.ENOSPC, "No space left on device", "free some space"),
    (errno.EROFS, "Read-only file system", "make its disk writable"),
    (errno.EIO, "Input/output error", "check the disk and its connection"),
)


class Told(Callback):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def explained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished `fit` with its explanation."""
    run = tmp_path_factory.mktemp("runs") / "fit"
    api.run(replace(small_request(images, ("linear_probe",), "fit"), explain=True), run)
    return run


@pytest.fixture
def run(explained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(explained, tmp_path / "run")


def _breaks(number: int) -> Callable[..., None]:
    def write(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return write


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_a_full_disk_wants_space() -> None:
    advice = {number: remedy(OSError(number, os.strerror(number))) for number in errno.errorcode}
    assert {number for number, said in advice.items() if "space" in said} == {errno.ENOSPC, errno.EDQUOT}
    assert len(set(advice.values())) > 8


def test_the_cause_names_the_file() -> None:
    assert cause(FileNotFoundError(errno.ENOENT, "No such file", "a.png")) == "No such file: a.png"
    assert cause(OSError("odd")) == "odd"


@pytest.mark.parametrize(("number", "said", "advice"), ERRORS)
def test_scores_that_cannot_be_logged_are_not_lost(
    run: Path, images: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str, advice: str
) -> None:
    expected, told = api.evaluate(run, images), Told()
    before = _contents(run)
    monkeypatch.setattr(classifier, "write", _breaks(number))
    scores = api.evaluate(run, images, callback=told)
    assert replace(scores, at=expected.at) == expected
    assert told.notes == [f"{run / 'evaluations.json'} lacks these scores ({said}); {advice}, then repeat."]
    assert _contents(run) == before


def test_evaluations_at_the_same_time_are_all_logged(run: Path, images: Path) -> None:
    scores = api.evaluate(run, images)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: classifier._log(run, scores), range(8)))
    assert len(read(run / "evaluations.json", EvaluationLog).evaluations) == 9


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "said", "advice"), ERRORS)
def test_a_report_that_cannot_be_written_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str, advice: str
) -> None:
    before, told = _contents(run), Told()
    monkeypatch.setattr(reporting, "write_text", _breaks(number))
    with pytest.raises(RunError) as caught:
        api.report(run)
    assert str(caught.value) == (
        f"{run / 'report.html'} cannot be written ({said}); {advice}, then `thawline report {run}`."
    )
    reporting.report(run, told)
    assert all(str(caught.value) in note and "traceback" not in note for note in told.notes)
    assert _contents(run) == before


@pytest.mark.parametrize("written", ["first picture", "last file"])
def test_an_explanation_that_cannot_be_written_leaves_the_earlier_one(
    run: Path, images: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    before = _contents(run)
    if written == "first picture":
        monkeypatch.setattr("thawline.explanation.panels.write_bytes", _breaks(errno.ENOSPC))
    else:
        monkeypatch.setattr("thawline.explanation.explain.write", _breaks(errno.ENOSPC))
    with pytest.raises(RunError, match=r"explain cannot be written \(No space left on device\); free some space\.$"):
        api.explain(run, images / "val" / "red" / "0.png")
    assert _contents(run) == before


class Removed(Callback):
    """Removes or moves the run after its first training."""

    def __init__(self, change: Callable[[], object]) -> None:
        self.change = change

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        self.change()


@pytest.mark.thorough
@pytest.mark.parametrize("moved", [True, False])
def test_a_run_that_is_removed_ends_with_one_line(images: Path, tmp_path: Path, moved: bool) -> None:
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    callback = Removed(lambda: out.rename(elsewhere) if moved else shutil.rmtree(out))
    with pytest.raises(RunError, match="was moved or removed during the run"):
        api.run(small_request(images, ("linear_probe", "full"), learning_rate=1e-3), out, callback)
    assert not out.exists()
    if moved:
        assert api.resume(elsewhere)["rows"][0]["strategy"] == "linear_probe"


@pytest.mark.thorough
def test_other_errors_of_the_disk_promise_resume(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr("thawline.studies.compare.write", _breaks(errno.EIO))
    with pytest.raises(RunError) as caught:
        api.run(small_request(images, ("linear_probe",), learning_rate=1e-3), out)
    assert str(caught.value) == (
        f"{out}: Input/output error; check the disk and its connection, then `thawline resume {out}`."
    )
    monkeypatch.undo()
    assert api.resume(out)["rows"][0]["strategy"] == "linear_probe"


def test_a_failed_write_leaves_no_part_and_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thawline.records.os.fsync", _breaks(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        write_bytes(tmp_path / "a.json", b"x")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(Path, "unlink", _breaks(errno.EROFS))
    with pytest.raises(OSError, match="No space left"):
        write_bytes(tmp_path / "a.json", b"x")


def test_a_folder_that_cannot_take_its_place_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    rename = Path.rename
    monkeypatch.setattr(
        Path, "rename", lambda path, target: rename(path, target) if path.name != ".a.partial" else _breaks(errno.EIO)()
    )
    with pytest.raises(OSError, match="Input/output"), replacing(tmp_path / "a") as partial:
        (partial / "new").touch()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["a", "a/old"]


def test_a_check_is_shown_before_its_file_fails(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("thawline.records.write_json", _breaks(errno.EROFS))
    argv = ["thawline", "check", str(images), "--json", "--out", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    assert json.loads(said.out)["images"] == 56
    assert stop.value.code == 1
    assert said.err.splitlines()[-1] == (
        f"thawline: {tmp_path / 'out.json'} cannot be written (Read-only file system); make its disk writable."
    )
