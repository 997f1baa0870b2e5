"""Names under which other tools have made options known. Standard library only."""

from __future__ import annotations

from collections.abc import Collection

from thawline.formatting import nearest

ALIASES = {"learning_rate": "--lr", "image_size": "--imgsz"}
"""Short forms of options, under which other tools have made them known."""
MEANT = {
    "--batch": "--batch-size",
    "--bs": "--batch-size",
    "--lr0": "--learning-rate",
    "--img-size": "--image-size",
    "--input-size": "--image-size",
    "--size": "--image-size",
    "--resolution": "--image-size",
    "--wd": "--weight-decay",
    "--opt": "--optimizer",
    "--arch": "--model",
    "--backbone": "--model",
    "--network": "--model",
    "--checkpoint": "--weights",
    "--augmentation": "--augment",
    "--num-epochs": "--epochs",
    "--early-stopping": "--patience",
    "--smoothing": "--label-smoothing",
    "--grad-clip": "--clip-norm",
    "--amp": "--precision",
    "--dtype": "--precision",
    "--class-weights": "--balance",
    "--method": "--strategy",
    "--methods": "--strategies",
    "--strategy": "--strategies",
    "--strategies": "--strategy",
    "--time": "--budget",
    "--val-split": "--test-share",
    "--test-size": "--test-share",
    "--output": "--out",
    "--output-dir": "--out",
    "--save-dir": "--out",
    "--project": "--out",
    "-o": "--out",
    "-m": "--model",
    "-h": "--help",
    "--tracker": "--track",
    "--logger": "--track",
}
"""Names from other tools, and names that are easily mixed up -> the option that is probably meant."""


def suggested(name: str, known: Collection[str]) -> str:
    """Suggestion for an unknown name of an option, to append to a message: the option of other tools, or the nearest.

    `name` and `known` as Python writes them, with underscores.
    """
    flag = f"--{name.replace('_', '-')}"
    short = next((option for option, alias in ALIASES.items() if alias == flag), "")
    option = short or MEANT.get(flag, "").removeprefix("--").replace("-", "_")
    return f"; did you mean {option!r}?" if option in known else nearest(name, known)
