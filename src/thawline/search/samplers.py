"""Samplers propose candidates from the scored history.

Every sampler sees the scored candidates, the best first, and nothing else; its proposals follow from them, the seed and
the generation, so that any search can be repeated. A new sampler is a class here, a line of `SAMPLERS` and its name in
`strategies.auto.SamplerName`.
"""

from __future__ import annotations

import itertools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import create_trial

from thawline.errors import OptionError
from thawline.search import operators
from thawline.search.candidates import Address, Candidate, Genes, Operator, Scored
from thawline.search.encoding import MOVING, AgainEncoding, Encoding, FreeEncoding, Invertible, Mode

try:
    import cmaes
except ImportError:  # an extra
    cmaes = None

PARENTS = 8
"""The best candidates that evolution breeds from."""
REACH = 0.25
"""How far a probe of the best candidate moves one gene, at most."""
CMA_SPREAD = 0.2
"""Standard deviation of the first proposals."""
CMA_POPULATION = 6
"""Scores that one update takes: those of a whole generation."""
GENE = FloatDistribution(0.0, 1.0)


@dataclass(frozen=True)
class Proposal:
    """Genes, and how they were made."""

    genes: Genes
    operator: Operator = "drawn"
    parents: tuple[Address, ...] = ()


class Sampler(Protocol):
    """Draws genotypes without end; the search skips those that were tried before."""

    def draws(self, ranked: Sequence[Scored], generation: int) -> Iterator[Proposal]:
        """Proposals for a generation from the candidates of all generations before, the best first."""
        ...


@dataclass(frozen=True)
class RandomSampler:
    """Every gene uniform."""

    encoding: Encoding
    seed: int

    def draws(self, ranked: Sequence[Scored], generation: int) -> Iterator[Proposal]:
        """Independent of the history."""
        rng = np.random.default_rng([self.seed, generation])
        while True:
            yield Proposal(self.encoding.draw(rng))


@dataclass(frozen=True)
class MemeticSampler:
    """BioTune's operators on the best candidates so far: two probes of the very best, then children."""

    encoding: Encoding
    seed: int

    def draws(self, ranked: Sequence[Scored], generation: int) -> Iterator[Proposal]:
        """Children without end; drawn at random without parents."""
        parents = sorted(ranked[:PARENTS], key=lambda scored: scored.score, reverse=True)
        if not parents:
            yield from RandomSampler(self.encoding, self.seed).draws(ranked, generation)
        best = parents[0].candidate
        rng = np.random.default_rng([self.seed, generation])
        own = self.encoding.explorable(best.genes)
        for genes in operators.probes(np.array(best.genes), own, REACH, rng):
            yield Proposal(tuple(genes.tolist()), "probe", (best.address,))
        factors = operators.extinction([scored.error for scored in parents])
        while True:
            yield self._child(parents, factors, rng)

    @staticmethod
    def _child(parents: Sequence[Scored], factors: np.ndarray, rng: np.random.Generator) -> Proposal:
        ranks = operators.select(len(parents), rng)
        chosen = [parents[rank].candidate for rank in ranks]
        a, b, prototype = (np.array(parent.genes) for parent in chosen)
        genes = operators.crossover(a, b, rng)
        genes = operators.mutate(genes, float(factors[ranks[0]] + factors[ranks[1]]) / 2, rng)
        genes = operators.clip(operators.adopt(genes, a, b, prototype, rng))
        return Proposal(tuple(genes.tolist()), "child", tuple(parent.address for parent in chosen))


