"""The search of `auto`: a portfolio of baselines, then successive halving over proposals, within a budget of work.

Generation 0 holds the initial candidates, trained to the end one by one as far as the budget goes: early scores mislead
among them, because random heads and high rates learn late. If there is budget left after all of them, later generations
come from a sampler. These train for a few epochs; the best of everything trained as long are promoted, from where they
paused, and the best of these to the end. Where the best cannot be told apart they get extra seeds. The winner's own
training is handed over. Every decision follows from the seed, the scores and the work alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, takewhile

from thawline.records import TrainingRecord
from thawline.search.baselines import InitialCandidate
from thawline.search.budget import Priced, SearchBudget
from thawline.search.candidates import Address, Candidate, Scored, Task, distinct_trainings
from thawline.search.encoding import Invertible, Mode, Phenotype, Space
from thawline.search.promotion import at_rung, promoted
from thawline.search.samplers import Sampler
from thawline.search.selection import contenders, most_parsimonious
from thawline.search.trials import CandidateLedger

PROPOSALS = 6
"""Candidates of a generation."""
CHEAP = 0.1
"""Share of the budget that finishing a candidate may cost, if it is promoted without being among the best."""
EXTRA_SEED_SHARE = 0.1
"""Share of the budget that is kept for extra seeds of the best."""
REPEATS = 100
"""Proposals that were tried before, after which a sampler counts as exhausted."""
PATIENCE = 4
"""Generations without a better candidate after which the search ends below its budget."""


@dataclass
class Halving:
    """Runs the search; afterwards it holds all candidates and their scores."""

    space: Space
    encoding: Invertible
    """The encoding of `space`."""
    sampler: Sampler
    initial: Sequence[InitialCandidate]
    trainings: Priced
    budget: SearchBudget
    ledger: CandidateLedger
    seeds: Sequence[int]
    """Seeds of the trainings: the first for every candidate, the others where the best cannot be told apart."""
    parsimony: bool = True
    """Whether the one-standard-error rule selects the winner; else the highest merit does."""
    on_best: Callable[[Scored], None] = lambda scored: None
    """Called with every new best candidate."""
    scored: dict[Address, Scored] = field(default_factory=dict)
    """Every candidate with its trainings so far."""
    initial_at: dict[Address, InitialCandidate] = field(default_factory=dict)
    """What the candidates of generation 0 are."""
    selectable: Sequence[Scored] = ()
    """The candidates from which `run` selected the winner: those trained to the end, if there are any."""

    def run(self) -> Scored:
        """Train the portfolio, then generations while the budget lasts, then extra seeds; returns the winner."""
        first = self.first()
        self._enter_begun(first)
        trained = []
        for position, candidate in enumerate(first):  # one by one, so that the best plan so far is known after each
            self.trainings.ahead(self._certain(first[position:]))
            trained.append(self._train([candidate]))
        if first and not any(trained):  # what was begun leaves too little to finish anything, and a plan is needed
            self._train_all([min(first, key=lambda candidate: self.budget.price(candidate))])
        stale, generation = 0, 1 if first else 0
        while all(trained) and stale < PATIENCE and (batch := self._proposals(generation)):
            before = self._best()
            self._generation(batch)
            stale = stale + 1 if self._best() == before else 0
            generation += 1
        self._add_seeds()
        self.selectable = self._selectable()
        self.ledger.tell(self._ranked())
        return self._most_parsimonious() if self.parsimony and len(self.selectable) > 1 else self.best

    @property
    def best(self) -> Scored:
        """The selectable candidate of the highest merit."""
        return max(self.selectable, key=lambda scored: scored.merit)

    @property
    def work(self) -> float:
        """Units of work spent, frozen prefixes included."""
        return self.budget.spent(self.scored)

    @property
    def records(self) -> tuple[TrainingRecord, ...]:
        """Every training once, as far as it went."""
        return distinct_trainings(self.scored.values())

    def records_of(self, baseline: str) -> tuple[TrainingRecord, ...]:
        """The trainings of all variants of one baseline."""
        addresses = {address for address, initial in self.initial_at.items() if initial.baseline == baseline}
        return distinct_trainings(scored for address, scored in self.scored.items() if address in addresses)

    def baselines(self) -> tuple[tuple[InitialCandidate, Scored], ...]:
        """The best variant of each baseline: the one that went furthest, then the one of the highest merit."""
        found: dict[str, tuple[InitialCandidate, Scored]] = {}
        for scored in self._ranked():
            initial = self.initial_at.get(scored.candidate.address)
            if initial is not None and initial.baseline:
                found.setdefault(initial.baseline, (initial, scored))
        return tuple(found.values())

    def first(self) -> list[Candidate]:
        """The initial candidates, to be trained to the end."""
        batch: dict[tuple[Phenotype, Mode], Candidate] = {}
        end = len(self.trainings.rungs) - 1
        for initial in self.initial:
            genes = self.encoding.genes_of(initial.phenotype, initial.mode)
            candidate = Candidate(0, len(batch), "start", genes, (0.0,) * len(genes), (), None, end)
            if self._key(candidate) not in batch:
                batch[self._key(candidate)] = candidate
                self.initial_at[candidate.address] = initial
        return list(batch.values())

    def _enter_begun(self, first: Sequence[Candidate]) -> None:
        """Enter those that were trained up to a lower rung when networks were compared: they cost only the rest."""
        for candidate in first:
            lower = [replace(candidate, rung=rung) for rung in range(candidate.rung)]
            tried = [(each, self.trainings.known(self._task(each, self.seeds[0]))) for each in lower]
            known = [Scored(each, (record,)) for each, record in tried if record is not None]
            if known:
                self.ledger.ask([candidate])
                self.scored[candidate.address] = known[-1]

    def _proposals(self, generation: int) -> list[Candidate]:
        """New candidates of the sampler, without plans that were tried before."""
        seen = {self._key(scored.candidate) for scored in self.scored.values()}
        batch: list[Candidate] = []
        draws = self.sampler.draws(self._ranked(), generation)
        for drawn in islice(draws, PROPOSALS + len(seen) + REPEATS):
            own = (drawn.operator, drawn.genes, (0.0,) * len(drawn.genes), drawn.parents, None)
            candidate = Candidate(generation, len(batch), *own)
            if self._key(candidate) not in seen:
                seen.add(self._key(candidate))
                batch.append(candidate)
            if len(batch) == PROPOSALS:
                break
        return batch

    def _generation(self, batch: Sequence[Candidate]) -> None:
        """Train a generation rung by rung, as far as its candidates are promoted."""
        batch = self._train(batch)
        for rung, epochs in enumerate(self.trainings.rungs[:-1]):
            level = at_rung(self.scored.values(), rung, epochs)
            cheap = partial(self._is_cheap, most=self.budget.share(CHEAP, self.scored))
            batch = promoted(batch, level, self.trainings.validation_images, cheap) if level else []
            batch = self._train(batch)

    def _train(self, batch: Sequence[Candidate]) -> list[Candidate]:
        """Train the candidates that the budget allows up to their rung, and return these."""
        trained: list[Candidate] = []
        while batch:
            some, batch = batch[: self.budget.limit.at_once], batch[self.budget.limit.at_once :]
            affordable = self._affordable(some)
            self._train_all(affordable)
            trained += affordable
        return trained

    def _train_all(self, batch: Sequence[Candidate]) -> None:
        self.ledger.ask(batch)
        tasks = {candidate: self._task(candidate, self.seeds[0]) for candidate in batch}
        self._score(tasks, self.trainings.train_all(tasks.values()))

    def _certain(self, batch: Sequence[Candidate]) -> Iterator[Task]:
        """Those of a batch that the budget will allow whatever comes of the ones before: prices are the most."""
        # The clock is asked for one candidate at a time, and its answers are journalled: none may be asked for twice.
        if 1 < self.budget.limit.at_once >= len(batch):
            pairs = zip(batch, self._affordable(batch), strict=False)
            certain = takewhile(lambda pair: pair[0] == pair[1], pairs)
            yield from (self._task(candidate, self.seeds[0]) for candidate, _ in certain)

    def _score(self, tasks: dict[Candidate, Task], done: dict[str, TrainingRecord]) -> None:
        """Enter what was trained; a new best candidate is reported."""
        before = self._best()
        for candidate, task in tasks.items():
            self.scored[candidate.address] = Scored(candidate, (done[self.trainings.key(task)],))
        self.ledger.report([self.scored[candidate.address] for candidate in tasks], self.trainings.rungs)
        if (best := self._best()) is not None and best != before:
            self.on_best(best)

    def _add_seeds(self) -> None:
        """Train extra seeds of the best while they cannot be told apart and the budget lasts.

        A plan that trains nothing gets none: no seed changes it.
        """
        while True:
            tied = contenders(self._finished(), self.trainings.validation_images)
            waiting = [
                scored
                for scored in tied
                if len(scored.trainings) < len(self.seeds)
                and not self._is_untrained(scored)
                and self.budget.allows_another_seed(scored.candidate, self.scored)
            ]
            if len(tied) < 2 or not waiting:
                return
            self.trainings.ahead(self._next_seed(scored) for scored in waiting)
            following = min(waiting, key=lambda scored: len(scored.trainings))
            task = self._next_seed(following)
            record = self.trainings.train_all([task])[self.trainings.key(task)]
            self.scored[following.candidate.address] = replace(following, trainings=(*following.trainings, record))

    def _next_seed(self, scored: Scored) -> Task:
        return self._task(scored.candidate, self.seeds[len(scored.trainings)])

    def _selectable(self) -> Sequence[Scored]:
        """Candidates trained to the end, else the best so far; never empty."""
        return self._finished() or [max(self._ranked(), key=lambda scored: scored.merit)]

    def _most_parsimonious(self) -> Scored:
        """One-standard-error rule: among plans as good as the best, an initial candidate, then the cheapest.

        The more plans are tried, the luckier the best of them; initial candidates were not picked for their scores.
        """
        known = [scored.score[0] for _, scored in self.baselines() if scored in self.selectable]
        images = self.trainings.validation_images
        least = max(known, default=0.0)
        return most_parsimonious(self.selectable, self._complexity, images, at_least=least, is_exact=self._is_untrained)

    def _complexity(self, scored: Scored) -> tuple[bool, float]:
        return scored.candidate.operator != "start", self.budget.price(scored.candidate)

    def _best(self) -> Scored | None:
        ranked = self._ranked()
        return ranked[0] if ranked else None

    def _finished(self) -> list[Scored]:
        top = len(self.trainings.rungs) - 1
        return [scored for scored in self._ranked() if scored.candidate.rung == top and scored.score[0] > 0]

    def _ranked(self) -> list[Scored]:
        """All candidates by rung, then by merit, the best first; failed candidates come last."""
        return sorted(self.scored.values(), key=_rank, reverse=True)

    def _affordable(self, batch: Sequence[Candidate]) -> list[Candidate]:
        best = self._best()
        kept = EXTRA_SEED_SHARE if len(self.seeds) > 1 and self._norms_are_tried() else 0.0
        return self.budget.affordable(batch, self.scored, best.candidate if best else None, kept=kept)

    def _norms_are_tried(self) -> bool:
        """Whether every norm mode of the initial candidates was trained to the end: it decides more than seeds do."""
        wanted = {initial.mode.norm for initial in self.initial_at.values()}
        return wanted <= {self.encoding.mode(scored.candidate.genes).norm for scored in self._finished()}

    def _is_untrained(self, scored: Scored) -> bool:
        return self.space.plan(scored.candidate.genes).is_untrained

    def _is_cheap(self, scored: Scored, most: float) -> bool:
        return self.budget.price_to_the_end(scored.candidate) <= most

    def _task(self, candidate: Candidate, seed: int) -> Task:
        return Task.of(candidate, self.space.plan(candidate.genes), seed)

    def _key(self, candidate: Candidate) -> tuple[Phenotype, Mode]:
        return self.encoding.phenotype(candidate.genes), self.encoding.mode(candidate.genes)


def _rank(scored: Scored) -> tuple[bool, int, tuple[float, float]]:
    return scored.score[0] > 0, scored.candidate.rung, scored.merit
