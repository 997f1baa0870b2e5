"""Data and network of the demo: handwritten digits, and a small network pretrained on printed letters.

Nothing here needs the internet: the digits come with scikit-learn, the network with this package. `demo_network/` is
written by scripts/make_demo_weights.py; its README.md documents its training data and accuracy.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from thawline.errors import DataError, OptionError

DIGIT_SIDE = 32
"""Pixels; scikit-learn's digits are 8 x 8, with 17 gray levels."""


def demo_network() -> Path:
    """The folder of the shipped network, as `timm.create_model("local-dir:FOLDER", pretrained=True)` reads it."""
    return Path(str(resources.files("thawline.data"))) / "demo_network"


def source_set() -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Test images of the pretraining task: gray pixels `[N, 32, 32]`, labels `[N]`, class names.

    Their typefaces were not in the pretraining data; they measure how much fine-tuning makes the network forget.
    """
    about = json.loads((demo_network() / "source_test.json").read_text(encoding="utf-8"))
    names, side = tuple(about["label_names"]), about["side"]
    with Image.open(demo_network() / "source_test.png") as sheet:
        pixels = np.asarray(sheet.convert("L"))
    images = pixels.reshape(len(names), side, -1, side).swapaxes(1, 2)  # one row of the sheet is one class
    return images.reshape(-1, side, side).copy(), np.repeat(np.arange(len(names)), images.shape[1]), names


def write_digits(folder: Path, *, train_per_class: int, val_per_class: int, seed: int) -> Path:
    """Write scikit-learn's 1,797 digits as gray PNG files into `folder`/{train,val,test}/{0..9} and return `folder`.

    The seed draws which images of each class go to train and to val; all others are test. Raises `OptionError` if a
    class has too few images for that, `DataError` if the folder already holds something.
    """
    digits = load_digits()
    smallest = int(np.bincount(digits.target).min())
    if min(train_per_class, val_per_class) < 1 or train_per_class + val_per_class >= smallest:
        raise OptionError(
            f"The demo needs at least 1 training and 1 validation image per digit, and fewer than {smallest} in total; "
            f"got {train_per_class} and {val_per_class}."
        )
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty: choose a new folder for the demo's images.")
    for digit in range(10):
        drawn = np.random.default_rng([seed, digit]).permutation(np.flatnonzero(digits.target == digit))
        train, val, test = np.split(drawn, [train_per_class, train_per_class + val_per_class])
        for split, rows in (("train", train), ("val", val), ("test", test)):
            _write_images(folder / split / str(digit), digits.images, rows)
    return folder


def _write_images(folder: Path, images: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
    folder.mkdir(parents=True)
    for row in rows:
        small = Image.fromarray(np.round(images[row] * (255 / 16)).astype(np.uint8))
        small.resize((DIGIT_SIDE, DIGIT_SIDE), Image.Resampling.BICUBIC).save(folder / f"{row:04d}.png")
