"""Rows become results: the right split, seed and image in every figure, each training counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from tests.search.fakes import training
from thawline.plan import Block, FineTunePlan
from thawline.records import ProbeRecord, TrainingRecord, digest
from thawline.results import Cost, FailedRow, ScoredRow
from thawline.runs.experiment import Evaluation, Experiment
from thawline.runs.files import PredictionLine
from thawline.strategies.context import Tuned
from thawline.studies import results
from thawline.studies.rows import TrainedRow
from thawline.training import evaluation as evaluation_module
from thawline.training import significance
from thawline.training.images import LabelledRows

BLOCKS = tuple(
    Block(name, (), (), (), size, 1, (), name == "head") for name, size in (("stem", 50), ("body", 30), ("head", 20))
)
TRAIN, VAL, TEST = 3, 2, 40
"""Images of each split; they follow each other in the pixel array."""


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand take half a second."""
    monkeypatch.setattr(evaluation_module, "BOOTSTRAP_DRAWS", 300)
    monkeypatch.setattr(significance, "PERMUTATIONS", 2000)


def rows_of(first: int, count: int) -> LabelledRows:
    """Classes in turn, the first being 0."""
    return LabelledRows(np.arange(first, first + count), torch.arange(count) % 2)


@dataclass
class Fake:
    """Stands for an experiment with 100 scalars, all of whose plans have a prefix that costs 0.5 below "body"."""

    test: LabelledRows | None
    records: tuple[TrainingRecord, ...] = ()
    classes: tuple[str, ...] = ("cat", "dog")
    sample: Fake | None = None
    unit_flops: float = 1000.0

    @property
    def scored_train(self) -> LabelledRows:
        return rows_of(0, TRAIN)

    @property
    def data(self) -> object:
        return SimpleNamespace(train=rows_of(0, TRAIN), val=rows_of(TRAIN, VAL))

    @property
    def ledger(self) -> object:
        return SimpleNamespace(records=self.records)

    def ingredients(self, record: TrainingRecord) -> tuple[TrainingRecord, ...]:
        return ()

    def blocks(self, granularity: str) -> tuple[Block, ...]:
        assert granularity == "stage"
        return BLOCKS

    def trainable_percent(self, plan: FineTunePlan) -> float:
        return (
            100
            * sum(block.size for block in BLOCKS if block.name in plan.trained)
            / sum(block.size for block in BLOCKS)
        )

    def trains_statistics(self, plan: FineTunePlan) -> bool:
        return "body" in plan.trained

    def boundary(self, plan: FineTunePlan) -> tuple[str, str]:
        return plan.granularity, next(block.name for block in BLOCKS if block.name in plan.trained)

    def prefix_work(self, plan: FineTunePlan, share: float = 1.0) -> float:
        return {"stem": 0.0, "body": 0.25, "head": 0.5}[self.boundary(plan)[1]]


def experiment(*, test: bool = True, records: tuple[TrainingRecord, ...] = ()) -> Experiment:
    return cast("Experiment", Fake(rows_of(TRAIN + VAL, TEST) if test else None, records))


def plan_of(*trained: str, rate: float = 1e-3) -> FineTunePlan:
    return FineTunePlan.constant(BLOCKS, dict.fromkeys(trained, rate))


HEAD, BODY, FULL = plan_of("head"), plan_of("body", "head"), plan_of("stem", "body", "head")


def record(key: str, plan: FineTunePlan = HEAD, *, seed: int = 0, work: float = 0.0) -> TrainingRecord:
    return replace(training([0.5, 0.75], work=work, key=key), plan=plan.to_dict(), seed=seed)


def guesses(images: int, wrong: Sequence[int] = (), sure: float = 0.9) -> np.ndarray:
    """[images, 2], right but for some."""
    labels = np.arange(images) % 2
    labels[list(wrong)] = 1 - labels[list(wrong)]
    return np.where(np.arange(2) == labels[:, None], sure, 1 - sure).astype(np.float32)


def evaluation(test_wrong: Sequence[int] | None = (), val_wrong: Sequence[int] = ()) -> Evaluation:
    test = None if test_wrong is None else guesses(TEST, test_wrong)
    return Evaluation(guesses(TRAIN), guesses(VAL, val_wrong), test)


