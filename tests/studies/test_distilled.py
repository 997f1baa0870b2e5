"""`answer=distilled`: a further training on the mean output of candidates that the ledger has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.small_runs import Stop
from tests.studies.test_answers import opened, request_for, row_of
from thawline import api
from thawline.errors import OptionError
from thawline.plan import FineTunePlan, Phase
from thawline.records import EpochRecord, TrainingRecord, environment, read_json
from thawline.results import FitResults
from thawline.runs.folder import RunFolder
from thawline.runs.ledger import Ledger
from thawline.strategies.context import Tuned
from thawline.studies import answers
from thawline.studies.tuning import tune


@pytest.fixture(autouse=True)
def _lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny network on noise would be refused as often as not."""
    monkeypatch.setattr(answers, "_trails", lambda *_: False)


@pytest.fixture(scope="module")
def distilled(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "distilled"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "_trails", lambda *_: False)
        api.run(request_for(images, "distilled", seeds=2), run)
    return run


def mixed_in(run: Path) -> list[TrainingRecord]:
    return [record for record in Ledger(run / "ledger.journal").records if "mixture" in record.plan]


@pytest.mark.thorough
def test_it_is_a_training_on_candidates_that_were_paid_for_within_the_budget(distilled: Path) -> None:
    row, records = row_of(distilled), Ledger(distilled / "ledger.journal").records
    plan = FineTunePlan.from_dict(row["plan"])
    assert plan.is_distilled
    assert not plan.members[0].plan.is_solved
    assert len(plan.members) <= 3
    searched = [record.plan for record in records if record.purpose == "search" and record.until is None]
    assert all(member.plan.to_dict() in searched for member in plan.members)
    assert row["cost"]["work"] <= 3
    tuned, final = mixed_in(distilled)
    assert (tuned.purpose, final.purpose, final.seed - tuned.seed) == ("tuning", "final", 1)
    assert len(tuned.epochs) == 4
    assert tuned.work > 0
    # Validated after two epochs, and at the end.
    assert tuned.image_passes == 4 * 24 + 2 * 16 + len(plan.members) * 24


@pytest.mark.thorough
def test_killed_in_the_last_training_and_resumed_is_the_uninterrupted_run(
    images: Path, tmp_path: Path, distilled: Path
) -> None:
    run = tmp_path / "run"
    trainings = [record.key for record in Ledger(distilled / "ledger.journal").records]

    class StopInside(Stop):
        def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
            if "mixture" in record.plan and epoch.epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.run(request_for(images, "distilled", seeds=2), run, StopInside(-1))
    assert not mixed_in(run)
    with pytest.raises(KeyboardInterrupt):
        api.resume(run, Stop(len(trainings) - len(Ledger(run / "ledger.journal").records) - 1))
    api.resume(run)
    assert read_json(run / "comparison.json")["digest"] == read_json(distilled / "comparison.json")["digest"]
    assert row_of(run)["test"] == row_of(distilled)["test"]


@pytest.mark.thorough
def test_the_other_answers_are_what_they_are_without_it(images: Path, tmp_path: Path) -> None:
    """Limited by candidates, all searches are the same, and the distilled network is the only further training."""
    request = request_for(images, "average")
    with RunFolder.create(tmp_path / "run", request, environment(device="cpu", threads=1)) as folder:
        experiment = opened(folder)
        names = ("ensemble", "average", "distilled", "ensemble", "average")
        found, trained = list[Tuned](), list[int]()
        for answer in names:
            found.append(tune(experiment, f"auto:budget=5candidates,head_start=probe,answer={answer}"))
            trained.append(len(experiment.ledger.records))
    assert found[2].plan.is_distilled
    assert trained[2:] == [trained[1] + 1] * 3
    for before, after in zip(found[:2], found[3:], strict=True):
        assert (before.plan, before.score, before.records) == (after.plan, after.score, after.records)
    picks = [each.pick for each in found]
    assert all(pick and pick.plan == picks[0].plan for pick in picks if picks[0])


@pytest.mark.thorough
def test_lost_weights_are_trained_again_bit_for_bit_and_plan_json_repeats_them(
    images: Path, tmp_path: Path, distilled: Path
) -> None:
    plan = FineTunePlan.from_dict(row_of(distilled)["plan"])
    (tmp_path / "plan.json").write_text(plan.to_json())
    request = replace(request_for(images, "pick"), strategies=("full",))
    with RunFolder.create(tmp_path / "run", request, environment(device="cpu", threads=1)) as folder:
        experiment = opened(folder)
        read = FineTunePlan.from_json((tmp_path / "plan.json").read_text())
        record = experiment.train(read, strategy="x", learning_rate=1e-3, seed=0, purpose="final")
        assert record.checkpoint == mixed_in(distilled)[0].checkpoint
        before = experiment.evaluate(record)
        for path in (*(tmp_path / "run").glob("checkpoints/*"), *(tmp_path / "run").glob("evaluations/*")):
            path.unlink()
        again = experiment.evaluate(record)
    assert (again.val == before.val).all()
    assert len(experiment.ledger.records) == 1 + len(plan.members)


