"""The search of `auto`: successive halving over the usual ways and over proposals, within a budget of work.

Generation 0 is the usual ways at the usual rates; later ones come from a sampler. All train for a few epochs; those
that stand out among everything trained as long go on, from where they paused, and the best of them to the end. Seeds
race where the best are too close to tell. Every decision follows from the seed, the scores and the work alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from thawline.records import TrainingRecord
from thawline.search.baselines import Start
from thawline.search.budget import Priced, Purse
from thawline.search.candidates import Address, Candidate, Scored, Task
from thawline.search.dispatch import train_all
from thawline.search.encoding import Invertible, Phenotype, Space
from thawline.search.promotion import at_rung, promoted
from thawline.search.samplers import Sampler
from thawline.search.selection import contenders, thriftiest
from thawline.search.trials import CandidateLedger

PROPOSALS = 6
"""Of a generation."""
CHEAP = 0.1
"""Share of the budget that finishing a candidate may cost, if it goes on without being among the best."""
RACE_SHARE = 0.1
"""Of the budget, kept for further seeds of the best."""
REPEATS = 100
"""Proposals that were tried before, after which a sampler is given up."""
IDLE_GENERATIONS = 4
"""Without a better plan, after which the search ends below its budget."""


@dataclass(frozen=True)
class Halved:
    """What the search ends with."""

    history: tuple[Scored, ...]
    """All candidates, each with its trainings as far as they went."""
    winner: Scored
    best: Scored
    """Of the highest score among those the winner was chosen from."""
    started: Mapping[Address, Start]
    """The candidates that nobody had to propose."""
    ways: tuple[tuple[Start, Scored], ...]
    """The best of each fixed strategy."""
    work: float
    """Units of work, prefixes included."""

    @property
    def start(self) -> Start | None:
        """What the winner is, if nobody had to propose it."""
        return self.started.get(self.winner.candidate.address)

    @property
    def trainings(self) -> tuple[TrainingRecord, ...]:
        """Every training once, as far as it went."""
        return _trainings(self.history)

    def trainings_of(self, way: str) -> tuple[TrainingRecord, ...]:
        """Those that a fixed strategy was tuned by: of all its variants."""
        return _trainings(
            scored
            for scored in self.history
            if (start := self.started.get(scored.candidate.address)) is not None and start.way == way
        )


@dataclass
class Halving:
    """Runs the search."""

    space: Space
    encoding: Invertible
    """That of `space`."""
    sampler: Sampler
    starts: Sequence[Start]
    trainings: Priced
    purse: Purse
    ledger: CandidateLedger
    executor: Executor
    seeds: Sequence[int]
    """Of the trainings: the first for all, the others for the race."""
    thrift: bool = True
    """Whether, of plans that are as good, one of the starts wins, or the one that costs less to train."""
    on_best: Callable[[Scored], None] = lambda scored: None
    """Told of every new best plan."""
    standing: dict[Address, Scored] = field(default_factory=dict)
    """Every candidate as far as it went."""
    started: dict[Address, Start] = field(default_factory=dict)

    def run(self) -> Halved:
        """Generations while the budget lasts, the race, the choice."""
        self._generation(self._first())
        idle, generation = 0, 1
        while idle < IDLE_GENERATIONS and (batch := self._proposals(generation)):
            before = self._best()
            self._generation(batch)
            idle = idle + 1 if self._best() == before else 0
            generation += 1
        self._race()
        choice = self._choice()
        best = max(choice, key=lambda scored: scored.score)
        self.ledger.tell(self._ranked())
        spent = self.purse.spent(self.standing)
        winner = self._thriftiest(choice) if self.thrift and len(choice) > 1 else best
        return Halved(tuple(self.standing.values()), winner, best, self.started, self._ways(), spent)

    def _first(self) -> list[Candidate]:
        """The usual ways, or proposals where they are left out."""
        batch: dict[tuple[Phenotype, str], Candidate] = {}
        for start in self.starts:
            genes = self.encoding.genes_of(start.phenotype, start.norm)
            candidate = Candidate(0, len(batch), "start", genes, (0.0,) * len(genes), (), None)
            if self._key(candidate) not in batch:
                batch[self._key(candidate)] = candidate
                self.started[candidate.address] = start
        return list(batch.values()) or self._proposals(0)

    def _proposals(self, generation: int) -> list[Candidate]:
        """New plans of the sampler: none that was tried before."""
        seen = {self._key(scored.candidate) for scored in self.standing.values()}
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
        """Train a generation as far as it deserves."""
        batch = self._train(batch)
        ways = {address: start.way for address, start in self.started.items()}
        for rung, epochs in enumerate(self.trainings.rungs[:-1]):
            level = at_rung(self.standing.values(), rung, epochs)
            cheap = partial(self._is_cheap, most=self.purse.share(CHEAP, self.standing))
            batch = promoted(batch, level, ways, self.trainings.validation_images, cheap) if level else []
            batch = self._train(batch)

    def _train(self, batch: Sequence[Candidate]) -> list[Candidate]:
        """Those of a batch that can be paid for, trained up to their rung."""
        trained: list[Candidate] = []
        while batch:
            some, batch = batch[: self.purse.meter.at_once], batch[self.purse.meter.at_once :]
            paid = self._payable(some)
            self._score(paid)
            trained += paid
        return trained

    def _score(self, batch: Sequence[Candidate]) -> None:
        self.ledger.ask(batch)
        before = self._best()
        tasks = {candidate: self._task(candidate, self.seeds[0]) for candidate in batch}
        done = train_all(tasks.values(), self.trainings, self.executor)
        for candidate, task in tasks.items():
            self.standing[candidate.address] = Scored(candidate, (done[self.trainings.key(task)],))
        self.ledger.report([self.standing[candidate.address] for candidate in batch], self.trainings.rungs)
        if (best := self._best()) is not None and best != before:
            self.on_best(best)

    def _race(self) -> None:
        """Further seeds for the best, while they are too close to tell and the budget lasts."""
        while True:
            rivals = contenders(self._finished(), self.trainings.validation_images)
            waiting = [scored for scored in rivals if len(scored.trainings) < len(self.seeds)]
            runners = [scored.candidate for scored in rivals]
            payable = [one for one in waiting if self.purse.allows_another_seed(one.candidate, runners, self.standing)]
            if len(rivals) < 2 or not payable:
                return
            following = min(payable, key=lambda scored: len(scored.trainings))
            task = self._task(following.candidate, self.seeds[len(following.trainings)])
            record = train_all([task], self.trainings, self.executor)[self.trainings.key(task)]
            self.standing[following.candidate.address] = replace(following, trainings=(*following.trainings, record))

    def _choice(self) -> Sequence[Scored]:
        """What was trained to the end and whose final training can still be paid; never nothing."""
        finished, room = self._finished(), self.purse.room(self.standing)
        payable = [scored for scored in finished if self.purse.final_price(scored.candidate) <= room]
        return payable or finished or [max(self._ranked(), key=lambda scored: scored.score)]

    def _thriftiest(self, choice: Sequence[Scored]) -> Scored:
        """The best plan; of those as good, one that nobody had to find, then the cheapest.

        The more plans are tried, the luckier the best of them: a plan that was there before the search was not picked.
        """
        usual = [scored.score[0] for _, scored in self._ways() if scored in choice]
        images = self.trainings.validation_images
        return thriftiest(choice, self._outlay, images, at_least=max(usual, default=0.0))

    def _outlay(self, scored: Scored) -> tuple[bool, float]:
        return scored.candidate.operator != "start", self.purse.final_price(scored.candidate)

    def _ways(self) -> tuple[tuple[Start, Scored], ...]:
        """The best of each fixed strategy: how far it went, then its score."""
        found: dict[str, tuple[Start, Scored]] = {}
        for scored in self._ranked():
            start = self.started.get(scored.candidate.address)
            if start is not None and start.way:
                found.setdefault(start.way, (start, scored))
        return tuple(found.values())

    def _best(self) -> Scored | None:
        ranked = self._ranked()
        return ranked[0] if ranked else None

    def _finished(self) -> list[Scored]:
        top = len(self.trainings.rungs) - 1
        return [scored for scored in self._ranked() if scored.candidate.rung == top and scored.score[0] > 0]

    def _ranked(self) -> list[Scored]:
        """Those that went furthest first, of these the best; what failed comes last."""
        return sorted(self.standing.values(), key=_rank, reverse=True)

    def _payable(self, batch: Sequence[Candidate]) -> list[Candidate]:
        best = self._best()
        kept = RACE_SHARE if len(self.seeds) > 1 else 0.0
        return self.purse.affordable(batch, self.standing, best.candidate if best else None, kept=kept)

    def _is_cheap(self, scored: Scored, most: float) -> bool:
        return self.purse.price_to_the_end(scored.candidate, paid=scored.trainings[0].work) <= most

    def _task(self, candidate: Candidate, seed: int) -> Task:
        return Task.of(candidate, self.space.plan(candidate.genes), seed)

    def _key(self, candidate: Candidate) -> tuple[Phenotype, str]:
        return self.encoding.phenotype(candidate.genes), self.encoding.norm(candidate.genes)


def _trainings(some: Iterable[Scored]) -> tuple[TrainingRecord, ...]:
    records = (record for scored in some for record in scored.trainings)
    return tuple({record.key: record for record in records}.values())


def _rank(scored: Scored) -> tuple[bool, int, tuple[float, float]]:
    return scored.score[0] > 0, scored.candidate.rung, scored.score
