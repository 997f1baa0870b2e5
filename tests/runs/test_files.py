"""Every file of a run: what is written reads back, to the letter; what does not fit is one clear line."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.small_runs import small_request
from thawline import api
from thawline.config import TuningConfig
from thawline.errors import RunFolderError
from thawline.records import read_json, write_json
from thawline.results import (
    CheckResult,
    Comparison,
    Explanation,
    FailedRow,
    FitResults,
    Result,
    RunRecord,
    ScoredRow,
    Thumbnails,
)
from thawline.runs import files
from thawline.runs.files import read, read_plan, read_predictions, read_results, read_run, write_predictions
from thawline.sums import SUMS_FILE

KINDS: dict[str, type[Result]] = {
    "run.json": RunRecord,
    "results.json": FitResults,
    "comparison.json": Comparison,
    "check.json": CheckResult,
    "thumbnails.json": Thumbnails,
    "explain.json": Explanation,
}
EVOLUTION = "biotune:population=3,elites=1,generations=1,seeds=1,folds=2,top=1"


@pytest.fixture(scope="module")
def fitted(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `auto` with its baselines, Grad-CAM and thumbnails."""
    run = tmp_path_factory.mktemp("runs") / "fit"
    api.run(replace(small_request(images, ("auto:budget=6candidates",), "fit"), explain=True), run)
    return run


