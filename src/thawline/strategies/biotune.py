"""Search for the blocks to train and their rates by evolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from thawline.errors import OptionError
from thawline.strategies.base import Strategy, parts_rule
from thawline.strategies.context import StrategyContext, Tuned

Encoding = Literal["biotune", "split", "depth"]
EvolutionPart = Literal["threshold", "exploitation", "momentum", "adoption", "rotation"]


@dataclass(frozen=True)
class EvolutionConfig:
    """An evolutionary search for a plan; the defaults are those of BioTune (Colan et al. 2025)."""

    population: int = 10
    """Plans that compete in a generation."""
    elites: int = 3
    """The best of them, kept and probed; the others are replaced by children."""
    generations: int = 10
    """After the initial one, which is drawn at random."""
    seeds: int = 3
    """Trainings of a plan in the search, and fresh ones of each of the top plans at its end."""
    folds: int = 2
    """Parts of the training split, stratified; a generation trains on one of them, each in turn."""
    exploration: float = 0.25
    """How far at most a probe of an elite moves one gene, which lies between 0 and 1."""
    top: int = 5
    """Plans that are trained on the full training split with fresh seeds in the end; the best on validation wins."""
    encoding: Encoding = "biotune"
    """Genes to plans: biotune as published, split without its tie between freezing and high rates, or depth alone."""
    without: str = "none"
    """Parts to leave out, joined by +: threshold (fixed instead of a gene), exploitation (probes of elites), momentum,
    adoption, rotation (of folds)."""

    def __post_init__(self) -> None:
        for name in ("population", "generations", "seeds", "folds", "top"):
            lowest = 2 if name == "population" else 1
            self._require(getattr(self, name) >= lowest, name, f"at least {lowest}", getattr(self, name))
        self._require(1 <= self.elites < self.population, "elites", "from 1 to population - 1", self.elites)
        self._require(0 < self.exploration <= 1, "exploration", "above 0 and at most 1", self.exploration)
        names = get_args(Encoding)
        self._require(self.encoding in names, "encoding", f"one of {', '.join(names)}", self.encoding)
        rule = parts_rule(self.without, get_args(EvolutionPart))
        self._require(rule is None, "without", str(rule), self.without)

    def has(self, part: EvolutionPart) -> bool:
        """Whether a part of the method is in use."""
        return part not in self.without.split("+")

    @property
    def evaluations(self) -> int:
        """Plans that are scored in the search, repetitions included, those trained again in the end apart."""
        probes = 2 * self.elites if self.has("exploitation") else 0
        return self.population + self.generations * (self.population + probes)

    @staticmethod
    def _require(condition: bool, name: str, rule: str, value: object) -> None:
        if not condition:
            raise OptionError(f"evolutionary search: {name} must be {rule}, got {value!r}.")


@dataclass(frozen=True)
class BioTune(EvolutionConfig, Strategy):
    """Evolutionary selective fine-tuning (Colan, Davila and Hasegawa 2025); the arguments are those of the search."""

    name: ClassVar[str] = "biotune"

    def search(self, context: StrategyContext) -> Tuned:
        """The best on validation among the top plans of the evolution, trained on the full training split."""
        return context.evolve(self)
