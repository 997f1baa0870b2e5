"""Candidates are trained once, from where they paused, and stored at once; what a training costs is charged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.search.fakes import training
from tests.search.scripted import plan
from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord
from thawline.runs.experiment import Experiment, Part
from thawline.search.candidates import Task
from thawline.search.encoding import Phenotype
from thawline.studies import tuning
from thawline.studies.tuning import CandidateTrainings
from thawline.training.pause import Paused

HEAD, FULL = (None, None, None, 5), (0, 0, 0, 0)
PARTS = tuple(SimpleNamespace(fingerprint=name) for name in ("first half", "second half"))


@dataclass
class Fake:
    """Stands for an experiment; every epoch scores a tenth more, and every pause takes so many bytes."""

    patience: int = 0
    paused_bytes: int = 1
    failing: bool = False
    best_epoch: int | None = None
    went_on: list[tuple[str, str | None, str | None, str | None]] = field(default_factory=list)
    """Key, key of the training before, the pause that it starts from, part of the images."""
    kept: list[str] = field(default_factory=list)
    weights_kept: list[str] = field(default_factory=list)
    stored: dict[str, TrainingRecord] = field(default_factory=dict)
    paused: dict[str, Paused] = field(default_factory=dict)

    @property
    def request(self) -> object:
        return SimpleNamespace(train=SimpleNamespace(patience=self.patience))

    def known(self, key: str) -> TrainingRecord | None:
        return self.stored.get(key)

    def ahead(self, calls: Iterable[Callable[[Experiment], object]]) -> None:
        """As without workers."""

    def key(self, plan: FineTunePlan, seed: int, part: Part | None, until: int | None) -> str:
        return f"{'+'.join(sorted(plan.trained))} {seed} {part.fingerprint if part else 'all'} {until}"

    def find(self, record: TrainingRecord) -> TrainingRecord | None:
        stored = self.stored.get(record.key)
        return stored and replace(stored, slot=record.slot)

    def keep(self, record: TrainingRecord) -> TrainingRecord:
        self.kept.append(record.key)
        self.stored[record.key] = record
        return record

    def go_on(
        self,
        record: TrainingRecord,
        before: TrainingRecord | None,
        start: Paused | None,
        part: Part | None,
        *,
        keep_weights: bool = False,
    ) -> tuple[TrainingRecord, Paused | None]:
        if keep_weights:
            self.weights_kept.append(record.key)
        self.went_on.append((record.key, before.key if before else None, str(start) if start else None, _name(part)))
        if self.failing:
            return replace(record, error="nan"), None
        done = training([0.1 * epoch for epoch in range(1, (record.until or 4) + 1)])
        best = done.best_epoch if self.best_epoch is None else self.best_epoch
        pause = None if record.until is None else Pause(record.key, self.paused_bytes)
        return replace(record, epochs=done.epochs, best_epoch=best, work=0.5), cast("Paused | None", pause)

    def training_work(self, plan: FineTunePlan, epochs: int) -> float:
        return len(plan.trained) * epochs


@dataclass
class Pause:
    """What is kept of a training that paused."""

    key: str
    bytes: int

    def __str__(self) -> str:
        return f"pause of {self.key}"


def trainings(fake: Fake, **options: object) -> CandidateTrainings:
    make = cast("Callable[..., CandidateTrainings]", CandidateTrainings)
    return make(cast("Experiment", fake), "auto", (1, 2, 4), PARTS, **options)


def _name(part: Part | None) -> str | None:
    return part.fingerprint if part else None


def task(phenotype: Phenotype = HEAD, rung: int = 0, *, seed: int = 7, fold: int | None = None, slot: int = 0) -> Task:
    return Task(plan(phenotype), seed, fold, rung, 0, slot)


def keys(fake: Fake) -> list[str]:
    return [key for key, *_ in fake.went_on]


def test_tasks_train_in_their_order_and_tasks_of_one_key_once() -> None:
    fake = Fake()
    done = trainings(fake).train_all([task(FULL), task(HEAD), task(FULL, slot=2), task(FULL, seed=8)])
    assert keys(fake) == ["a+b+c+head 7 all 1", "head 7 all 1", "a+b+c+head 8 all 1"]
    assert list(done) == keys(fake) == fake.kept
    assert done["a+b+c+head 7 all 1"].slot == 0, "in the name of the first that asked"


def test_what_is_stored_is_not_trained_again() -> None:
    fake = Fake()
    trainings(fake).train_all([task(HEAD)])
    done = trainings(fake).train_all([task(HEAD, slot=3), task(FULL)])
    assert keys(fake) == ["head 7 all 1", "a+b+c+head 7 all 1"]
    assert done["head 7 all 1"].slot == 3, "found in the name of the task that asks now"
    assert fake.kept == keys(fake), "and not stored a second time"


def test_every_training_is_stored_before_the_next_begins() -> None:
    fake = Fake()
    begun: list[list[str]] = []
    go_on = fake.go_on

    def watched(*arguments: Any, **options: Any) -> tuple[TrainingRecord, Paused | None]:
        begun.append(list(fake.kept))
        return go_on(*arguments, **options)

    fake.go_on = watched  # type: ignore[method-assign]
    trainings(fake).train_all([task(HEAD), task(FULL)])
    assert begun == [[], ["head 7 all 1"]]


def test_weights_are_kept_of_trainings_that_ran_to_the_end() -> None:
    fake = Fake()
    own = trainings(fake, keeps_weights=True)
    for rung in range(3):
        own.train_all([task(HEAD, rung)])
    assert fake.weights_kept == ["head 7 all None"]


def test_a_promoted_candidate_goes_on_from_where_it_paused() -> None:
    fake = Fake()
    own = trainings(fake)
    for rung in range(3):
        own.train_all([task(HEAD, rung)])
    assert fake.went_on == [
        ("head 7 all 1", None, None, None),
        ("head 7 all 2", "head 7 all 1", "pause of head 7 all 1", None),
        ("head 7 all None", "head 7 all 2", "pause of head 7 all 2", None),
    ]
    assert fake.paused == {}, "a pause is used once"


def test_a_resumed_search_has_no_pauses_and_trains_anew() -> None:
    fake = Fake()
    trainings(fake).train_all([task(HEAD)])
    fake.paused.clear()
    trainings(fake).train_all([task(HEAD, 1)])
    assert fake.went_on[1] == ("head 7 all 2", "head 7 all 1", None, None)


def test_an_extra_seed_trains_in_one_go() -> None:
    fake = Fake()
    trainings(fake).train_all([task(HEAD, 2, seed=8)])
    assert fake.went_on == [("head 8 all None", None, None, None)]


@pytest.mark.parametrize(
    ("patience", "best_epoch", "trains"), [(0, 0, True), (2, 0, True), (1, 0, False), (1, 1, True)]
)
def test_a_training_that_ran_out_of_patience_is_copied_not_continued(
    patience: int, best_epoch: int, trains: bool
) -> None:
    """Two epochs were run; the best was the first or the last."""
    fake = Fake(patience=patience, best_epoch=best_epoch)
    own = trainings(fake)
    own.train_all([task(HEAD, 1)])
    (record,) = own.train_all([task(HEAD, 2)]).values()
    assert len(fake.went_on) == (2 if trains else 1)
    assert (record.key, record.until) == ("head 7 all None", None)
    assert len(record.epochs) == (4 if trains else 2)
    assert fake.kept == ["head 7 all 2", "head 7 all None"], "its end is stored in any case"


def test_a_training_that_stopped_before_its_rung_is_over() -> None:
    fake = Fake()
    own = trainings(fake)
    (record,) = own.train_all([task(HEAD, 1)]).values()
    fake.stored[record.key] = replace(record, epochs=record.epochs[:1], best_epoch=0)
    own.train_all([task(HEAD, 2)])
    assert len(fake.went_on) == 1


@pytest.mark.parametrize(("charge", "work"), [(True, 4 * 2), (False, 0)])
def test_a_failure_costs_what_it_was_allowed_to_take(charge: bool, work: float) -> None:
    fake = Fake()
    own = trainings(fake, charge_failures=charge)
    own.train_all([task(FULL)])
    fake.failing = True
    (record,) = own.train_all([task(FULL, 1)]).values()
    assert (record.error, record.work) == ("nan", work)
    assert len(record.epochs) == (1 if charge else 0), "the epochs before the failure are kept"
    assert fake.stored[record.key] == record


def test_folds_are_parts_of_the_images() -> None:
    fake = Fake()
    done = trainings(fake).train_all([task(HEAD, fold=1), task(HEAD, fold=0), task(HEAD)])
    assert [part for *_, part in fake.went_on] == ["second half", "first half", None]
    assert [record.fold for record in done.values()] == [1, 0, None]


@pytest.mark.parametrize(("rate", "expected"), [(None, 1e-3 * 10**0.5), (0.02, 0.02)])
def test_records_say_whose_training_it_was(rate: float | None, expected: float) -> None:
    (record,) = trainings(Fake(), learning_rate=rate).train_all([Task(plan(HEAD), 7, None, 1, 3, 2)]).values()
    assert (record.purpose, record.strategy, record.seed, record.until) == ("search", "auto", 7, 2)
    assert (record.generation, record.slot) == (3, 2)
    assert record.learning_rate == pytest.approx(expected)
    assert FineTunePlan.from_dict(record.plan) == plan(HEAD)


def test_the_oldest_pauses_make_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "PAUSED_BYTES", 20)
    fake = Fake(paused_bytes=10)
    own = trainings(fake)
    own.train_all([task(HEAD, seed=seed) for seed in (1, 2, 3)])
    assert list(fake.paused) == ["head 2 all 1", "head 3 all 1"]
    fake = Fake(paused_bytes=21)
    trainings(fake).train_all([task(HEAD)])
    assert fake.paused == {}
