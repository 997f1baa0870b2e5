"""Trackers get every figure, never end a run, and never reach for a network; the blocks of docs/trackers.md work."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

import thawline
from tests.small_runs import _own_cache, images, small_request  # noqa: F401
from thawline import api
from thawline.callback import EVENTS, Callback
from thawline.errors import MissingExtraError, OptionError
from thawline.records import EpochRecord, TrainingRecord
from thawline.results import FitResults
from thawline.trackers import TRACKERS, Tracker, figures_of, tracked
from thawline.trackers.mlflow import TELEMETRY, MLflow
from thawline.trackers.tensorboard import TensorBoard

EPOCHS = tuple(EpochRecord(number, 0.9 - number / 10, 0.8, 0.5 + number / 10, 0.5 + number / 10) for number in range(2))
RECORD = TrainingRecord(
    "0123456789", "tuning", "last_blocks:k=2", 1e-3, 7, {}, EPOCHS, best_epoch=1, work=0.5, seconds=3.0
)
REQUEST = {"verb": "fit", "weights": None, "train": {"epochs": 2}}
RESULTS: Any = SimpleNamespace(
    answer="Train the head.",
    rows=[
        SimpleNamespace(label="full", test=SimpleNamespace(accuracy=SimpleNamespace(mean=0.75))),
        SimpleNamespace(label="lora", error="diverged"),
    ],
)


def tell(callback: Callback, folder: Path, *, ended: Any = RESULTS) -> None:
    """What a run of one training tells, and another that was in the ledger."""
    callback.run_started(folder, REQUEST)
    started = replace(RECORD, epochs=(), best_epoch=None)
    callback.training_started(started)
    for epoch in EPOCHS:
        callback.epoch_done(started, epoch)
    callback.training_done(RECORD, stored=False)
    callback.training_done(replace(RECORD, key="stored"), stored=True)
    callback.run_ended(ended)


class Heard(Callback):
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []


for _name in EVENTS:
    setattr(Heard, _name, lambda self, *args, _name=_name, **kwargs: self.calls.append((_name, args, kwargs)))


def test_several_callbacks_are_all_told_of_everything() -> None:
    first, second = Heard(), Heard()
    both = thawline.Callbacks(first, second)
    for name in EVENTS:
        getattr(both, name)(1, stored=True)
    assert first.calls == second.calls == [(name, (1,), {"stored": True}) for name in EVENTS]
    assert {"note", "epoch_done", "run_ended"} <= set(EVENTS)


class Broken(Tracker):
    def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
        raise ValueError("no\nspace")

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        raise AssertionError("it is not told of anything any more")


def test_a_tracker_that_fails_is_one_warning_and_the_run_goes_on(
    images: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("thawline.trackers.TRACKERS", {"broken": f"{__name__}:Broken"})
    heard = Heard()
    request = small_request(images, ("linear_probe:solver=sgd",), verb="fit", learning_rate=1e-2)
    results = api.run(request, tmp_path / "run", tracked("broken", heard))
    warned = [args[0] for name, args, _ in heard.calls if "Broken" in str(args[:1]) and name == "note"]  # type: ignore
    assert warned == ["Broken failed (ValueError: no space); the run continues without it."]
    names = [name for name, *_ in heard.calls]
    assert names.count("run_started") == names.count("run_ended") == 1
    assert names.index("run_started") < names.index("training_started") < names.index("run_ended")
    (told,) = cast(tuple[FitResults], heard.calls[-1][1])
    assert told.to_dict() == results.to_dict()


def test_a_tracker_of_ones_own_warns_as_python_does() -> None:
    tracker = Broken()
    with pytest.warns(RuntimeWarning, match="Broken failed"):
        tracker.epoch_done(RECORD, EPOCHS[0])
    tracker.training_done(RECORD, stored=False)


def test_callbacks_hear_of_a_run_that_ends_early(images: Path, tmp_path: Path) -> None:  # noqa: F811
    class Interrupting(Heard):
        def training_started(self, record: TrainingRecord) -> None:
            raise KeyboardInterrupt

    heard = Interrupting()
    request = small_request(images, ("linear_probe:solver=sgd",), verb="fit", learning_rate=1e-2)
    with pytest.raises(KeyboardInterrupt):
        api.run(request, tmp_path / "run", heard)
    assert heard.calls[-1] == ("run_ended", (None,), {})


def test_no_tracker_unless_it_is_asked_for() -> None:
    callback = Callback()
    assert tracked("", callback) is tracked((), callback) is callback


def test_an_unknown_tracker_is_one_line() -> None:
    with pytest.raises(OptionError, match=r"^`track` 'tensorbord' is unknown; did you mean 'tensorboard'\?$"):
        tracked("tensorbord")
    with pytest.raises(OptionError, match=r"^`track` must be one or more of tensorboard, mlflow, got None\.$"):
        tracked(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_extra_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'thawline\[{name}\]'"):
        tracked(name)


class FakeWriter:
    opened: list[FakeWriter]

    def __init__(self, folder: str) -> None:
        self.folder, self.calls, self.closed = Path(folder), list[tuple[object, ...]](), False
        self.opened.append(self)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: self.calls.append((name, *args))

    def close(self) -> None:
        self.closed = True


def test_tensorboard_has_a_folder_per_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeWriter.opened = []
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=FakeWriter))
    tell(TensorBoard(), tmp_path)
    run, training = FakeWriter.opened
    assert run.folder == tmp_path / "tensorboard" / "run"
    assert training.folder.name == "tuning-last_blocks-k=2-1e-3-seed-7-01234567"
    assert ("add_scalar", "loss/train", 0.9, 0) in training.calls
    assert ("add_scalar", "accuracy/val", 0.6, 1) in training.calls
    assert training.calls[-1][2] == {"best/val_score": 0.6, "best/val_loss": 0.8, "cost/work": 0.5, "cost/seconds": 3.0}
    assert run.calls[1:] == [("add_text", "answer", "Train the head."), ("add_scalar", "test accuracy/full", 0.75, 0)]
    assert run.closed
    assert training.closed


class FakeClient:
    """As much of MLflow's client as is used; everything is kept by run."""

    clients: list[FakeClient]

    def __init__(self, tracking_uri: str) -> None:
        self.uri, self.runs, self.experiments = tracking_uri, list[dict[str, Any]](), dict[str, str]()
        self.clients.append(self)

    def get_experiment_by_name(self, name: str) -> object:
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        return self.experiments.setdefault(name, "1")

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> object:
        self.runs.append({"name": run_name, "tags": tags, "params": {}, "metrics": {}, "status": "RUNNING"})
        return SimpleNamespace(info=SimpleNamespace(run_id=str(len(self.runs) - 1)))

    def log_batch(self, run: str, params: Any = (), metrics: Any = ()) -> None:
        self.runs[int(run)]["params"] |= dict(params)
        self.runs[int(run)]["metrics"] |= {(name, step): value for name, value, _, step in metrics}

    def set_tag(self, run: str, name: str, value: str) -> None:
        self.runs[int(run)]["tags"][name] = value

    def set_terminated(self, run: str, status: str) -> None:
        self.runs[int(run)]["status"] = status


