"""What `auto` hands over: averages and ensembles of trainings that the ledger has, also after an interruption."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.small_runs import Stop, small_request
from thawline import api
from thawline.config import Request
from thawline.plan import FineTunePlan, Ingredient, Mixture, Phase
from thawline.records import EpochRecord, TrainingRecord, environment, read_json
from thawline.report.summary import scored
from thawline.results import FitResults
from thawline.runs.experiment import Experiment
from thawline.runs.folder import RunFolder
from thawline.runs.ledger import Ledger
from thawline.runs.setup import open_experiment
from thawline.strategies.context import Tuned
from thawline.studies import answers
from thawline.studies.tuning import tune


def request_for(images: Path, answer: str, **search: Any) -> Request:
    request = small_request(images, (f"auto:budget=3x,head_start=probe,answer={answer}",), verb="compare", **search)
    train = replace(request.train, epochs=4, patience=0, batch_size=24)
    return replace(request, train=train, images=replace(request.images, augment="none"))


@pytest.fixture(autouse=True)
def _lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An average of a tiny network on noise would be refused as often as not."""
    monkeypatch.setattr(answers, "_trails", lambda *_: False)


@pytest.fixture(scope="module")
def averaged(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "average"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "_trails", lambda *_: False)
        api.run(request_for(images, "average", seeds=2), run)
    return run


def row_of(run: Path) -> dict[str, Any]:
    row: dict[str, Any] = read_json(run / "comparison.json")["rows"][0]
    return row


@pytest.mark.thorough
def test_an_average_is_of_trainings_that_were_paid_for(averaged: Path) -> None:
    row, records = row_of(averaged), Ledger(averaged / "ledger.journal").records
    plan = FineTunePlan.from_dict(row["plan"])
    assert plan.mixture is not None
    assert plan.mixture.of == "weights"
    assert {member.plan.head_start for member in plan.members} == {"probe"}
    searched = [record.plan for record in records if record.purpose == "search" and record.until is None]
    assert all(member.plan.to_dict() in searched for member in plan.members)
    assert row["cost"]["work"] <= 3


@pytest.mark.thorough
def test_a_further_seed_trains_every_ingredient_and_is_proof(averaged: Path) -> None:
    row, records = row_of(averaged), Ledger(averaged / "ledger.journal").records
    finals = [record for record in records if record.purpose == "final"]
    assert [record.seed for record in finals if record.plan == row["plan"]] == [1]
    assert row["cost"]["proof"] == pytest.approx(sum(record.work for record in finals))


@pytest.mark.thorough
@pytest.mark.parametrize("answer", [pytest.param("average", marks=pytest.mark.slow), "ensemble"])
def test_killed_and_resumed_is_the_uninterrupted_run(images: Path, tmp_path: Path, averaged: Path, answer: str) -> None:
    whole = averaged
    if answer == "ensemble":
        whole = tmp_path / "whole"
        api.run(request_for(images, answer), whole)
    seeds = {"seeds": 2} if answer == "average" else {}
    trainings = len(Ledger(whole / "ledger.journal").records)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images, answer, **seeds), run, Stop(trainings - 1))
    api.resume(run)
    assert read_json(run / "comparison.json")["digest"] == read_json(whole / "comparison.json")["digest"]
    assert row_of(run)["test"] == row_of(whole)["test"]


@pytest.mark.thorough
def test_an_ensemble_has_the_mean_output_of_its_members(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "best_members", lambda outputs, *_: list(outputs)[:2])
    request = request_for(images, "ensemble")
    with RunFolder.create(tmp_path / "run", request, environment(device="cpu", threads=1)) as folder:
        experiment = opened(folder)
        tuned = tune(experiment, request.strategies[0])
        assert tuned.plan.is_ensemble
        record = experiment.train(tuned.plan, strategy="x", learning_rate=1e-3, seed=0, purpose="final")
        first, second = (experiment.evaluate(part) for part in experiment.ingredients(record))
        found = experiment.evaluate(record)
    assert found.test is not None
    assert first.test is not None
    assert second.test is not None
    np.testing.assert_allclose(found.test, (first.test + second.test) / 2, rtol=1e-6)


def opened(folder: RunFolder) -> Experiment:
    return open_experiment(folder, Stop(-1)).experiment


