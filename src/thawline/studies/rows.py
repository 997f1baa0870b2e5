"""A row of a comparison: one strategy, tuned, trained with fresh seeds, scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from thawline.errors import NonFiniteLossError, RunError
from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord
from thawline.runs.experiment import Evaluation, Experiment
from thawline.strategies.context import Tuned
from thawline.studies.tuning import tune
from thawline.training.evaluation import correctness


@dataclass(frozen=True)
class TrainedRow:
    """One strategy with its final trainings; `error` instead of figures if it could not be trained."""

    strategy: str
    """Name and arguments as requested: last_blocks, auto."""
    tuned: Tuned | None
    """What was settled on validation before anything was scored on test."""
    finals: tuple[TrainingRecord, ...] = ()
    """One per seed, the lowest first; its model is the one that is saved."""
    evaluations: tuple[Evaluation, ...] = ()
    refits: tuple[TrainingRecord, ...] = ()
    """Trainings on train and val together whose models are saved in place of that of the lowest seed; of an ensemble
    one per member. Empty without a refit."""
    refit_error: str | None = None
    """Why the model was not refitted, although that was requested; the model that was scored is saved then."""
    error: str | None = None

    @property
    def plan(self) -> FineTunePlan:
        """The plan of the final trainings."""
        if self.tuned is None:
            raise RunError(f"{self.strategy} has no plan: {self.error}")
        return self.tuned.plan

    def probabilities(self, split: Literal["train", "val", "test"]) -> list[np.ndarray]:
        """Class probabilities [n, C] of one split, one array per seed; none without such a split."""
        return [found for scored in self.evaluations if (found := getattr(scored, split)) is not None]

    def test_correctness(self, labels: np.ndarray) -> np.ndarray:
        """Share of seeds that got each test image right, [n]."""
        return correctness(self.probabilities("test"), labels)


def make_row(experiment: Experiment, spec: str) -> TrainedRow:
    """Tune on validation, train with every seed, then score. A row that fails says why and spares the others."""
    try:
        tuned = tune(experiment.searching, spec)
    except NonFiniteLossError as error:
        return TrainedRow(spec, None, error=str(error))
    return row_of(experiment, spec, tuned)


def row_of(experiment: Experiment, spec: str, tuned: Tuned) -> TrainedRow:
    """Train what is settled with every seed, then score."""
    if experiment.sample is not None:
        experiment.sample.trainer.empty_cache()  # two caches together would be larger than was asked for
        if tuned.search is not None:  # the final trainings are new ones, on other images than those of the selection
            tuned = replace(tuned, search=replace(tuned.search, optimism=None))
    finals = train_finals(experiment, tuned)
    if failed := [record for record in finals if record.error]:
        return TrainedRow(spec, tuned, error=f"seed {failed[0].seed}: {failed[0].error}")
    return TrainedRow(spec, tuned, finals, tuple(experiment.evaluate(record) for record in finals))


def pick_row(row: TrainedRow, rows: Sequence[TrainedRow]) -> TrainedRow | None:
    """The first of the rows with the plan that the search of `row` selected; None without such a search."""
    pick = row.tuned.pick if row.tuned else None
    return next((each for each in rows if pick and each.plan == pick.plan), None)


def refitted(experiment: Experiment, row: TrainedRow) -> TrainedRow:
    """The row with the refits of its lowest seed, or why there are none: the scored model is there in any case."""
    scored = row.finals[0]
    if row.plan.interpolation:  # the plan of a search; that of any other strategy was refused before
        return replace(row, refit_error="the plan interpolates between weights, which needs validation images")
    if row.plan.is_solved and experiment.sample is not None:
        return replace(row, refit_error="with `stream` the probe is solved on a sample of the images, as it was before")
    saved = experiment.ingredients(scored) if row.plan.is_ensemble else (scored,)
    refits = tuple(map(experiment.refit, saved))
    if failed := next((record.error for record in refits if record.error), None):
        return replace(row, refit_error=failed)
    return replace(row, refits=refits)


def final_seeds(experiment: Experiment) -> Sequence[int]:
    """Seeds of the final trainings: as many as asked, from the run's seed upwards."""
    first = experiment.request.images.seed
    return range(first, first + experiment.request.search.seeds)


def train_finals(experiment: Experiment, tuned: Tuned) -> tuple[TrainingRecord, ...]:
    """Train what is settled with every seed."""
    seeds = final_seeds(experiment)
    experiment.ahead(partial(_train_final, tuned=tuned, seed=seed) for seed in seeds)
    return tuple(_train_final(experiment, tuned, seed) for seed in seeds)


def _train_final(experiment: Experiment, tuned: Tuned, seed: int) -> TrainingRecord:
    rate = tuned.learning_rate
    return experiment.train(tuned.plan, strategy=tuned.strategy, learning_rate=rate, seed=seed, purpose="final")