def row(
    strategy: str,
    plan: FineTunePlan = HEAD,
    *evaluations: Evaluation,
    tuning: tuple[TrainingRecord, ...] = (),
    finals: tuple[TrainingRecord, ...] = (),
) -> TrainedRow:
    own = evaluations or (evaluation(),)
    tuned = Tuned(f"{strategy}", 3e-3, plan, (0.5, -1.0), tuning)
    made = finals or tuple(record(f"{strategy} {seed}", plan, seed=seed) for seed in range(len(own)))
    return TrainedRow(strategy, tuned, made, own)


# scores


def test_what_was_searched_on_a_sample_counts_in_units_of_all_images() -> None:
    whole = replace(Fake(None), sample=Fake(None, unit_flops=100.0))
    tuning = (record("a", FULL, work=3.0), record("b", FULL, work=2.0))
    made = row("full", FULL, evaluation(None), tuning=tuning, finals=(record("f", FULL, work=1.0),))
    found = results.cost(cast("Experiment", whole), made)
    assert found.work == pytest.approx(1.0 + 5.0 / 10)
    assert found.trainings == 3
    assert results.cost(cast("Experiment", Fake(None)), made).work == pytest.approx(6.0)


def test_the_number_of_processes_is_that_of_the_final_trainings() -> None:
    spread = replace(record("f", FULL), processes=2)
    for finals, processes in (((spread,), 2), ((record("g", FULL),), None)):
        summary = results.row_summary(experiment(), row("full", FULL, finals=finals), None)
        assert isinstance(summary, ScoredRow)
        assert summary.processes == processes


def test_every_split_is_scored_against_its_own_labels() -> None:
    summary = results.row_summary(experiment(), row("full", FULL, evaluation([1, 3, 4, 7], [0])), None)
    assert isinstance(summary, ScoredRow)
    assert summary.test is not None
    assert (summary.train.accuracy.mean, summary.val.accuracy.mean, summary.test.accuracy.mean) == (1.0, 0.5, 0.9)
    assert (summary.strategy, summary.chosen, summary.learning_rate) == ("full", "full", 3e-3)
    assert summary.plan == FULL
    assert summary.best_epochs == [1]
    assert summary.versus_full is None
    assert summary.search is None


def test_figures_are_over_seeds_and_the_confusion_of_the_lowest() -> None:
    found = row("full", FULL, evaluation([0, 2, 4, 6]), evaluation())
    summary = results.row_summary(experiment(), found, None)
    assert isinstance(summary, ScoredRow)
    assert summary.test is not None
    assert summary.test.accuracy.per_seed == [0.9, 1.0]
    assert summary.test.accuracy.n == 2
    assert summary.test.confusion_matrix == [[16, 4], [0, 20]]
    assert summary.test.per_class is not None
    assert [(found.name, found.recall, found.images) for found in summary.test.per_class] == [
        ("cat", 0.8, 20), ("dog", 1.0, 20)
    ]  # fmt: skip
    low, high = summary.test.interval95
    assert 0.85 < low < 0.95 < high <= 1.0, "of the mean over seeds"


def test_without_a_test_split_there_are_no_test_figures() -> None:
    found = row("full", FULL, evaluation(None))
    summary = results.row_summary(experiment(test=False), found, None)
    assert isinstance(summary, ScoredRow)
    assert summary.test is None
    assert results.versus_reference(experiment(test=False), [found, row("linear_probe", HEAD, evaluation(None))]) == {}


def test_a_failed_row_says_why() -> None:
    failed = replace(row("full", FULL), error="the loss became nan")
    assert results.row_summary(experiment(), failed, None) == FailedRow(strategy="full", error="the loss became nan")
    untuned = TrainedRow("full", None, error="every training failed")
    assert results.summaries(experiment(), [untuned]) == [FailedRow(strategy="full", error="every training failed")]


