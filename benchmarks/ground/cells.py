"""One cell of the proving ground: a method on one split of one data set, tuned, trained once more, scored on test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.commit import commit
from benchmarks.ground.methods import Method
from benchmarks.ground.peers import peer_figures
from benchmarks.ground.schema import CellResult, Tried
from benchmarks.ground.settings import Place, Settings
from benchmarks.ground.splits import write_manifest
from thawline.callback import Callback
from thawline.config import CacheConfig, DataConfig, Request, TrainConfig, TuningConfig
from thawline.errors import NonFiniteLossError, PlanError
from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord, environment, pack_bits
from thawline.results import Row, ScoredRow
from thawline.runs.experiment import Experiment
from thawline.runs.folder import RunFolder
from thawline.runs.setup import open_experiment
from thawline.strategies.context import Tuned
from thawline.studies.results import row_summary
from thawline.studies.rows import TrainedRow, row_of
from thawline.studies.tuning import Context, candidates, tune

CACHE = CacheConfig(memory_bytes=1 << 29, disk_bytes=2 << 30)
COMMAND = "python -m benchmarks.ground"
_SEARCH_FACTS = ("work", "trainings", "digest", "winner", "rungs", "optimism", "settings")


@contextmanager
def opened(place: Place, settings: Settings) -> Iterator[Experiment]:
    """The experiment that all methods at a place share; draws the split if it is new."""
    folder, manifest = settings.runs / place.path, settings.manifest(place)
    if not manifest.exists():
        write_manifest(settings.shared / "data" / place.data, place.split, settings.sizes, manifest)
    request = Request(
        verb="compare",
        data=str(manifest.resolve()),
        model=f"local-dir:{(settings.shared / 'weights' / place.backbone).resolve()}",
        strategies=("full",),  # not asked for: each method makes its own row
        train=TrainConfig(epochs=settings.epochs, device="cpu", threads=1, precision="fp32"),
        images=DataConfig(image_size=place.image_size, augment="none", seed=place.split),
        search=TuningConfig(seeds=1),
        cache=CACHE,
    )
    begun = (folder / "run.json").exists()
    facts = environment(device="cpu", threads=1, command=COMMAND)
    with RunFolder.open(folder) if begun else RunFolder.create(folder, request, facts) as run:
        yield open_experiment(run, Callback()).experiment


def run_cell(experiment: Experiment, place: Place, method: Method, settings: Settings) -> CellResult:
    """Tune, train with the final seed, score on test once; what cannot be trained says why.

    Raises `SkippedError` for a peer that cannot take part now.
    """
    load, test = os.getloadavg()[0], experiment.test
    peer = method.group == "peers"
    figures = peer_figures(place, method, settings) if peer else strategy_figures(experiment, method)
    return CellResult(
        backbone=place.backbone,
        set=place.data,
        split=place.split,
        method=method.name,
        spec=method.spec,
        group=method.group,
        image_size=place.image_size,
        images={"train": len(experiment.data.train), "val": len(experiment.data.val), "test": len(test or ())},
        classes=len(experiment.classes),
        commit=commit(),
        environment=environment(device="cpu", threads=1, command=COMMAND),
        load_at_start=load,
        **figures,
    )


def strategy_figures(experiment: Experiment, method: Method) -> Mapping[str, Any]:
    """Tune, train and score a strategy: fields of `CellResult`, or why it could not be trained."""
    try:
        tuned = tuned_over(experiment, method) if method.rates else tune(experiment, method.spec)
        row = row_of(experiment, method.spec, tuned)
        return {"error": row.error} if row.error else _figures(experiment, row, tuned)
    except (NonFiniteLossError, PlanError) as error:
        return {"error": str(error)}


def tuned_over(experiment: Experiment, method: Method) -> Tuned:
    """The best on validation of the method's rates, each with every argument that is left open."""
    records: list[TrainingRecord] = []
    asked: list[TrainingRecord] = []
    strategies = itertools.chain(*candidates(experiment, method.spec))
    for strategy, rate in itertools.product(strategies, method.rates):
        context = Context(experiment, strategy, rate)
        context.score(strategy.plan(context))
        records.append(context.records[-1])
        asked += context.records
    best = max(records, key=lambda record: record.score)
    if best.best is None:
        raise NonFiniteLossError(f"{method.spec}: every training failed, the last with: {records[-1].error}")
    plan = FineTunePlan.from_dict(best.plan)
    return Tuned(best.strategy, best.learning_rate, plan, best.score, tuple(asked))


def _figures(experiment: Experiment, row: TrainedRow, tuned: Tuned) -> dict[str, Any]:
    """Everything about a trained row that depends on the method."""
    plan, summary, right = tuned.plan, row_summary(experiment, row, None), _right(experiment, row)
    return {
        "test_accuracy": float(right.mean()),
        "val_accuracy": summary["val"].accuracy.mean,
        "val_loss": summary["val"].negative_log_likelihood.mean,
        "right": pack_bits(right.tolist()),
        **{name: summary["cost"][name] for name in ("work", "seconds", "trainings")},
        "chosen": tuned.strategy,
        "norm": summary.get("batch_norm"),
        "head_start": plan.head_start,
        "learning_rate": tuned.learning_rate,
        "learning_rates": {name: plan.highest_rate(name) for name in plan.blocks},
        "trainable_share": summary["trainable_percent"] / 100,
        "tried": [_tried(record) for record in tuned.records],
        "knn": _neighbors(summary),
        "search": _search(tuned),
    }


def _neighbors(summary: Row) -> Mapping[str, float | None] | None:
    found = summary.nearest_neighbors if isinstance(summary, ScoredRow) else None
    return None if found is None else {"val": found.val, "test": found.test}


def _right(experiment: Experiment, row: TrainedRow) -> np.ndarray:
    """Which test images the final training got right, [n] bool."""
    assert experiment.test is not None, "every split has test images"
    return row.test_correctness(experiment.test.labels.numpy()) > 0


def _tried(record: TrainingRecord) -> Tried:
    best = record.best
    return Tried(
        spec=record.strategy,
        learning_rate=record.learning_rate,
        val_accuracy=None if best is None else best.val_accuracy,
        val_loss=None if best is None else best.val_loss,
        error=record.error,
    )


def _search(tuned: Tuned) -> dict[str, object] | None:
    if tuned.search is None:
        return None
    return {name: tuned.search.get(name) for name in _SEARCH_FACTS}
