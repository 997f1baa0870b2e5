"""The number of trainings that is told before a run is the number that then runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.small_runs import Stop, small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import CacheConfig, Request
from thawline.runs.ledger import Ledger
from thawline.training.measure import StepCost


class Told(Callback):
    """Keeps the forecast."""

    trainings = -1

    def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
        assert min(seconds, units, memory_bytes) > 0
        self.trainings = trainings


def one_epoch(request: Request) -> Request:
    """The same number of trainings, each as short as can be."""
    return replace(request, train=replace(request.train, epochs=1))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("verb", "strategies", "search", "trainings"),
    [
        ("compare", ("linear_probe", "last_blocks"), {"seeds": 2}, 2 + (6 + 2)),
        ("compare", ("linear_probe:solver=sgd", "last_blocks"), {"seeds": 2}, 2 * (6 + 2)),
        ("compare", ("linear_probe", "last_blocks"), {"learning_rate": 1e-2}, 1 + (3 + 1 + 1)),
    ],
)
def test_the_forecast_counts_every_training(
    verb: str, strategies: tuple[str, ...], search: dict[str, float], trainings: int, images: Path, tmp_path: Path
) -> None:
    told = Told()
    api.run(one_epoch(small_request(images, strategies, verb, **search)), tmp_path / "run", told)
    assert told.trainings == trainings == len(Ledger(tmp_path / "run" / "ledger.journal").records)


@pytest.mark.parametrize("strategy", ["linear_probe", "last_blocks:k=1,norm=kept"])
def test_the_forecast_counts_the_refit(images: Path, tmp_path: Path, strategy: str) -> None:
    told = Told()
    request = small_request(images, (strategy,), "fit", learning_rate=1e-2)
    api.run(replace(request, refit=True), tmp_path / "run", told)
    assert told.trainings == 2 == len(Ledger(tmp_path / "run" / "ledger.journal").records)


@pytest.mark.thorough
def test_a_resumed_run_is_told_what_is_left_to_tune(images: Path, tmp_path: Path) -> None:
    request = one_epoch(small_request(images, ("linear_probe:solver=sgd", "full")))
    with pytest.raises(KeyboardInterrupt):
        api.run(request, tmp_path / "run", Stop(4))
    told = Told()
    api.resume(tmp_path / "run", told)
    assert told.trainings == 2 * (6 + 1) - 4


@pytest.mark.thorough
def test_the_forecast_of_auto_is_its_budget_and_the_proof_beside_it(images: Path, tmp_path: Path) -> None:
    class Units(Callback):
        units = 0.0

        def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
            self.units = units

    told = Units()
    results = api.run(small_request(images, ("auto:budget=2x",), "fit", seeds=2), tmp_path / "run", told)
    # A second seed trains three members of an average and of an ensemble, the pick, and the baselines.
    assert told.units == pytest.approx(2 + (1 + 2) + (1 + 3) + 2 * 3)
    spent = sum(row["cost"]["work"] + row["cost"]["proof"] for row in (results, *results["baselines"].values()))
    assert results["cost"]["work"] <= 2
    assert spent <= told.units * 1.5


def test_kept_outputs_of_frozen_blocks_save_the_time_that_they_take(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, float] = {}

    class Seconds(Callback):
        def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
            found[name] = seconds
            raise KeyboardInterrupt

    monkeypatch.setattr("thawline.studies.forecast.step_cost", lambda *_: StepCost(1e-3, 0))
    for name, cache in (("kept", CacheConfig()), ("anew", CacheConfig(memory_bytes=0, disk_bytes=0))):
        request = small_request(images, ("linear_probe:solver=sgd",))
        request = replace(request, cache=cache, images=replace(request.images, augment="none"))
        with pytest.raises(KeyboardInterrupt):
            api.run(request, tmp_path / name, Seconds())
    assert 0 < found["kept"] < found["anew"] / 2
