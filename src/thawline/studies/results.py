"""Rows as the plain records of a run folder: results.json, comparison.json, history.csv, predictions.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord, digest, furthest
from thawline.runs.experiment import Experiment
from thawline.strategies.base import variants
from thawline.studies.rows import Row
from thawline.training import evaluation, significance
from thawline.training.images import LabelledRows

REFERENCE = "full"
"""The row that others are compared with."""
SAME_PLAN = {"difference": 0.0, "interval95": (0.0, 0.0), "p_holm": 1.0, "words": "the same plan as full"}


def row_summary(experiment: Experiment, row: Row) -> dict[str, Any]:
    """A row of `comparison.json`, without its comparison to the reference."""
    if row.error is not None or row.tuned is None:
        return {"strategy": row.strategy, "error": row.error}
    plan = row.plan
    blocks = experiment.blocks(plan.granularity)
    return {
        "strategy": row.strategy,
        "chosen": row.tuned.strategy,
        "arguments": variants(row.tuned.strategy)[0].arguments,
        "learning_rate": row.tuned.learning_rate,
        "plan": plan.to_dict(),
        "train": split_scores(experiment, row, "train"),
        "val": split_scores(experiment, row, "val"),
        "test": split_scores(experiment, row, "test") if experiment.test is not None else None,
        "trainable_percent": 100 * experiment.trainable_size(plan) / sum(block.size for block in blocks),
        "cost": cost(experiment, row),
        "best_epochs": [record.best_epoch for record in row.finals],
        **({"search": row.tuned.search} if row.tuned.search else {}),
    }


def split_scores(experiment: Experiment, row: Row, split: str) -> dict[str, Any]:
    """Every metric of one split over seeds; for test also the interval over images and the figures per class.

    The confusion matrix and the figures per class are those of the lowest seed, whose model is saved.
    """
    labels = _rows_of(experiment, split).labels.numpy()
    probabilities = [getattr(one, split) for one in row.evaluations]
    scores = evaluation.summarise([evaluation.score(one, labels) for one in probabilities])
    if split != "test":
        return scores
    return {
        **scores,
        "interval95": evaluation.bootstrap_interval(evaluation.correctness(probabilities, labels)),
        "confusion_matrix": evaluation.confusion(probabilities[0], labels),
        "per_class": evaluation.per_class(probabilities[0], labels, experiment.classes),
    }


def cost(experiment: Experiment, row: Row) -> dict[str, Any]:
    """What the row took: tuning and the first final training, in units of work; further seeds are `proof`.

    `seconds` are those of all its trainings, also of any that another row had made already, without decoding and
    scoring. `peak_memory_bytes` is the peak of the whole process until the last of them was over (on a GPU, of what
    PyTorch allocated there): it never falls from one row to the next.
    """
    tuning = row.tuned.records if row.tuned else ()
    needed = {record.key: record for record in (*tuning, *row.finals[:1])}.values()
    everything = {record.key: record for record in (*tuning, *row.finals)}.values()
    return {
        "work": sum(record.work for record in needed) + _prefix_work(experiment, needed),
        "proof": sum(record.work for record in row.finals[1:]),
        "trainings": len(everything),
        "seconds": sum(record.seconds for record in everything),
        "image_passes": sum(record.image_passes for record in everything),
        "cache_hits": sum(record.cache_hits for record in everything),
        "peak_memory_bytes": max((record.peak_memory_bytes for record in everything), default=0),
    }


def versus_reference(experiment: Experiment, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """For every scored row but the reference: the paired comparison with full fine-tuning, Holm-adjusted."""
    scored = {row.strategy: row for row in rows if row.error is None}
    if experiment.test is None or REFERENCE not in scored:
        return {}
    labels = experiment.test.labels.numpy()
    full = scored.pop(REFERENCE)
    same = {name: dict(SAME_PLAN) for name, row in scored.items() if row.plan == full.plan}
    reference = full.test_correctness(labels)
    # Rows with one plan between them are one comparison: counting it twice would blur it.
    plan_of = {name: row.plan.to_json() for name, row in scored.items() if name not in same}
    rows_of = {plan: scored[name] for name, plan in plan_of.items()}
    found = {plan: significance.compare(row.test_correctness(labels), reference) for plan, row in rows_of.items()}
    adjusted = dict(zip(found, significance.holm([one.p for one in found.values()]), strict=True))
    return same | {name: _versus(found[plan], adjusted[plan]) for name, plan in plan_of.items()}


def _versus(found: significance.Comparison, p_holm: float) -> dict[str, Any]:
    return {
        "difference": found.difference,
        "interval95": found.interval95,
        "p_holm": p_holm,
        "words": significance.in_words(found.difference, p_holm, REFERENCE),
    }


def block_table(experiment: Experiment, plan: FineTunePlan) -> list[dict[str, Any]]:
    """`blocks` of results.json: what every block was given, in order of execution."""
    return [
        {
            "name": block.name,
            "learning_rate": plan.highest_rate(block.name),
            "frozen": block.name not in plan.trained,
            "parameters": block.size,
        }
        for block in experiment.blocks(plan.granularity)
    ]


def run_digest(experiment: Experiment) -> str:
    """The digest of everything that was trained in this run."""
    return digest(experiment.ledger.records)


def history_csv(records: Iterable[TrainingRecord]) -> str:
    """One line per epoch of every training; one that paused and went on is there once, as far as it went."""
    lines = [
        (
            *(record.strategy, record.purpose, record.learning_rate, record.seed),
            *(epoch.epoch + 1, epoch.train_loss, epoch.val_loss, epoch.val_accuracy),
        )
        for record in furthest(records)
        for epoch in record.epochs
    ]
    header = ("strategy", "purpose", "learning_rate", "seed", "epoch", "train_loss", "val_loss", "val_accuracy")
    return _csv(header, lines)


def predictions_csv(experiment: Experiment, rows: Sequence[Row], paths: Sequence[str]) -> str:
    """One line per row, seed and validation or test image: path, true class, probability of every class."""
    lines: list[tuple[object, ...]] = []
    for row in rows:
        for record, one in zip(row.finals, row.evaluations, strict=False):
            for split, probabilities in (("val", one.val), ("test", one.test)):
                if probabilities is not None:
                    lines += _prediction_lines(experiment, row, record.seed, split, probabilities, paths)
    return _csv(("row", "seed", "split", "path", "true", *experiment.classes), lines)


def _prediction_lines(
    experiment: Experiment, row: Row, seed: int, split: str, probabilities: np.ndarray, paths: Sequence[str]
) -> list[tuple[object, ...]]:
    images = _rows_of(experiment, split)
    return [
        (row.strategy, seed, split, paths[index], experiment.classes[label], *(f"{p:.6f}" for p in values))
        for index, label, values in zip(images.rows, images.labels.tolist(), probabilities, strict=True)
    ]


def _rows_of(experiment: Experiment, split: str) -> LabelledRows:
    test = experiment.test
    if split == "test" and test is not None:
        return test
    return experiment.data.train if split == "train" else experiment.data.val


def _prefix_work(experiment: Experiment, records: Iterable[TrainingRecord]) -> float:
    """One pass through the frozen prefix per boundary and view, however many trainings share it."""
    plans = [FineTunePlan.from_dict(record.plan) for record in records]
    return sum({experiment.boundary(plan): experiment.prefix_work(plan) for plan in plans}.values())


def _csv(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(header)
    writer.writerows(lines)
    return stream.getvalue()
