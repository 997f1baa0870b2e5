"""Folders of small images for the tests of the data part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from PIL import Image

from thawline.config import Preprocessing

MakeFolder = Callable[[Mapping[str, int]], Path]


class Picture(Protocol):
    """`picture(seed, width, height)` draws an image."""

    def __call__(self, seed: int, width: int = 24, height: int = 20) -> Image.Image: ...


def _picture(seed: int, width: int = 24, height: int = 20) -> Image.Image:
    """A smooth random RGB image, so that JPEG keeps it roughly as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def picture() -> Picture:
    return _picture


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """`make_folder({"train/cat": 3})` writes that many different images per class folder and returns the root."""

    def make(counts: Mapping[str, int]) -> Path:
        root = tmp_path / "images"
        seed = 0
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                _picture(seed).save(root / folder / f"{number:03}.png")
                seed += 1
        return root

    return make


@pytest.fixture
def preprocessing() -> Preprocessing:
    return Preprocessing(16, "bicubic", 0.875, "center", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
