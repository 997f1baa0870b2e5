"""The published methods inside whole runs: what their plans make of the weights."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import timm
import torch

from tests.small_runs import small_request
from thawline import api
from thawline.config import TRAININGS_PER_ROW
from thawline.model.load import load_model
from thawline.results import Comparison, ScoredRow
from thawline.runs.files import read
from thawline.runs.ledger import Ledger
from thawline.strategies import STRATEGIES

SMALL = {
    "auto": "auto:budget=1x",
    "biotune": "biotune:population=2,elites=1,generations=1,seeds=1,top=1",
}
"""Searches at a size for a test; the other strategies as they are."""
OF_OLD = ("norm_statistics", "unchanged")
"""These train nothing, and need a model that is fitted again: tests/studies/test_again.py."""


@pytest.mark.thorough
@pytest.mark.parametrize("spec", [SMALL.get(name, name) for name in STRATEGIES if name not in OF_OLD])
def test_every_strategy_fits_and_saves_a_plain_timm_model(spec: str, images: Path, tmp_path: Path) -> None:
    request = small_request(images, (spec,), verb="fit", learning_rate=1e-2)
    results = api.run(request, tmp_path / "run")
    saved = timm.create_model(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True).state_dict()
    plain = load_model("test_efficientnet", 2, weights="random", image_size=32)
    assert set(saved) == set(plain.module.state_dict())
    frozen = {block["name"] for block in results["blocks"] if block["frozen"]}
    assert "head" not in frozen
    assert results["frozen_bit_identical"]
    assert api.evaluate(tmp_path / "run", str(images))["accuracy"] == results["test"]["accuracy"]["per_seed"][0]


def test_norm_only_leaves_every_kernel_as_pretrained(images: Path, tmp_path: Path) -> None:
    api.run(small_request(images, ("norm_only",), verb="fit", learning_rate=1e-1), tmp_path / "run")
    saved = timm.create_model(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True).state_dict()
    pristine = load_model("test_efficientnet", 2, weights="random", image_size=32).pristine()
    kernels = [name for name, tensor in pristine.items() if tensor.ndim > 1]
    assert kernels
    assert all(torch.equal(saved[name], pristine[name]) for name in kernels)
    assert not all(torch.equal(saved[name], pristine[name]) for name in pristine if name not in kernels)


@pytest.mark.thorough
def test_subtune_selects_once_per_norm_mode_and_counts_it(images: Path, tmp_path: Path) -> None:
    comparison = api.run(small_request(images, ("subtune:most=1,gain=0",)), tmp_path / "run")
    (row,) = comparison["rows"]
    records = Ledger(tmp_path / "run" / "ledger.journal").records
    tuning = [record for record in records if record.purpose == "tuning"]
    # In either norm mode: the head alone, and each of the five blocks below it; one of them is the first rate's.
    assert len(tuning) == 2 * (1 + 5 - 1) + TRAININGS_PER_ROW
    assert row["cost"]["trainings"] == len(records)
    assert len(row["plan"]["phases"][0]["learning_rates"]) == 6


@pytest.mark.thorough
def test_adding_a_strategy_to_a_finished_comparison_trains_only_that_one(images: Path, tmp_path: Path) -> None:
    first = api.run(small_request(images, ("full",), learning_rate=1e-3), tmp_path / "run")
    before = {record.key for record in Ledger(tmp_path / "run" / "ledger.journal").records}
    grown = api.resume(tmp_path / "run", add="linear_probe")
    after = Ledger(tmp_path / "run" / "ledger.journal").records
    assert grown["rows"][0]["test"] == first["rows"][0]["test"]
    assert [row["strategy"] for row in grown["rows"]] == ["full", "linear_probe"]
    assert {record.strategy for record in after if record.key not in before} == {"linear_probe"}


def test_two_strategies_with_one_plan_share_their_trainings(images: Path, tmp_path: Path) -> None:
    comparison = api.run(small_request(images, ("full", "last_blocks:k=5"), learning_rate=1e-3), tmp_path / "run")
    full, last = comparison["rows"]
    assert last["chosen"] == full["chosen"].replace("full:", "last_blocks:k=5,")
    assert last["test"] == full["test"]
    assert last["versus_full"]["words"] == "the same plan as full"
    assert {record.strategy for record in Ledger(tmp_path / "run" / "ledger.journal").records} == {
        "full:norm=moving",
        "full:norm=kept",
    }


@pytest.fixture(scope="module")
def probed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of a solved probe with a training that starts from it."""
    run = tmp_path_factory.mktemp("runs") / "probed"
    api.run(small_request(images, ("linear_probe", "full:head_start=probe,norm=kept"), learning_rate=1e-3), run)
    return run


def test_a_run_keeps_the_probe_in_its_ledger_and_the_neighbors_in_its_results(probed: Path) -> None:
    comparison = read(probed / "comparison.json", Comparison)
    probe, full = comparison.rows
    assert isinstance(probe, ScoredRow)
    assert isinstance(full, ScoredRow)
    assert probe.learning_rate == 0
    assert probe.cost.work < 0.5 * full.cost.work
    assert full.nearest_neighbors is None
    assert probe.nearest_neighbors is not None
    assert probe.nearest_neighbors.test is not None
    assert 0 <= probe.nearest_neighbors.val <= 1
    records = Ledger(probed / "ledger.journal").records
    assert [record.plan["head_start"] for record in records] == ["probe", "probe"]
    solved, trained = (record.probe for record in records)
    assert solved is not None
    assert solved == trained
    assert (probe.batch_norm, full.batch_norm) == (None, "kept")
    assert probe.probe_strength == full.probe_strength == solved.strength
    assert api.resume(probed).digest == comparison.digest


def test_the_files_of_a_run_give_a_solved_probe_no_rate(probed: Path) -> None:
    comparison = read(probed / "comparison.json", Comparison)
    with (probed / "comparison.csv").open(encoding="utf-8", newline="") as stream:
        probe, full = csv.DictReader(stream)
    neighbors = comparison.rows[0]["nearest_neighbors"]
    assert (probe["learning_rate"], probe["batch_norm"], probe["head_start"]) == ("", "", "probe")
    assert float(probe["nearest_neighbors_test"]) == neighbors.test
    assert float(probe["nearest_neighbors_val"]) == neighbors.val
    assert (full["learning_rate"], full["batch_norm"], full["head_start"]) == ("0.001", "kept", "probe")
    assert full["probe_strength"] == probe["probe_strength"] == str(comparison.rows[0]["probe_strength"])
    assert full["nearest_neighbors_test"] == ""
    with (probed / "history.csv").open(encoding="utf-8", newline="") as stream:
        assert next(csv.DictReader(stream))["learning_rate"] == ""
    page = (probed / "report.html").read_text(encoding="utf-8")
    assert "head start probe" in page
    assert "batch norm kept, head start probe" in page
    assert "nearest neighbors in the same features" in page
