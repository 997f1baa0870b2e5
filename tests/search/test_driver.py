"""The evolutionary driver on scores that are written down: which candidates train, with which seeds, and who wins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from optuna.storages import InMemoryStorage

from tests.search.scripted import ENCODING, SPACE, Scripted, genes, ledger
from thawline.records import TrainingRecord
from thawline.search.candidates import Candidate, Scored, Task
from thawline.search.driver import Driver, finalists
from thawline.search.encoding import Phenotype
from thawline.search.evolution import Evolution
from thawline.search.trials import CandidateLedger
from thawline.strategies.biotune import EvolutionConfig

PLANS: list[Phenotype] = [(None, None, None, bins) for bins in range(4)]


@dataclass(frozen=True)
class Planned(Evolution):
    """Proposes what it is given, on the fold of the generation."""

    proposals: Sequence[Sequence[Phenotype]] = ()
    seen: list[list[Scored]] = field(default_factory=list)

    @property
    def generations(self) -> int:
        return len(self.proposals)

    def propose(self, history: Sequence[Scored], generation: int) -> tuple[Candidate, ...]:
        self.seen.append(list(history))
        return tuple(
            Candidate(generation, slot, "child", genes(plan), (0.5,) * 5, (), generation % 2)
            for slot, plan in enumerate(self.proposals[generation])
        )


def planned(*proposals: Sequence[Phenotype]) -> Planned:
    return Planned(EvolutionConfig(), ENCODING, 0, proposals)


def driver(evolution: Planned, trainings: Scripted, own_ledger: CandidateLedger | None = None) -> Driver:
    return Driver(evolution, SPACE, trainings, own_ledger or ledger())


def test_generations_train_with_the_search_seeds_on_their_folds_and_the_top_with_fresh_ones_on_everything() -> None:
    trainings = Scripted(dict(zip(PLANS, (0.5, 0.7, 0.5, 0.8), strict=True)))
    search = driver(planned(PLANS[:2], PLANS[2:]), trainings)
    winner = search.run([1, 2], 2, [10, 11])
    asked = [
        (plan, task.fold, task.seed) for task, (plan, _, _) in zip(trainings.tasks, trainings.trained, strict=True)
    ]
    assert asked == [
        *((PLANS[place], 0, seed) for place in (0, 1) for seed in (1, 2)),
        *((PLANS[place], 1, seed) for place in (2, 3) for seed in (1, 2)),
        *((PLANS[place], None, seed) for place in (3, 1) for seed in (10, 11)),
    ]
    assert trainings.batches == [4, 4, 4], "a generation is one batch"
    assert winner == search.retrained[0]
    assert [record.seed for record in winner.trainings] == [10, 11]


def test_each_generation_sees_all_before_it() -> None:
    evolution = planned(PLANS[:2], PLANS[2:3], PLANS[3:])
    search = driver(evolution, Scripted(dict.fromkeys(PLANS, 0.5)))
    search.run([1], 1, [10])
    seen = [[scored.candidate.address for scored in history] for history in evolution.seen]
    assert seen == [[], [(0, 0), (0, 1)], [(0, 0), (0, 1), (1, 0)]]
    assert [scored.candidate.address for scored in search.candidates] == [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)]


def test_the_best_after_retraining_wins_not_the_best_of_the_search() -> None:
    curves = {PLANS[0]: 0.9, PLANS[1]: 0.8, PLANS[2]: 0.3}
    search = driver(planned(PLANS[:3]), Scripted(curves, {(PLANS[0], 10): 0.6, (PLANS[1], 10): 0.7}))
    winner = search.run([1], 2, [10])
    assert ENCODING.phenotype(winner.candidate.genes) == PLANS[1]
    assert [scored.score[0] for scored in search.retrained] == [0.7, 0.6]


def test_finalists_say_where_they_come_from() -> None:
    search = driver(planned(PLANS[:3]), Scripted(dict(zip(PLANS, (0.5, 0.7, 0.6, 0.0), strict=True))))
    search.run([1], 3, [10])
    found = finalists(search.history, ENCODING, 2, generation=4)
    momentum = (0.5,) * 5
    assert found == (
        Candidate(4, 0, "retrained", genes(PLANS[1]), momentum, ((0, 1),), None),
        Candidate(4, 1, "retrained", genes(PLANS[2]), momentum, ((0, 2),), None),
    )


def test_a_plan_is_one_finalist_however_often_it_was_proposed() -> None:
    search = driver(planned([PLANS[0], PLANS[0], PLANS[1]]), Scripted({PLANS[0]: 0.9, PLANS[1]: 0.1}))
    search.run([1], 2, [10])
    assert [ENCODING.phenotype(scored.candidate.genes) for scored in search.retrained] == [PLANS[0], PLANS[1]]


def test_candidates_with_one_plan_share_a_training() -> None:
    search = driver(planned([PLANS[0], PLANS[0]]), Scripted({PLANS[0]: 0.9}))
    search.run([1, 2], 1, [10])
    assert search.history[0].trainings == search.history[1].trainings
    assert len(search.records) == 3, "two seeds and the retrained one, each once"


class Shuffled(Scripted):
    """Trains the last task first."""

    def train_all(self, tasks: Iterable[Task]) -> dict[str, TrainingRecord]:
        return super().train_all(reversed(list(tasks)))


def test_the_order_of_trainings_changes_nothing() -> None:
    curves = dict(zip(PLANS, (0.5, 0.7, 0.6, 0.8), strict=True))
    by_seed = {(PLANS[1], 2): 0.2, (PLANS[3], 11): 0.1}
    searches = [driver(planned(PLANS[:2], PLANS[2:]), kind(curves, by_seed)) for kind in (Scripted, Shuffled)]
    winners = [search.run([1, 2], 2, [10, 11]) for search in searches]
    assert winners[0] == winners[1]
    assert searches[0].candidates == searches[1].candidates


def test_candidates_are_journalled_before_they_are_trained_and_their_scores_afterwards() -> None:
    storage = InMemoryStorage()
    journal = ledger(storage)
    before: list[int] = []

    class Watching(Scripted):
        def train_all(self, tasks: Iterable[Task]) -> dict[str, TrainingRecord]:
            before.append(len(storage.get_all_trials(storage.get_study_id_from_name("search"))))
            return super().train_all(tasks)

    search = driver(planned(PLANS[:2], PLANS[2:3]), Watching(dict.fromkeys(PLANS, 0.5)), journal)
    search.run([1], 2, [10])
    assert before == [2, 3, 5]
    trials = storage.get_all_trials(storage.get_study_id_from_name("search"))
    assert [trial.value for trial in trials] == [0.5] * 5
