"""The ledger gives back what it was given, whatever `kill -9` does to its file."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from thawline.config import Request
from thawline.errors import RunFolderError
from thawline.plan import RATE
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


@pytest.mark.parametrize("rate", [1e-300, RATE.highest])
def test_every_rate_that_a_plan_may_have_is_kept(tmp_path: Path, rate: float) -> None:
    path = tmp_path / "ledger.journal"
    ledger = Ledger(path)
    ledger.add(record("a"))
    ledger.add(record("b", rate))
    assert Ledger(path).records == (record("a"), record("b", rate))


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
    ledger.commit_evaluation("a", "12ab", {"accuracy": 0.7})
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


def _filled(path: Path) -> list[bytes]:
    """The lines of a ledger with two trainings and the scores of one."""
    ledger = Ledger(path)
    ledger.bind("one")
    ledger.add(record("a"))
    ledger.add(record("b", 3e-3))
    ledger.commit_evaluation("a", "12ab", {"accuracy": 0.7})
    return path.read_bytes().splitlines(keepends=True)


def _damaged(lines: list[bytes], how: str, number: int) -> list[bytes]:
    before, line, after = lines[:number], lines[number], lines[number + 1 :]
    edited = re.sub(rb"\d", lambda found: b"%d" % ((int(found[0]) + 1) % 10), line, count=1)
    return {
        "edited": [*before, edited, *after],
        "edited, without its digest": [*before, re.sub(rb',"sha256":"\w+"\}', b"}", edited), *after],
        "no object": [*before, b"[]\n", *after],
        "nested": [*before, b"[" * 100_000 + b"\n", *after],
        "lost": [*before, *after],
        "twice": [*before, line, line, *after],
        "moved": [*before, *after[:1], line, *after[1:]],
    }[how]


@pytest.mark.parametrize(
    "how", ["edited", "edited, without its digest", "no object", "nested", "lost", "twice", "moved"]
)
def test_a_line_that_changed_is_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "ledger.journal"
    lines = _filled(path)
    for number in range(len(lines) - 1):
        path.write_bytes(b"".join(_damaged(lines, how, number)))
        with pytest.raises(RunFolderError, match=rf"damaged in line {number + 1}|damaged in line {number + 2}"):
            Ledger(path)


def test_an_edited_last_line_is_refused_and_a_lost_one_is_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    lines = _filled(path)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1].replace(b"0.7", b"0.8"))
    with pytest.raises(RunFolderError, match=f"damaged in line {len(lines)}"):
        Ledger(path)
    path.write_bytes(b"".join(lines[:-1]))
    ledger = Ledger(path)
    assert (len(ledger.records), ledger.test_scores("a")) == (2, None)
    ledger.commit_evaluation("a", "12ab", {"accuracy": 0.7})
    assert Ledger(path).evaluation_digest("a") == "12ab"


def _by_an_earlier_version(path: Path) -> list[bytes]:
    lines = [re.sub(rb',"sha256":"\w{64}"\}\n', b"}\n", line) for line in _filled(path)]
    path.write_bytes(b"".join(lines).replace(b',"sha256":"12ab"', b""))
    return lines


def test_a_ledger_without_digests_goes_on_and_is_proved_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    _by_an_earlier_version(path)
    ledger = Ledger(path)
    assert (ledger.evaluation_digest("a"), ledger.evaluation_digest("b")) == ("", None)
    ledger.add(record("c"))
    assert [record.key for record in Ledger(path).records] == ["a", "b", "c"]
    path.write_bytes(path.read_bytes().replace(b'"val_score":0.7', b'"val_score":0.8', 1))
    with pytest.raises(RunFolderError, match="damaged in line"):
        Ledger(path)


@pytest.mark.parametrize("value", [None, -1, 10**30, "x", [], {}, [[]], {"": {}}, True], ids=range(9))
def test_whatever_stands_in_a_ledger_without_digests_is_read_or_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "ledger.journal"
    lines = _by_an_earlier_version(path)
    for number, line in enumerate(lines):
        for key in json.loads(line):
            changed = json.dumps({**json.loads(line), key: value}).encode() + b"\n"
            path.write_bytes(b"".join([*lines[:number], changed, *lines[number + 1 :]]))
            with contextlib.suppress(RunFolderError):
                assert all(record.score for record in Ledger(path).records)


def test_notes_of_the_dashboard_are_not_taken_for_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    Ledger(path).add(record("a"))
    optuna.load_study(
        study_name=STUDY_NAME, storage=JournalStorage(JournalFileBackend(str(path)))
    )._storage.set_study_system_attr(0, "dashboard:note_str:0", "hello")
    Ledger(path).add(record("b"))
    assert len(Ledger(path).records) == 2


def _of_a_terabyte(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(2**40)


@pytest.mark.parametrize("kind", ["a device", "a pipe", "a folder", "a loop", "a terabyte", "an image"])
def test_what_is_not_a_ledger_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ledger.journal"
    make: dict[str, Callable[[], object]] = {
        "a device": lambda: path.symlink_to("/dev/zero"),
        "a pipe": lambda: os.mkfifo(path),
        "a folder": path.mkdir,
        "a loop": lambda: path.symlink_to(path.name),
        "a terabyte": lambda: _of_a_terabyte(path),
        "an image": lambda: path.write_bytes(b"\x89PNG" + bytes(100)),
    }
    make[kind]()
    with pytest.raises(RunFolderError, match=r"cannot be read|not a ledger"):
        Ledger(path)


def test_a_run_from_before_an_option_existed_goes_on(tmp_path: Path) -> None:
    """What `Request` says of a missing option must be what the ledger takes its absence for."""
    later = {"refit", "plan", "head", "keep_old", "candidates", "calibrate"}
    now = Request(verb="fit", data="photos", model="test_resnet", strategies=("full",)).to_dict()
    old = {name: value for name, value in now.items() if name not in later}
    for name in ("stream", "search_images"):
        del old["images"][name]
    Ledger(tmp_path / "ledger.journal").bind_request(old)
    Ledger(tmp_path / "ledger.journal").bind_request(Request.from_dict(old).to_dict())


def test_what_was_trained_ahead_is_no_record_until_somebody_asks(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    ledger = Ledger(path)
    assert ledger.is_empty
    ledger.keep_ahead(record("a"), "node 1:17")
    ledger.keep_ahead(failed("b"), "node 2:18", "torch 2.15.0 instead of 2.14.1")
    for found in (ledger, Ledger(path)):
        assert found.records == ()
        assert found.find("a") is None
        assert found.trained_ahead("a") == record("a")
        assert found.trained_ahead("b") == failed("b")
        assert found.trained_ahead("c") is None
        assert found.places == {"a": "node 1:17", "b": "node 2:18; torch 2.15.0 instead of 2.14.1"}
        assert not found.is_empty, "so that a folder with it is not taken back"


def test_every_loss_is_kept_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    ledger = Ledger(path)
    for attempt, place in enumerate(("node 1:17", "node 2:18"), 1):
        ledger.keep_loss(record("a"), attempt, place, "killed")
    losses = Ledger(path).losses
    assert [(loss["training"], loss["attempt"], loss["place"], loss["reason"]) for loss in losses] == [
        ("a", 1, "node 1:17", "killed"),
        ("a", 2, "node 2:18", "killed"),
    ]
    assert {(loss["strategy"], loss["seed"]) for loss in losses} == {("full", 0)}


def test_a_smaller_batch_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    ledger = Ledger(path)
    assert ledger.micro_batch is None
    ledger.keep_micro_batch(8)
    assert ledger.micro_batch == Ledger(path).micro_batch == 8


def test_a_run_that_has_yet_to_choose_its_network_names_another_version(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.journal").bind_choice({"model": "a"})
    Ledger(tmp_path / "ledger.journal").bind_choice({"model": "a"})
    with pytest.raises(RunFolderError, match=r"another version of thawline started the run; .*`out`\.$") as refused:
        Ledger(tmp_path / "ledger.journal").bind_choice({"model": "a", "stream": False})
    assert refused.value.exit_code == 2