@pytest.mark.parametrize(("plan", "percent"), [(HEAD, 20.0), (BODY, 50.0), (FULL, 100.0)])
def test_what_trains_is_a_percentage_of_all_parameters(plan: FineTunePlan, percent: float) -> None:
    summary = results.row_summary(experiment(), row("full", plan), None)
    assert isinstance(summary, ScoredRow)
    assert summary.trainable_percent == percent


@pytest.mark.parametrize(
    ("plan", "words"),
    [(BODY, "moving"), (replace(BODY, norm="eval"), "kept"), (HEAD, None), (plan_of("stem", "head"), None)],
)
def test_batch_norm_is_said_where_a_block_with_batch_norm_trains(plan: FineTunePlan, words: str | None) -> None:
    summary = results.row_summary(experiment(), row("full", plan), None)
    assert isinstance(summary, ScoredRow)
    assert summary.batch_norm == words
    assert ("batch_norm" in summary) == (words is not None)


def test_the_penalty_of_the_probe_is_that_of_the_ledger() -> None:
    plan = FineTunePlan.constant(BLOCKS, {}, head_start="probe")
    solved = replace(record("a", plan), probe=ProbeRecord(0.1, 1.0, 20, 0.5))
    summary = results.row_summary(experiment(), row("linear_probe", plan, finals=(solved,)), None)
    assert isinstance(summary, ScoredRow)
    assert summary.probe_strength == 0.1
    assert [(found.name, found.learning_rate, found.frozen) for found in results.block_table(experiment(), plan)] == [
        ("stem", None, True), ("body", None, True), ("head", None, False)
    ]  # fmt: skip


def test_arguments_are_those_of_the_chosen_strategy() -> None:
    tuned = Tuned("last_blocks:k=2", 1e-3, BODY, (0.5, -1.0))
    found = replace(row("last_blocks", BODY), tuned=tuned)
    summary = results.row_summary(experiment(), found, None)
    assert isinstance(summary, ScoredRow)
    assert (summary.chosen, summary.arguments["k"]) == ("last_blocks:k=2", 2)


# cost


def measured(key: str, plan: FineTunePlan, work: float, memory: int) -> TrainingRecord:
    return replace(
        record(key, plan, work=work), seconds=10 * work, image_passes=100, cache_hits=7, peak_memory_bytes=memory
    )


def test_every_training_is_counted_once_and_further_seeds_apart() -> None:
    """The first final training was one of the tuning: its work is not paid twice. Prefixes: one of each boundary."""
    a, b, c = (measured(key, plan, 1.0, 5) for key, plan in (("a", HEAD), ("b", HEAD), ("c", BODY)))
    proof = measured("d", BODY, 2.0, 9)
    found = row("full", BODY, evaluation(), evaluation(), tuning=(a, b, c), finals=(c, proof))
    assert results.cost(experiment(), found) == Cost(
        work=3.0 + 0.5 + 0.25,
        proof=2.0,
        trainings=4,
        seconds=50.0,
        image_passes=400,
        cache_hits=28,
        peak_memory_bytes=9,
    )


def test_the_first_final_training_is_work_where_it_is_new() -> None:
    found = row("full", FULL, tuning=(measured("a", FULL, 1.0, 5),), finals=(measured("b", FULL, 0.5, 4),))
    cost = results.cost(experiment(), found)
    assert (cost.work, cost.proof, cost.trainings, cost.peak_memory_bytes) == (1.5, 0.0, 2, 5)


def test_a_row_that_never_trained_costs_nothing() -> None:
    cost = results.cost(experiment(), TrainedRow("full", None, error="failed"))
    assert (cost.work, cost.proof, cost.trainings, cost.peak_memory_bytes) == (0, 0, 0, 0)


# versus full


def test_the_difference_is_to_full_fine_tuning_on_the_same_images() -> None:
    rows = [row("full", FULL, evaluation(range(20))), row("linear_probe", HEAD, evaluation([0, 1]))]
    versus = results.versus_reference(experiment(), rows)
    assert set(versus) == {"linear_probe"}
    found = versus["linear_probe"]
    assert found.difference == pytest.approx(0.45)
    assert found.interval95[0] > 0.2
    assert found.p_holm < 0.001
    assert found.words == (
        "45.0 points better than full (95 % interval over 40 test images: +28.7 to +58.8; Holm-adjusted p < 0.001 over "
        "test images; one training each, so another seed may differ)"
    )
    assert str(found) == found.words
    full, probe = results.summaries(experiment(), rows)
    assert isinstance(full, ScoredRow)
    assert isinstance(probe, ScoredRow)
    assert (full.versus_full, probe.versus_full) == (None, found)


