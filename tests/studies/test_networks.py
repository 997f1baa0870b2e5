"""`fit` with several networks: chosen within one budget, the same however often it was interrupted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.small_runs import Stop, small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import CacheConfig, Candidates, Request
from thawline.errors import ModelError, OptionError, RunFolderError
from thawline.records import read_json
from thawline.results import FitResults
from thawline.runs.folder import RunFolder
from thawline.runs.ledger import Ledger
from thawline.runs.workforce import Workers

NETWORKS = Candidates(("test_efficientnet", "no_such_network", "test_resnet"), (32,))
EPOCHS = 4
SLOW = pytest.mark.slow


class Notes(Callback):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def request_for(images: Path, candidates: Candidates = NETWORKS, **others: Any) -> Request:
    """Four epochs, rungs of two and four."""
    request = small_request(images, ("auto:budget=4x,answer=pick,head_start=probe,norm=kept",), verb="fit")
    train = replace(request.train, epochs=EPOCHS, patience=0, batch_size=24)
    plain = replace(request.images, augment="none")
    return replace(request, train=train, images=plain, candidates=candidates, **others)


@pytest.fixture(autouse=True)
def _all_within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks with random weights differ by chance; here all of them are trained."""
    _reach_all(monkeypatch)


def _reach_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("thawline.search.networks.REACH", 1.0)


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "networks"
    with pytest.MonkeyPatch.context() as patch:
        _reach_all(patch)
        api.run(request_for(images), run)
    return run


def found_in(run: Path) -> dict[str, Any]:
    """What the seed decides of a run."""
    results = read_json(run / "results.json")
    models = results["models"]
    trials = [{**trial, "facts": None} for trial in models["trials"]]
    choice = {name: models[name] for name in ("digest", "chosen", "strategy", "work_of_others")}
    return {"digest": results["digest"], "choice": choice, "trials": trials}


@pytest.mark.thorough
def test_a_network_is_chosen_and_the_run_goes_on_with_it(finished: Path) -> None:
    results = read_json(finished / "results.json")
    models = results["models"]
    outcomes = {trial["name"]: trial["outcome"] for trial in models["trials"]}
    assert outcomes.pop("no_such_network at 32 px") == "missing"
    assert sorted(outcomes.values()) == ["chosen", "trained"]
    chosen = next(trial for trial in models["trials"] if trial["outcome"] == "chosen")
    assert results["model"]["architecture"] == chosen["model"] == results["request"]["model"]
    assert results["request"]["candidates"] is None
    assert results["request"]["strategies"] == [models["strategy"]]
    assert (finished / "model" / "config.json").is_file()


@pytest.mark.thorough
def test_the_budget_holds_for_everything_together(finished: Path) -> None:
    results = read_json(finished / "results.json")
    models = results["models"]
    assert models["work_of_others"] + results["search"]["work"] / models["unit_ratio"] <= 4
    assert models["work_of_probes"] + models["work_of_trainings"] <= 2, "half of it is for the choice"


@pytest.mark.thorough
def test_trainings_of_the_comparison_are_not_repeated(finished: Path) -> None:
    chosen = read_json(finished / "results.json")["models"]["chosen"].partition(" ")[0]
    compared = {record.key for record in Ledger(finished / "models" / f"{chosen}@32" / "ledger.journal").records}
    own = [record.key for record in Ledger(finished / "ledger.journal").records]
    assert compared
    assert set(own[: len(compared)]) == compared
    assert len(own) == len(set(own))


@pytest.mark.thorough
@pytest.mark.parametrize("trainings", [*(pytest.param(count, marks=SLOW) for count in (0, 1, 2, 4, 5)), 3])
def test_interrupted_in_any_stage_and_resumed_is_the_uninterrupted_run(
    images: Path, finished: Path, tmp_path: Path, trainings: int
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images), run, Stop(trainings))
    api.resume(run)
    assert found_in(run) == found_in(finished)


@SLOW
@pytest.mark.parametrize("moment", ["adopt", "bind_request"])
def test_interrupted_while_the_request_is_narrowed(
    images: Path, finished: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    whole = getattr(Ledger, moment)

    def stop(self: Ledger, *arguments: Any) -> None:
        if (run / "models.json").exists():
            raise KeyboardInterrupt
        whole(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, moment, stop)
        with pytest.raises(KeyboardInterrupt):
            api.run(request_for(images), run)
    api.resume(run)
    assert found_in(run) == found_in(finished)


@SLOW
def test_no_cache_changes_nothing(images: Path, finished: Path, tmp_path: Path) -> None:
    api.run(request_for(images, cache=CacheConfig(0, 0)), tmp_path / "run")
    assert found_in(tmp_path / "run") == found_in(finished)


def test_edited_options_are_refused(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images), run, Stop(0))
    with RunFolder.open(run) as folder:
        folder.store(replace(folder.request(), train=replace(folder.request().train, epochs=3)))
    with pytest.raises(RunFolderError, match="the options that this run began with"):
        api.resume(run)