@pytest.mark.parametrize("augment", ["none", "mild"])
def test_a_budget_without_room_for_a_search_is_refused(images: Path, tmp_path: Path, augment: str) -> None:
    request = request_for(images, "distilled")
    request = replace(
        request,
        strategies=("auto:budget=2x,answer=distilled",),
        images=replace(request.images, augment=augment, views=0),  # type: ignore[arg-type]
    )
    kept = {"none": "1.4", "mild": "2.1"}[augment]
    with pytest.raises(OptionError, match=rf"2x is too small for `answer` distilled.* up to {kept} full"):
        api.run(request, tmp_path / "run")


@pytest.mark.thorough
def test_fit_saves_it_scores_the_others_beside_it_and_refits_it(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "best_members", lambda outputs, *_: list(outputs)[:2])
    request = replace(request_for(images, "distilled"), verb="fit", refit=True)
    request = replace(request, train=replace(request.train, epochs=2))
    results = api.run(request, tmp_path / "run")
    assert isinstance(results, FitResults)
    assert results.plan.is_distilled
    assert "ensemble" in results.baselines
    said = f"trained once more on the mean output of {len(results.plan.members)} candidates (1:"
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"The returned model: {said}" in page
    assert "on_outputs" in page
    assert f"The network was {said}" in (tmp_path / "run" / "model" / "README.md").read_text()
    refits = [record for record in Ledger(tmp_path / "run" / "ledger.journal").records if record.purpose == "refit"]
    *own, last = refits
    assert FineTunePlan.from_dict(last.plan).is_distilled
    assert [record.plan for record in own] == [m.plan.to_dict() for m in results.plan.members]
    assert last.until == len(last.losses) == 2
    assert results.refit is not None
    assert results.refit.epochs[-1] == 2


def finished(key: str, loss: float | None, *, solved: bool = False, seed: int = 0) -> answers.Finished:
    rate = None if solved else 1e-3
    plan = FineTunePlan((Phase({"body": rate, "head": rate}),), norm="eval", head_start="probe")
    epochs = () if loss is None else (EpochRecord(0, 0.5, loss, 0.8, 0.8, loss),)
    best = None if loss is None else 0
    record = TrainingRecord(key, "search", "full", 2e-3, seed, plan.to_dict(), epochs=epochs, best_epoch=best)
    none: Any = None
    return answers.Finished(plan, record, none)


def asked(
    monkeypatch: pytest.MonkeyPatch, trainings: list[answers.Finished], loss: float | None
) -> tuple[Tuned, list[str], Tuned]:
    """What is handed over where the distilled network has this loss; its members; the average in its place."""
    monkeypatch.undo()  # of the lenient guard
    plan, members, none = trainings[0].plan, list[str](), Any
    instead = Tuned("average", 1e-3, plan, (0.7, -0.6))

    def mixed(_: object, __: object, of: str, some: list[answers.Trained]) -> answers.Trained:
        assert of == "distilled"
        members.extend(each.record.key for each in some)
        return finished("distilled", loss)

    monkeypatch.setattr(answers, "_mixed", mixed)
    monkeypatch.setattr(answers, "_average", lambda *_: instead)
    pick = Tuned("full", 1e-3, plan, (0.8, -0.5))
    return answers._distilled(none, pick, trainings), members, instead  # type: ignore[arg-type]


@pytest.mark.parametrize(("loss", "kept"), [(0.5, True), (0.51, False), (None, False)])
def test_it_is_dropped_if_its_loss_is_above_that_of_the_pick(
    monkeypatch: pytest.MonkeyPatch, loss: float | None, kept: bool
) -> None:
    found, _, instead = asked(monkeypatch, [finished("pick", 0.5), finished("b", 0.4)], loss)
    assert [record.key for record in found.records] == ["distilled"], "it was paid for"
    assert (found.strategy == "full", found.score == instead.score) == (kept, not kept)
    assert found.learning_rate == (2e-3 if kept else 1e-3)


def test_its_candidate_is_the_best_that_trains_and_a_probe_may_teach(monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = [
        finished("probe", 0.2, solved=True),
        finished("worst", 0.9),
        finished("other seed", 0.3, seed=1),
        finished("best", 0.4),
        finished("fourth", 0.5),
    ]
    _, members, _ = asked(monkeypatch, trainings, 0.1)
    assert members == ["best", "probe", "other seed"], "seeds of a mixture are counted up from that of the run"


@pytest.mark.parametrize(
    "trainings", [[finished("alone", 0.4)], [finished("probe", 0.2, solved=True), finished("b", 0.4, solved=True)]]
)
def test_a_single_training_and_probes_alone_are_not_distilled(
    monkeypatch: pytest.MonkeyPatch, trainings: list[answers.Finished]
) -> None:
    found, members, instead = asked(monkeypatch, trainings, 0.1)
    assert found == instead
    assert not members