def test_seeds_are_averaged_before_they_are_compared() -> None:
    rows = [row("full", FULL, evaluation(range(20)), evaluation()), row("linear_probe", HEAD, evaluation(range(20)))]
    assert results.versus_reference(experiment(), rows)["linear_probe"].difference == pytest.approx(-0.25)


def test_without_full_nothing_is_compared() -> None:
    """Nor with a full fine-tuning that failed; a failed row is not compared either."""
    probe, full = row("linear_probe"), row("full", FULL)
    assert results.versus_reference(experiment(), [probe]) == {}
    assert results.versus_reference(experiment(), [probe, replace(full, error="nan")]) == {}
    assert results.versus_reference(experiment(), [replace(probe, error="nan"), full]) == {}


def test_a_row_with_the_plan_of_full_is_not_tested() -> None:
    rows = [row("full", FULL, evaluation()), row("auto", FULL, evaluation([1]))]
    assert results.versus_reference(experiment(), rows) == {"auto": results.SAME_PLAN}


def test_p_values_are_adjusted_for_the_number_of_plans_compared() -> None:
    """Two rows with one plan are one comparison, and the plan of full is none."""
    few = [2, 4, 6, 8, 10]
    full = row("full", FULL, evaluation(few))
    probe, body = row("linear_probe", HEAD, evaluation()), row("last_blocks", BODY, evaluation([1]))
    (alone,) = results.versus_reference(experiment(), [full, probe]).values()
    twins = results.versus_reference(experiment(), [full, probe, row("auto", HEAD, evaluation()), row("x", FULL)])
    assert twins["linear_probe"] == twins["auto"] == alone
    two = results.versus_reference(experiment(), [full, probe, body])
    assert two["linear_probe"].p_holm == pytest.approx(2 * alone.p_holm)
    assert two["linear_probe"].difference == alone.difference
    assert two["last_blocks"].difference == pytest.approx(0.1)


# tables and files


def test_the_blocks_of_a_plan() -> None:
    plan = FineTunePlan.phased(BLOCKS, [(1, {"head": 0.1}), (None, {"body": 1e-3, "head": 0.01})])
    table = [(found.name, found.learning_rate, found.frozen, found.parameters) for found in
             results.block_table(experiment(), plan)]  # fmt: skip
    assert table == [("stem", None, True, 50), ("body", 1e-3, False, 30), ("head", 0.1, False, 20)]


def test_the_digest_is_of_every_training_of_the_run() -> None:
    records = (record("a"), record("b", seed=1))
    assert results.run_digest(experiment(records=records)) == digest(records)
    assert results.run_digest(experiment(records=records)) != results.run_digest(experiment(records=records[:1]))


def test_predictions_name_the_image_seed_and_split() -> None:
    paths = [f"image {number}.png" for number in range(TRAIN + VAL + TEST)]
    found = row("full", FULL, evaluation(), evaluation(None, [1]), finals=(record("a", seed=4), record("b", seed=5)))
    lines = results.predictions(experiment(), [found], paths)
    assert [(line.seed, line.split) for line in lines] == [
        *[(4, "val")] * VAL, *[(4, "test")] * TEST, *[(5, "val")] * VAL
    ]  # fmt: skip
    assert {line.row for line in lines} == {"full"}
    assert [(line.path, line.true) for line in lines[:3]] == [
        ("image 3.png", 0),
        ("image 4.png", 1),
        ("image 5.png", 0),
    ]
    last: PredictionLine = lines[-1]
    assert (last.path, last.true) == ("image 4.png", 1)
    assert list(last.probabilities) == pytest.approx([0.9, 0.1]), "the second seed is wrong there"


def test_a_failed_row_has_no_predictions() -> None:
    assert results.predictions(experiment(), [TrainedRow("full", None, error="nan")], []) == []