@pytest.fixture(scope="module")
def compared(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison with two seeds, an evolution, a depth curve and a row that failed."""
    run = tmp_path_factory.mktemp("runs") / "compare"
    rows = ("full", EVOLUTION, *(f"depth:share={share}" for share in (0, 50, 100)))
    request = replace(small_request(images, rows), search=TuningConfig(seeds=2, learning_rate=1e-3))
    api.run(request, run)
    return run


@pytest.mark.thorough
def test_every_json_file_of_a_run_reads_back_to_the_letter(fitted: Path, compared: Path, tmp_path: Path) -> None:
    seen = set()
    for folder in (fitted, compared):
        for path in folder.glob("*.json"):
            if path.name != files.PLAN:
                write_json(tmp_path / path.name, read(path, KINDS[path.name]))
                assert (tmp_path / path.name).read_text(encoding="utf-8") == path.read_text(encoding="utf-8")
                seen.add(path.name)
    assert seen == set(KINDS)


def test_what_fit_returns_is_what_it_stored(images: Path, tmp_path: Path) -> None:
    found = api.run(small_request(images, ("linear_probe",), "fit", learning_rate=1e-2), tmp_path / "run")
    assert found.to_dict() == read_json(tmp_path / "run" / "results.json")
    stored = read_results(tmp_path / "run")
    assert isinstance(stored, FitResults)
    assert stored.to_dict() == found.to_dict()


@pytest.mark.thorough
def test_rows_are_read_as_what_they_are(compared: Path, tmp_path: Path) -> None:
    stored = read_json(compared / "comparison.json")
    stored["rows"].append({"strategy": "lora", "error": "the loss became nan", "versus_full": None})
    write_json(tmp_path / "comparison.json", stored)
    *rows, failed = read(tmp_path / "comparison.json", Comparison).rows
    assert all(isinstance(row, ScoredRow) for row in rows)
    assert failed == FailedRow(strategy="lora", error="the loss became nan")


@pytest.mark.thorough
def test_old_code_reads_results_by_key(fitted: Path) -> None:
    results = read(fitted / "results.json", FitResults)
    assert results["test"]["accuracy"]["mean"] == results.test.accuracy.mean if results.test else False
    assert "rows" not in results
    assert "search" in results
    assert results.get("nothing", 3) == 3
    with pytest.raises(KeyError, match="nothing"):
        results["nothing"]
    assert {**results} == dict(results.items())
    assert "search" not in results.baselines["linear_probe"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("test", "accuracy", "mean"), "high", r"`\$\.test\.accuracy\.mean`: expected `float`, got `str`"),
        (("cost",), None, r"`\$\.cost`: expected `object`, got `null`"),
        (("baselines",), {"full": 3}, r"a row: expected `object`, got `int`"),
        (("format_version",), 2, r"has format_version 2; this thawline reads 1"),
    ],
)
def test_a_key_that_does_not_fit_is_named(
    fitted: Path, tmp_path: Path, keys: tuple[str, ...], value: object, message: str
) -> None:
    stored = read_json(fitted / "results.json")
    place: dict[str, Any] = stored
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    write_json(tmp_path / "results.json", stored)
    with pytest.raises(RunFolderError, match=rf"results\.json .*{message}"):
        read(tmp_path / "results.json", FitResults)


@pytest.mark.thorough
def test_a_missing_key_is_named_with_its_row(compared: Path, tmp_path: Path) -> None:
    stored = read_json(compared / "comparison.json")
    del stored["rows"][1]["cost"]["work"]
    write_json(tmp_path / "comparison.json", stored)
    with pytest.raises(
        RunFolderError, match=rf"`\$\.cost` of row '{EVOLUTION}': object missing required field `work`"
    ) as caught:
        read(tmp_path / "comparison.json", Comparison)
    assert "\n" not in str(caught.value)


@pytest.mark.thorough
def test_results_of_an_earlier_version_still_read(fitted: Path, tmp_path: Path) -> None:
    shutil.copytree(fitted, tmp_path / "run")
    stored = read_json(fitted / "results.json")
    del stored["arguments"], stored["search"]["ways"], stored["search"]["best"], stored["search"]["rungs"]
    for candidate in stored["search"]["candidates"]:
        del candidate["weights"], candidate["early_score"], candidate["epochs"], candidate["rung"]
    write_json(tmp_path / "run" / "results.json", stored)
    (tmp_path / "run" / SUMS_FILE).unlink()
    (tmp_path / "run" / "check.json").unlink()
    (tmp_path / "run" / "explain.json").unlink()
    assert api.report(tmp_path / "run").is_file()


@pytest.mark.thorough
def test_the_plan_reads_back(fitted: Path, tmp_path: Path) -> None:
    plan = read_plan(fitted / "plan.json")
    assert plan == read(fitted / "results.json", FitResults).plan
    for content in ("{}", "[" * 100_000, ""):
        (tmp_path / "plan.json").write_text(content, encoding="utf-8")
        with pytest.raises(RunFolderError, match=r"plan\.json"):
            read_plan(tmp_path / "plan.json")


@pytest.mark.thorough
@pytest.mark.parametrize("request_", [{}, {"train": 5}, {"train": {"epochs": "x"}}, {"strategies": 5}, {"verb": "x"}])
def test_options_in_results_are_read_or_refused(fitted: Path, tmp_path: Path, request_: dict[str, object]) -> None:
    stored = read_json(fitted / "results.json")
    write_json(tmp_path / "results.json", {**stored, "request": {**stored["request"], **request_} if request_ else {}})
    with pytest.raises(RunFolderError, match=r"results\.json is damaged, or from another version"):
        read(tmp_path / "results.json", FitResults)


@pytest.mark.thorough
def test_predictions_read_back(compared: Path, tmp_path: Path) -> None:
    path = compared / "predictions.csv"
    classes, lines = files.prediction_classes(path), list(read_predictions(path))
    write_predictions(tmp_path / "predictions.csv", classes, lines)
    assert (tmp_path / "predictions.csv").read_bytes() == path.read_bytes()
    of_full = list(read_predictions(path, "full", 1))
    assert of_full == [line for line in lines if (line.row, line.seed) == ("full", 1)]
    assert {line.split for line in of_full} == {"val", "test"}


@pytest.mark.thorough
def test_damaged_predictions_are_one_line(compared: Path, tmp_path: Path) -> None:
    text = (compared / "predictions.csv").read_text(encoding="utf-8")
    (tmp_path / "predictions.csv").write_text(f"{text}full,0,test,a.png,green,0.5,0.5\n", encoding="utf-8")
    with pytest.raises(RunFolderError, match=rf"is damaged in line {len(text.splitlines()) + 1} \('green'\)"):
        list(read_predictions(tmp_path / "predictions.csv"))


@pytest.mark.thorough
def test_the_accuracy_of_the_predictions_is_that_of_the_results(compared: Path) -> None:
    run = read_run(compared)
    assert run.predictions is not None
    assert run.shown is not None
    assert run.shown.test is not None
    right = sum(guess.right for guess in run.predictions.guesses) / len(run.predictions.guesses)
    assert right == pytest.approx(run.shown.test.accuracy.per_seed[0])


@pytest.mark.thorough
def test_the_comparison_table_has_the_figures_of_the_rows(fitted: Path) -> None:
    results = read(fitted / "results.json", FitResults)
    with (fitted / "comparison.csv").open(encoding="utf-8", newline="") as table:
        line, *others = csv.DictReader(table)
    assert line["strategy"] == results.strategy
    assert float(line["val_accuracy"]) == results.val.accuracy.mean
    assert float(line["work"]) == results.cost.work
    assert line["error"] == ""
    assert len(others) == len(results.baselines)


@pytest.mark.thorough
def test_every_field_of_a_result_is_in_its_json(fitted: Path) -> None:
    stored = json.loads((fitted / "results.json").read_text(encoding="utf-8"))
    results = read(fitted / "results.json", FitResults)
    assert list(stored) == results.keys() == list(results)
