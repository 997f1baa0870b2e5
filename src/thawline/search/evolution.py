"""BioTune's proposals (Colan et al. 2025), in a form in which the order of trainings never changes the result.

Pure: the candidates of a generation follow from the seed and the scored candidates before it. All candidates of a
generation are proposed at once, which is why parents are never taken out of the mating pool (that would need the
children scored one by one). The elites are scored again in every generation, since scores on different folds must not
be compared; where the fold stays, their trainings are in the ledger already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thawline.search import operators
from thawline.search.candidates import Candidate, Genes, Scored, in_generation
from thawline.search.encoding import BioTuneEncoding, DepthEncoding, Encoding, SplitEncoding
from thawline.strategies.biotune import EvolutionConfig


def make_encoding(settings: EvolutionConfig, blocks: int) -> Encoding:
    """The encoding that the settings ask for, for so many blocks, the head included."""
    if settings.encoding == "biotune":
        return BioTuneEncoding(blocks, evolved_threshold=settings.has("threshold"))
    return SplitEncoding(blocks) if settings.encoding == "split" else DepthEncoding(blocks)


@dataclass(frozen=True)
class Evolution:
    """Proposes one generation after the other."""

    settings: EvolutionConfig
    encoding: Encoding
    seed: int

    @property
    def generations(self) -> int:
        """How many there are, the initial one included."""
        return self.settings.generations + 1

    def propose(self, history: Sequence[Scored], generation: int) -> tuple[Candidate, ...]:
        """The candidates of a generation, given all before it: elites, two probes of each, children."""
        if generation == 0:
            return tuple(self._initial(slot) for slot in range(self.settings.population))
        population = self.population(history, generation - 1)
        elites = population[: self.settings.elites]
        again = [self._again(elite, generation, slot) for slot, elite in enumerate(elites)]
        probes = self._probes(again) if self.settings.has("exploitation") else []
        children = self._children(population, generation, first=len(again) + len(probes))
        return (*again, *probes, *children)

    def population(self, history: Sequence[Scored], generation: int) -> tuple[Scored, ...]:
        """The survivors of a generation, the best first: its children, and each elite or the better of its probes."""
        batch = in_generation(history, generation)
        rivals = {scored.candidate.address: [scored] for scored in batch if scored.candidate.operator == "elite"}
        for scored in batch:
            if scored.candidate.operator == "probe":
                rivals[scored.candidate.parents[0]].append(scored)
        elites = [max(ones, key=lambda scored: scored.score) for ones in rivals.values()]
        others = [scored for scored in batch if scored.candidate.operator in ("initial", "child")]
        return tuple(sorted([*elites, *others], key=lambda scored: scored.score, reverse=True))

    def fold(self, generation: int) -> int:
        """The part of the training split that a generation trains on: f_g = g mod K."""
        return generation % self.settings.folds if self.settings.has("rotation") else 0

    def _rng(self, generation: int, slot: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, generation, slot])

    def _initial(self, slot: int) -> Candidate:
        genes = self.encoding.draw(self._rng(0, slot))
        return Candidate(0, slot, "initial", genes, (0.0,) * len(genes), (), self.fold(0))

    def _again(self, elite: Scored, generation: int, slot: int) -> Candidate:
        old = elite.candidate
        fold = self.fold(generation)
        return Candidate(generation, slot, "elite", old.genes, old.momentum, (old.address,), fold)

    def _probes(self, elites: Sequence[Candidate]) -> list[Candidate]:
        """Exploitation: two neighbors of every elite, in slots next to each other."""
        found: list[Candidate] = []
        for elite in elites:
            rng = self._rng(elite.generation, elite.slot)
            genes = np.array(elite.genes)
            reach = self.settings.exploration
            neighbors = operators.probes(genes, self.encoding.explorable(elite.genes), reach, rng)
            kept = rng.random(len(genes)) * np.array(elite.momentum)
            for neighbor in neighbors:
                slot = len(elites) + len(found)
                momentum = _genes(kept + neighbor - genes)
                own = (_genes(neighbor), momentum, (elite.address,), elite.fold)
                found.append(Candidate(elite.generation, slot, "probe", *own))
        return found

    def _children(self, population: Sequence[Scored], generation: int, *, first: int) -> list[Candidate]:
        factors = operators.extinction([scored.error for scored in population], self._linear_probe(population))
        count = self.settings.population - self.settings.elites
        return [self._child(population, factors, generation, slot) for slot in range(first, first + count)]

    def _linear_probe(self, population: Sequence[Scored]) -> float | None:
        """Error of the best linear probe in the population; None if there is none."""
        heads = [scored.error for scored in population if self._is_head_alone(scored.candidate.genes)]
        return min(heads, default=None)

    def _is_head_alone(self, genes: Genes) -> bool:
        return all(bins is None for bins in self.encoding.phenotype(genes)[:-1])

    def _child(self, population: Sequence[Scored], factors: np.ndarray, generation: int, slot: int) -> Candidate:
        """Crossover with momentum, mutation, adoption, clip."""
        rng = self._rng(generation, slot)
        ranks = operators.select(len(population), rng)
        parents = [population[rank].candidate for rank in ranks]
        a, b, prototype = (np.array(parent.genes) for parent in parents)
        genes = operators.crossover(a, b, rng)
        momentum = np.zeros(len(genes))
        if self.settings.has("momentum"):
            momentum = operators.inherited_momentum(np.array(parents[0].momentum), np.array(parents[1].momentum), rng)
        crossed = genes = genes + momentum
        genes = operators.mutate(genes, float(factors[ranks[0]] + factors[ranks[1]]) / 2, rng)
        if self.settings.has("adoption"):
            genes = operators.adopt(genes, a, b, prototype, rng)
        genes = operators.clip(genes)
        momentum = rng.random(len(genes)) * momentum + genes - crossed
        addresses = tuple(parent.address for parent in parents)
        own = (_genes(genes), _genes(momentum), addresses, self.fold(generation))
        return Candidate(generation, slot, "child", *own)


def _genes(values: np.ndarray) -> Genes:
    return tuple(values.tolist())
