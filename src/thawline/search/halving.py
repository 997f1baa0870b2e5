"""The search of `auto`: successive halving over the usual ways and over proposals, within a budget of work.

Generation 0 is the usual ways at the usual rates; later ones come from a sampler. All train for a few epochs; those
that stand out among everything trained as long go on, from where they paused, and the best of them to the end. Seeds
race where the best are too close to tell. Every decision follows from the seed, the scores and the work alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Protocol

from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord
from thawline.search.batch import Trainings, train_all
from thawline.search.candidate_ledger import CandidateLedger
from thawline.search.candidates import Address, Candidate, Scored, Task
from thawline.search.choice import contenders, thriftiest
from thawline.search.encoding import Invertible, Phenotype, Space
from thawline.search.meter import Meter
from thawline.search.samplers import Sampler
from thawline.search.starts import Start

PROMOTED = 1 / 3
"""Of all that were trained as long, this share goes on."""
HOPELESS = 3.0
"""Standard errors of a validation score that one of the usual ways may trail the best by and still go on."""
PROPOSALS = 6
"""Of a generation."""
RACE_SHARE = 0.15
"""Of the budget, kept for further seeds of the best."""
DRAWS = 20
"""For every proposal wanted, before a sampler that repeats itself is given up."""
IDLE_GENERATIONS = 4
"""Without a better plan, after which the search ends below its budget."""


class Priced(Trainings, Protocol):
    """Trainings that say what they will cost."""

    @property
    def rungs(self) -> Sequence[int]:
        """Numbers of epochs after which it is decided who goes on; the last is the nominal one."""
        ...

    @property
    def validation_images(self) -> int:
        """How many there are: what a score's standard error depends on."""
        ...

    def price(self, plan: FineTunePlan, rung: int) -> float:
        """Units of work that a training takes up to the end of a rung, at most; without the frozen prefix."""
        ...

    def prefix(self, plan: FineTunePlan) -> tuple[str, float]:
        """The boundary of the plan's frozen prefix, and the work of one pass through it."""
        ...


@dataclass(frozen=True)
class Halved:
    """What the search ends with."""

    history: tuple[Scored, ...]
    """All candidates, each with its trainings as far as they went."""
    winner: Scored
    ways: tuple[tuple[Start, Scored], ...]
    """The best of each fixed strategy."""
    work: float
    """Units of work, prefixes included."""

    @property
    def trainings(self) -> tuple[TrainingRecord, ...]:
        """Every training once, as far as it went."""
        records = (record for scored in self.history for record in scored.trainings)
        return tuple({record.key: record for record in records}.values())


