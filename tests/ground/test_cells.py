from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.ground.cells import opened, run_cell
from benchmarks.ground.methods import Method
from benchmarks.ground.schema import CellResult
from benchmarks.ground.settings import Place, Settings
from benchmarks.ground.splits import Sizes
from tests.small_runs import CLASSES, save_model
from thawline.model.load import load_model
from thawline.records import unpack_bits

PLACE = Place("tiny", "noise", 0, 32)
METHODS = (
    Method("full", "baselines"),
    Method("full:norm=moving", "searches", (1e-3, 3e-4)),
    Method("last_blocks:k=99", "depths"),
)


@pytest.fixture(scope="module")
def cells(images: Path, tmp_path_factory: pytest.TempPathFactory) -> list[CellResult]:
    """A cell for each of `METHODS`."""
    root = tmp_path_factory.mktemp("ground")
    shutil.copytree(images, root / "data" / "noise")
    save_model(root / "weights" / "tiny", load_model("test_efficientnet", 2, weights="random"), CLASSES)
    settings = Settings(root, root / "runs", root / "results", Sizes(12, 8, 8, 1), epochs=1)
    with opened(PLACE, settings) as experiment:
        return [run_cell(experiment, PLACE, method, settings) for method in METHODS]


def test_a_strategy_is_tuned_with_six_trainings_and_trained_once_more(cells: list[CellResult]) -> None:
    full = cells[0]
    assert full.images == {"train": 12, "val": 8, "test": 8}
    assert (len(full.tried), full.trainings) == (6, 7)
    assert full.work == pytest.approx(7.0)
    assert {attempt.spec for attempt in full.tried} == {"full:norm=moving", "full:norm=kept"}
    assert full.chosen == f"full:norm={full.norm}"
    assert full.learning_rate in {attempt.learning_rate for attempt in full.tried}
    assert set((full.learning_rates or {}).values()) == {full.learning_rate}
    assert (full.trainable_share, full.head_start) == (1.0, "random")


def test_the_test_accuracy_is_that_of_the_images_that_were_right(cells: list[CellResult]) -> None:
    full = cells[0]
    assert full.right is not None
    assert full.test_accuracy == sum(unpack_bits(full.right, full.images["test"])) / full.images["test"]


def test_a_method_with_rates_of_its_own_tries_these_only(cells: list[CellResult]) -> None:
    tried = [(attempt.spec, attempt.learning_rate) for attempt in cells[1].tried]
    assert tried == [("full:norm=moving", 1e-3), ("full:norm=moving", 3e-4)]
    assert cells[1].trainings == 3


def test_a_method_that_the_network_has_no_blocks_for_says_so(cells: list[CellResult]) -> None:
    assert cells[2].test_accuracy is None
    assert "99" in (cells[2].error or "")
