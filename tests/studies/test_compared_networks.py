"""`compare` with several networks: one table, paired over the same test images, the same however it was interrupted."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.small_runs import Stop, small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import CacheConfig, Candidates, Request
from thawline.config_file import read_config
from thawline.errors import ModelError, OptionError, RunFolderError, TooLittleMemoryError
from thawline.model.load import LoadedModel
from thawline.records import TrainingRecord, read_json
from thawline.results import Comparison, ScoredRow
from thawline.runs.experiment import Experiment
from thawline.runs.files import read_test_right
from thawline.runs.folder import RunFolder
from thawline.runs.ledger import Ledger
from thawline.runs.workforce import Workers
from thawline.studies.forecast import forecast
from thawline.training.evaluation import bootstrap_interval

NETWORKS = Candidates(("test_efficientnet", "no_such_network", "test_resnet"), (32,))
ROWS = ("linear_probe", "full")
NAMES = ("test_efficientnet at 32 px", "test_resnet at 32 px")
SLOW = pytest.mark.slow


class Told(Callback):
    """Keeps what is said, and the strategies that were trained."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.trained: list[str] = []
        self.forecasts = 0
        self.started: list[Path] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
        self.forecasts += 1

    def run_started(self, folder: Path, request: Any) -> None:
        self.started.append(folder)

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        if not stored:
            self.trained.append(record.strategy)


def request_for(
    images: Path, candidates: Candidates = NETWORKS, rows: tuple[str, ...] = ROWS, **others: Any
) -> Request:
    request = small_request(images, rows, norm="kept", seeds=2, learning_rate=1e-3)
    return replace(request, model=candidates.models[0], candidates=candidates, **others)


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory, told: Told) -> Path:
    run = tmp_path_factory.mktemp("runs") / "networks"
    api.run(request_for(images), run, told)
    return run


def found_in(run: Path) -> dict[str, Any]:
    """What the seed decides of a comparison."""
    comparison = read_json(run / "comparison.json")
    return {
        "digest": comparison["digest"],
        "rows": [
            {**row, "cost": {**row["cost"], "seconds": 0, "cache_hits": 0, "peak_memory_bytes": 0}}
            for row in comparison["rows"]
        ],
        "networks": [(each["name"], each.get("digest"), each.get("error")) for each in comparison["networks"]],
        "answer": comparison["answer"],
    }


@pytest.mark.thorough
def test_every_strategy_has_a_row_on_every_network_that_can_be_had(finished: Path, told: Told) -> None:
    comparison = read_json(finished / "comparison.json")
    assert [(row["network"], row["strategy"]) for row in comparison["rows"]] == [
        (name, spec) for name in NAMES for spec in ROWS
    ]
    left_out = [each for each in comparison["networks"] if "error" in each]
    assert [each["model"] for each in left_out] == ["no_such_network"]
    assert sum("no_such_network at 32 px: left out" in note for note in told.notes) == 1
    assert {each["weights"]["architecture"] for each in comparison["networks"] if "weights" in each} == {
        "test_efficientnet",
        "test_resnet",
    }
    assert told.forecasts == 1
    assert told.started == [finished]
    assert {name.partition(": ")[0] for name in told.trained} == set(NAMES)


@pytest.mark.thorough
def test_rows_are_paired_with_the_best_of_all_networks_over_the_same_test_images(finished: Path) -> None:
    found = api.resume(finished)
    assert isinstance(found, Comparison)
    rows = {row.label: row for row in found.rows if isinstance(row, ScoredRow)}
    right = {row: np.mean(seeds, axis=0) for row, seeds in read_test_right(finished / "predictions.csv").items()}
    assert set(rows) == set(right)
    best = max(rows.values(), key=lambda row: row.val.accuracy.mean)
    for label, row in rows.items():
        if row is best:
            assert row.versus_best is None
            continue
        assert row.versus_best is not None
        difference = right[label] - right[best.label]
        assert row.versus_best.difference == pytest.approx(difference.mean())
        if difference.any():
            assert row.versus_best.interval95 == pytest.approx(bootstrap_interval(difference))
        assert best.label in row.versus_best.words
    for name in NAMES:
        probe, full = rows[f"{name}: linear_probe"], rows[f"{name}: full"]
        assert full.versus_full is None
        assert probe.versus_full is not None
        expected = right[probe.label] - right[full.label]
        assert probe.versus_full.difference == pytest.approx(expected.mean()), "against full of its own network"


@pytest.mark.thorough
def test_work_counts_full_fine_tunings_of_the_costliest_network(finished: Path) -> None:
    comparison = read_json(finished / "comparison.json")
    flops = {each["name"]: each["facts"]["unit_flops"] for each in comparison["networks"] if "facts" in each}
    for each in (each for each in comparison["networks"] if "facts" in each):
        own = read_json(finished / each["folder"] / "comparison.json")["rows"]
        joined = [row for row in comparison["rows"] if row["network"] == each["name"]]
        share = flops[each["name"]] / max(flops.values())
        assert [row["cost"]["work"] for row in joined] == pytest.approx([share * row["cost"]["work"] for row in own])


