"""Tuning: six trainings for every row, arguments first, then rates outwards from the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from thawline.config import TRAININGS_PER_ROW, TrainConfig, TuningConfig
from thawline.errors import NonFiniteLossError, PlanError
from thawline.plan import Block, FineTunePlan
from thawline.records import EpochRecord, TrainingRecord
from thawline.strategies import OWN_STRATEGIES
from thawline.strategies.base import MOST_COMBINATIONS, variants
from thawline.strategies.context import Tuned
from thawline.studies.tuning import RATE_LADDER, next_rate, tune

Scores = Callable[[str, float], float | None]
"""Strategy with arguments and rate -> validation accuracy; None = the training diverges."""


@dataclass(frozen=True)
class Asked:
    """The parts of a request that tuning reads."""

    search: TuningConfig
    granularity: str = "stage"
    train: TrainConfig = field(default_factory=TrainConfig)
    plan: None = None


TRAINED = [name for name in OWN_STRATEGIES if name != "linear_probe"] + ["linear_probe:solver=sgd"]
OF_OLD = ("norm_statistics", "unchanged")
"""Strategies that train nothing, and need a model that is fitted again."""


@dataclass
class Scripted:
    """An experiment whose trainings are made up; `trained` lists them in order."""

    script: Scores
    rate: float | None = None
    below: int = 4
    has_statistics: bool = False
    tuning_seed: int = 1_000_000
    head_is_linear: bool = True
    head_is_known: bool = False
    keeps_head: bool = False
    trained: list[tuple[str, float]] = field(default_factory=list)

    @property
    def request(self) -> Asked:
        return Asked(TuningConfig(learning_rate=self.rate))

    def blocks(self, granularity: str) -> tuple[Block, ...]:
        names = [*(str(number) for number in range(self.below)), "head"]
        return tuple(Block(name, (name,), (f"{name}.weight",), (), 10, 1, (name,), name == "head") for name in names)

    def trains_statistics(self, plan: FineTunePlan) -> bool:
        return self.has_statistics and len(plan.trained) > 1

    def ahead(self, calls: object) -> None:
        """As without workers."""

    def train(self, plan: FineTunePlan, *, strategy: str, learning_rate: float, **others: Any) -> TrainingRecord:
        self.trained.append((strategy, learning_rate))
        score = self.script(strategy, learning_rate)
        epochs = () if score is None else (EpochRecord(0, 0.0, 1.0, score, score),)
        return TrainingRecord(
            key=plan.to_json(),
            strategy=strategy,
            learning_rate=learning_rate,
            plan=plan.to_dict(),
            epochs=epochs,
            best_epoch=None if score is None else 0,
            error="the loss became nan" if score is None else None,
            **others,
        )

    def tune(self, spec: str) -> Tuned:
        return tune(self, spec)  # type: ignore[arg-type]

    @property
    def rates(self) -> list[float]:
        return [rate for _, rate in self.trained]


def peak_at(best: float) -> Scores:
    """One peak; a decade away from it costs a tenth."""
    return lambda spec, rate: 0.9 - 0.1 * abs(math.log10(rate / best))


@pytest.mark.parametrize(
    ("peak", "rates"),
    [
        (1e-3, [1e-3, 3e-3, 3e-4, 1e-2, 1e-4, 3e-2]),
        (3e-3, [1e-3, 3e-3, 1e-2, 3e-2, 3e-4, 1e-1]),
        (3e-4, [1e-3, 3e-3, 3e-4, 1e-4, 3e-5, 1e-2]),
        (1e-1, [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1]),  # as far up as can be known to be a peak
        (3e-5, [1e-3, 3e-3, 3e-4, 1e-4, 3e-5, 1e-5]),  # and as far down: the first step goes up
        (1.0, [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1]),  # out of reach: ends at 3e-1
        (1e-6, [1e-3, 3e-3, 3e-4, 1e-4, 3e-5, 1e-5]),  # out of reach: ends at 1e-5
    ],
)
def test_rates_are_tried_outwards_from_the_best_and_past_both_ends(peak: float, rates: list[float]) -> None:
    experiment = Scripted(peak_at(peak))
    tuned = experiment.tune("full")
    assert experiment.rates == rates
    assert tuned.learning_rate == min(rates, key=lambda rate: abs(math.log10(rate / peak)))
    assert len(tuned.records) == TRAININGS_PER_ROW


def asks_for_trainings(name: str) -> bool:
    return name == "subtune" or variants(name)[0].searches


def test_a_solved_probe_has_nothing_to_tune() -> None:
    experiment = Scripted(peak_at(1e-3))
    tuned = experiment.tune("linear_probe")
    assert (experiment.trained, tuned.strategy, tuned.learning_rate) == ([], "linear_probe", 0.0)
    assert tuned.plan.is_solved


def test_from_the_probe_only_the_statistics_that_it_was_made_with_are_tried() -> None:
    experiment = Scripted(peak_at(1e-3), has_statistics=True)
    assert experiment.tune("full:head_start=probe").strategy == "full:norm=kept,head_start=probe"
    assert len(experiment.trained) == TRAININGS_PER_ROW
    assert experiment.tune("full:head_start=probe,norm=moving").plan.norm == "train"


@pytest.mark.parametrize("name", [name for name in TRAINED if not asks_for_trainings(name) and name not in OF_OLD])
def test_every_row_gets_six_trainings(name: str) -> None:
    experiment = Scripted(peak_at(1e-3))
    assert len(experiment.tune(name).records) == len(experiment.trained) == TRAININGS_PER_ROW == 6


@pytest.mark.parametrize("name", OF_OLD)
def test_the_old_model_as_it_is_has_no_rate_and_is_not_trained(name: str) -> None:
    experiment = Scripted(peak_at(1e-3), keeps_head=True)
    tuned = experiment.tune(name)
    assert (experiment.trained, tuned.learning_rate, tuned.plan.is_untrained) == ([], 0.0, True)


def test_where_a_head_is_kept_plans_start_from_it_unless_they_say_otherwise() -> None:
    experiment = Scripted(peak_at(1e-3), keeps_head=True)
    assert experiment.tune("full").plan.head_start == "kept"
    assert experiment.tune("full:head_start=random").plan.head_start == "random"
    assert experiment.tune("linear_probe").plan.is_solved


def test_what_a_strategy_asks_for_comes_on_top_and_is_counted() -> None:
    tuned = Scripted(peak_at(1e-3), below=4).tune("subtune:most=1")
    selecting = 1 + 4  # the head alone, and each block with it; the head alone is then tuned, from the same rate
    assert len(tuned.records) == selecting + TRAININGS_PER_ROW - 1


def test_the_arguments_come_first_and_the_rates_are_tried_with_the_best_of_them() -> None:
    experiment = Scripted(lambda spec, rate: {"k=1": 0.5, "k=2": 0.7, "k=3": 0.6}[spec[-3:]] + (rate == 3e-4) / 10)
    tuned = experiment.tune("last_blocks")
    assert experiment.trained == [
        *((f"last_blocks:k={k}", 1e-3) for k in (1, 2, 3)),
        *(("last_blocks:k=2", rate) for rate in (3e-3, 3e-4, 1e-4)),
    ]
    assert (tuned.strategy, tuned.learning_rate, tuned.score[0]) == ("last_blocks:k=2", 3e-4, 0.7 + 0.1)


def test_of_equals_the_first_tried_is_kept() -> None:
    experiment = Scripted(lambda spec, rate: 0.5)
    tuned = experiment.tune("last_blocks")
    assert (tuned.strategy, tuned.learning_rate) == ("last_blocks:k=1", 1e-3)
    assert experiment.rates == [1e-3, 1e-3, 1e-3, 3e-3, 3e-4, 1e-2]


def test_a_given_rate_is_the_only_one_and_leaves_the_arguments_to_choose() -> None:
    experiment = Scripted(lambda spec, rate: float(spec[-1]) / 10, rate=2e-3)
    assert experiment.tune("last_blocks").strategy == "last_blocks:k=3"
    assert experiment.trained == [(f"last_blocks:k={k}", 2e-3) for k in (1, 2, 3)]


def test_with_nothing_to_choose_nothing_is_trained_unless_a_score_is_asked_for() -> None:
    experiment = Scripted(peak_at(1e-3), rate=2e-3)
    assert experiment.tune("full").records == ()
    assert experiment.trained == []
    assert len(tune(experiment, "full", score=True).records) == 1  # type: ignore[arg-type]


def test_nothing_is_tried_above_a_rate_that_diverged() -> None:
    experiment = Scripted(lambda spec, rate: None if rate > 1e-3 else 0.5)
    assert experiment.tune("full").learning_rate == 1e-3
    assert experiment.rates == [1e-3, 3e-3, 3e-4, 1e-4, 3e-5, 1e-5]


def test_where_the_first_rate_diverges_lower_ones_are_tried_until_one_does_not() -> None:
    experiment = Scripted(lambda spec, rate: None if rate > 2e-5 else 0.5)
    assert experiment.tune("full").learning_rate == 1e-5
    assert experiment.rates == [1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6]


def test_where_everything_diverges_the_row_fails() -> None:
    with pytest.raises(NonFiniteLossError, match="full: every training failed"):
        Scripted(lambda spec, rate: None).tune("full")


def test_arguments_that_the_model_has_no_blocks_for_are_left_out_of_a_grid_and_refused_where_asked_for() -> None:
    experiment = Scripted(peak_at(1e-3), below=2)
    experiment.tune("last_blocks")
    assert {spec for spec, _ in experiment.trained} == {"last_blocks:k=1", "last_blocks:k=2"}
    assert len(experiment.trained) == TRAININGS_PER_ROW
    with pytest.raises(PlanError, match="k=3"):
        experiment.tune("last_blocks:k=3")


def test_no_grid_leaves_fewer_than_two_trainings_to_the_rates() -> None:
    for name in OWN_STRATEGIES:
        assert len(variants(name)) <= MOST_COMBINATIONS <= TRAININGS_PER_ROW - 2


def test_the_ladder_is_longer_than_any_walk() -> None:
    for failing in (True, False):
        tried = {1e-3: (-1.0 if failing else 0.5, 0.0)}
        while len(tried) < TRAININGS_PER_ROW:
            tried[next_rate(tried)] = (-1.0 if failing else 0.5 + len(tried), 0.0)
        assert RATE_LADDER[0] < min(tried)
        assert max(tried) < RATE_LADDER[-1]


def test_the_norm_mode_is_tried_after_the_arguments_and_the_rates_with_the_better_one() -> None:
    better = {"k=2": 0.1, "k=2,norm=kept": 0.2}

    def script(spec: str, rate: float) -> float:
        return 0.5 + better.get(spec.partition(":")[2].removesuffix(",norm=moving"), 0.0) + (rate == 3e-4) / 20

    experiment = Scripted(script, has_statistics=True)
    tuned = experiment.tune("last_blocks")
    assert experiment.trained == [
        *((f"last_blocks:k={k},norm=moving", 1e-3) for k in (1, 2, 3)),
        *(("last_blocks:k=2,norm=kept", rate) for rate in (1e-3, 3e-3, 3e-4)),
    ]
    assert (tuned.strategy, tuned.learning_rate, tuned.plan.norm) == ("last_blocks:k=2,norm=kept", 3e-4, "eval")


def test_the_norm_mode_is_left_alone_where_it_makes_no_difference_or_is_given() -> None:
    probe, kept = Scripted(peak_at(1e-3), has_statistics=True), Scripted(peak_at(1e-3), has_statistics=True)
    assert probe.tune("linear_probe:solver=sgd").strategy == "linear_probe:solver=sgd"
    assert {spec for spec, _ in probe.trained} == {"linear_probe:solver=sgd"}
    assert kept.tune("full:norm=kept").plan.norm == "eval"
    assert {spec for spec, _ in kept.trained} == {"full:norm=kept"}


def test_with_a_given_rate_only_the_norm_modes_are_compared() -> None:
    experiment = Scripted(lambda spec, rate: 0.8 if spec.endswith("kept") else 0.7, rate=1e-2, has_statistics=True)
    assert experiment.tune("full").strategy == "full:norm=kept"
    assert experiment.trained == [("full:norm=moving", 1e-2), ("full:norm=kept", 1e-2)]


def test_a_network_without_batch_norm_has_no_norm_mode() -> None:
    with pytest.raises(PlanError, match="no batch norm"):
        Scripted(peak_at(1e-3)).tune("full:norm=kept")
