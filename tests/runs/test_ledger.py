"""The ledger gives back what it was given, whatever `kill -9` does to its file."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from thawline.errors import RunFolderError
from thawline.records import EpochRecord, TrainingRecord, digest
from thawline.runs.ledger import STUDY_NAME, Ledger


def record(key: str, rate: float = 1e-3, seconds: float = 1.0) -> TrainingRecord:
    epochs = (EpochRecord(0, 1.5, 1.4, 0.5, 0.5), EpochRecord(1, 1.0, 1.1, 0.7, 0.7))
    return TrainingRecord(key, "tuning", "full", rate, 0, {"phases": []}, epochs, 1, 0.5, 800, seconds=seconds)


def failed(key: str) -> TrainingRecord:
    return TrainingRecord(key, "tuning", "full", 0.1, 0, {"phases": []}, error="the loss became nan")


def test_reopening_gives_equal_records(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    ledger = Ledger(path)
    ledger.add(record("a"))
    ledger.add(failed("b"))
    assert Ledger(path).records == (record("a"), failed("b"))
    assert Ledger(path).find("c") is None


@pytest.mark.parametrize("rest", [b'{"op_code": 4, "half', b"\xff\x00 garbage\n", b'{"op_code"\n'])
def test_half_a_last_line_is_cut_off(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "ledger.journal"
    Ledger(path).add(record("a"))
    with path.open("ab") as stream:
        stream.write(rest)
    Ledger(path).add(record("b"))
    assert [record.key for record in Ledger(path).records] == ["a", "b"]


def test_the_lock_of_a_killed_process_does_not_hold_us_up(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    Ledger(path).add(record("a"))
    (tmp_path / "ledger.journal.lock").symlink_to(path)
    Ledger(path).add(record("b"))
    assert len(Ledger(path).records) == 2


def test_test_scores_are_kept_once_journalled(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    ledger = Ledger(path)
    ledger.intend_test("a")
    assert Ledger(path).test_scores("a") is None
    ledger.commit_test("a", {"accuracy": 0.7})
    assert Ledger(path).test_scores("a") == {"accuracy": 0.7}


def test_other_data_may_not_join(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.journal").bind("one")
    Ledger(tmp_path / "ledger.journal").bind("one")
    with pytest.raises(RunFolderError, match="changed"):
        Ledger(tmp_path / "ledger.journal").bind("two")


def test_any_optuna_tool_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    ledger = Ledger(path)
    ledger.add(record("a"))
    ledger.add(failed("b"))
    study = optuna.load_study(study_name=STUDY_NAME, storage=JournalStorage(JournalFileBackend(str(path))))
    assert study.best_value == 0.7
    assert study.best_params == {"learning_rate": 1e-3, "seed": 0}
    assert study.best_trial.user_attrs["strategy"] == "full"
    assert study.best_trial.intermediate_values == {0: 0.5, 1: 0.7}


def test_the_digest_sees_results_and_not_times_or_order() -> None:
    assert digest([record("a"), record("b", 3e-3)]) == digest([record("b", 3e-3, seconds=9.0), record("a")])
    assert digest([record("a")]) != digest([record("a", 3e-3)])
