"""Print how deep a training step of a search lies below `thawline.fit`: python -m scripts.count_frames.

Runs `fit` on a few images with a tiny network and looks at the Python stack at the first optimizer step of a candidate.
Only functions of thawline count.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

import thawline
from thawline.callback import Callback
from thawline.config import DataConfig, TrainConfig
from thawline.records import TrainingRecord
from thawline.testing import TINY_MODELS
from thawline.training.steps import Steps

PACKAGE = Path(thawline.__file__).parent
STRATEGIES = ("auto", "biotune:population=2,elites=1,generations=1,seeds=1,top=1")
IMAGES = {"train": 8, "val": 4}
"""Images of each of two classes."""


class FoundError(Exception):
    """Ends the run: the stack has been seen."""


@dataclass
class SearchTraining(Callback):
    """Knows whether a candidate of the search is being trained."""

    running: bool = False

    def training_started(self, record: TrainingRecord) -> None:
        """A training of any purpose begins."""
        self.running = record.purpose == "search"


def frames_of(strategy: str, images: Path, out: Path) -> list[tuple[str, str]]:
    """File and function of every frame from `fit` down to the optimizer step, the outermost first."""
    found: list[tuple[str, str]] = []
    with _stopped_at_the_first_step(callback := SearchTraining(), found):
        try:
            thawline.fit(
                images,
                out,
                model=TINY_MODELS[0],
                strategy=strategy,
                callback=callback,
                weights="random",
                train=TrainConfig(epochs=4, batch_size=4, device="cpu", threads=1),
                images=DataConfig(image_size=32, augment="none"),
            )
        except FoundError:
            return found
    raise AssertionError(f"{strategy} trained no candidate")


@contextmanager
def _stopped_at_the_first_step(callback: SearchTraining, found: list[tuple[str, str]]) -> Iterator[None]:
    plain = Steps.step

    def step(self: Steps, rows: np.ndarray, epoch: int) -> object:
        if not callback.running:
            return plain(self, rows, epoch)
        stack = [_own(frame) for frame in traceback.extract_stack() if PACKAGE in Path(frame.filename).parents]
        # From `fit` itself; at the other end `Steps.step` is replaced here.
        found.extend((*stack[stack.index(("api.py", "fit")) :], ("training/steps.py", plain.__name__)))
        raise FoundError

    with patch.object(Steps, "step", step):
        yield


def _own(frame: traceback.FrameSummary) -> tuple[str, str]:
    return str(Path(frame.filename).relative_to(PACKAGE)), frame.name


def write_images(folder: Path) -> None:
    """Noise in two classes, as PNG files in split folders."""
    generator = np.random.default_rng(0)
    for split, count in IMAGES.items():
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")


def main() -> None:
    """Print the frames of every search, then how many there are and in how many files."""
    verbose = "--list" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch, patch.dict("os.environ", {"THAWLINE_CACHE": f"{scratch}/cache"}):
        write_images(Path(scratch, "images"))
        for number, strategy in enumerate(STRATEGIES):
            frames = frames_of(strategy, Path(scratch, "images"), Path(scratch, f"run{number}"))
            for file, function in frames if verbose else ():
                print(f"  {file}: {function}")
            print(f"{strategy.partition(':')[0]}: {len(frames)} frames, {len({file for file, _ in frames})} files")


if __name__ == "__main__":
    main()
