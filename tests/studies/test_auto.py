"""`auto` on a tiny task: its budget holds, its rungs are whole trainings in parts, and nothing but the seed decides."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from optuna.trial import TrialState

from tests.small_runs import Stop, small_request
from tests.studies.searches import answer, study_of, train_in_any_order
from thawline import api
from thawline.cli import app as cli
from thawline.config import CacheConfig, Request
from thawline.errors import NonFiniteLossError, OptionError
from thawline.plan import FineTunePlan
from thawline.records import environment, read_json
from thawline.runs.folder import RunFolder
from thawline.runs.ledger import Ledger
from thawline.runs.setup import open_experiment
from thawline.search.budget import TimeLimit
from thawline.strategies.auto import AutoConfig, Component
from thawline.strategies.base import variants
from thawline.studies import auto as auto_search
from thawline.studies import tuning
from thawline.studies.pairs import Comparable
from thawline.training.trainer import TrainedModel, Trainer

EPOCHS = 7
BUDGET = 3
"""Units of work: enough for a search of several generations."""
SLOW = pytest.mark.slow
QUICK = ("baselines", "decoupling+parsimony")


def request_for(images: Path, strategy: str = f"auto:budget={BUDGET}x", verb: str = "fit", **others: Any) -> Request:
    """Seven epochs: rungs of two, three and seven."""
    request = small_request(images, (strategy,), verb=verb)
    train = replace(request.train, epochs=EPOCHS, patience=0, batch_size=24)
    return replace(request, train=train, images=replace(request.images, augment="none"), **others)


RACED = f"auto:budget={BUDGET}x,without=baselines"
"""Proposals from the first generation on, so that there are rungs; with the baselines, they take the whole budget."""


@pytest.fixture(scope="module")
def raced(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole search over proposals alone."""
    run = tmp_path_factory.mktemp("runs") / "raced"
    api.run(request_for(images, RACED), run)
    return run


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole search."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    api.run(request_for(images), run)
    return run


def test_everything_up_to_the_saved_model_stays_within_the_budget(finished: Path) -> None:
    results = read_json(finished / "results.json")
    assert BUDGET / 2 < results["cost"]["work"] <= BUDGET
    mixed = results["cost"]["work"] - results["search"]["work"]
    assert 0 <= mixed < 0.1, "the winner is not trained again"
    assert results["saved_seed"] == results["seed"]
    assert {candidate["epochs"] for candidate in results["search"]["candidates"]} == {EPOCHS}, "all to the end"


@pytest.mark.thorough
def test_proposals_train_by_rungs_and_most_end_early(raced: Path) -> None:
    search = read_json(raced / "results.json")["search"]
    assert len(search["generations"]) > 1
    assert search["rungs"] == [2, 3, EPOCHS]
    epochs = [candidate["epochs"] for candidate in search["candidates"]]
    assert {2, EPOCHS} <= set(epochs) <= {2, 3, EPOCHS}
    assert epochs.count(EPOCHS) < len(epochs) - 2
    records = [record for record in Ledger(raced / "ledger.journal").records if record.purpose == "search"]
    trained = [record for record in records if not FineTunePlan.from_dict(record.plan).is_solved]
    assert {(record.until, len(record.epochs)) for record in trained} == {(2, 2), (3, 3), (None, EPOCHS)}
    assert {record.best_epoch for record in trained} == {1, 2, EPOCHS - 1}, "the last epoch is kept"
    assert {record.seed for record in records} <= {0, 1, 2}


@pytest.mark.thorough
def test_a_training_in_rungs_is_the_training_in_one_go(images: Path, raced: Path, tmp_path: Path) -> None:
    records = Ledger(raced / "ledger.journal").records
    in_rungs = next(record for record in records if record.purpose == "search" and record.until is None)
    with RunFolder.create(tmp_path / "run", request_for(images), environment(device="cpu", threads=1)) as folder:
        experiment = open_experiment(folder, Stop(-1)).experiment
        plan = FineTunePlan.from_dict(in_rungs.plan)
        whole = experiment.train(plan, strategy="x", learning_rate=1e-3, seed=in_rungs.seed, purpose="tuning")
    assert whole.epochs == in_rungs.epochs
    assert whole.work == pytest.approx(in_rungs.work)
    assert (whole.key, whole.right, whole.best_epoch) == (in_rungs.key, in_rungs.right, in_rungs.best_epoch)


