"""What a strategy may know and ask when it makes a plan, and what a search returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from thawline.plan import Block, FineTunePlan, Granularity
from thawline.records import TrainingRecord
from thawline.results import SearchRecord

if TYPE_CHECKING:  # they import this module
    from thawline.strategies.auto import AutoConfig
    from thawline.strategies.biotune import EvolutionConfig

Score: TypeAlias = tuple[float, float]
"""Validation score (0 to 1), then (ties) negative validation loss; higher is better, below 0 = the training failed."""


@dataclass(frozen=True)
class Tuned:
    """A strategy's best plan on validation. The first four fields are all that a strategy has to fill in."""

    strategy: str
    """The strategy that makes the plan, with arguments: last_blocks:k=3."""
    learning_rate: float
    """The base rate from which the plan was made, or that of its head; for the tables only."""
    plan: FineTunePlan
    score: Score
    records: tuple[TrainingRecord, ...] = ()
    """The trainings that led to it; of a search, filled in with everything that its context trained."""
    search: SearchRecord | None = None
    """The course of the search for the report, if it has one to show."""
    baselines: Mapping[str, Tuned] = field(default_factory=dict)
    """Fixed strategies that a search tuned on its way, by name; `fit` trains them beside the plan."""
    pick: Tuned | None = None
    """What a search selected, if it may hand over something else: an average or an ensemble."""


class StrategyContext(Protocol):
    """What a strategy may know and ask. Nothing here ever uses the test split."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The model's blocks at the strategy's granularity, in order of execution, the head last."""
        ...

    @property
    def given_plan(self) -> FineTunePlan | None:
        """The plan that the user gave to be trained; None = there is none."""
        ...

    @property
    def granularity(self) -> Granularity:
        """The granularity of `blocks`."""
        ...

    @property
    def head_is_linear(self) -> bool:
        """Whether the head is a single linear layer, so that a linear probe can be solved exactly."""
        ...

    @property
    def head_is_known(self) -> bool:
        """Whether the head of a model that is fitted again is kept whole, so that it need not train."""
        ...

    @property
    def learning_rate(self) -> float:
        """The base learning rate from which a strategy derives the rates of its blocks."""
        ...

    @property
    def epochs(self) -> int:
        """The nominal number of epochs of the training that the plan is for."""
        ...

    @property
    def seed(self) -> int:
        """The seed of the run, for strategies that draw at random."""
        ...

    def score(self, plan: FineTunePlan) -> Score:
        """Train `plan` and return its validation score. Costs one training; asking again costs nothing."""
        ...

    def tune(self, strategy: str) -> Tuned:
        """The best plan of another strategy over its grid of rates and arguments. Costs its trainings, once."""
        ...

    def evolve(self, settings: EvolutionConfig) -> Tuned:
        """Run an evolutionary search over blocks and rates. Costs as many trainings as the settings say."""
        ...

    def halve(self, settings: AutoConfig) -> Tuned:
        """Run successive halving over baselines and sampled plans within the settings' budget."""
        ...