@dataclass
class Halving:
    """Runs the search; a candidate's place in `standing` is its latest state."""

    space: Space
    encoding: Invertible
    """That of `space`."""
    sampler: Sampler
    starts: Sequence[Start]
    trainings: Priced
    ledger: CandidateLedger
    executor: Executor
    meter: Meter
    seeds: Sequence[int]
    """Of the trainings: the first for all, the others for the race."""
    thrift: bool = True
    """Whether, of plans that are as good, the one that trains less wins."""
    standing: dict[Address, Scored] = field(default_factory=dict)
    started: dict[Address, Start] = field(default_factory=dict)

    def run(self) -> Halved:
        """Generations while the budget lasts, the race, the choice."""
        self._generation(self._first())
        idle, generation = 0, 1
        while idle < IDLE_GENERATIONS:
            before = self._leader_key()
            batch = self._proposals(generation)
            if not self._generation(batch):
                break
            generation += 1
            idle = 0 if self._leader_key() != before else idle + 1
        self._race()
        self.ledger.tell(self._ranked())
        return Halved(tuple(self.standing.values()), self._choice(), self._ways(), self._spent())

    def _leader_key(self) -> tuple[Address, int] | None:
        ranked = self._ranked()
        return (ranked[0].candidate.address, ranked[0].candidate.rung) if ranked else None

    # --- candidates ---------------------------------------------------------------------------------------------------

    def _first(self) -> list[Candidate]:
        """The usual ways, or as many proposals where they are left out."""
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
        for _, proposal in zip(range(DRAWS * PROPOSALS), draws, strict=False):
            own = (proposal.operator, proposal.genes, (0.0,) * len(proposal.genes), proposal.parents, None)
            candidate = Candidate(generation, len(batch), *own)
            if self._key(candidate) not in seen:
                seen.add(self._key(candidate))
                batch.append(candidate)
            if len(batch) == PROPOSALS:
                break
        return batch

    # --- rungs --------------------------------------------------------------------------------------------------------

    def _generation(self, batch: Sequence[Candidate]) -> bool:
        """Train a generation as far as it deserves; whether anything was trained."""
        going = self._affordable(batch, kept=RACE_SHARE)
        self.ledger.ask(going)
        for rung in range(len(self.trainings.rungs)):
            going = going if rung == 0 else self._affordable(self._promoted(going, rung), kept=RACE_SHARE)
            self._score(going)
        return bool(going) or self._trained(batch)

    def _trained(self, batch: Sequence[Candidate]) -> bool:
        return any(candidate.address in self.standing for candidate in batch)

    def _score(self, batch: Sequence[Candidate]) -> None:
        tasks = {candidate: self._task(candidate, self.seeds[0]) for candidate in batch}
        done = train_all(tasks.values(), self.trainings, self.executor)
        for candidate, task in tasks.items():
            self.standing[candidate.address] = Scored(candidate, (done[self.trainings.key(task)],))
        self.ledger.report([self.standing[candidate.address] for candidate in batch], self.trainings.rungs)

    def _promoted(self, batch: Sequence[Candidate], rung: int) -> list[Candidate]:
        """Those of a batch that are among the best of all trained as long, and usual ways that may catch up."""
        level = self._reached(rung - 1)
        places = math.ceil(PROMOTED * len(level))
        best = {scored.candidate.address for scored in level[:places]}
        best |= {scored.candidate.address for scored in self._promising_ways(level)}
        alive = [candidate for candidate in batch if self.standing[candidate.address].trainings[0].error is None]
        order = {scored.candidate.address: place for place, scored in enumerate(level)}
        going = sorted((one for one in alive if one.address in best), key=lambda one: order[one.address])
        return [replace(candidate, rung=rung) for candidate in going]

    def _reached(self, rung: int) -> list[Scored]:
        """All that reached a rung with what they scored there, the best first."""
        found = [self._at(scored, rung) for scored in self.standing.values() if scored.candidate.rung >= rung]
        return sorted(found, key=lambda scored: scored.score, reverse=True)

    def _at(self, scored: Scored, rung: int) -> Scored:
        record = scored.trainings[0]
        epochs = record.epochs[: self.trainings.rungs[rung]]
        if record.error or len(epochs) == len(record.epochs):
            return scored
        best = max(range(len(epochs)), key=lambda epoch: epochs[epoch].score)
        return replace(scored, trainings=(replace(record, epochs=epochs, best_epoch=best),))

    def _promising_ways(self, level: Sequence[Scored]) -> Iterator[Scored]:
        """The best variant of every fixed strategy, unless it trails by more than chance could make it."""
        seen: set[str] = set()
        for scored in level:
            start = self.started.get(scored.candidate.address)
            if start is None or not start.way or start.way in seen:
                continue
            seen.add(start.way)
            high = level[0].score[0]
            error = math.sqrt(max(high * (1 - high), 0.0) / self.trainings.validation_images)
            if high - scored.score[0] <= HOPELESS * error:
                yield scored

    # --- race and choice ----------------------------------------------------------------------------------------------

    def _race(self) -> None:
        """Further seeds for the best, while they are too close to tell and the budget lasts."""
        while True:
            rivals = contenders(self._finished())
            open_ones = [scored for scored in rivals if len(scored.trainings) < len(self.seeds)]
            if len(rivals) < 2 or not open_ones:
                return
            following = min(open_ones, key=lambda scored: len(scored.trainings))
            if not self._affordable([following.candidate], another_seed=True):
                return
            task = self._task(following.candidate, self.seeds[len(following.trainings)])
            record = train_all([task], self.trainings, self.executor)[self.trainings.key(task)]
            self.standing[following.candidate.address] = replace(following, trainings=(*following.trainings, record))

    def _choice(self) -> Scored:
        """The best plan that can still be paid for; of those as good, the one that trains less."""
        ranked = self._finished() or self._ranked()
        payable = [scored for scored in ranked if self._final_price(scored.candidate) <= self._room()] or ranked
        if not self.thrift:
            return payable[0]
        fixed = [scored.score[0] for _, scored in self._ways() if scored in payable]
        return thriftiest(payable, self._step_price, at_least=max(fixed, default=0.0))

    def _ways(self) -> tuple[tuple[Start, Scored], ...]:
        """The best of each fixed strategy: how far it went, then its score."""
        found: dict[str, tuple[Start, Scored]] = {}
        for scored in self._ranked():
            start = self.started.get(scored.candidate.address)
            if start is not None and start.way:
                found.setdefault(start.way, (start, scored))
        return tuple(found.values())

    def _finished(self) -> list[Scored]:
        top = len(self.trainings.rungs) - 1
        return [scored for scored in self._ranked() if scored.candidate.rung == top and scored.score[0] > 0]

    def _ranked(self) -> list[Scored]:
        """Those that went furthest first, of these the best."""
        return sorted(self.standing.values(), key=lambda scored: (scored.candidate.rung, scored.score), reverse=True)

    # --- work ---------------------------------------------------------------------------------------------------------

    def _affordable(
        self, batch: Sequence[Candidate], *, kept: float = 0.0, another_seed: bool = False
    ) -> list[Candidate]:
        """Those of a batch that can be paid for with the final training that would follow, in their order."""
        room = self._room() - kept * self.meter.amount
        allowed = self.meter.candidates_left(len(self.standing))
        boundaries = self._boundaries()
        reserve = self._final_price(ranked[0].candidate) if (ranked := self._ranked()) else 0.0
        taken: list[Candidate] = []
        for candidate in batch:
            plan = self.space.plan(candidate.genes)
            boundary, passing = self.trainings.prefix(plan)
            price = self.trainings.price(plan, candidate.rung) - (0 if another_seed else self._paid(candidate))
            price += 0 if boundary in boundaries else passing
            reserve_then = max(reserve, self._final_price(candidate))
            first_ever = not self.standing and not taken
            is_new = candidate.address not in self.standing
            if first_ever or (price + reserve_then <= room and (allowed > 0 or not is_new)):
                taken.append(candidate)
                room, reserve = room - price, reserve_then
                allowed -= is_new
                boundaries |= {boundary}
        return taken

    def _room(self) -> float:
        return self.meter.left(self._spent())

    def _spent(self) -> float:
        """Units of work so far: every training as far as it went, every prefix once."""
        prefixes = {}
        for scored in self.standing.values():
            boundary, work = self.trainings.prefix(self.space.plan(scored.candidate.genes))
            prefixes[boundary] = work
        trained = {record.key: record.work for scored in self.standing.values() for record in scored.trainings}
        return sum(trained.values()) + sum(prefixes.values())

    def _boundaries(self) -> set[str]:
        plans = (self.space.plan(scored.candidate.genes) for scored in self.standing.values())
        return {self.trainings.prefix(plan)[0] for plan in plans}

    def _paid(self, candidate: Candidate) -> float:
        scored = self.standing.get(candidate.address)
        return scored.trainings[0].work if scored else 0.0

    def _final_price(self, candidate: Candidate) -> float:
        """Of training the plan to its end with the seed of the saved model; its prefix is there."""
        return self.trainings.price(self.space.plan(candidate.genes), len(self.trainings.rungs) - 1)

    def _step_price(self, scored: Scored) -> float:
        return self._final_price(scored.candidate)

    # --- small things -------------------------------------------------------------------------------------------------

    def _task(self, candidate: Candidate, seed: int) -> Task:
        plan = self.space.plan(candidate.genes)
        return Task(plan, seed, None, candidate.rung, candidate.generation, candidate.slot)

    def _key(self, candidate: Candidate) -> tuple[Phenotype, str]:
        return self.encoding.phenotype(candidate.genes), self.encoding.norm(candidate.genes)