def test_the_answer_is_never_worse_on_validation_than_the_baselines(finished: Path) -> None:
    results = read_json(finished / "results.json")
    candidates = {
        (candidate["generation"], candidate["slot"]): candidate for candidate in results["search"]["candidates"]
    }
    winner = candidates[tuple(results["search"]["winner"])]
    assert winner["epochs"] == EPOCHS
    assert set(results["baselines"]) - {"pick", "ensemble"} == {"linear_probe", "last_blocks", "full"}
    usual = [
        candidate
        for candidate in candidates.values()
        if candidate["operator"] == "start" and candidate["epochs"] == EPOCHS
    ]
    constant = [
        candidate for candidate in usual if len({weight for weight in candidate["weights"] if weight is not None}) == 1
    ]
    # The lowest loss, or as accurate as every baseline.
    lowest = min(candidate["scaled_loss"] for candidate in candidates.values() if candidate["epochs"] == EPOCHS)
    assert winner["scaled_loss"] == lowest or winner["score"] >= max(candidate["score"] for candidate in constant)


def test_a_baseline_costs_what_all_its_variants_took(finished: Path) -> None:
    results = read_json(finished / "results.json")
    variants = [
        candidate
        for candidate in results["search"]["candidates"]
        if candidate["operator"] == "start"
        and 2 <= sum(weight is not None for weight in candidate["weights"]) < len(candidate["weights"])
        and len(set(candidate["weights"]) - {None}) == 1
    ]
    assert len(variants) > 2
    assert results["baselines"]["last_blocks"]["cost"]["work"] >= sum(candidate["work"] for candidate in variants)


def test_where_files_lie_does_not_travel_with_the_model(finished: Path, images: Path) -> None:
    for name in ("README.md", "thawline.json", "config.json"):
        text = (finished / "model" / name).read_text(encoding="utf-8")
        assert str(finished) not in text
        assert str(images.parent) not in text


@pytest.mark.thorough
def test_every_candidate_is_a_trial_with_a_score_for_every_rung(raced: Path) -> None:
    search = read_json(raced / "results.json")["search"]
    trials = study_of(raced).get_trials()
    assert len(trials) == len(search["candidates"])
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    for trial in trials:
        reached = trial.user_attrs["result"]["rung"]
        assert list(trial.intermediate_values) == search["rungs"][: reached + 1]


@pytest.mark.thorough
@pytest.mark.parametrize("trainings", [pytest.param(0, marks=SLOW), pytest.param(3, marks=SLOW), 6])
def test_interrupted_and_resumed_is_the_uninterrupted_search(
    images: Path, finished: Path, tmp_path: Path, trainings: int
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images), run, Stop(trainings))
    if trainings == 6:
        assert FineTunePlan.from_json((run / "plan.json").read_text()), "the best so far is not there"
    api.resume(run)
    assert_same(run, finished)


@pytest.mark.thorough
@pytest.mark.parametrize("trainings", [pytest.param(9, marks=SLOW), 12])
def test_interrupted_between_rungs_and_resumed_is_the_uninterrupted_search(
    images: Path, raced: Path, tmp_path: Path, trainings: int
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images, RACED), run, Stop(trainings))
    api.resume(run)
    assert_same(run, raced)


def assert_same(run: Path, other: Path) -> None:
    """The same answer, at the same cost."""
    assert answer(run) == answer(other)
    passes = [read_json(folder / "results.json")["cost"]["image_passes"] for folder in (other, run)]
    assert passes[0] == passes[1]


