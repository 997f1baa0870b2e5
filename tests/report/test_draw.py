"""The report at the end of a run: drawn with pictures and a depth curve; if it fails, the run is still whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.small_runs import small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import DataConfig, TrainConfig, TuningConfig
from thawline.data.demo import demo_network, write_digits
from thawline.errors import RunFolderError
from thawline.records import TrainingRecord, environment, read_json
from thawline.runs import folder as run_folder
from thawline.runs import reporting


class Told(Callback):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def compare(images: Path, out: Path, callback: Callback) -> None:
    api.run(small_request(images, ("linear_probe",), learning_rate=1e-3), out, callback)


@pytest.mark.thorough
def test_a_comparison_ends_with_its_report(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits", train_per_class=4, val_per_class=4, seed=0)
    told = Told()
    api.compare(
        str(tmp_path / "digits"),
        tmp_path / "run",
        model=f"local-dir:{demo_network()}",
        strategies=("depth:share=0", "depth:share=50", "depth:share=100"),
        callback=told,
        train=TrainConfig(epochs=1, threads=1),
        images=DataConfig(augment="none"),
        search=TuningConfig(learning_rate=1e-3),
    )
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert 'id="depth"' in page
    assert read_json(tmp_path / "run" / "comparison.json")["depth"]["shares"] == [0.0, 50.0, 100.0]
    assert 200 < len(read_json(tmp_path / "run" / "thumbnails.json")["images"]) <= 600
    assert not any("report" in note for note in told.notes)


@pytest.mark.thorough
def test_a_run_stopped_before_its_report_is_closed_by_resume(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(folder: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(reporting, "write_report", stop)
    with pytest.raises(KeyboardInterrupt):
        compare(images, tmp_path / "run", Told())
    monkeypatch.undo()
    run = tmp_path / "run"
    assert not (run / "report.html").exists()
    api.resume(run)
    drawn = (run / "report.html").stat().st_mtime_ns
    assert not (run / "checkpoints").exists()
    api.resume(run)
    assert (run / "report.html").stat().st_mtime_ns == drawn


@pytest.mark.thorough
def test_other_versions_are_said_on_resume(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Told):
        def training_started(self, record: TrainingRecord) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(images, tmp_path / "run", Stopped())
    now = environment(device="cpu", threads=1)
    changed = replace(now, python="9.9", processor="abacus", packages={**now.packages, "scipy": "8.8", "new": "1"})
    monkeypatch.setattr(run_folder, "environment", lambda **_: changed)
    told = Told()
    api.resume(tmp_path / "run", told)
    (note,) = (note for note in told.notes if note.startswith("The environment has changed since the run started"))
    for change in (f"scipy {now.packages['scipy']} -> 8.8", f"Python {now.python} -> 9.9", "-> abacus"):
        assert change in note
    assert "new" not in note.partition(";")[0]


def test_a_report_that_cannot_be_drawn_spoils_nothing(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> Path:
        raise KeyError("no such figure")

    monkeypatch.setattr(reporting, "write_report", fail)
    told = Told()
    compare(images, tmp_path / "run", told)
    assert (tmp_path / "run" / "comparison.json").is_file()
    (note,) = (note for note in told.notes if "report.html could not be drawn" in note)
    assert "thawline report" in note
    traceback = (tmp_path / "run" / "report-error.txt").read_text(encoding="utf-8")
    assert traceback.startswith("Traceback")
    assert "KeyError: 'no such figure'" in traceback
    monkeypatch.undo()
    assert api.report(tmp_path / "run").is_file()


def test_under_debug_what_went_wrong_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THAWLINE_DEBUG", "1")
    with pytest.raises(RunFolderError):
        reporting.report(tmp_path / "nowhere", Told())
    monkeypatch.setenv("THAWLINE_DEBUG", "0")
    reporting.report(tmp_path / "nowhere", Told())


def test_while_debugging_the_error_is_raised(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> Path:
        raise KeyError("no such figure")

    monkeypatch.setattr(reporting, "write_report", fail)
    monkeypatch.setenv("THAWLINE_DEBUG", "1")
    with pytest.raises(KeyError, match="no such figure"):
        compare(images, tmp_path / "run", Told())
    monkeypatch.undo()
    assert api.resume(tmp_path / "run")["rows"][0]["strategy"] == "linear_probe"
    assert (tmp_path / "run" / "report.html").is_file()
    assert not (tmp_path / "run" / "report-error.txt").exists()
