"""Overlays: cold regions show the image, hot ones the color; captions that always fit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from thawline.explanation.overlay import SMALLEST_SIDE, Panel, colors, enlarged, overlay, side_by_side


def test_no_heat_leaves_the_image_in_gray() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    gray = np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))
    assert np.array_equal(np.asarray(overlay(pixels, np.zeros((256, 256), np.float32))), gray)


def test_heat_colors_its_own_place_only() -> None:
    heat = np.zeros((256, 256), np.float32)
    heat[:100, 150:] = 1
    found = np.asarray(overlay(np.full((256, 256, 3), 80, np.uint8), heat)).astype(int)
    warm, cold = found[50, 200], found[200, 50]
    assert warm[0] > warm[2]
    assert cold.tolist() == [80, 80, 80]


def test_the_colors_grow_lighter_all_the_way() -> None:
    lightness = colors(np.linspace(0, 1, 200, dtype=np.float32)) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()


def test_the_colors_are_those_of_matplotlib() -> None:
    inferno = pytest.importorskip("matplotlib").colormaps["inferno"]
    values = np.linspace(0, 1, 256, dtype=np.float32)
    np.testing.assert_allclose(colors(values) / 255, inferno(values)[:, :3], atol=0.03)


@pytest.mark.parametrize("side", [8, 32, 96, 224, 384])
def test_small_images_are_enlarged_by_a_whole_factor(side: int) -> None:
    width, height = enlarged(np.zeros((side, side, 3), np.uint8)).size
    assert width == height >= SMALLEST_SIDE
    assert width % side == 0


@pytest.mark.parametrize(
    "name", ["x" * 5000, "<script>alert(1)</script>", "猫 und \u05d7\u05ea\u05d5\u05dc", "", "\\n\\x00"]
)
def test_any_caption_fits(name: str) -> None:
    image = enlarged(np.zeros((32, 32, 3), np.uint8))
    sheet = side_by_side([Panel(image, name, (name, name)), Panel(image, "b")])
    assert sheet.width == 12 + 2 * (224 + 12)
    right_margin = np.asarray(sheet)[:, 12 + 224 : 24 + 224]
    assert (right_margin == 255).all(), "a caption runs into the next image"