@pytest.mark.thorough
def test_the_order_of_trainings_never_matters(
    images: Path, raced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_in_any_order(monkeypatch)
    api.run(request_for(images, RACED), tmp_path / "run")
    assert answer(tmp_path / "run") == answer(raced)


@pytest.mark.thorough
def test_no_cache_and_no_memory_for_what_paused_change_nothing(
    images: Path, raced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "PAUSED_BYTES", 0)
    api.run(request_for(images, RACED, cache=CacheConfig(0, 0)), tmp_path / "run")
    assert answer(tmp_path / "run") == answer(raced)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "sampler", ["tpe", *(pytest.param(sampler, marks=pytest.mark.slow) for sampler in ("gp", "random", "grid"))]
)
def test_only_the_proposals_of_samplers_differ(images: Path, tmp_path: Path, sampler: str) -> None:
    found = []
    for name in ("biotune", sampler):
        spec = f"auto:budget=5x,head_start=probe,sampler={name}"
        row = api.run(request_for(images, spec, verb="compare"), tmp_path / name)["rows"][0]
        assert row["cost"]["work"] <= 5
        found.append(row["search"]["candidates"])
    first, later = (
        [[each["genes"] for each in candidates if (each["generation"] > 0) == proposed] for candidates in found]
        for proposed in (False, True)
    )
    assert first[0] == first[1]
    assert all(later)
    assert later[0] != later[1]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "without", [*QUICK, *(pytest.param(name, marks=SLOW) for name in get_args(Component) if name not in QUICK)]
)
def test_every_component_can_be_left_out(images: Path, tmp_path: Path, without: str) -> None:
    spec = f"auto:budget=2x,without={without}"
    left_out = without.split("+")
    results = api.run(request_for(images, spec, verb="compare"), tmp_path / "run")["rows"][0]
    search = results["search"]
    operators = {candidate["operator"] for candidate in search["candidates"]}
    assert ("start" in operators) == ("baselines" not in left_out)
    assert (len(search["rungs"]) > 1) == ("rungs" not in left_out)
    assert ("threshold" in search["genes"]) == ("decoupling" in left_out)
    assert ("mode" in search["genes"]) == (not {"norms", "decoupling"} & {*left_out})
    if "extra_seeds" in left_out:
        assert {len(candidate["per_seed"]) for candidate in search["candidates"]} == {1}
    if "parsimony" in left_out:
        whole = [candidate for candidate in search["candidates"] if candidate["epochs"] == EPOCHS]
        winner = next(
            candidate for candidate in whole if [candidate["generation"], candidate["slot"]] == search["winner"]
        )
        assert winner["scaled_loss"] == min(candidate["scaled_loss"] for candidate in whole)
    assert results["cost"]["work"] <= 2


@pytest.mark.thorough
def test_a_number_of_candidates_is_a_budget_too(images: Path, tmp_path: Path) -> None:
    results = api.run(request_for(images, "auto:budget=6candidates"), tmp_path / "run")
    assert len(results["search"]["candidates"]) == 6


@pytest.mark.thorough
def test_wall_time_is_journalled_so_that_a_resumed_search_decides_the_same(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: Iterator[float] = itertools.count(0.0, 0.25)
    estimates = iter((10.0, 3.0))  # the machine is another one when the run is resumed
    monkeypatch.setattr(auto_search, "seconds_per_unit", lambda experiment: next(estimates))
    monkeypatch.setattr(auto_search, "TimeLimit", partial(TimeLimit, clock=lambda: next(ticks)))
    spec, run = "auto:budget=12s", tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images, spec, verb="compare"), run, Stop(6))
    answers = {name: value for name, value in study_of(run).user_attrs.items() if name.startswith("clocking:")}
    assert answers
    api.resume(run)
    after = study_of(run).user_attrs
    assert {name: after[name] for name in answers} == answers
    assert read_json(run / "comparison.json")["rows"][0]["search"]["candidates"]


