"""The journal of candidates: what is written of each, and that a resumed search takes it up and changes nothing."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from tests.search.fakes import training
from tests.search.scripted import SPACE, genes, ledger, plan
from thawline.errors import RunFolderError
from thawline.search.candidates import Candidate, Scored
from thawline.search.trials import result_of

HEAD, FULL = (None, None, None, 0), (0, 0, 0, 0)
FIRST = Candidate(0, 0, "start", genes(HEAD), (0.0,) * 5, (), None)
SECOND = Candidate(1, 3, "child", genes(FULL), (0.25,) * 5, ((0, 0), (0, 1)), 1, rung=1)
RUNGS = (1, 2, 4)


def trials(storage: InMemoryStorage) -> list[FrozenTrial]:
    return storage.get_all_trials(storage.get_study_id_from_name("search"))


def scored(candidate: Candidate, *scores: float, seeds: tuple[int, ...] = (5,)) -> Scored:
    records = tuple(replace(training(scores, work=0.25, key=f"{candidate.slot}/{seed}"), seed=seed) for seed in seeds)
    return Scored(candidate, records)


def test_all_of_a_candidate_is_journalled_when_it_is_asked_for() -> None:
    storage = InMemoryStorage()
    ledger(storage, data="abc").ask([FIRST, SECOND])
    first, second = trials(storage)
    assert {first.state, second.state} == {TrialState.RUNNING}
    assert second.params == dict(zip(SPACE.gene_names, SECOND.genes, strict=True))
    assert second.user_attrs == {
        "generation": 1, "slot": 3, "operator": "child", "parents": [[0, 0], [0, 1]], "fold": 1, "rung": 1,
        "momentum": [0.25] * 5, "plan": plan(FULL).to_dict()["phases"], "data": "abc",
    }  # fmt: skip


def test_a_candidate_is_journalled_once_however_often_it_is_asked_for() -> None:
    """By this process, or by the one that goes on with an interrupted run."""
    storage = InMemoryStorage()
    journal = ledger(storage)
    journal.ask([FIRST])
    journal.ask([FIRST, SECOND])
    ledger(storage).ask([replace(FIRST, rung=1), SECOND])
    assert [trial.user_attrs["slot"] for trial in trials(storage)] == [0, 3]


def test_other_genes_at_a_stored_place_are_refused() -> None:
    storage = InMemoryStorage()
    ledger(storage).ask([FIRST, SECOND])
    with pytest.raises(RunFolderError, match="took another path at generation 1, slot 3"):
        ledger(storage).ask([FIRST, replace(SECOND, genes=FIRST.genes)])


def test_scores_are_reported_by_epochs_and_the_first_of_a_rung_stays() -> None:
    storage = InMemoryStorage()
    journal = ledger(storage)
    journal.ask([FIRST, SECOND])
    journal.report([scored(FIRST, 0.5), scored(SECOND, 0.5, 0.6)], RUNGS)
    ledger(storage).report([scored(FIRST, 0.9), scored(replace(FIRST, rung=2), 0.5, 0.5, 0.5, 0.7)], RUNGS)
    first, second = trials(storage)
    assert first.intermediate_values == {1: 0.5, 4: 0.7}
    assert second.intermediate_values == {2: 0.6}


def test_a_candidate_that_was_told_is_left_as_it_is() -> None:
    storage = InMemoryStorage()
    journal = ledger(storage)
    journal.ask([FIRST, SECOND])
    journal.tell([scored(FIRST, 0.5)])
    later = ledger(storage)
    later.report([scored(FIRST, 0.9)], RUNGS)
    later.tell([scored(FIRST, 0.9), scored(SECOND, 0.8)])
    first, second = trials(storage)
    assert (first.value, second.value) == (0.5, 0.8)
    assert {first.state, second.state} == {TrialState.COMPLETE}
    assert first.intermediate_values == {}
    assert first.user_attrs["result"] == result_of(scored(FIRST, 0.5))


def test_results_are_of_every_seed() -> None:
    failed = replace(training([0.5], work=0.125, key="failed"), epochs=(), best_epoch=None, error="nan", seed=7)
    found = scored(SECOND, 0.5, 0.75, seeds=(5, 6))
    assert result_of(replace(found, trainings=(*found.trainings, failed))) == {
        "per_seed": [0.75, 0.75, 0.0],
        "seeds": [5, 6, 7],
        "per_epoch": [[0.5, 0.75], [0.5, 0.75], []],
        "errors": ["nan"],
        "trainings": ["3/5", "3/6", "failed"],
        "work": 0.625,
        "rung": 1,
    }


def test_a_number_is_measured_once() -> None:
    storage = InMemoryStorage()
    answers = iter([2.5, 9.0, 4.0])
    assert ledger(storage).settled("seconds", lambda: next(answers)) == 2.5
    assert ledger(storage).settled("seconds", lambda: next(answers)) == 2.5
    assert ledger(storage).settled("other", lambda: next(answers)) == 9.0


def test_clockings_are_a_list_that_is_kept() -> None:
    storage = InMemoryStorage()
    journal = ledger(storage)
    journal.settled("not a clocking", lambda: 1.0)
    clockings = journal.clockings
    assert len(clockings) == 0
    for entry in ((3.0, 1.0), (2.0, 2.5)):
        clockings.append(entry)
    again = ledger(storage).clockings
    assert len(again) == 2
    assert [tuple(again[index]) for index in (0, 1, -1)] == [(3.0, 1.0), (2.0, 2.5), (2.0, 2.5)]
    with pytest.raises(IndexError):
        again[2]


def test_another_study_in_the_same_storage_is_another_search() -> None:
    storage = InMemoryStorage()
    ledger(storage).ask([FIRST])
    optuna.create_study(study_name="thawline", storage=storage).set_user_attr("generation", 9)
    assert len(trials(storage)) == 1
    ledger(storage).tell([scored(FIRST, 0.5)])
    assert trials(storage)[0].value == 0.5
