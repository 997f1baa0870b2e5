"""What a strategy may know and ask when it makes a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from thawline.plan import Block, FineTunePlan, Granularity

if TYPE_CHECKING:
    from thawline.strategies.auto import AutoConfig
    from thawline.strategies.biotune import EvolutionConfig


class Tuned(Protocol):
    """A plan and how well it did on validation."""

    @property
    def plan(self) -> FineTunePlan:
        """The best plan that the tuning found."""
        ...

    @property
    def score(self) -> tuple[float, float]:
        """Validation accuracy (0 to 1), then (ties) negative validation loss; higher is better."""
        ...


class StrategyContext(Protocol):
    """What a strategy may know and ask when it makes a plan. Supplied by the caller; no part of it trains by itself."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The model's blocks at the strategy's granularity, in order of execution, the head last."""
        ...

    @property
    def granularity(self) -> Granularity:
        """The granularity of `blocks`."""
        ...

    @property
    def learning_rate(self) -> float:
        """The base learning rate from which a strategy derives the rates of its blocks."""
        ...

    @property
    def epochs(self) -> int:
        """The nominal number of epochs of the training that the plan is for."""
        ...

    def score(self, plan: FineTunePlan) -> tuple[float, float]:
        """Validation score of a training with `plan`, then (ties) its negative loss. Costs one training, once."""
        ...

    def tune(self, strategy: str) -> Tuned:
        """The best plan of another strategy over its grid of rates and arguments. Costs trainings, once."""
        ...

    def search(self, settings: EvolutionConfig | AutoConfig) -> Tuned:
        """The plan that a search ends with. Costs many trainings, once."""
        ...
