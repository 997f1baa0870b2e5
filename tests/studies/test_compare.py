"""`compare` and `fit` end to end on a tiny task: what they write, and that a broken run becomes the same run."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from tests.small_runs import CLASSES, Stop, small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import TRAININGS_PER_ROW
from thawline.errors import NonFiniteLossError, RunFolderError
from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord
from thawline.runs.experiment import TUNING_SEED_OFFSET
from thawline.runs.ledger import Ledger
from thawline.training.trainer import Trainer

ROWS = ("linear_probe", "last_blocks", "full")


class Count(Callback):
    """Counts trainings that really ran."""

    def __init__(self) -> None:
        self.trained: list[TrainingRecord] = []

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        if not stored:
            self.trained.append(record)


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole comparison with two seeds."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    api.run(small_request(images, ROWS, seeds=2), run)
    return run


def test_comparison_holds_every_row_with_its_spread(finished: Path) -> None:
    comparison = json.loads((finished / "comparison.json").read_text())
    assert [row["strategy"] for row in comparison["rows"]] == list(ROWS)
    for row in comparison["rows"]:
        assert row["test"]["accuracy"]["n"] == 2
        assert len(row["test"]["accuracy"]["per_seed"]) == 2
        low, high = row["test"]["interval95"]
        assert low <= row["test"]["accuracy"]["mean"] <= high
        assert row["cost"]["work"] > 0
    probe, last, full = comparison["rows"]
    assert (probe["arguments"], last["chosen"]) == (
        {},
        "last_blocks:k={k},norm={norm}".format(**last["arguments"]),
    )
    assert probe["trainable_percent"] < full["trainable_percent"] == 100
    assert full["versus_full"] is None
    assert probe["versus_full"]["words"]


def test_rows_are_tuned_with_a_seed_of_their_own(finished: Path) -> None:
    records = Ledger(finished / "ledger.journal").records
    assert {record.seed for record in records if record.purpose == "tuning"} == {TUNING_SEED_OFFSET}
    assert {record.seed for record in records if record.purpose == "final"} == {0, 1}


def test_every_row_is_tuned_with_as_many_trainings(finished: Path) -> None:
    tuned = Counter(
        record.strategy.partition(":")[0]
        for record in Ledger(finished / "ledger.journal").records
        if record.purpose == "tuning"
    )
    assert tuned == {name: TRAININGS_PER_ROW for name in ROWS if name != "linear_probe"}, "a solved probe has no rate"
    rows = json.loads((finished / "comparison.json").read_text())["rows"]
    assert [row["cost"]["trainings"] for row in rows] == [tuned[name] + 2 for name in ROWS]


def test_the_table_has_what_a_referee_asks_for(finished: Path) -> None:
    rows = json.loads((finished / "comparison.json").read_text())["rows"]
    lines = list(csv.DictReader((finished / "comparison.csv").read_text().splitlines()))
    for row, line in zip(rows, lines, strict=True):
        train, test, cost = row["train"]["accuracy"], row["test"]["accuracy"], row["cost"]
        expected = {
            "test_accuracy": test["mean"],
            "test_standard_error": test["standard_error"],
            "test_n": 2,
            "test_low95": row["test"]["interval95"][0],
            "test_high95": row["test"]["interval95"][1],
            "train_test_gap": train["mean"] - test["mean"],
            "trainable_percent": row["trainable_percent"],
            **{name: cost[name] for name in ("work", "trainings", "seconds", "peak_memory_bytes")},
        }
        assert {name: float(line[name]) for name in expected} == pytest.approx(expected)
        assert cost["seconds"] > 0
        assert cost["peak_memory_bytes"] > 2**20
    # The peak is the process's, so it never falls from one row to the next.
    peaks = [row["cost"]["peak_memory_bytes"] for row in rows]
    assert peaks == sorted(peaks)


def test_predictions_hold_every_row_seed_and_image(finished: Path) -> None:
    lines = list(csv.DictReader((finished / "predictions.csv").read_text().splitlines()))
    assert len(lines) == len(ROWS) * 2 * (16 + 16)
    assert all(abs(sum(float(line[name]) for name in CLASSES) - 1) < 1e-5 for line in lines)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "trainings", [pytest.param(0, marks=pytest.mark.slow), 3, pytest.param(16, marks=pytest.mark.slow)]
)
def test_interrupted_and_resumed_is_the_uninterrupted_run(
    images: Path, finished: Path, tmp_path: Path, trainings: int
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.run(small_request(images, ROWS, seeds=2), run, Stop(trainings))
    count = Count()
    resumed = api.resume(run, count)
    whole = json.loads((finished / "comparison.json").read_text())
    assert resumed["digest"] == whole["digest"]
    assert [row["test"] for row in json.loads((run / "comparison.json").read_text())["rows"]] == [
        row["test"] for row in whole["rows"]
    ]
    assert len(count.trained) == len(Ledger(finished / "ledger.journal").records) - trainings


@pytest.mark.slow  # the fast tests kill a run in tests/faults, in a child that need not import PyTorch anew
def test_kill_9_and_resume_is_the_uninterrupted_run(images: Path, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = "--weights random --image-size 32 --views 2 --epochs 2 --batch-size 8 --threads 1 --device cpu --seeds 2"
    command = [sys.executable, "-m", "thawline", "compare", str(images), "--model", "test_efficientnet"]
    process = subprocess.Popen(
        [*command, *options.split(), "--strategies", ",".join(ROWS), "--out", str(run)], stdout=subprocess.DEVNULL
    )
    journal = run / "ledger.journal"
    while process.poll() is None and not (journal.exists() and len(journal.read_bytes().splitlines()) > 12):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (run / "comparison.json").exists()
    resumed = api.resume(run)
    assert resumed["digest"] == json.loads((finished / "comparison.json").read_text())["digest"]


def test_resuming_a_finished_run_trains_and_scores_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained or scored again")

    before = json.loads((finished / "comparison.json").read_text())
    monkeypatch.setattr(Trainer, "train", never)
    monkeypatch.setattr(Trainer, "probabilities", never)
    assert api.resume(finished)["digest"] == before["digest"]
    assert json.loads((finished / "comparison.json").read_text())["rows"] == before["rows"]


@pytest.mark.thorough
def test_the_test_split_is_scored_once_per_row_and_seed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    intents: list[str] = []
    plain, intend = Trainer.probabilities, Ledger.intend_test

    def watch(self: Trainer, rows: object) -> torch.Tensor:
        scored.append(len(intents))
        return plain(self, rows)  # type: ignore[arg-type]

    def watch_intent(self: Ledger, key: str) -> None:
        assert self.find(key) is not None, "scored before its training was in the ledger"
        intents.append(key)
        intend(self, key)

    monkeypatch.setattr(Trainer, "probabilities", watch)
    monkeypatch.setattr(Ledger, "intend_test", watch_intent)
    api.run(small_request(images, ("linear_probe", "full"), seeds=2, learning_rate=1e-3), tmp_path / "run")
    assert len(intents) == len(set(intents)) == 4
    assert len(scored) == 4 * 3
    assert all(scored)


@pytest.mark.thorough
def test_a_diverged_training_spares_the_others(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Trainer.train

    def sometimes(self: Trainer, plan: FineTunePlan, *args: object, **kwargs: object) -> object:
        if max((rate for rate in plan.phases[0].learning_rates.values() if rate), default=0) > 2e-3:
            raise NonFiniteLossError("the loss became nan in epoch 1; lower the learning rate.")
        return plain(self, plan, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "train", sometimes)
    comparison = api.run(small_request(images, ("last_blocks:k=1", "full_10x_head")), tmp_path / "run")
    assert [row["learning_rate"] <= 1e-3 for row in comparison["rows"]] == [True, True]
    failed = [record for record in Ledger(tmp_path / "run" / "ledger.journal").records if record.error]
    assert failed
    assert all("nan" in str(record.error) for record in failed)


@pytest.mark.thorough
def test_fit_saves_a_model_that_timm_opens(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    results = api.run(small_request(images, ("auto",), verb="fit"), run)
    assert results["chosen"].split(":")[0] in (*ROWS, "auto")
    # Which of these have a plan of their own rests on how the processor rounds.
    assert set(ROWS) <= set(results["baselines"]) <= {*ROWS, "pick", "ensemble"}
    plans = [row["plan"] for row in results["baselines"].values()]
    assert all(plan not in plans[:number] for number, plan in enumerate(plans)), "no plan has two rows"
    assert results["pick"] in ("auto", *results["baselines"])
    assert results["frozen_bit_identical"] is True
    model: Any = timm.create_model(f"local-dir:{run / 'model'}", pretrained=True)
    assert model.pretrained_cfg["label_names"] == list(CLASSES)
    assert FineTunePlan.from_json((run / "plan.json").read_text()) == results["plan"]
    for name in ("results.json", "splits.csv", "check.json", "history.csv", "predictions.csv", "ledger.journal"):
        assert (run / name).stat().st_size > 0
    assert not list(run.glob("checkpoints/*"))
    scores = api.evaluate(run, str(images))
    assert scores["accuracy"] == results["test"]["accuracy"]["per_seed"][0]
    assert len(json.loads((run / "evaluations.json").read_text())["evaluations"]) == 1


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_weights(images: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("a", "b"):
        api.run(small_request(images, ("full",), verb="fit"), tmp_path / name)
        weights.append((tmp_path / name / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_folder_that_holds_a_run_is_left_alone(images: Path, finished: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*") if path.name != ".lock")
    with pytest.raises(RunFolderError, match="already holds a finished run"):
        api.run(small_request(images, ROWS), finished)
    assert sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*") if path.name != ".lock") == before
