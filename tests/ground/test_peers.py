from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ground.cells import opened, run_cell
from benchmarks.ground.methods import AUTO, Method
from benchmarks.ground.peers import SkippedError, peer_figures
from benchmarks.ground.settings import Place, Settings
from benchmarks.ground.splits import Sizes
from benchmarks.speed.images import Images
from benchmarks.trial.peers import as_folders, by_file_name
from tests.small_runs import CLASSES, save_model
from thawline.model.load import load_model
from thawline.records import unpack_bits, write_json
from thawline.runs.experiment import Experiment

PLACE = Place("tiny", "noise", 0, 32)
TIMM = Method("timm", "peers")


@pytest.fixture(scope="module")
def settings(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("peers")
    shutil.copytree(images, root / "data" / "noise")
    save_model(root / "weights" / "tiny", load_model("test_efficientnet", 2, weights="random"), CLASSES)
    return Settings(root, root / "runs", root / "results", Sizes(12, 8, 8, 1), epochs=2)


@pytest.fixture(scope="module")
def experiment(settings: Settings) -> Iterator[Experiment]:
    with opened(PLACE, settings) as found:
        yield found


def test_a_peer_takes_no_longer_than_auto_took(experiment: Experiment, settings: Settings) -> None:
    write_json(settings.cell(PLACE, AUTO), {"seconds": 0.0})
    cell = run_cell(experiment, PLACE, TIMM, settings)
    assert (cell.trainings, cell.work, cell.chosen) == (1, 1.0, "timm at 0.0005")
    assert cell.test_accuracy == sum(unpack_bits(cell.right or "", 8)) / 8
    assert [attempt.learning_rate for attempt in cell.tried] == [5e-4]
    assert cell.search == {"allowed_seconds": 0.0}


def test_a_peer_waits_for_auto(experiment: Experiment, settings: Settings) -> None:
    settings.cell(PLACE, AUTO).unlink(missing_ok=True)
    with pytest.raises(SkippedError, match=r"needs the seconds of .*auto\.json"):
        peer_figures(PLACE, TIMM, settings)


def test_a_library_that_is_not_installed_is_skipped(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SkippedError, match=r"fastai.* not installed"):
        peer_figures(PLACE, Method("fastai", "peers"), settings)


def test_peers_count_the_same_images_in_the_same_order(
    experiment: Experiment, settings: Settings, tmp_path: Path
) -> None:
    test = Images.read(as_folders(settings.manifest(PLACE), tmp_path) / "test")
    assert experiment.test is not None
    assert by_file_name(test.paths, np.array(test.targets)).tolist() == experiment.test.labels.tolist()
