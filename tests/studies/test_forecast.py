"""The number of trainings that is told before a run is the number that then runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.studies.conftest import Stop, small_request
from thawline import api
from thawline.progress import Listener
from thawline.search.ledger import Ledger


class Told(Listener):
    """Keeps the forecast."""

    trainings = -1

    def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
        assert min(seconds, units, memory_bytes) > 0
        self.trainings = trainings


@pytest.mark.parametrize(
    ("verb", "strategies", "search", "trainings"),
    [
        ("compare", ("linear_probe", "last_blocks"), {"seeds": 2}, 2 * (6 + 2)),
        ("compare", ("linear_probe", "last_blocks"), {"learning_rate": 1e-2}, 1 + (3 + 1)),
        ("fit", ("auto",), {"learning_rate": 1e-2}, (1 + 1) + (3 + 1) + (1 + 1)),
    ],
)
def test_the_forecast_counts_every_training(
    verb: str, strategies: tuple[str, ...], search: dict[str, float], trainings: int, images: Path, tmp_path: Path
) -> None:
    told = Told()
    api.run(small_request(images, strategies, verb, **search), tmp_path / "run", told)
    assert told.trainings == trainings == len(Ledger(tmp_path / "run" / "ledger.journal").records)


def test_a_resumed_run_is_told_what_is_left_to_tune(images: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        api.run(small_request(images, ("linear_probe", "full")), tmp_path / "run", Stop(4))
    told = Told()
    api.resume(tmp_path / "run", told)
    assert told.trainings == 2 * (6 + 1) - 4