@pytest.mark.thorough
def test_files_name_the_network_of_every_row(finished: Path) -> None:
    lines = list(csv.DictReader((finished / "comparison.csv").read_text().splitlines()))
    assert [(line["network"], line["strategy"]) for line in lines] == [(name, spec) for name in NAMES for spec in ROWS]
    page = (finished / "report.html").read_text()
    assert all(name in page for name in NAMES)
    assert "no_such_network" in page
    assert not list(finished.glob("models/*/checkpoints"))


@pytest.mark.thorough
def test_the_file_of_options_repeats_the_comparison(finished: Path) -> None:
    options = read_config(finished / "config.toml", "compare")
    rows = tuple(str(options["strategies"]).split(","))
    again = Request.from_options("compare", str(options["data"]), rows, options)
    assert (again.candidates, again.strategies) == (NETWORKS, ROWS)


@SLOW
def test_a_network_that_needs_too_much_memory_is_left_out(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(experiment: Experiment, specs: Any) -> Any:
        if experiment.model.architecture == "test_resnet":
            raise TooLittleMemoryError("even two images at a time do not fit.")
        return forecast(experiment, specs)

    monkeypatch.setattr("thawline.studies.compared_networks.forecast", scarce)
    two = replace(NETWORKS, models=("test_efficientnet", "test_resnet"))
    found = api.run(request_for(images, two, ("linear_probe",)), tmp_path / "run")
    assert isinstance(found, Comparison)
    assert {row.get("network") for row in found.rows} == {NAMES[0]}
    assert [each.error for each in found.networks or ()] == [None, "even two images at a time do not fit."]
    row = found.rows[0]
    assert isinstance(row, ScoredRow)
    assert row.versus_best is None


@pytest.mark.thorough
@pytest.mark.parametrize("trainings", [*(pytest.param(count, marks=SLOW) for count in (0, 1, 3, 7)), 5])
def test_interrupted_and_resumed_is_the_uninterrupted_run(
    images: Path, finished: Path, tmp_path: Path, trainings: int
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images), run, Stop(trainings))
    again = Told()
    api.resume(run, again)
    assert found_in(run) == found_in(finished)
    keys = [
        record.key for path in sorted((run / "models").iterdir()) for record in Ledger(path / "ledger.journal").records
    ]
    assert len(again.trained) == len(keys) - trainings


@SLOW
def test_no_cache_changes_nothing(images: Path, finished: Path, tmp_path: Path) -> None:
    api.run(request_for(images, cache=CacheConfig(0, 0)), tmp_path / "run")
    assert found_in(tmp_path / "run")["digest"] == found_in(finished)["digest"]


@pytest.mark.thorough
def test_a_single_network_is_in_memory(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gc

    most: list[int] = []
    whole = Experiment.__post_init__

    def counted(self: Experiment) -> None:
        whole(self)
        gc.collect()
        most.append(sum(isinstance(each, LoadedModel) for each in gc.get_objects()))

    before = sum(isinstance(each, LoadedModel) for each in gc.get_objects())
    monkeypatch.setattr(Experiment, "__post_init__", counted)
    two = replace(NETWORKS, models=("test_efficientnet", "test_resnet"))
    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images, two, ("linear_probe",)), tmp_path / "run", Stop(3))
    assert len(most) >= 3
    assert max(most) <= before + 1


@SLOW
def test_strategies_can_be_added(images: Path, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    api.run(request_for(images, rows=("linear_probe",)), run)
    told = Told()
    api.resume(run, told, add=["full"])
    assert found_in(run)["rows"] == found_in(finished)["rows"]
    assert {name.rpartition(": ")[2].partition(":")[0] for name in told.trained} == {"full"}


@SLOW
def test_edited_options_are_refused(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images), run, Stop(0))
    with RunFolder.open(run) as folder:
        folder.store(replace(folder.request(), train=replace(folder.request().train, epochs=3)))
    with pytest.raises(RunFolderError, match="other options"):
        api.resume(run)


def test_no_network_that_can_be_had_is_an_input_error_and_leaves_nothing(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none of the 2 networks"):
        api.run(request_for(images, Candidates(("no_such_network", "nor_this_one"))), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_are_of_one_model() -> None:
    with pytest.raises(OptionError, match="weights"):
        Request.from_options("compare", "photos", ROWS, {"model": ["resnet18", "resnet34"], "weights": "w.safetensors"})


@pytest.mark.slow
def test_workers_compare_alike(images: Path, tmp_path: Path, finished: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        api.run(request_for(images), tmp_path / "run", None, Workers(pool))
    assert found_in(tmp_path / "run") == found_in(finished)
