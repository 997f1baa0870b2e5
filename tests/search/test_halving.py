"""Who is trained, promoted and selected, in which order and until when, on scores that are written down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

import pytest
from optuna.storages import InMemoryStorage

from tests.search.scripted import ENCODING, SPACE, Listed, Scripted, genes, ledger, plan
from thawline.errors import RunFolderError
from thawline.search.baselines import InitialCandidate
from thawline.search.budget import CandidateLimit, Limit, SearchBudget, WorkLimit
from thawline.search.candidates import Candidate, Scored, Task
from thawline.search.encoding import FROM_PROBE, KEPT, MOVING, Mode, Phenotype
from thawline.search.halving import PATIENCE, PROPOSALS, Halving
from thawline.search.samplers import Proposal
from thawline.search.trials import CandidateLedger

HEAD, LAST, BODY, FULL = (None, None, None, 0), (None, None, 0, 0), (None, 0, 0, 0), (0, 0, 0, 0)
HEADS: list[Phenotype] = [(None, None, None, bins) for bins in range(-8, 15)]
"""Plans of one price that differ in their rate."""
WEALTH = WorkLimit(1e6)
SEED = 7


def unnamed(*phenotypes: Phenotype) -> list[InitialCandidate]:
    return [InitialCandidate("", phenotype) for phenotype in phenotypes]


def halving(
    trainings: Scripted,
    initial: Sequence[InitialCandidate] = (),
    *,
    sampler: Listed | None = None,
    limit: Limit | None = None,
    seeds: Sequence[int] = (SEED,),
    parsimony: bool = False,
    own_ledger: CandidateLedger | None = None,
) -> Halving:
    """Without a limit, as many candidates as there are scores: nothing is cheap then."""
    budget = SearchBudget(SPACE, trainings, limit or CandidateLimit(len(trainings.curves)))
    return Halving(
        SPACE,
        ENCODING,
        sampler or Listed(),
        initial,
        trainings,
        budget,
        own_ledger or ledger(),
        seeds,
        parsimony=parsimony,
    )


def raced(trainings: Scripted, *generations: Sequence[Phenotype], limit: Limit | None = None) -> Halving:
    """A search without initial candidates, whose proposals are given by generation."""
    return halving(trainings, sampler=Listed(dict(enumerate(generations))), limit=limit)


def phenotype(scored: Scored) -> Phenotype:
    return ENCODING.phenotype(scored.candidate.genes)


# the initial candidates


def test_initial_candidates_are_trained_in_their_order_and_each_plan_once() -> None:
    trainings = Scripted({HEAD: 0.5, LAST: 0.5, FULL: 0.5})
    initial = [InitialCandidate("full", FULL), InitialCandidate("linear_probe", HEAD), InitialCandidate("", HEAD)]
    search = halving(trainings, [*initial, InitialCandidate("last_blocks:k=1", LAST)])
    search._train(search.first())
    assert trainings.trained == [(FULL, 2, SEED), (HEAD, 2, SEED), (LAST, 2, SEED)], "to the end at once"
    assert [(task.generation, task.slot, task.fold) for task in trainings.tasks[:3]] == [
        (0, 0, None),
        (0, 1, None),
        (0, 2, None),
    ]
    assert [initial.strategy for initial in search.initial_at.values()] == ["full", "linear_probe", "last_blocks:k=1"]
    assert {scored.candidate.operator for scored in search.scored.values()} == {"start"}


@pytest.mark.parametrize(("before", "trained"), [({}, [HEAD]), ({FULL: 1}, [HEAD, FULL])])
def test_what_was_begun_when_networks_were_compared_costs_only_the_rest(
    before: dict[Phenotype, int], trained: list[Phenotype]
) -> None:
    trainings = Scripted({HEAD: 0.5, FULL: 0.6}, before=before)
    paid = sum(trainings.price(trainings_plan, rung) for trainings_plan, rung in ((plan(FULL), 1),) if before)
    search = halving(trainings, unnamed(HEAD, FULL), limit=WorkLimit(0.25 + paid + 0.9))
    search.run()
    assert [phenotype for phenotype, _, _ in trainings.trained] == trained
    assert search.work == pytest.approx(0.25 * sum(len([b for b in each if b is not None]) for each in trained))


def test_what_was_begun_and_cannot_be_afforded_is_not_selected() -> None:
    trainings = Scripted({HEAD: 0.5, FULL: 0.6}, before={FULL: 0})
    search = halving(trainings, unnamed(HEAD, FULL), limit=WorkLimit(0.5))
    assert search.run().candidate.genes == genes(HEAD)
    assert search.work == pytest.approx(0.25 + trainings.price(plan(FULL), 0))


def test_what_norm_layers_do_makes_another_plan() -> None:
    trainings = Scripted({LAST: 0.5})
    search = halving(trainings, [InitialCandidate("", LAST), InitialCandidate("", LAST, KEPT)])
    assert [ENCODING.mode(candidate.genes) for candidate in search.first()] == [MOVING, KEPT]


def test_without_initial_candidates_generation_0_is_proposed() -> None:
    sampler = Listed({0: [LAST, HEAD]})
    trainings = Scripted({HEAD: 0.5, LAST: 0.6})
    assert phenotype(halving(trainings, sampler=sampler).run()) == LAST
    assert [(task.generation, task.slot) for task in trainings.tasks[:2]] == [(0, 0), (0, 1)]
    assert sampler.asked == [0, 1]


# promotion


def test_the_best_third_is_promoted_and_of_these_the_best_third_again() -> None:
    curves = dict(zip(HEADS[:6], (0.4, 0.8, 0.5, 0.9, 0.7, 0.6), strict=True))
    trainings = Scripted(curves)
    winner = raced(trainings, HEADS[:6]).run()
    promotions = [(HEADS[3], 1), (HEADS[1], 1), (HEADS[3], 2)]
    assert [(plan, rung) for plan, rung, _ in trainings.trained] == [*((plan, 0) for plan in HEADS[:6]), *promotions]
    assert (phenotype(winner), winner.candidate.rung, winner.score[0]) == (HEADS[3], 2, 0.9)


def test_each_rung_promotes_by_the_scores_up_to_its_own_epochs() -> None:
    """The second best after one epoch is the best after two; what was promoted and fell back stays where it is."""
    curves: dict[Phenotype, Sequence[float]] = dict.fromkeys(HEADS[:6], (0.3, 0.3, 0.3, 0.3))
    curves[HEADS[4]], curves[HEADS[5]] = (0.8, 0.8, 0.8, 0.8), (0.7, 0.85, 0.85, 0.9)
    trainings = Scripted(curves)
    winner = raced(trainings, HEADS[:6]).run()
    assert [(plan, rung) for plan, rung, _ in trainings.trained[6:]] == [
        (HEADS[4], 1), (HEADS[5], 1), (HEADS[5], 2)
    ]  # fmt: skip
    assert winner.score[0] == 0.9


def test_proposals_come_when_all_initial_candidates_were_trained() -> None:
    for amount, asked in ((0.4, []), (1e6, [1, 2, 3, 4, 5])):
        sampler = Listed({1: [HEADS[2]]})
        trainings = Scripted(dict.fromkeys(HEADS[:3], 0.5))
        halving(trainings, unnamed(*HEADS[:2]), sampler=sampler, limit=WorkLimit(amount)).run()
        assert sampler.asked == asked[: len(sampler.asked)]
        assert bool(sampler.asked) == bool(asked)


@pytest.mark.parametrize(("amount", "cheap"), [(3.80, True), (3.70, False)])
def test_what_is_close_and_costs_at_most_a_tenth_of_the_budget_is_promoted_too(amount: float, cheap: bool) -> None:
    """To finish two blocks takes 0.5 units of work, of which an eighth was paid for: 0.375."""
    curves: dict[Phenotype, float] = {HEADS[0]: 0.9, LAST: 0.88, (None, None, -5, 0): 0.5}
    trainings = Scripted(curves)
    raced(trainings, list(curves), limit=WorkLimit(amount)).run()
    assert ((LAST, 1, SEED) in trainings.trained) == cheap
    assert ((None, None, -5, 0), 1, SEED) not in trainings.trained


def test_a_candidate_that_failed_is_not_promoted_and_comes_last() -> None:
    trainings = Scripted({HEAD: 0.9, LAST: 0.2}, failing=frozenset({HEAD}))
    search = raced(trainings, [HEAD, LAST])
    assert phenotype(search.run()) == LAST
    assert [(plan, rung) for plan, rung, _ in trainings.trained] == [(HEAD, 0), (LAST, 0), (LAST, 1), (LAST, 2)]
    assert [phenotype(scored) for scored in search._ranked()] == [LAST, HEAD]


@pytest.mark.parametrize("parsimony", [True, False])
def test_where_everything_failed_something_is_returned(parsimony: bool) -> None:
    trainings = Scripted({HEAD: 0.9, LAST: 0.2}, failing=frozenset({HEAD, LAST}))
    winner = halving(trainings, unnamed(HEAD, LAST), parsimony=parsimony).run()
    assert winner.trainings[0].error == "nan"
    assert len(trainings.trained) == 2


def test_a_later_generation_is_compared_with_all_that_were_trained_as_long() -> None:
    """Of six earlier ones three are better than the newcomer: it is not among the best third of seven."""
    curves = dict(zip(HEADS[:7], (0.9, 0.8, 0.7, 0.4, 0.3, 0.2, 0.6), strict=True))
    trainings = Scripted(curves)
    raced(trainings, HEADS[:6], [HEADS[6]]).run()
    assert [rung for plan, rung, _ in trainings.trained if plan == HEADS[6]] == [0]
    better = Scripted({**curves, HEADS[6]: 0.75})
    raced(better, HEADS[:6], [HEADS[6]]).run()
    assert [rung for plan, rung, _ in better.trained if plan == HEADS[6]] == [0, 1]


def test_candidates_that_went_further_are_compared_by_what_they_scored_in_as_many_epochs() -> None:
    """The newcomer is better than the others were after one epoch; what they scored later does not count."""
    late = (0.45, 0.9, 0.9, 0.9)
    trainings = Scripted({HEADS[0]: (0.5, 0.9, 0.9, 0.9), HEADS[1]: late, HEADS[2]: 0.55})
    halving(trainings, unnamed(*HEADS[:2]), sampler=Listed({1: [HEADS[2]]})).run()
    assert [rung for plan, rung, _ in trainings.trained if plan == HEADS[2]] == [0, 1]


# proposals


def test_a_generation_is_six_new_plans() -> None:
    sampler = Listed({1: [HEADS[0], HEADS[1], HEADS[1], *HEADS[2:12]]})
    trainings = Scripted(dict.fromkeys(HEADS, 0.5))
    halving(trainings, unnamed(HEADS[0]), sampler=sampler, limit=WEALTH).run()
    new = [(task.slot, plan) for task, (plan, rung, _) in zip(trainings.tasks, trainings.trained, strict=True)
           if task.generation == 1 and rung == 0]  # fmt: skip
    assert new == list(enumerate(HEADS[1 : 1 + PROPOSALS]))


def test_proposals_keep_their_operator_and_parents() -> None:
    search = halving(Scripted({HEAD: 0.5, LAST: 0.5}), unnamed(HEAD), sampler=Listed({1: [LAST]}))
    search.run()
    assert search.scored[1, 0].candidate == Candidate(1, 0, "child", genes(LAST), (0.0,) * 5, ((0, 0),), None, 0)


@dataclass
class Stubborn(Listed):
    """Proposes one plan for ever."""

    drawn: list[int] = field(default_factory=list)

    def draws(self, ranked: Sequence[Scored], generation: int) -> Iterator[Proposal]:
        for proposal in repeat(Proposal(genes(HEAD))):
            self.drawn.append(generation)
            yield proposal


def test_a_sampler_that_only_repeats_itself_ends_the_search() -> None:
    sampler = Stubborn()
    halving(Scripted({HEAD: 0.5}), unnamed(HEAD), sampler=sampler, limit=WEALTH).run()
    assert set(sampler.drawn) == {1}
    assert len(sampler.drawn) == PROPOSALS + 1 + 100


def trained_to(search: Halving, *rungs: int) -> Halving:
    """Its initial candidates trained up to given rungs, whatever they score."""
    search._train([replace(candidate, rung=rung) for candidate, rung in zip(search.first(), rungs, strict=True)])
    return search


def test_a_sampler_sees_everything_so_far_what_went_furthest_first() -> None:
    """A paused candidate with a higher score comes after those that went further, a failed one last."""
    curves = dict(zip(HEADS[:5], (0.9, 0.5, 0.6, 0.7, 0.8), strict=True))
    sampler = Listed()
    search = halving(Scripted(curves, failing=frozenset({HEADS[4]})), unnamed(*HEADS[:5]), sampler=sampler)
    trained_to(search, 0, 2, 2, 1, 2)._proposals(1)
    assert [phenotype(scored) for scored in sampler.ranked[0]] == [HEADS[place] for place in (2, 1, 3, 0, 4)]


@pytest.mark.parametrize(("better_in", "last"), [(None, PATIENCE), (2, 2 + PATIENCE), (PATIENCE, 2 * PATIENCE)])
def test_the_search_ends_after_four_generations_without_a_better_plan(better_in: int | None, last: int) -> None:
    curves = dict.fromkeys(HEADS, 0.5)
    if better_in:
        curves[HEADS[better_in]] = 0.6
    sampler = Listed({generation: [HEADS[generation]] for generation in range(1, 20)})
    halving(Scripted(curves), unnamed(HEADS[0]), sampler=sampler, limit=WEALTH).run()
    assert sampler.asked == list(range(1, last + 1))


# the budget


def test_only_what_the_budget_allows_is_trained() -> None:
    """In their order, one at a time or all at once."""
    for at_once in (1, 2, 100):
        trainings = Scripted(dict.fromkeys(HEADS[:6], 0.5))
        search = halving(trainings, unnamed(*HEADS[:6]), limit=CandidateLimit(4, at_once=at_once))
        search._train(search.first())
        assert [plan for plan, *_ in trainings.trained] == HEADS[:4]
        assert trainings.batches[0] == min(at_once, 4)
        assert {scored.candidate.slot for scored in search.scored.values()} == {0, 1, 2, 3}


def test_what_the_budget_does_not_allow_is_not_journalled() -> None:
    storage = InMemoryStorage()
    search = halving(Scripted(dict.fromkeys(HEADS[:3], 0.5)), limit=CandidateLimit(2), own_ledger=ledger(storage))
    batch = [Candidate(0, slot, "start", genes(HEADS[slot]), (), (), None) for slot in range(3)]
    assert search._train(batch) == batch[:2]
    assert len(storage.get_all_trials(storage.get_study_id_from_name("search"))) == 2


def test_a_part_of_the_budget_is_kept_for_extra_seeds() -> None:
    """Each head takes 1/16 and 3/16 more to its end: of three sixteenths and those, a tenth is kept back."""
    counts = []
    for seeds in ((1,), (1, 2)):
        trainings = Scripted(dict.fromkeys(HEADS[:3], 0.5))
        search = halving(trainings, limit=WorkLimit(0.375 + 1e-9), seeds=seeds)
        search._train([Candidate(0, slot, "start", genes(HEADS[slot]), (), (), None) for slot in range(3)])
        counts.append(len(trainings.trained))
    assert counts == [3, 2]


@pytest.mark.parametrize(("mode", "trained"), [(MOVING, [HEAD]), (KEPT, [HEAD, FULL])])
def test_nothing_is_kept_for_extra_seeds_before_every_norm_mode_was_tried(mode: Mode, trained: list[Phenotype]) -> None:
    trainings = Scripted({HEAD: 0.5, FULL: 0.6})
    initial = [InitialCandidate("", HEAD, mode), InitialCandidate("", FULL)]
    halving(trainings, initial, limit=WorkLimit(1.25), seeds=(1, 2)).run()
    assert [phenotype for phenotype, _, seed in trainings.trained if seed == 1] == trained


@pytest.mark.parametrize(("left", "allowed"), [(0.80, 0), (0.82, 1)])
def test_the_best_so_far_can_still_be_trained_to_the_end(left: float, allowed: int) -> None:
    """Everything takes another 3/4 of a unit, the first rung of a head 1/16."""
    trainings = Scripted({FULL: 0.9, HEAD: 0.5})
    search = trained_to(halving(trainings, unnamed(FULL), limit=WEALTH), 0)
    search.budget = SearchBudget(SPACE, trainings, WorkLimit(search.work + left))
    assert len(search._train([Candidate(1, 0, "child", genes(HEAD), (), (), None)])) == allowed


def test_work_is_what_the_trainings_took_and_every_prefix_once() -> None:
    trainings = Scripted({HEADS[0]: 0.5, HEADS[1]: 0.4}, passing={"head": 0.125})
    search = raced(trainings, HEADS[:2])
    search.run()
    assert search.work == 0.125 + 0.25 + 0.0625


# what a listener and the ledger are told


def test_every_new_best_is_reported_once() -> None:
    curves = {HEADS[0]: 0.5, HEADS[1]: 0.4, HEADS[2]: 0.7}
    reported: list[tuple[Phenotype, int]] = []
    search = raced(Scripted(curves), HEADS[:2], [HEADS[2]], limit=WEALTH)
    search.on_best = lambda best: reported.append((phenotype(best), best.candidate.rung))
    search.run()
    assert reported == [(HEADS[0], 0), (HEADS[0], 1), (HEADS[0], 2), (HEADS[2], 2)]


def test_an_interrupted_search_takes_the_same_way() -> None:
    """Everything is asked for again: stored candidates are taken up, and nothing is journalled twice."""
    storage = InMemoryStorage()
    curves = dict(zip(HEADS[:7], (0.4, 0.8, 0.5, 0.9, 0.7, 0.6, 0.65), strict=True))
    runs = []
    for _ in range(2):
        trainings = Scripted(curves)
        sampler = Listed({0: HEADS[:6], 1: [HEADS[6]]})
        winner = halving(trainings, sampler=sampler, own_ledger=ledger(storage)).run()
        runs.append((winner, trainings.tasks))
    assert runs[0] == runs[1]
    trials = storage.get_all_trials(storage.get_study_id_from_name("search"))
    assert [trial.value for trial in trials] == list(curves.values())
    with pytest.raises(RunFolderError, match="took another path at generation 0, slot 0"):
        halving(Scripted(curves), unnamed(*HEADS[1:3]), own_ledger=ledger(storage)).run()


def test_intermediate_scores_are_journalled_by_epoch() -> None:
    storage = InMemoryStorage()
    sampler = Listed({0: [HEAD]})
    halving(Scripted({HEAD: (0.5, 0.6, 0.6, 0.7)}), sampler=sampler, own_ledger=ledger(storage)).run()
    (trial,) = storage.get_all_trials(storage.get_study_id_from_name("search"))
    assert trial.intermediate_values == {1: 0.5, 2: 0.6, 4: 0.7}
    assert trial.value == 0.7


# extra seeds


class WithProbe(Scripted):
    """`HEAD` is the solved probe."""

    def phenotype(self, task: Task) -> Phenotype:
        return HEAD if task.plan.is_solved else super().phenotype(task)


def test_extra_seeds_are_trained_in_turn_while_the_best_are_tied() -> None:
    trainings = Scripted({HEADS[0]: 0.9, HEADS[1]: 0.9, HEADS[2]: 0.3})
    search = halving(trainings, unnamed(*HEADS[:3]), seeds=(1, 2, 3))
    search.run()
    extra = [(plan, seed) for plan, _, seed in trainings.trained if seed > 1]
    assert extra == [(HEADS[0], 2), (HEADS[1], 2), (HEADS[0], 3), (HEADS[1], 3)]
    assert [len(scored.trainings) for scored in search.scored.values()] == [3, 3, 1]
    assert [record.seed for record in search.scored[0, 0].trainings] == [1, 2, 3]


def test_extra_seeds_end_when_one_is_better_and_decide_who_wins() -> None:
    """The first had a lucky seed: 0.91, then 0.8; its mean is behind 0.9 by more than 1.5 standard errors."""
    trainings = Scripted({HEADS[0]: 0.91, HEADS[1]: 0.9}, {(HEADS[0], 2): 0.8})
    winner = halving(trainings, unnamed(*HEADS[:2]), seeds=(1, 2, 3)).run()
    assert [(plan, seed) for plan, _, seed in trainings.trained if seed > 1] == [(HEADS[0], 2)]
    assert phenotype(winner) == HEADS[1]


def test_extra_seeds_train_in_one_go() -> None:
    trainings = Scripted({HEADS[0]: 0.9, HEADS[1]: 0.9})
    halving(trainings, unnamed(*HEADS[:2]), seeds=(1, 2)).run()
    assert {rung for _, rung, seed in trainings.trained if seed == 2} == {2}


@pytest.mark.parametrize(("left", "extra"), [(0.24, 0), (0.26, 1), (0.51, 2)])
def test_extra_seeds_are_within_the_budget(left: float, extra: int) -> None:
    """Each takes 0.25."""
    trainings = Scripted({HEADS[0]: 0.9, HEADS[1]: 0.9})
    search = halving(trainings, unnamed(*HEADS[:2]), limit=WorkLimit(1e6), seeds=(1, 2))
    search._train(search.first())
    search.budget = SearchBudget(SPACE, trainings, WorkLimit(search.work + left))
    search._add_seeds()
    assert sum(seed == 2 for _, _, seed in trainings.trained) == extra


def test_a_solved_probe_gets_no_extra_seeds() -> None:
    """Its rival gets all of them, and the probe can still win as the cheapest; if the rival can have none, none is."""
    for left, seeds_of_rival in ((1e6, [2, 3]), (0.3, [])):
        trainings = WithProbe({HEAD: 0.9, LAST: 0.9})
        initial = [InitialCandidate("linear_probe", HEAD, FROM_PROBE), InitialCandidate("last_blocks:k=1", LAST)]
        search = halving(trainings, initial, limit=WEALTH, seeds=(1, 2, 3), parsimony=True)
        search._train(search.first())
        search.budget = SearchBudget(SPACE, trainings, WorkLimit(search.work + left))
        search._add_seeds()
        extra = [(plan, seed) for plan, _, seed in trainings.trained if seed > 1]
        assert extra == [(LAST, seed) for seed in seeds_of_rival]
        assert selected(search) == HEAD


# selection


def finished(curves: dict[Phenotype, float], *, limit: Limit, parsimony: bool = False) -> Halving:
    """Everything was trained to the end; named plans are baselines."""
    names: dict[Phenotype, str] = {HEAD: "linear_probe", LAST: "last_blocks:k=1", FULL: "full"}
    initial = [InitialCandidate(names.get(plan, ""), plan) for plan in curves]
    search = halving(Scripted(curves), initial, limit=limit, parsimony=parsimony)
    return trained_to(search, *([2] * len(curves)))


def selected(search: Halving) -> Phenotype:
    """What `run` selects, the trainings being over."""
    search.selectable = search._selectable()
    return phenotype(search._most_parsimonious() if search.parsimony else search.best)


def test_the_best_score_wins_without_parsimony() -> None:
    search = finished({HEAD: 0.9, FULL: 0.91, LAST: 0.5}, limit=WEALTH)
    assert selected(search) == FULL


def test_of_plans_as_good_the_cheapest_wins() -> None:
    """One point of 100 images is one standard error, two points are more; neither is a baseline."""
    assert selected(finished({HEADS[0]: 0.9, BODY: 0.91}, limit=WEALTH, parsimony=True)) == HEADS[0]
    assert selected(finished({HEADS[0]: 0.89, BODY: 0.91}, limit=WEALTH, parsimony=True)) == BODY


def test_nothing_below_the_best_baseline_wins() -> None:
    """Full fine-tuning was there before the search: a cheaper plan of a lower score does not replace it."""
    assert selected(finished({HEADS[0]: 0.9, FULL: 0.91}, limit=WEALTH, parsimony=True)) == FULL
    assert selected(finished({HEADS[0]: 0.91, FULL: 0.91}, limit=WEALTH, parsimony=True)) == HEADS[0]


def test_a_baseline_that_cannot_be_selected_sets_no_standard() -> None:
    trainings = Scripted({LAST: 0.95, HEADS[0]: 0.9, BODY: 0.91})
    initial = [InitialCandidate("last_blocks:k=1", LAST), *unnamed(HEADS[0], BODY)]
    assert selected(trained_to(halving(trainings, initial, limit=WEALTH, parsimony=True), 0, 2, 2)) == HEADS[0]


@pytest.mark.parametrize(("parsimony", "expected"), [(True, FULL), (False, HEADS[0])])
def test_an_initial_candidate_wins_over_a_proposal_that_is_cheaper_and_as_good(
    parsimony: bool, expected: Phenotype
) -> None:
    trainings = Scripted({FULL: 0.9, HEADS[0]: 0.91})
    initial, sampler = [InitialCandidate("full", FULL)], Listed({1: [HEADS[0]]})
    search = halving(trainings, initial, sampler=sampler, limit=WEALTH, parsimony=parsimony)
    assert phenotype(search.run()) == expected
    assert phenotype(search.best) == HEADS[0]


def test_only_what_was_trained_to_the_end_is_selected() -> None:
    """A paused candidate with a higher score is not, nor one that failed."""
    trainings = Scripted({HEADS[0]: 0.9, HEADS[1]: 0.6, HEADS[2]: 0.7}, failing=frozenset({HEADS[2]}))
    search = trained_to(halving(trainings, unnamed(*HEADS[:3])), 1, 2, 2)
    assert [phenotype(scored) for scored in search._selectable()] == [HEADS[1]]
    assert selected(search) == HEADS[1]


def test_where_nothing_went_to_the_end_the_best_score_is_selected() -> None:
    search = trained_to(halving(Scripted({HEAD: 0.6, LAST: 0.7}), unnamed(HEAD, LAST)), 1, 0)
    assert selected(search) == LAST


# what is read afterwards


def test_records_are_every_training_once_and_those_of_a_baseline_of_all_its_variants() -> None:
    trainings = Scripted({LAST: 0.5, BODY: 0.6, FULL: 0.7, HEADS[0]: 0.4})
    initial = [
        InitialCandidate("last_blocks:k=1", LAST),
        InitialCandidate("last_blocks:k=2", BODY),
        InitialCandidate("full", FULL),
        InitialCandidate("", HEADS[0]),
    ]
    search = halving(trainings, initial)
    search.run()
    assert len(search.records) == 4
    assert {record.key for record in search.records_of("last_blocks")} == {
        record.key for slot in (0, 1) for record in search.scored[0, slot].trainings
    }
    assert [record.key for record in search.records_of("full")] == [search.scored[0, 2].trainings[0].key]


def test_the_best_variant_of_a_baseline_is_the_one_that_went_furthest_then_the_best() -> None:
    curves = {LAST: 0.9, BODY: 0.6, FULL: 0.7, HEADS[0]: 0.95, HEADS[1]: 0.5}
    names = ("last_blocks:k=1", "last_blocks:k=2", "last_blocks:k=3", "", "linear_probe")
    initial = [InitialCandidate(name, plan) for name, plan in zip(names, curves, strict=True)]
    search = trained_to(halving(Scripted(curves), initial), 0, 2, 2, 2, 1)
    assert [initial.strategy for initial, _ in search.baselines()] == ["last_blocks:k=3", "linear_probe"]
    assert [scored.score[0] for _, scored in search.baselines()] == [0.7, 0.5]


# what is begun ahead


@pytest.mark.parametrize("amount", [1.0, 2.0, 3.5, 100.0])
def test_what_is_begun_ahead_of_a_budget_of_work_is_asked_for(amount: float) -> None:
    trainings = Scripted(dict.fromkeys((FULL, LAST, HEAD, *HEADS[:2]), 0.5))
    search = halving(trainings, unnamed(FULL, LAST, HEAD, *HEADS[:2]), limit=WorkLimit(amount))
    search.run()
    first = {trainings.key(task) for task in trainings.tasks if task.generation == 0}
    assert trainings.begun <= {trainings.key(task) for task in trainings.tasks}
    assert amount < 100 or trainings.begun == first, "all of them, where there is enough"


def test_nothing_is_begun_ahead_of_the_clock() -> None:
    trainings = Scripted(dict.fromkeys((FULL, HEAD), 0.5))
    limit = replace(WorkLimit(100.0), at_once=1)  # as `TimeLimit`, whose answers must not be asked for twice
    halving(trainings, unnamed(FULL, HEAD), limit=limit).run()
    assert not trainings.begun