@pytest.mark.parametrize("damage", ["lost", "damaged"])
def test_ingredients_that_are_lost_or_damaged_are_trained_again(images: Path, tmp_path: Path, damage: str) -> None:
    request = request_for(images, "average")
    with RunFolder.create(tmp_path / "run", request, environment(device="cpu", threads=1)) as folder:
        experiment = opened(folder)
        blocks = experiment.blocks("stage")
        rates = {block.name: 1e-3 for block in blocks[-2:]}
        other = FineTunePlan.constant(blocks, rates, norm="eval", head_start="probe")
        head = FineTunePlan.constant(blocks, {blocks[-1].name: 1e-3}, norm="eval", head_start="probe")
        mixed = replace(head, mixture=Mixture("weights", (Ingredient(other),)))
        record = experiment.train(mixed, strategy="x", learning_rate=1e-3, seed=0, purpose="final")
        before = experiment.evaluate(record)
        for path in (tmp_path / "run").glob("checkpoints/*.safetensors"):
            path.write_bytes(b"?") if damage == "damaged" else path.unlink()
        for path in (tmp_path / "run").glob("evaluations/*.safetensors"):
            path.unlink()
        again = experiment.evaluate(record)
    assert (again.val == before.val).all()
    assert len(experiment.ledger.records) == 3


@pytest.mark.thorough
def test_the_pick_alone_mixes_nothing(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    api.run(request_for(images, "pick"), run)
    assert FineTunePlan.from_dict(row_of(run)["plan"]).mixture is None


@pytest.mark.thorough
@pytest.mark.parametrize("answer", ["average", "ensemble"])
def test_fit_scores_the_pick_beside_the_answer_in_one_row(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(answers, "best_members", lambda outputs, *_: list(outputs)[:2])
    results = api.run(replace(request_for(images, answer), verb="fit"), tmp_path / "run")
    assert isinstance(results, FitResults)
    assert ("ensemble" in results.baselines) == (answer == "average")
    rows = scored(results.rows)
    assert all(row.plan != other.plan for row, other in combinations(rows, 2))
    assert results.search is not None
    winner = results.search.candidate(results.search.winner)
    (pick,) = (row for row in rows if row.strategy == results.pick)
    assert winner is not None
    assert pick.val.accuracy.mean == winner.score
    assert results.latency is not None


@pytest.mark.parametrize(("rate", "rows"), [(1e-3, {"full"}), (1e-4, {"full", "pick"})])
def test_an_answer_whose_plan_has_a_row_gets_no_second_one(
    monkeypatch: pytest.MonkeyPatch, rate: float, rows: set[str]
) -> None:
    """The pick is a baseline or another plan; the ensemble is the pick alone."""
    full, own, average = (
        Tuned("full", 1e-3, FineTunePlan((Phase({"body": rate, "head": rate}),)), (0.8, -0.5))
        for rate in (1e-3, rate, 1e-5)
    )
    pick = replace(own, baselines={"full": full})
    monkeypatch.setattr(answers, "_finished", lambda *_: [own])
    monkeypatch.setattr(answers, "_luck", lambda *_: 0.0)
    monkeypatch.setattr(answers, "_ensemble", lambda *_: own)
    monkeypatch.setattr(answers, "_average", lambda *_: average)
    none: Any = None
    found = answers.handed_over(none, pick, none, none, "average")
    assert found.plan == average.plan
    assert set(found.baselines) == rows
    assert found.pick == pick


@pytest.mark.thorough
def test_the_ensemble_after_the_average_is_in_the_ledger(images: Path, tmp_path: Path) -> None:
    request = request_for(images, "average")
    with RunFolder.create(tmp_path / "run", request, environment(device="cpu", threads=1)) as folder:
        experiment = opened(folder)
        average = tune(experiment, request.strategies[0])
        trained = len(experiment.ledger.records)
        ensemble = tune(experiment, request.strategies[0].replace("average", "ensemble"))
        assert len(experiment.ledger.records) == trained
    assert average.pick is not None
    assert ensemble.pick is not None
    assert average.pick.plan == ensemble.pick.plan


@pytest.mark.parametrize(("loss", "kept"), [(0.4, True), (0.6, False)])
def test_an_average_is_dropped_if_its_loss_is_above_that_of_the_pick(
    monkeypatch: pytest.MonkeyPatch, loss: float, kept: bool
) -> None:
    monkeypatch.undo()  # of the lenient guard
    rates = {"body": 1e-3, "head": 1e-3}
    plan = FineTunePlan((Phase(rates),), norm="eval", head_start="probe")

    def trained(key: str, val_scaled_loss: float) -> answers.Trained:
        epoch = EpochRecord(0, 0.5, val_scaled_loss, 0.8, 0.8, val_scaled_loss)
        record = TrainingRecord(key, "search", "full", 1e-3, 0, plan.to_dict(), epochs=(epoch,), best_epoch=0)
        return answers.Trained(plan, record)

    average = trained("average", loss)
    monkeypatch.setattr(answers, "_mixed", lambda *_: average)
    pick = Tuned("full", 1e-3, plan, (0.8, -0.5))
    none: Any = None  # no experiment is asked for anything
    found = answers._average(none, pick, [trained("a", 0.5), trained("b", 0.7)])
    assert average.record in found.records, "it was paid for"
    assert (found.score == average.record.score) is kept
