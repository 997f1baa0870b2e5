"""Proposals: how many, from what, on which fold, and that nothing but the seed and the past decides them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from thawline.errors import OptionError
from thawline.records import EpochRecord, TrainingRecord
from thawline.search import operators
from thawline.search.candidates import Candidate, Scored, in_generation
from thawline.search.encoding import BioTuneEncoding
from thawline.search.evolution import Evolution, make_encoding
from thawline.search.ranking import fold_centered, rank
from thawline.strategies.biotune import EvolutionConfig

BLOCKS = 4


def training(score: float | None, seed: int = 0) -> TrainingRecord:
    epochs = () if score is None else (EpochRecord(0, 1.0, 1.0 - score, score, score),)
    best = None if score is None else 0
    return TrainingRecord(f"{score}/{seed}", "tuning", "biotune", 1e-3, seed, {"phases": []}, epochs, best)


def scored(candidate: Candidate, *scores: float | None) -> Scored:
    return Scored(candidate, tuple(training(score, seed) for seed, score in enumerate(scores)))


def evolution(seed: int = 0, **settings: object) -> Evolution:
    chosen = EvolutionConfig(**{"population": 5, "elites": 2, "generations": 3, **settings})  # type: ignore[arg-type]
    return Evolution(chosen, make_encoding(chosen, BLOCKS), seed)


def played(proposer: Evolution, score: Callable[[Candidate], float | None]) -> tuple[Scored, ...]:
    """A whole search with made-up scores."""
    history: tuple[Scored, ...] = ()
    for generation in range(proposer.generations):
        history += tuple(scored(candidate, score(candidate)) for candidate in proposer.propose(history, generation))
    return history


def first_gene(candidate: Candidate) -> float:
    return candidate.genes[0]


def operators_of(batch: Sequence[Scored]) -> list[str]:
    return [result.candidate.operator for result in batch]


def test_a_generation_is_elites_their_probes_and_children() -> None:
    history = played(evolution(), first_gene)
    assert operators_of(in_generation(history, 0)) == ["initial"] * 5
    assert operators_of(in_generation(history, 2)) == ["elite"] * 2 + ["probe"] * 4 + ["child"] * 3
    assert [result.candidate.slot for result in in_generation(history, 2)] == list(range(9))


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 5 + 3 * (2 + 4 + 3)),
        ({"without": "exploitation"}, 5 + 3 * (2 + 3)),
        ({"population": 10, "elites": 3, "generations": 10}, 10 + 10 * (3 + 6 + 7)),
    ],
)
def test_the_budget_is_what_the_settings_say(settings: dict[str, Any], count: int) -> None:
    proposer = evolution(**settings)
    assert len(played(proposer, first_gene)) == proposer.settings.evaluations == count


def test_proposals_follow_from_the_seed_and_the_past_alone() -> None:
    proposer = evolution()
    history = played(proposer, first_gene)
    past = history[:14]
    shuffled = [past[number] for number in np.random.default_rng(1).permutation(14)]
    np.random.default_rng(0).random(100)
    assert proposer.propose(shuffled, 2) == tuple(result.candidate for result in in_generation(history, 2))
    assert evolution(seed=1).propose((), 0) != proposer.propose((), 0)


def test_elites_are_scored_again_on_the_new_fold() -> None:
    history = played(evolution(), first_gene)
    for generation in (1, 2, 3):
        before = evolution().population(history, generation - 1)[:2]
        again = [result.candidate for result in in_generation(history, generation)[:2]]
        assert [candidate.genes for candidate in again] == [result.candidate.genes for result in before]
        assert [candidate.parents for candidate in again] == [(result.candidate.address,) for result in before]
        assert {candidate.fold for candidate in again} == {generation % 2} != {before[0].candidate.fold}


def test_a_population_is_of_one_fold() -> None:
    proposer = evolution(folds=3)
    history = played(proposer, first_gene)
    for generation in range(4):
        population = proposer.population(history, generation)
        assert len(population) == 5
        assert {result.candidate.fold for result in population} == {generation % 3}
        assert {result.candidate.generation for result in population} == {generation}
    still = played(evolution(without="rotation"), first_gene)
    assert {result.candidate.fold for result in still} == {0}


def test_an_elite_gives_way_to_its_better_probe() -> None:
    proposer = evolution(elites=1, population=2, generations=1)
    start = tuple(scored(candidate, 0.5) for candidate in proposer.propose((), 0))
    elite, up, down, child = proposer.propose(start, 1)
    after = [scored(elite, 0.5), scored(up, 0.4), scored(down, 0.6), scored(child, 0.55)]
    assert [result.candidate for result in proposer.population((*start, *after), 1)] == [down, child]
    worse = [scored(elite, 0.5), scored(up, 0.5), scored(down, 0.1), scored(child, 0.9)]
    assert [result.candidate for result in proposer.population((*start, *worse), 1)] == [child, elite]


def test_probes_differ_from_their_elite_in_one_gene_that_counts() -> None:
    proposer = evolution()
    for result in played(proposer, first_gene):
        if result.candidate.operator != "probe":
            continue
        generation, slot = result.candidate.parents[0]
        elite = proposer.propose(played(proposer, first_gene), generation)[slot]
        changed = [n for n, (a, b) in enumerate(zip(result.candidate.genes, elite.genes, strict=True)) if a != b]
        assert len(changed) <= 1
        assert set(changed) <= set(proposer.encoding.explorable(elite.genes))
        assert all(abs(result.candidate.genes[n] - elite.genes[n]) <= 0.25 for n in changed)


def test_genes_stay_between_0_and_1() -> None:
    history = played(evolution(population=8, generations=6), lambda candidate: 1 - candidate.genes[1])
    assert all(0 <= gene <= 1 for result in history for gene in result.candidate.genes)


def test_momentum_remembers_and_is_inherited() -> None:
    history = played(evolution(without="exploitation+adoption"), first_gene)
    children = [result.candidate for result in in_generation(history, 1) if result.candidate.operator == "child"]
    assert any(any(child.momentum) for child in children)
    proposer = evolution(without="exploitation+adoption")
    moved = tuple(
        replace(result, candidate=replace(result.candidate, momentum=(0.5,) * 5))
        for result in in_generation(history, 0)
    )
    with_it, without = proposer.propose(moved, 1), evolution(without="exploitation+adoption+momentum").propose(moved, 1)
    # The same parents and blend, but pushed upwards: momentum is only ever added here.
    assert with_it[2].parents == without[2].parents
    assert with_it[2].genes != without[2].genes


def test_one_diverged_candidate_does_not_kill_mutation(monkeypatch: pytest.MonkeyPatch) -> None:
    proposer = evolution(population=6, elites=1)
    batch = proposer.propose((), 0)
    sound = [scored(candidate, 0.70 - 0.03 * n) for n, candidate in enumerate(batch)]
    diverged = [*sound[:5], scored(batch[5], None)]
    assert diverged[5].error == 1.0
    reach: list[float] = []
    plain = operators.mutate

    def watch(genes: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
        reach.append(factor)
        return plain(genes, factor, rng)

    monkeypatch.setattr(operators, "mutate", watch)
    proposer.propose(sound, 1)
    proposer.propose(diverged, 1)
    # The same parents are drawn: the children of sound ones move at least as far as if nothing had diverged.
    assert len(reach) == 10
    assert all(with_it >= 0.9 * without for without, with_it in zip(reach[:5], reach[5:], strict=True))


def test_a_seed_that_diverged_counts_as_zero() -> None:
    candidate = evolution().propose((), 0)[0]
    assert scored(candidate, 0.8, None).per_seed == (0.8, 0.0)
    assert scored(candidate, 0.8, None).score[0] == pytest.approx(0.4)


def test_a_generation_of_linear_probes_still_moves_on() -> None:
    proposer = evolution()
    batch = [replace(candidate, genes=(0.0, 0.0, 0.0, 0.9, 0.5)) for candidate in proposer.propose((), 0)]
    children = proposer.propose([scored(candidate, 1.0) for candidate in batch], 1)
    assert len(children) == 9


def test_fold_centring_takes_no_fold_for_an_easy_one() -> None:
    a, b, c = (0, 0), (1, 0), (2, 0)
    one_fold = fold_centered([(a, 0, 0.5), (b, 0, 0.7)])
    assert (one_fold[a], one_fold[b]) == pytest.approx((-0.05, 0.05))  # half of -0.1 and 0.1: one score each
    # a is scored on both folds and ties them: fold 1 is harder by about 0.2, so c beats b.
    merits = fold_centered([(a, 0, 0.6), (b, 0, 0.7), (a, 1, 0.4), (c, 1, 0.55)])
    assert merits[c] > merits[b] > merits[a]


def test_a_lucky_score_ranks_behind_a_steady_one() -> None:
    steady, lucky, dull = (0,), (1,), (2,)
    scores = [(steady, 0, 0.70), (steady, 1, 0.70), (lucky, 0, 0.72), (dull, 0, 0.5), (dull, 1, 0.5)]
    merits = fold_centered([(phenotype, fold, score) for phenotype, fold, score in scores])
    assert merits[steady] > merits[lucky] > merits[dull]


def test_ranking_lists_each_phenotype_once() -> None:
    encoding = BioTuneEncoding(2)
    genes = [(0.9, 0.9, 0.5), (0.901, 0.9, 0.4), (0.1, 0.9, 0.5)]
    batch = [Candidate(0, slot, "initial", own, (0.0,) * 3, (), 0) for slot, own in enumerate(genes)]
    found = rank([scored(batch[0], 0.6), scored(batch[1], 0.6), scored(batch[2], 0.8)], encoding)
    assert [result.candidate.slot for result in found] == [2, 1]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"elites": 5, "population": 5}, "elites must be from 1 to population - 1"),
        ({"folds": 0}, "folds must be a whole number from 1 to 1,000, got 0"),
        ({"exploration": 0.0}, "exploration must be a number above 0"),
        ({"encoding": "binary"}, "encoding must be one of biotune, split, depth"),
        ({"without": "mutation"}, "without must be none, or some of threshold, exploitation"),
    ],
)
def test_settings_that_make_no_search_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        EvolutionConfig(**settings)  # type: ignore[arg-type]
