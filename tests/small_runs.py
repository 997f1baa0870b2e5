"""A small real task: two kinds of colored noise that a tiny network can learn, as image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from thawline.callback import Callback
from thawline.config import DataConfig, Request, TrainConfig, TuningConfig
from thawline.exports.timm_folder import save_timm_folder
from thawline.model.load import LoadedModel
from thawline.records import TrainingRecord

CLASSES = ("blue", "red")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/val/test folders with 12, 8 and 8 images a class of 40 x 40 pixels."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 8), ("test", 8)):
        for position, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 200, (40, 40, 3), dtype=np.uint8)
                pixels[..., 2 - 2 * position] += 25
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def save_model(folder: Path, model: LoadedModel, classes: Sequence[str]) -> None:
    """Save a network as a timm folder, as `fit` would, without the facts of a run."""
    save_timm_folder(
        folder,
        model.module,
        architecture=model.architecture,
        label_names=tuple(classes),
        preprocessing=model.preprocessing,
        model_args=model.model_args,
        pretrained_cfg=model.pretrained_cfg,
        thawline={},
        card="",
    )


class Stop(Callback):
    """Ctrl-C after a number of trainings."""

    def __init__(self, after: int) -> None:
        self.left = after

    def training_started(self, record: TrainingRecord) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1


def small_request(images: Path, strategies: tuple[str, ...], verb: str = "compare", **search: object) -> Request:
    """Two epochs of a tiny network with random weights at 32 px, on one thread."""
    return Request(
        verb=verb,  # type: ignore[arg-type]
        data=str(images),
        model="test_efficientnet",
        weights="random",
        strategies=strategies,
        train=TrainConfig(epochs=2, batch_size=8, threads=1, device="cpu"),
        images=DataConfig(image_size=32, views=2, augment="mild"),
        search=TuningConfig(**search),  # type: ignore[arg-type]
        explain=False,
    )
