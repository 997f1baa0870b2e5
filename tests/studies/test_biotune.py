"""A whole search on a tiny task: what it trains, writes and finds, in any order and with any interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from tests.small_runs import Stop, small_request
from tests.studies.searches import answer, study_of, train_in_any_order
from thawline import api
from thawline.config import Request
from thawline.errors import NonFiniteLossError
from thawline.plan import FineTunePlan
from thawline.records import read_json
from thawline.results import plain
from thawline.runs.experiment import TUNING_SEED_OFFSET
from thawline.runs.ledger import Ledger
from thawline.search.encoding import Space
from thawline.search.evolution import make_encoding
from thawline.strategies.base import variants
from thawline.strategies.biotune import EvolutionConfig
from thawline.strategies.context import Tuned
from thawline.studies import biotune as searching
from thawline.testing import PlainContext, check_strategy, tiny_model
from thawline.training.images import LabelledRows
from thawline.training.trainer import TrainedModel, Trainer

SPEC = "biotune:population=4,elites=1,generations=2,seeds=2,folds=2,top=2"
EVALUATIONS = 4 + 2 * (1 + 2 + 3)
ONE_SEED = SPEC.replace("seeds=2", "seeds=1")


def request_for(images: Path, *strategies: str, verb: str = "fit") -> Request:
    """A tiny task on which plans differ: rates up to 0.1, batches of four."""
    request = small_request(images, strategies or (SPEC,), verb=verb, learning_rate=1e-2)
    return replace(request, train=replace(request.train, batch_size=4), images=replace(request.images, augment="none"))


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole search."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    api.run(request_for(images), run)
    return run


@pytest.mark.thorough
def test_every_candidate_is_a_trial_that_any_optuna_tool_reads(finished: Path) -> None:
    study = study_of(finished)
    assert study.study_name.removeprefix("thawline-search:") == variants(SPEC)[0].spec
    trials = study.get_trials()
    assert len(trials) == EVALUATIONS + 2
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    counted = Counter((trial.user_attrs["generation"], trial.user_attrs["operator"]) for trial in trials)
    later = {(g, name): count for g in (1, 2) for name, count in (("elite", 1), ("probe", 2), ("child", 3))}
    assert counted == {(0, "initial"): 4, **later, (3, "retrained"): 2}
    for trial in trials:
        assert trial.value == pytest.approx(sum(trial.user_attrs["result"]["per_seed"]) / 2)
        assert len(trial.user_attrs["result"]["per_epoch"]) == 2
        assert trial.user_attrs["data_fingerprint"]
        assert trial.user_attrs["packages"]["optuna"]
        assert trial.user_attrs["result"]["work"] > 0
    assert [trial.user_attrs["fold"] for trial in trials[:10]] == [0] * 4 + [1] * 6
    importance = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    assert set(importance) == {*read_json(finished / "results.json")["search"]["genes"]}


@pytest.mark.thorough
def test_trainings_are_counted_once_however_often_a_plan_comes_back(finished: Path) -> None:
    records = [record for record in Ledger(finished / "ledger.journal").records if record.purpose == "search"]
    candidates = read_json(finished / "results.json")["search"]["candidates"]
    plans = [(FineTunePlan.from_dict(record.plan).phases[0], record.seed, record.fold) for record in records]
    assert len({(*phase.learning_rates.values(), seed, fold) for phase, seed, fold in plans}) == len(records)
    assert len(records) <= 2 * len(candidates)
    assert {record.seed for record in records if record.fold is not None} == {TUNING_SEED_OFFSET + n for n in (0, 1)}
    fresh = {record.seed for record in records if record.fold is None}
    assert fresh == {searching.FRESH_SEED_OFFSET + n for n in (0, 1)}
    assert not fresh & {0, TUNING_SEED_OFFSET, TUNING_SEED_OFFSET + 1}


@pytest.mark.thorough
def test_the_winner_is_the_best_on_validation_of_those_retrained(finished: Path) -> None:
    results = read_json(finished / "results.json")
    final = [candidate for candidate in results["search"]["candidates"] if candidate["operator"] == "retrained"]
    assert results["search"]["winner"][0] == 3
    winner = next(candidate for candidate in final if candidate["slot"] == results["search"]["winner"][1])
    assert winner["score"] == max(candidate["score"] for candidate in final)
    rates = results["plan"]["phases"][0]["learning_rates"]
    for block in results["search"]["blocks"]:
        rate = rates[block["name"]]
        assert (rate is None) == (block["weight"] is None)
        assert rate is None or rate == pytest.approx(block["weight"] * 1e-2, rel=1e-4)
    assert results["search"]["trainable_percent"] == pytest.approx(results["trainable_percent"])


@pytest.mark.thorough
def test_the_record_of_a_search_is_what_the_tables_need(finished: Path) -> None:
    search = read_json(finished / "results.json")["search"]
    assert [generation["generation"] for generation in search["generations"]] == [0, 1, 2]
    assert [generation["fold"] for generation in search["generations"]] == [0, 1, 0]
    for generation in search["generations"]:
        low, middle, high = generation["quartiles"]
        assert low <= middle <= high <= generation["best"]
        assert 0 <= generation["diversity"] <= 1
    assert sum(generation["evaluations"] for generation in search["generations"]) == EVALUATIONS
    assert search["data_share"] == 0.5
    assert search["settings"]["population"] == 4
    assert sum(search["importance"].values()) == pytest.approx(1)
    ledger = Ledger(finished / "ledger.journal").records
    tuning = [record.work for record in ledger if record.purpose == "search"]
    assert search["work"] == pytest.approx(sum(tuning))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "trainings", [pytest.param(0, marks=pytest.mark.slow), 7, pytest.param(22, marks=pytest.mark.slow)]
)
def test_interrupted_and_resumed_is_the_uninterrupted_search(
    images: Path, finished: Path, tmp_path: Path, trainings: int
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images), run, Stop(trainings))
    api.resume(run)
    assert answer(run) == answer(finished)
    addresses = [(trial.user_attrs["generation"], trial.user_attrs["slot"]) for trial in study_of(run).get_trials()]
    assert len(addresses) == len(set(addresses)) == EVALUATIONS + 2
    assert len(Ledger(run / "ledger.journal").records) == len(Ledger(finished / "ledger.journal").records)


@pytest.mark.slow  # the fast tests kill a run in tests/faults, in a child that need not import PyTorch anew
def test_kill_9_and_resume_is_the_uninterrupted_search(images: Path, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = (
        "--weights random --image-size 32 --augment none --views 2 --epochs 2 --batch-size 4 --threads 1 --device cpu"
    )
    command = [sys.executable, "-m", "thawline", "fit", str(images), "--model", "test_efficientnet"]
    process = subprocess.Popen(
        [*command, *options.split(), "--learning-rate", "0.01", "--strategy", SPEC, "--out", str(run)],
        stdout=subprocess.DEVNULL,
    )
    journal = run / "ledger.journal"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 17):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (run / "results.json").exists()
    api.resume(run)
    assert answer(run) == answer(finished)


@pytest.mark.thorough
def test_the_order_of_trainings_never_matters(
    images: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_in_any_order(monkeypatch)
    api.run(request_for(images), tmp_path / "run")
    assert answer(tmp_path / "run") == answer(finished)
    order = [record.key for record in Ledger(tmp_path / "run" / "ledger.journal").records]
    assert order != [record.key for record in Ledger(finished / "ledger.journal").records]


@pytest.mark.thorough
def test_candidates_train_on_their_fold_and_nothing_else_does(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Trainer.train
    seen: list[tuple[int, frozenset[int] | None]] = []

    def watch(self: Trainer, *args: Any, seed: int, images: LabelledRows | None = None, **others: Any) -> TrainedModel:
        seen.append((seed, None if images is None else frozenset(images.rows.tolist())))
        return plain(self, *args, seed=seed, images=images, **others)

    monkeypatch.setattr(Trainer, "train", watch)
    results = api.run(request_for(images, ONE_SEED.replace("generations=2", "generations=1")), tmp_path / "run")
    folds = {rows for seed, rows in seen if TUNING_SEED_OFFSET <= seed < searching.FRESH_SEED_OFFSET}
    first, second = (fold for fold in folds if fold is not None)
    assert folds == {first, second}
    assert not first & second
    assert len(first | second) == 24
    assert {rows for seed, rows in seen if not TUNING_SEED_OFFSET <= seed < searching.FRESH_SEED_OFFSET} == {None}
    assert results["search"]["trainings"] == len([seed for seed, _ in seen if seed >= TUNING_SEED_OFFSET])


@pytest.mark.thorough
def test_one_fold_is_the_whole_training_split_and_elites_cost_nothing_again(images: Path, tmp_path: Path) -> None:
    results = api.run(request_for(images, ONE_SEED.replace("folds=2", "folds=1")), tmp_path / "run")
    assert results["search"]["data_share"] == 1
    records = Ledger(tmp_path / "run" / "ledger.journal").records
    assert {record.fold for record in records} == {None}
    assert results["search"]["trainings"] <= EVALUATIONS - 2 + 2


@pytest.mark.thorough
def test_a_diverged_candidate_scores_nothing_and_spares_the_search(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Trainer.train

    def sometimes(self: Trainer, plan: FineTunePlan, *args: Any, **others: Any) -> TrainedModel:
        if max(rate for rate in plan.phases[0].learning_rates.values() if rate) > 3e-2:
            raise NonFiniteLossError("the loss became nan in epoch 1; lower the learning rate.")
        return plain(self, plan, *args, **others)

    monkeypatch.setattr(Trainer, "train", sometimes)
    results = api.run(request_for(images, ONE_SEED), tmp_path / "run")
    scores = [candidate["score"] for candidate in results["search"]["candidates"]]
    assert 0.0 in scores
    assert max(rate for rate in results["plan"]["phases"][0]["learning_rates"].values() if rate) <= 3e-2
    assert {trial.state for trial in study_of(tmp_path / "run").get_trials()} == {TrialState.COMPLETE}


def test_when_everything_diverges_the_run_says_so(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> TrainedModel:
        raise NonFiniteLossError("the loss became nan in epoch 1; lower the learning rate.")

    monkeypatch.setattr(Trainer, "train", never)
    request = request_for(images, SPEC.replace("generations=2", "generations=1"), verb="compare")
    rows = api.run(request, tmp_path / "run")["rows"]
    assert "every top candidate failed" in rows[0]["error"]


@pytest.mark.thorough
def test_a_search_stands_beside_tuned_strategies(images: Path, tmp_path: Path) -> None:
    small = "biotune:population=2,elites=1,generations=1,seeds=1,top=1,encoding=split"
    comparison = api.run(small_request(images, ("linear_probe", small)), tmp_path / "run")
    probe, biotune = comparison["rows"]
    assert "search" not in probe
    assert biotune["learning_rate"] == 1e-3
    assert biotune["arguments"]["encoding"] == "split"
    assert json.dumps(plain(biotune["search"]))


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_the_rates_of_a_genotype_reach_the_optimizer_and_frozen_blocks_never_move(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some_genes(context: PlainContext, settings: EvolutionConfig) -> Tuned:
        encoding = make_encoding(settings, len(context.blocks))
        genes = tuple((0.9, 0.1, 0.6)[number % 3] for number in range(encoding.size - 1))
        space = Space(encoding, context.blocks, context.granularity, context.learning_rate)
        return Tuned("biotune", context.learning_rate, space.plan((*genes, 0.5)), (0.5, -1.0))

    monkeypatch.setattr(PlainContext, "evolve", some_genes)
    plan = check_strategy("biotune", tiny_model(model))
    rates = list(plan.phases[0].learning_rates.values())
    assert rates[:3] == [pytest.approx(1e-2 * 10**0.8, rel=1e-5), None, pytest.approx(1e-2 * 10**0.2, rel=1e-5)]
    assert rates[-1] is not None


def test_the_forecast_counts_every_training_of_a_search_at_most(images: Path, tmp_path: Path) -> None:
    class Told(Stop):
        trainings = 0

        def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
            self.trainings = trainings

    first, again = Told(3), Told(0)
    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images), tmp_path / "run", first)
    assert first.trainings == 2 * EVALUATIONS + 2 * 2 + 1
    with pytest.raises(KeyboardInterrupt):
        api.resume(tmp_path / "run", again)
    assert again.trainings == first.trainings - 3