def test_no_network_that_can_be_had_is_an_input_error_and_leaves_nothing(images: Path, tmp_path: Path) -> None:
    request = request_for(images, Candidates(("no_such_network", "nor_this_one")))
    with pytest.raises(ModelError, match="none of the 2 networks"):
        api.run(request, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@SLOW
def test_limits_exclude_networks_before_anything_is_trained(images: Path, tmp_path: Path) -> None:
    limited = replace(NETWORKS, models=("test_efficientnet", "test_resnet"), parameters=200_000)
    results = api.run(request_for(images, limited), tmp_path / "run")
    assert isinstance(results, FitResults)
    assert results.models is not None
    by_name = {trial.model: trial for trial in results.models.trials}
    assert by_name["test_efficientnet"].outcome == "chosen"
    assert by_name["test_resnet"].outcome == "excluded"
    assert by_name["test_resnet"].probe is None
    assert "more than 200,000" in by_name["test_resnet"].words


@pytest.mark.parametrize("limit", [{"latency": 1e-9}, {"parameters": 10}])
def test_a_limit_that_no_network_keeps_is_an_input_error(images: Path, tmp_path: Path, limit: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="no network is within"):
        api.run(request_for(images, replace(NETWORKS, models=("test_efficientnet",), **limit)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@SLOW
@pytest.mark.parametrize(("budget", "left"), [("4candidates", "candidates"), ("10s", "s")])
def test_a_budget_of_time_or_candidates_is_shared_by_all_pairs(
    images: Path, tmp_path: Path, budget: str, left: str
) -> None:
    request = request_for(images)
    spec = request.strategies[0].replace("4x", budget)
    results = api.run(replace(request, strategies=(spec,)), tmp_path / "run")
    assert isinstance(results, FitResults)
    assert results.models is not None
    (after,) = [part for part in results.models.strategy.split(":")[1].split(",") if part.startswith("budget=")]
    amount = float(after.removeprefix("budget=").removesuffix(left))
    assert after.endswith(left)
    if left == "candidates":
        tried = [trial for trial in results.models.trials if trial.epochs]
        assert len(tried) == 2, "both pairs are tried, with half of the candidates"
        assert amount == 4 - (len(tried) - 1), "those of the other pair are gone"
    else:
        assert results.models.seconds_of_probes > 0
        assert 1 <= amount <= 10 - results.models.seconds_of_probes + 0.5, "rounded to seconds"
        chosen = results.models.best
        assert chosen.facts is not None
        assert chosen.facts.seconds_per_unit is not None


@pytest.mark.thorough
def test_what_the_answer_takes_is_left_whatever_the_comparison_would_spend(images: Path, tmp_path: Path) -> None:
    """Distilling and the least of a search take more than half of this budget: the comparison has what is left."""
    request = request_for(images)
    spec = request.strategies[0].replace("4x,answer=pick", "2.9x,answer=distilled")
    results = api.run(replace(request, strategies=(spec,)), tmp_path / "run")
    assert isinstance(results, FitResults)
    assert results.models is not None
    assert results.models.work_of_others + results.cost.work / results.models.unit_ratio <= 2.9


@pytest.mark.thorough
def test_a_dry_run_says_what_each_pair_would_take_and_leaves_nothing(images: Path, tmp_path: Path) -> None:
    notes = Notes()
    planned = api.dry_run(request_for(images), tmp_path / "run", notes)
    assert not (tmp_path / "run").exists()
    assert [row.network for row in planned.rows] == ["test_efficientnet at 32 px", "test_resnet at 32 px"]
    assert all(row.strategy == request_for(images).strategies[0] for row in planned.rows)
    assert planned.seconds == max(row.seconds for row in planned.rows), "one of them is chosen"
    assert planned.units == max(row.units for row in planned.rows)
    assert sum("no_such_network at 32 px: left out" in line for line in notes.lines) == 1


@SLOW
def test_a_dry_run_of_a_comparison_adds_all_networks_up(images: Path, tmp_path: Path) -> None:
    request = replace(request_for(images), verb="compare", strategies=("linear_probe", "full"))
    planned = api.dry_run(request, tmp_path / "run")
    names = ("test_efficientnet at 32 px", "test_resnet at 32 px")
    assert [(row.network, row.strategy) for row in planned.rows] == [
        (name, spec) for name in names for spec in ("linear_probe", "full")
    ]
    assert planned.seconds == pytest.approx(sum(row.seconds for row in planned.rows))
    assert planned.units == pytest.approx(sum(row.units for row in planned.rows))
    assert planned.rows[1].blocks is not None


def test_a_dry_run_without_any_network_is_an_input_error(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none of the 2 networks"):
        api.dry_run(request_for(images, Candidates(("no_such_network", "nor_this_one"))), tmp_path / "run")


@pytest.mark.thorough
def test_check_and_inspect_take_the_folder_of_a_run(images: Path, finished: Path) -> None:
    blocks = api.inspect(str(finished))
    assert blocks.image_size == 32
    assert blocks.model == str(finished)
    assert blocks.architecture == read_json(finished / "results.json")["model"]["architecture"]
    assert api.check(images, model=str(finished)).images == api.check(images).images


@SLOW
def test_workers_choose_the_same_network(images: Path, tmp_path: Path, finished: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        api.run(request_for(images), tmp_path / "run", None, Workers(pool))
    assert found_in(tmp_path / "run") == found_in(finished)
