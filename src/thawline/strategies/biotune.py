"""Search for the blocks to train and their rates by evolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

from thawline.config import Norm
from thawline.errors import OptionError
from thawline.plan import HeadStart
from thawline.ranges import Fault, Range, first_fault
from thawline.strategies.base import NORM_MODES, TUNED, Strategy, parts_rule
from thawline.strategies.context import StrategyContext, Tuned

Encoding = Literal["biotune", "split", "depth"]
EvolutionPart = Literal["threshold", "exploitation", "momentum", "adoption", "rotation"]


@dataclass(frozen=True)
class EvolutionConfig:
    """An evolutionary search for a plan; the defaults are those of BioTune (Colan et al. 2025)."""

    population: Annotated[int, Range(2, 10_000)] = 10
    """Number of plans in a generation."""
    elites: Annotated[int, Range(1, 10_000)] = 3
    """Number of best plans that are kept and probed; the others are replaced by offspring."""
    generations: Annotated[int, Range(1, 10_000)] = 10
    """Number of generations after the initial one, which is random."""
    seeds: Annotated[int, Range(1, 1000)] = 3
    """Trainings per plan in the search, and new trainings of each of the top plans at its end."""
    folds: Annotated[int, Range(1, 1000)] = 2
    """Number of stratified parts of the training split; each generation trains on one of them, in turn."""
    exploration: Annotated[float, Range(0, 1, above=True)] = 0.25
    """Largest change of one gene, which lies between 0 and 1, in a probe of an elite."""
    top: Annotated[int, Range(1, 10_000)] = 5
    """Number of plans that are finally trained on the full training split with new seeds; the best on validation
    wins."""
    encoding: Encoding = "biotune"
    """Mapping from genes to plans: biotune as published, split without its tie between freezing and high rates, or
    depth alone."""
    norm: Norm = "moving"
    """Batch norm of trained blocks: moving as in the paper, or kept."""
    head_start: HeadStart = "random"
    """Initial head of every candidate: random weights as in the paper, or the solved linear probe."""
    without: str = "none"
    """Parts to disable, joined by +: threshold (fixed instead of a gene), exploitation (probes of elites), momentum,
    adoption, rotation (of folds)."""

    def __post_init__(self) -> None:
        fault = first_fault(self)
        if fault is None and self.elites >= self.population:
            fault = Fault("elites", "from 1 to population - 1", self.elites)
        if fault is None and self.norm == TUNED:
            fault = Fault("norm", f"one of {', '.join(NORM_MODES)}", self.norm)
        if fault is None and (rule := parts_rule(self.without, get_args(EvolutionPart))):
            fault = Fault("without", rule, self.without)
        if fault is not None:
            raise OptionError(f"evolutionary search: {fault.name} {fault}")

    def has(self, part: EvolutionPart) -> bool:
        """Whether a part of the method is in use."""
        return part not in self.without.split("+")

    @property
    def evaluations(self) -> int:
        """Plans that are scored in the search, repetitions included, those trained again in the end apart."""
        probes = 2 * self.elites if self.has("exploitation") else 0
        return self.population + self.generations * (self.population + probes)


@dataclass(frozen=True)
class BioTune(EvolutionConfig, Strategy):
    """Evolutionary selective fine-tuning (Colan, Davila and Hasegawa 2025); the arguments are those of the search."""

    name: ClassVar[str] = "biotune"

    def search(self, context: StrategyContext) -> Tuned:
        """The best on validation among the top plans of the evolution, trained on the full training split."""
        return context.evolve(self)