@pytest.mark.thorough
def test_time_is_looked_at_before_every_training(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, seconds = Trainer.train, [0.0]

    def slow(self: Trainer, *args: Any, **others: Any) -> TrainedModel:
        seconds[0] += 20.0
        return plain(self, *args, **others)

    monkeypatch.setattr(Trainer, "train", slow)
    monkeypatch.setattr(auto_search, "seconds_per_unit", lambda experiment: 1.0)  # wrong: one training takes 20 s
    monkeypatch.setattr(auto_search, "TimeLimit", partial(TimeLimit, clock=lambda: seconds[0]))
    api.run(request_for(images, "auto:budget=100s", verb="compare"), tmp_path / "run")
    records = Ledger(tmp_path / "run" / "ledger.journal").records
    assert 1 <= sum(record.purpose == "search" for record in records) <= 5


@pytest.mark.thorough
def test_a_budget_too_small_for_full_fine_tuning_still_proves_its_answer_against_it(
    images: Path, tmp_path: Path
) -> None:
    results = api.run(request_for(images, "auto:budget=1x"), tmp_path / "run")
    assert set(results["baselines"]) - {"pick", "ensemble"} == {"linear_probe", "last_blocks", "full"}
    assert results["versus_full"]
    assert results["cost"]["work"] <= 1


@pytest.mark.thorough
def test_what_diverges_later_is_paid_for_and_comes_last(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first plan that is promoted."""
    plain, diverging = Trainer.train, list[FineTunePlan]()

    def late(self: Trainer, plan: FineTunePlan, *args: Any, **others: Any) -> TrainedModel:
        if others.get("until") != 2 and plan in (diverging or [plan]):
            diverging[:] = [plan]
            raise NonFiniteLossError("the loss became nan in epoch 3; lower the learning rate.")
        return plain(self, plan, *args, **others)

    monkeypatch.setattr(Trainer, "train", late)
    results = api.run(request_for(images, RACED, verb="compare"), tmp_path / "run")["rows"][0]
    assert results["plan"] not in diverging
    failed = [candidate for candidate in results["search"]["candidates"] if candidate["score"] == 0.0]
    assert failed
    assert all(candidate["work"] > 0 and candidate["early_score"] > 0 for candidate in failed)
    assert results["cost"]["work"] <= BUDGET


@pytest.mark.thorough
@pytest.mark.parametrize("rate", [pytest.param(1e-9, marks=SLOW), 100.0])
def test_any_rate_that_is_accepted_can_be_searched_around(images: Path, tmp_path: Path, rate: float) -> None:
    request = request_for(images, "auto:budget=1x", verb="compare")
    rows = api.run(replace(request, search=replace(request.search, learning_rate=rate)), tmp_path / "run")["rows"]
    assert "search" in rows[0] or "nan" in rows[0]["error"]


def test_when_everything_diverges_the_run_says_so(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> TrainedModel:
        raise NonFiniteLossError("the loss became nan in epoch 1; lower the learning rate.")

    monkeypatch.setattr(Trainer, "train", never)
    rows = api.run(request_for(images, verb="compare"), tmp_path / "run")["rows"]
    assert "the loss became nan" in rows[0]["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("budget=7", "`budget` must be"),
        ("sampler=nobody", "sampler must be one of biotune"),
        ("without=luck", "without must be none, or some of"),
    ],
)
def test_wrong_arguments_are_one_clear_line(arguments: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        variants(f"auto:{arguments}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget", "5"), "--budget must be"),
        (("--budget", "5x", "--strategy", "full"), "--budget is for --strategy auto"),
        (("--budget", "5x", "--strategy", "auto:budget=3x"), "given twice"),
    ],
)
def test_wrong_budgets_end_with_code_2(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["thawline", "fit", str(images), "--out", str(tmp_path / "run"), *options])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_fixed_norm_mode_changes_nothing_where_there_is_no_batch_norm(images: Path, tmp_path: Path) -> None:
    found = []
    for norm in ("tuned", "moving", "kept"):
        request = replace(request_for(images, f"auto:norm={norm}"), model="test_vit")
        with RunFolder.create(tmp_path / norm, request, environment(device="cpu", threads=1)) as folder:
            experiment = open_experiment(folder, Stop(-1)).experiment
            settings = tuning.asked_for(experiment, request.strategies[0])[0]
            assert isinstance(settings, AutoConfig)
            halving = Comparable.of(experiment, settings).halving
            found.append([halving.space.plan(candidate.genes) for candidate in halving.first()])
    assert found[0] == found[1] == found[2]
    assert {plan.head_start for plan in found[0]} == {"random", "probe"}
