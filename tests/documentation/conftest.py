"""What the blocks of the documentation and the examples find in their folder, and networks that need no download."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import thawline
from thawline.data.demo import demo_network
from thawline.model import source

CLASSES = ("cat", "dog")
DOWNLOADED = ("mobilenetv3_large_100", "resnet50")
"""Networks that the documentation names. Here they are the network of the demo, which comes with thawline."""


@pytest.fixture(autouse=True)
def _offline_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = source._resolve_source

    def resolve_offline(name: str, image_size: int | None) -> source.Origin:
        return resolve(f"local-dir:{demo_network()}" if name in DOWNLOADED else name, image_size)

    monkeypatch.setattr(source, "_resolve_source", resolve_offline)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def write_photos(folder: Path, seed: int = 0) -> None:
    """Noise of two tints as train/val/test folders with 12, 8 and 8 images of 40 x 40 pixels a class."""
    generator = np.random.default_rng(seed)
    for split, count in (("train", 12), ("val", 8), ("test", 8)):
        for position, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 200, (40, 40, 3), dtype=np.uint8)
                pixels[..., 2 - 2 * position] += 25
                Image.fromarray(pixels).save(folder / split / name / f"{number}.jpg")


def _write_table(file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["path"], *[[f"photos/test/{name}/1.jpg"] for name in CLASSES]])


@dataclass(frozen=True)
class Prepared:
    """Makes what a block or an example takes for granted; a run is trained once for all of them."""

    run: Path

    def put(self, name: str, folder: Path) -> None:
        """Make `name` in `folder`, as `<!-- given: NAME -->` asks for it."""
        makers: dict[str, Callable[[Path], object]] = {
            "photos": write_photos,
            "new-photos": lambda target: write_photos(target, seed=1),
            "pacs-photo": lambda target: write_photos(target, seed=2),
            "pacs-sketch": lambda target: write_photos(target, seed=3),
            "mobilenetv2_050": lambda target: shutil.copytree(demo_network(), target),
            "new.jpg": lambda target: Image.new("RGB", (40, 40), "navy").save(target),
            "table.csv": _write_table,
            "run": lambda target: shutil.copytree(self.run / "run", target),
        }
        makers[name](folder / name)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A finished run of the photos, trained in a second."""
    folder = tmp_path_factory.mktemp("prepared")
    write_photos(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THAWLINE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        thawline.fit(
            folder / "photos",
            folder / "run",
            model=f"local-dir:{demo_network()}",
            strategy="last_blocks",
            epochs=2,
            threads=1,
            norm="kept",
            callback=None,
        )
    return Prepared(folder)


@pytest.fixture
def desk(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a reader: nothing but `photos` is in it."""
    prepared.put("photos", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
