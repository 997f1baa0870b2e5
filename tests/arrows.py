"""Images whose classes are mirror images of one another, and images whose classes are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
SIDEWAYS = {"left": 0, "right": 2}
UPRIGHT = {"up": 3, "down": 1}
"""Classes with the quarter turns from an arrow to the left; a mirror exchanges the first two and not the others."""


def arrow(quarter_turns: int, generator: np.random.Generator) -> np.ndarray:
    """[32, 32, 3] uint8: a bright arrow somewhere on noise."""
    pixels = generator.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
    top, left = generator.integers(0, SIDE - 19, 2)
    shape = np.zeros((19, 19), bool)
    for column in range(9):
        shape[9 - column : 10 + column, column] = True
    shape[7:12, 9:] = True
    pixels[top : top + 19, left : left + 19][np.rot90(shape, quarter_turns)] = generator.integers(150, 255)
    return pixels


def arrows(directions: dict[str, int], counts: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [n, 32, 32, 3] and labels [n], in random order, with so many images of each class."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(len(counts)), counts))
    turns = [*directions.values()]
    return np.stack([arrow(turns[label], generator) for label in labels]), labels


def write_arrows(root: Path, directions: dict[str, int], train: int = 40, val: int = 30, test: int = 10) -> Path:
    """A folder of train/val/test folders with so many images of each class."""
    names = [*directions]
    for seed, (split, count) in enumerate({"train": train, "val": val, "test": test}.items()):
        for number, (pixels, label) in enumerate(zip(*arrows(directions, [count] * len(names), seed), strict=True)):
            path = root / split / names[label] / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root