@pytest.fixture
def fake_mlflow(monkeypatch: pytest.MonkeyPatch) -> type[FakeClient]:
    FakeClient.clients = []
    entities = SimpleNamespace(Param=lambda *args: args, Metric=lambda *args: args)
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=FakeClient, entities=entities))
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv(TELEMETRY, "to be restored")
    monkeypatch.delenv(TELEMETRY)
    return FakeClient


def test_mlflow_has_a_run_with_a_nested_run_per_training(
    fake_mlflow: type[FakeClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tell(MLflow(), tmp_path / "photos")
    (client,) = fake_mlflow.clients
    assert client.uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    parent, training = client.runs
    assert (parent["name"], parent["status"]) == ("photos", "FINISHED")
    assert parent["params"] == {"verb": "fit", "epochs": "2"}
    assert parent["metrics"] == {("test accuracy/full", 0): 0.75}
    assert parent["tags"]["mlflow.note.content"] == "Train the head."
    assert training["tags"]["mlflow.parentRunId"] == "0"
    assert (training["name"], training["status"]) == ("tuning last_blocks:k=2 1e-3 seed 7", "FINISHED")
    assert training["params"]["learning_rate"] == "0.001"
    assert training["metrics"]["loss/train", 1] == 0.8
    assert training["metrics"]["best/val_score", 1] == 0.6


def test_an_interrupted_run_is_not_left_running_in_mlflow(fake_mlflow: type[FakeClient], tmp_path: Path) -> None:
    tracker = MLflow("sqlite:///some.db")
    tracker.run_started(tmp_path, REQUEST)
    tracker.epoch_done(RECORD, EPOCHS[0])
    tracker.run_ended(None)
    assert [run["status"] for run in fake_mlflow.clients[0].runs] == ["KILLED", "KILLED"]


def test_mlflow_sends_no_telemetry_unless_the_user_set_it(
    fake_mlflow: type[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    MLflow()
    assert os.environ[TELEMETRY] == "true"
    monkeypatch.setenv(TELEMETRY, "false")
    MLflow()
    assert os.environ[TELEMETRY] == "false"


@pytest.mark.parametrize("uri", ["http://localhost:5000", "https://example.org", "databricks://profile"])
def test_a_store_on_a_server_is_refused(
    uri: str, fake_mlflow: type[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(OptionError, match="must be on this machine"):
        MLflow()


class FakeService:
    """What the blocks for W&B and Trackio use, in both spellings: of the module and of the run."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def init(self, **facts: object) -> FakeService:
        self.calls.append(("init", facts))
        return self

    def log(self, figures: object, step: int) -> None:
        self.calls.append(("log", figures, step))

    def finish(self) -> None:
        self.calls.append(("finish",))


@pytest.mark.parametrize(("module", "made"), [("wandb", "WandB"), ("trackio", "Trackio")])
def test_the_blocks_of_the_page_log_every_epoch(
    module: str, made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "trackers.md").read_text(encoding="utf-8")
    (block,) = [found for found in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if f"import {module}\n" in found]
    service, given = FakeService(), list[Any]()
    monkeypatch.setitem(sys.modules, module, service)
    monkeypatch.setattr(thawline, "fit", lambda *_, callback: given.append(callback), raising=False)
    exec(block, {})
    (callback,) = given
    assert type(callback).__name__ == made
    own = block[block.index("class ") : block.index("thawline.fit")].strip().splitlines()
    assert len(own) <= 10
    callback.training_started(RECORD)
    for epoch in EPOCHS:
        callback.epoch_done(RECORD, epoch)
    callback.training_done(RECORD, stored=False)
    kinds = [call[0] for call in service.calls]
    assert kinds == ["init", "log", "log", "finish"]
    assert service.calls[2][1:] == ({"loss/train": 0.8, "loss/val": 0.8, "accuracy/val": 0.6, "score/val": 0.6}, 1)
    assert service.calls[0][1]["config"]["learning_rate"] == 1e-3  # type: ignore[index]
    assert not callback.failed


def test_an_epoch_without_a_validation_has_no_figures_of_one() -> None:
    assert figures_of(EpochRecord(3, 0.9)) == {"loss/train": 0.9}


@pytest.mark.slow
def test_the_real_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is absent: it is in the `tensorboard` extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoard(tmp_path)
    tell(tracker, tmp_path / "run")
    assert not tracker.failed
    (training,) = [path for path in tmp_path.iterdir() if path.name != "run"]
    found = EventAccumulator(str(training))
    found.Reload()
    assert [(event.step, round(event.value, 6)) for event in found.Scalars("accuracy/val")] == [(0, 0.5), (1, 0.6)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own use of SQLAlchemy
def test_the_real_mlflow_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is absent: it is in the `mlflow` extra")
    monkeypatch.setenv(TELEMETRY, "true")
    monkeypatch.chdir(tmp_path)
    tracker = MLflow()
    tell(tracker, tmp_path / "run")
    assert not tracker.failed
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("thawline").experiment_id
    training, parent = client.search_runs([experiment])
    assert (parent.info.run_name, parent.info.status, training.info.status) == ("run", "FINISHED", "FINISHED")
    history = client.get_metric_history(training.info.run_id, "accuracy/val")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.5), (1, 0.6)]
