"""Trained rows as results: their scores, what they cost, how they compare with full fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from thawline import verdicts
from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord, digest, distinct
from thawline.results import (
    BlockRow,
    Cost,
    FailedRow,
    FitResults,
    NearestNeighbors,
    Refit,
    Row,
    ScoredRow,
    SplitScores,
    TestScores,
    Versus,
)
from thawline.runs.experiment import Experiment
from thawline.runs.files import PredictionLine
from thawline.strategies.base import NORM_WORDS, variants
from thawline.studies.rows import TrainedRow
from thawline.training import evaluation, significance
from thawline.training.images import LabelledRows

SAME_PLAN = Versus(difference=0.0, interval95=(0.0, 0.0), p_holm=1.0, words=verdicts.SAME_PLAN)


def summaries(experiment: Experiment, rows: Sequence[TrainedRow]) -> list[Row]:
    """All rows with their comparison to full fine-tuning."""
    versus = versus_reference(experiment, rows)
    return [row_summary(experiment, row, versus.get(row.strategy)) for row in rows]


def row_summary(experiment: Experiment, row: TrainedRow, versus: Versus | None) -> Row:
    """A row of `comparison.json`."""
    if row.error is not None or row.tuned is None:
        return FailedRow(strategy=row.strategy, error=row.error)
    plan = row.plan
    probe = row.finals[0].probe
    return ScoredRow(
        strategy=row.strategy,
        chosen=row.tuned.strategy,
        arguments=variants(row.tuned.strategy)[0].arguments,
        learning_rate=row.tuned.learning_rate,
        plan=plan,
        batch_norm=_batch_norm(experiment, plan),
        probe_strength=None if probe is None else probe.strength,
        train=split_scores(experiment, row, "train"),
        val=split_scores(experiment, row, "val"),
        test=_test_scores(experiment, row),
        trainable_percent=experiment.trainable_percent(plan),
        cost=cost(experiment, row),
        best_epochs=[record.best_epoch for record in row.finals],
        search=row.tuned.search,
        versus_full=versus,
        nearest_neighbors=_nearest_neighbors(experiment, row),
        processes=_processes(experiment, row),
    )


def _processes(experiment: Experiment, row: TrainedRow) -> int | None:
    """The most processes that a final training, or an ingredient of it, was spread over; None = a single one."""
    finals = chain.from_iterable((*experiment.ingredients(record), record) for record in row.finals)
    most = max(record.processes for record in finals)
    return most if most > 1 else None


def _batch_norm(experiment: Experiment, plan: FineTunePlan) -> str | None:
    """What the batch norm of trained blocks does, in the words of an argument; None where no trained block has any."""
    return NORM_WORDS[plan.norm] if experiment.trains_statistics(plan) else None


def split_scores(experiment: Experiment, row: TrainedRow, split: Literal["train", "val", "test"]) -> SplitScores:
    """Every metric of one split over seeds."""
    labels = _rows_of(experiment, split).labels.numpy()
    return evaluation.summarise([evaluation.score(found, labels) for found in row.probabilities(split)])


def _test_scores(experiment: Experiment, row: TrainedRow) -> TestScores | None:
    """Test scores with their interval over images; the confusion matrix and classes are those of the saved model."""
    if experiment.test is None:
        return None
    scores = split_scores(experiment, row, "test")
    labels, probabilities = experiment.test.labels.numpy(), row.probabilities("test")
    return TestScores(
        **{metric.name: getattr(scores, metric.name) for metric in fields(scores)},
        interval95=evaluation.bootstrap_interval(evaluation.correctness(probabilities, labels)),
        confusion_matrix=evaluation.confusion(probabilities[0], labels),
        per_class=evaluation.per_class(probabilities[0], labels, experiment.classes),
    )


def _nearest_neighbors(experiment: Experiment, row: TrainedRow) -> NearestNeighbors | None:
    """The accuracy of the votes beside a solved probe; they are the same for every seed."""
    votes = row.evaluations[0].neighbors
    if not votes:
        return None
    labels = {split: _rows_of(experiment, split).labels.numpy() for split in votes}
    found = {split: float((votes[split].argmax(axis=1) == labels[split]).mean()) for split in votes}
    return NearestNeighbors(val=found["val"], test=found.get("test"))


def cost(experiment: Experiment, row: TrainedRow) -> Cost:
    """What the row took: tuning and the first final training are `work`, further seeds are `proof`.

    A mixture takes its ingredients, too. A refit is neither.

    `seconds` are those of all its trainings, also of any that another row had made already. The peak of memory is that
    of the process until the last of them was over: it never falls from one row to the next.
    """
    tuning = row.tuned.records if row.tuned else ()
    searched = _searched(experiment, tuning)
    tuning = () if experiment.sample else tuning
    finals = [(*experiment.ingredients(record), record) for record in row.finals]
    needed = distinct((*tuning, *chain.from_iterable(finals[:1])))
    proved = distinct((*needed, *chain.from_iterable(finals[1:])))
    refits = refit_trainings(experiment, row)
    everything = (*proved, *refits, *(row.tuned.records if row.tuned and experiment.sample else ()))
    return Cost(
        work=sum(record.work for record in needed) + _prefix_work(experiment, needed) + searched,
        proof=sum(record.work for record in proved) - sum(record.work for record in needed),
        refit=_work_of(experiment, refits, experiment.refit_share) if refits else None,
        trainings=len(everything),
        seconds=sum(record.seconds for record in everything),
        image_passes=sum(record.image_passes for record in everything),
        cache_hits=sum(record.cache_hits for record in everything),
        peak_memory_bytes=max((record.peak_memory_bytes for record in everything), default=0),
    )


def _searched(experiment: Experiment, tuning: Sequence[TrainingRecord]) -> float:
    """Units of work of trainings on the sample, whose own units are smaller; 0 without a sample."""
    sample = experiment.sample
    return 0.0 if sample is None else _work_of(sample, tuning) * sample.unit_flops / experiment.unit_flops


def refit_trainings(experiment: Experiment, row: TrainedRow) -> tuple[TrainingRecord, ...]:
    """All refits of a row, those of which a refitted average is made first."""
    return distinct(chain.from_iterable((*experiment.ingredients(record), record) for record in row.refits))


def refit_facts(experiment: Experiment, row: TrainedRow) -> Refit | None:
    """`refit` of results.json."""
    if not row.refits:
        return None
    # All but averages, which train nothing.
    records = [record for record in refit_trainings(experiment, row) if record.until or "mixture" not in record.plan]
    images, epochs = len(experiment.refit_images), [record.until or 0 for record in records]
    plans = [FineTunePlan.from_dict(record.plan) for record in records]
    words = verdicts.refitted(images, zip(epochs, plans, strict=True))
    return Refit(images=images, epochs=epochs, words=words)


def versus_reference(experiment: Experiment, rows: Sequence[TrainedRow]) -> dict[str, Versus]:
    """The paired comparison of every scored row with full fine-tuning, Holm-adjusted, by strategy."""
    scored = {row.strategy: row for row in rows if row.error is None}
    if experiment.test is None or verdicts.REFERENCE not in scored:
        return {}
    labels = experiment.test.labels.numpy()
    on_test = {name: OnTest(row.test_correctness(labels), row.plan.to_json()) for name, row in scored.items()}
    trainings = len(scored[verdicts.REFERENCE].finals)
    references = {name: verdicts.REFERENCE for name in scored if name != verdicts.REFERENCE}
    return {
        name: SAME_PLAN if found is None else _versus(found, len(labels), trainings)
        for name, found in paired(on_test, references).items()
    }


@dataclass(frozen=True)
class OnTest:
    """A row on the test images."""

    right: NDArray[np.float64]
    """Share of its trainings that got each image right, [n]."""
    plan: str
    """Equal for rows that are one and the same."""


@dataclass(frozen=True)
class Paired:
    """A row against its reference."""

    found: significance.Comparison
    p_holm: float


def paired(rows: Mapping[str, OnTest], references: Mapping[str, str]) -> dict[str, Paired | None]:
    """Rows by name, each paired with its reference over the same images; p-values adjusted over all comparisons.

    None = it has the plan of its reference. Rows with one plan between them are one comparison: counting it twice would
    blur it.
    """
    keys = {name: (rows[name].plan, rows[reference].plan) for name, reference in references.items()}
    found: dict[tuple[str, str], significance.Comparison] = {}
    for name, key in keys.items():
        if key[0] != key[1] and key not in found:
            found[key] = significance.compare(rows[name].right, rows[references[name]].right)
    adjusted = dict(zip(found, significance.holm([each.p for each in found.values()]), strict=True))
    return {name: Paired(found[key], adjusted[key]) if key in found else None for name, key in keys.items()}


def _versus(pair: Paired, images: int, trainings: int) -> Versus:
    found = pair.found
    versus = Versus(difference=found.difference, interval95=found.interval95, p_holm=pair.p_holm, words="")
    return replace(versus, words=verdicts.against_full(versus, images, trainings))


def block_table(experiment: Experiment, plan: FineTunePlan) -> list[BlockRow]:
    """`blocks` of results.json: what the plan does with every block, in order of execution."""
    keeps_head = all(each.plan.head_start == "kept" for each in plan.members)
    keeps_head = keeps_head and plan.united.highest_rate(plan.blocks[-1]) is None
    return [
        BlockRow(
            name=block.name,
            learning_rate=plan.united.highest_rate(block.name),
            frozen=block.name not in plan.trained or (block.is_head and keeps_head),
            parameters=block.size,
        )
        for block in experiment.blocks(plan.granularity)
    ]


def member_results(experiment: Experiment, results: FitResults, record: TrainingRecord) -> FitResults:
    """What the run's results would say of the plan of one member of an ensemble; the scores stay the ensemble's."""
    plan = FineTunePlan.from_dict(record.plan)
    blocks = block_table(experiment, plan)
    return replace(
        results,
        plan=plan,
        learning_rate=0.0 if plan.is_untrained else record.learning_rate,
        blocks=blocks,
        batch_norm=_batch_norm(experiment, plan),
        probe_strength=None if record.probe is None else record.probe.strength,
        trainable_percent=experiment.trainable_percent(plan),
        best_epochs=[record.best_epoch],
        saved_seed=record.seed,
    )


def run_digest(experiment: Experiment) -> str:
    """The digest of everything that was trained in this run."""
    return digest(experiment.ledger.records)


def predictions(experiment: Experiment, rows: Sequence[TrainedRow], paths: Sequence[str]) -> list[PredictionLine]:
    """Rows of predictions.csv: one per row, seed and validation or test image."""
    lines: list[PredictionLine] = []
    for row in rows:
        for record, scored in zip(row.finals, row.evaluations, strict=False):
            for split, probabilities in (("val", scored.val), ("test", scored.test)):
                if probabilities is not None:
                    lines += _prediction_lines(experiment, row, record.seed, split, probabilities, paths)
    return lines


def _prediction_lines(
    experiment: Experiment, row: TrainedRow, seed: int, split: str, probabilities: np.ndarray, paths: Sequence[str]
) -> list[PredictionLine]:
    images = _rows_of(experiment, split)
    return [
        PredictionLine(row.strategy, seed, split, paths[index], label, values)
        for index, label, values in zip(images.rows, images.labels.tolist(), probabilities, strict=True)
    ]


def _rows_of(experiment: Experiment, split: str) -> LabelledRows:
    test = experiment.test
    if split == "test" and test is not None:
        return test
    return experiment.scored_train if split == "train" else experiment.data.val


def _work_of(experiment: Experiment, records: Sequence[TrainingRecord], share: float = 1.0) -> float:
    return sum(record.work for record in records) + _prefix_work(experiment, records, share)


def _prefix_work(experiment: Experiment, records: Iterable[TrainingRecord], share: float = 1.0) -> float:
    """One pass through the frozen prefix per boundary and view, however many trainings share it."""
    plans = [FineTunePlan.from_dict(record.plan) for record in records]
    return sum({experiment.boundary(plan): experiment.prefix_work(plan, share) for plan in plans}.values())
