"""The data sets of the proving ground, in the order in which a group of methods visits them."""

from __future__ import annotations

SMALL, LARGE = 64, 96

SETS: dict[str, int] = {
    "dtd10": LARGE,
    "isic5": LARGE,
    "eurosat": SMALL,
    "cifar10": SMALL,
    "gtsrb": SMALL,
    "mnist": SMALL,
    "flowers12": LARGE,
    "caltech101": LARGE,
    "pacs-photo": LARGE,
    "beans": LARGE,
    "pacs-sketch": LARGE,
    "fer2013": SMALL,
}
"""Side of the network input in pixels by name: 64 where the typical image has less than 100, else 96. isic5's files are
128 pixels wide. The first six are those that the study of head start and norm mode needs most."""
