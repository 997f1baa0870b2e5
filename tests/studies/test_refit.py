"""`fit` with a refit: the saved model is trained on train and val, every score is of the model before."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

import thawline
from tests.small_runs import Stop, small_request
from thawline import api, verdicts
from thawline.callback import Callback
from thawline.cli.app import app
from thawline.config import Request
from thawline.errors import NonFiniteLossError, OptionError
from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord, environment
from thawline.results import FitResults
from thawline.runs.folder import RunFolder
from thawline.runs.ledger import Ledger
from thawline.runs.setup import open_experiment
from thawline.studies import answers
from thawline.training.refit import RefitTrainer

BOTH = 2 * (12 + 8)
"""Images of train and val."""


def request_for(images: Path, strategy: str = "last_blocks:k=1", **train: Any) -> Request:
    request = small_request(images, (strategy,), verb="fit", learning_rate=1e-2, norm="kept")
    return replace(request, refit=True, train=replace(request.train, **{"epochs": 4, "patience": 0, **train}))


def run(request: Request, folder: Path, callback: Callback | None = None) -> FitResults:
    results = api.run(request, folder, callback)
    assert isinstance(results, FitResults)
    return results


@pytest.fixture(scope="module")
def refitted(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "refit"
    run(request_for(images), folder)
    return folder


def records(folder: Path) -> dict[str, list[TrainingRecord]]:
    found: dict[str, list[TrainingRecord]] = {}
    for record in Ledger(folder / "ledger.journal").records:
        found.setdefault(record.purpose, []).append(record)
    return found


def results_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def saved(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def test_it_trains_as_many_epochs_as_were_kept_on_all_images_but_test(refitted: Path) -> None:
    found = records(refitted)
    (scored,), (refit,) = found["final"], found["refit"]
    assert scored.best_epoch is not None
    assert refit.until == len(refit.losses) == scored.best_epoch + 1
    assert refit.image_passes == BOTH * len(refit.losses)
    assert refit.key != scored.key
    assert (refit.epochs, refit.best_epoch) == ((), None), "nothing is validated"
    assert results_of(refitted)["refit"]["images"] == BOTH
    assert results_of(refitted)["refit"]["epochs"] == [len(refit.losses)]


def test_the_test_split_is_scored_once_and_by_the_model_before(images: Path, refitted: Path, tmp_path: Path) -> None:
    found, ledger = records(refitted), Ledger(refitted / "ledger.journal")
    assert ledger.test_scores(found["final"][0].key)
    assert ledger.evaluation_digest(found["refit"][0].key) is None
    plain = run(replace(request_for(images), refit=False), tmp_path / "plain")
    with_refit = results_of(refitted)
    assert with_refit["test"] == plain.to_dict()["test"]
    assert with_refit["val"] == plain.to_dict()["val"]
    assert with_refit["plan"] == plain.plan.to_dict()
    assert with_refit["cost"]["work"] == plain.cost.work
    assert plain.refit is None
    assert plain.cost.refit is None
    assert plain.digest != with_refit["digest"]


def test_the_saved_model_is_the_refit_and_its_frozen_blocks_are_the_start(
    images: Path, refitted: Path, tmp_path: Path
) -> None:
    with RunFolder.create(tmp_path / "run", request_for(images), environment(device="cpu", threads=1)) as folder:
        experiment = open_experiment(folder, Callback()).experiment
        scored = records(refitted)["final"][0]
        plan = FineTunePlan.from_dict(scored.plan)
        trainer = RefitTrainer(
            experiment.model, replace(experiment.data, train=experiment.refit_images), experiment.request.train
        )
        blocks = experiment.blocks(plan.granularity)
        by_hand = trainer.refit(plan, blocks, seed=scored.seed, epochs=(scored.best_epoch or 0) + 1, probe=None).state
        start = {name: tensor.clone() for name, tensor in experiment.model.pristine().items()}
    found = saved(refitted)
    assert all(torch.equal(found[name], tensor) for name, tensor in by_hand.items())
    frozen = set(found) - set(by_hand)
    assert frozen
    assert all(torch.equal(found[name], start[name]) for name in frozen)
    assert results_of(refitted)["frozen_bit_identical"]


@pytest.mark.thorough
@pytest.mark.parametrize("done", [0, 1])
def test_killed_and_resumed_is_the_uninterrupted_run(images: Path, refitted: Path, tmp_path: Path, done: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(request_for(images), tmp_path / "run", Stop(done))
    api.resume(tmp_path / "run")
    assert results_of(tmp_path / "run")["digest"] == results_of(refitted)["digest"]
    assert all(torch.equal(saved(tmp_path / "run")[name], tensor) for name, tensor in saved(refitted).items())


class StopAtTheEnd(Callback):
    """Ctrl-C once the refit is in the ledger, before anything is saved."""

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        if record.purpose == "refit":
            raise KeyboardInterrupt


@pytest.mark.thorough
def test_damaged_weights_of_a_refit_are_trained_again(images: Path, refitted: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(request_for(images), tmp_path / "run", StopAtTheEnd())
    key = records(tmp_path / "run")["refit"][0].key
    (tmp_path / "run" / "checkpoints" / f"{key}.safetensors").write_bytes(b"?")
    api.resume(tmp_path / "run")
    assert all(torch.equal(saved(tmp_path / "run")[name], tensor) for name, tensor in saved(refitted).items())


def test_every_place_that_has_scores_says_whose_they_are(refitted: Path) -> None:
    words = results_of(refitted)["refit"]["words"]
    assert f"refitted on train and val together ({BOTH} images" in words
    assert "no score of its own" in words
    assert words in (refitted / "report.html").read_text()
    card = (refitted / "model" / "README.md").read_text()
    assert words in card
    assert card.index("## Test") < card.index(words)
    assert json.loads((refitted / "model" / "thawline.json").read_text())["refit"]["words"] == words
    lines = list(csv.DictReader((refitted / "history.csv").read_text().splitlines()))
    assert {line["val_loss"] for line in lines if line["purpose"] == "refit"} == {""}


def test_what_the_command_line_says(images: Path, tmp_path: Path) -> None:
    options = ("--model", "test_efficientnet", "--weights", "random", "--image-size", "32", "--epochs", "2")
    more = ("--strategy", "linear_probe", "--threads", "1", "--no-explain", "--out", str(tmp_path / "run"), "--refit")
    shown = CliRunner().invoke(app, ["fit", str(images), *options, *more])
    assert shown.exit_code == 0, shown.output
    said = " ".join(shown.output.split())
    assert "The forecast includes the refit on train and val." in said
    assert f"({BOTH} images; solved). It has no score of its own" in said
    assert "refit on train and val): done (solved)" in said


def test_a_new_evaluation_is_of_the_refitted_model(images: Path, refitted: Path) -> None:
    found = api.evaluate(refitted, images / "val")
    assert found.seen == {"train": 16}
    assert verdicts.REFITTED_SCORES in found.notes


def test_the_cost_of_a_refit_is_beside_that_of_the_plan(refitted: Path) -> None:
    cost, found = results_of(refitted)["cost"], records(refitted)
    assert cost["refit"] >= found["refit"][0].work > 0
    assert cost["trainings"] == 2
    # Nothing is validated, and an epoch has 40 images in place of 24.
    epochs = len(found["refit"][0].losses), len(found["final"][0].epochs)
    assert found["refit"][0].work < found["final"][0].work * epochs[0] / epochs[1] * BOTH / 24


def test_a_solved_probe_keeps_its_penalty_and_temperature(images: Path, tmp_path: Path) -> None:
    run(request_for(images, "linear_probe"), tmp_path / "run")
    found = records(tmp_path / "run")
    (scored,), (refit,) = found["final"], found["refit"]
    assert scored.probe is not None
    assert refit.probe is not None
    assert (refit.probe.strength, refit.probe.temperature) == (scored.probe.strength, scored.probe.temperature)
    assert results_of(tmp_path / "run")["refit"]["epochs"] == [0]


def test_only_the_lowest_seed_is_refitted(images: Path, tmp_path: Path) -> None:
    request = request_for(images, "linear_probe")
    results = run(replace(request, search=replace(request.search, seeds=2)), tmp_path / "run")
    assert [record.seed for record in records(tmp_path / "run")["refit"]] == [results.saved_seed]


@pytest.mark.thorough
@pytest.mark.parametrize("answer", ["average", "ensemble"])
def test_every_ingredient_is_refitted(
    images: Path, tmp_path: Path, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_trails", lambda *_: False)
    monkeypatch.setattr(answers, "best_members", lambda outputs, *_: list(outputs)[:2])
    request = replace(
        request_for(images, f"auto:budget=3x,head_start=probe,answer={answer}", epochs=2, batch_size=24), explain=False
    )
    results = run(request, tmp_path / "run")
    plan, refits = results.plan, records(tmp_path / "run")["refit"]
    own = [record.plan for record in refits if "mixture" not in record.plan]
    assert own == [member.plan.to_dict() for member in plan.members]
    assert results.refit is not None
    assert len(results.refit.epochs) == len(plan.members)
    assert results.cost.work <= 3
    mixed = [record for record in refits if "mixture" in record.plan]
    assert [record.plan for record in mixed] == ([results.plan.to_dict()] if answer == "average" else [])
    if answer == "ensemble":
        assert results.refit.words in (tmp_path / "run" / "model" / "README.md").read_text()
    with pytest.raises(KeyboardInterrupt):
        run(request, tmp_path / "again", Stop(len(Ledger(tmp_path / "run" / "ledger.journal").records) - 1))
    again = api.resume(tmp_path / "again")
    assert again["digest"] == results.digest
    for path in sorted((tmp_path / "run" / "model").rglob("*.safetensors")):
        other = tmp_path / "again" / path.relative_to(tmp_path / "run")
        assert other.read_bytes() == path.read_bytes()


def test_it_is_refused_where_it_makes_no_sense(images: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="refit"):
        thawline.compare(images, tmp_path / "run", refit=True)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="comparison"):
        replace(small_request(images, ("full",)), refit=True)
    with pytest.raises(OptionError, match="interpolates"):
        run(request_for(images, "wise_ft"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    shown = CliRunner().invoke(app, ["compare", str(images), "--out", str(tmp_path / "run"), "--refit"])
    assert isinstance(shown.exception, OptionError)  # a line, and exit code 2


@pytest.mark.thorough
def test_if_a_refit_fails_the_scored_model_is_saved(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise NonFiniteLossError("the loss became nan.")

    monkeypatch.setattr(RefitTrainer, "refit", diverge)
    results = run(request_for(images), tmp_path / "run")
    plain = run(replace(request_for(images), refit=False), tmp_path / "plain")
    assert (results.refit, results.refit_error) == (None, "the loss became nan.")
    assert (
        "The model was not refitted: the loss became nan. The saved" in (tmp_path / "run" / "report.html").read_text()
    )
    assert results.test == plain.test
    assert all(torch.equal(saved(tmp_path / "run")[name], tensor) for name, tensor in saved(tmp_path / "plain").items())


def test_an_older_ledger_is_of_a_run_without_a_refit(images: Path, tmp_path: Path) -> None:
    request = replace(request_for(images), refit=False)
    ledger = Ledger(tmp_path / "ledger.journal")
    ledger.bind_request({name: value for name, value in request.to_dict().items() if name != "refit"})
    ledger.bind_request(request.to_dict())
