"""The best of given ways, free to spend the whole budget on rates, numbers of blocks and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord
from thawline.runs.experiment import Experiment
from thawline.strategies.base import variants
from thawline.studies.tuning import Context, next_rate

WAYS = ("linear_probe", "last_blocks:k=1", "last_blocks:k=2", "last_blocks:k=3", "full")
RATE_SHARE = 0.7
"""Share of the budget for rates; what is left goes to further seeds of the three best."""
WALKED = 3
"""Ways whose rates are walked further, the best so far."""
FINALISTS = 3
MOST_SEEDS = 4
MOST_RATES = 9
"""Rates tried for one way: four decades in half steps."""


@dataclass
class BestFixed:
    """Full trainings only: every way at 1e-3, then rates outwards from the best, then seeds."""

    experiment: Experiment
    budget: float
    ways: Sequence[str] = WAYS
    tried: dict[tuple[str, float], list[TrainingRecord]] = field(default_factory=dict)

    def run(self) -> tuple[str, FineTunePlan, tuple[TrainingRecord, ...]]:
        """The way with its rate, its plan, and every training that led to it."""
        for way in self.ways:
            self._try(way, 1e-3, self.budget)
        while any(self._walk(way) for way in self._ranked_ways()[:WALKED]):
            pass
        while any(self._try(*key, self.budget) for key in self._ranked()[:FINALISTS]):
            pass
        way, rate = self._ranked()[0]
        plan = FineTunePlan.from_dict(self.tried[way, rate][0].plan)
        return f"{way} at {rate:g}", plan, tuple(record for several in self.tried.values() for record in several)

    @property
    def spent(self) -> float:
        """Units of work, every prefix once."""
        return self._spent_with()

    def _spent_with(self, *further: FineTunePlan) -> float:
        """What is spent, and the prefixes of further plans."""
        records = [record for several in self.tried.values() for record in several]
        plans = [*(FineTunePlan.from_dict(record.plan) for record in records), *further]
        prefixes = {self.experiment.boundary(plan): self.experiment.prefix_work(plan) for plan in plans}
        return sum(record.work for record in records) + sum(prefixes.values())

    def _try(self, way: str, rate: float, most: float) -> bool:
        """One more training, the next seed where there are some already, if the final one can be paid as well."""
        seeds = len(self.tried.get((way, rate), ()))
        strategy = variants(way)[0]
        plan = strategy.propose(Context(self.experiment, strategy, rate))
        price = self._price(plan)
        final = max(price, self._final_price())
        if seeds == MOST_SEEDS or self._spent_with(plan) + price + final > most:
            return False
        seed = self.experiment.tuning_seed + seeds
        record = self.experiment.train(plan, strategy=way, learning_rate=rate, seed=seed, purpose="tuning")
        self.tried.setdefault((way, rate), []).append(record)
        return True

    def _price(self, plan: FineTunePlan) -> float:
        return self.experiment.training_work(plan, self.experiment.request.train.epochs)

    def _final_price(self) -> float:
        """Cost of the dearest of the best so far: any of them may win."""
        plans = (FineTunePlan.from_dict(self.tried[key][0].plan) for key in self._ranked()[:FINALISTS])
        return max(map(self._price, plans), default=0.0)

    def _score(self, key: tuple[str, float]) -> tuple[float, float]:
        scores = [record.score for record in self.tried[key]]
        return sum(score for score, _ in scores) / len(scores), sum(tie for _, tie in scores) / len(scores)

    def _ranked(self) -> list[tuple[str, float]]:
        return sorted(self.tried, key=self._score, reverse=True)

    def _ranked_ways(self) -> list[str]:
        return list(dict.fromkeys(way for way, _ in self._ranked()))

    def _walk(self, way: str) -> bool:
        """Try the way at the next rate, if that is still worth its price."""
        known = {rate: self._score((name, rate)) for name, rate in self.tried if name == way}
        return len(known) < MOST_RATES and self._try(way, next_rate(known), RATE_SHARE * self.budget)