@dataclass(frozen=True)
class OptunaSampler(ABC):
    """A sampler of Optuna, fed with the ranks of candidates: scores of trainings of unequal length do not compare.

    Genes are canonical: a frozen block always has the same gene, so that the sampler sees no meaningless differences.
    """

    encoding: Invertible
    seed: int

    def draws(self, ranked: Sequence[Scored], generation: int) -> Iterator[Proposal]:
        """One proposal after another, each as if those before it were being trained."""
        study = optuna.create_study(direction="maximize", sampler=self._sampler(self._seed(generation)))
        names = [f"gene{number:03}" for number in range(self.encoding.size)]
        genes: dict[str, BaseDistribution] = dict.fromkeys(names, GENE)
        for rank, scored in enumerate(reversed(ranked)):
            values = dict(zip(names, self._canonical(scored.candidate), strict=True))
            study.add_trial(create_trial(params=values, distributions=genes, value=rank / max(1, len(ranked) - 1)))
        while True:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                trial = study.ask(genes)
            drawn = tuple(float(trial.params[name]) for name in names)
            if self.encoding.is_alive(drawn):
                yield Proposal(drawn)

    def _canonical(self, candidate: Candidate) -> Genes:
        return self.encoding.genes_of(self.encoding.phenotype(candidate.genes), self.encoding.mode(candidate.genes))

    def _seed(self, generation: int) -> int:
        return int(np.random.SeedSequence([self.seed, generation]).generate_state(1)[0])

    @abstractmethod
    def _sampler(self, seed: int) -> BaseSampler:
        """Optuna's sampler with its own seed."""


@dataclass(frozen=True)
class TpeSampler(OptunaSampler):
    """Tree-structured Parzen estimators."""

    def _sampler(self, seed: int) -> BaseSampler:
        return TPESampler(seed=seed)


@dataclass(frozen=True)
class GaussianProcessSampler(OptunaSampler):
    """Bayesian optimisation with a Gaussian process."""

    def _sampler(self, seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return GPSampler(seed=seed, deterministic_objective=False)


@dataclass(frozen=True)
class CmaSampler:
    """CMA-ES from the best initial candidate, updated with the ranks of every whole generation since."""

    encoding: Encoding
    seed: int

    def __post_init__(self) -> None:
        if cmaes is None:
            raise OptionError("sampler=cma needs the package cmaes: pip install 'thawline[cma]'.")

    def draws(self, ranked: Sequence[Scored], generation: int) -> Iterator[Proposal]:
        """Draws from the distribution that the earlier generations have shaped."""
        first = [scored.candidate.genes for scored in ranked if scored.candidate.generation == 0]
        mean = np.array(first[0]) if first else np.full(self.encoding.size, 0.5)
        strategy = cmaes.CMA(
            mean,
            CMA_SPREAD,
            bounds=np.array([[0.0, 1.0]] * self.encoding.size),
            seed=int(np.random.SeedSequence([self.seed, generation]).generate_state(1)[0]),
            population_size=CMA_POPULATION,
        )
        for number in range(1, generation):
            ranks = [
                (np.array(scored.candidate.genes), float(place))
                for place, scored in enumerate(ranked)
                if scored.candidate.generation == number
            ]
            if len(ranks) == CMA_POPULATION:
                strategy.tell(ranks)
        while True:
            drawn = tuple(float(gene) for gene in strategy.ask())
            if self.encoding.is_alive(drawn):
                yield Proposal(drawn)


@dataclass(frozen=True)
class GridSampler:
    """The number of last blocks that train, times their rate: coarse steps first, then finer ones."""

    encoding: Invertible
    seed: int = 0
    """Unused: a grid has nothing to draw."""

    def draws(self, ranked: Sequence[Scored], generation: int) -> Iterator[Proposal]:
        """The same proposals in the same order, whatever the history."""
        rates = (0, 5, -5, 10, -10, 2, -2, 7, -7, 12, -12)
        for head, mode in itertools.product(rates, self._modes()):
            for depth in range(self.encoding.blocks):
                frozen = [None] * (self.encoding.blocks - 1 - depth)
                yield Proposal(self.encoding.genes_of((*frozen, *([head] * (depth + 1))), mode))

    def _modes(self) -> Sequence[Mode]:
        return self.encoding.modes if isinstance(self.encoding, FreeEncoding | AgainEncoding) else (MOVING,)


SAMPLERS: Mapping[str, Callable[[Invertible, int], Sampler]] = {
    "biotune": MemeticSampler,
    "tpe": TpeSampler,
    "gp": GaussianProcessSampler,
    "cma": CmaSampler,
    "random": RandomSampler,
    "grid": GridSampler,
}
"""Name of a sampler -> its class, called with an encoding and a seed."""
