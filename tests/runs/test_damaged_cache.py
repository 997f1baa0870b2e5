"""Damage to the cached pixels between two runs, or between a kill and a resume, changes no result."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.small_runs import Stop, small_request
from thawline.api import resume, run
from thawline.callback import Callback
from thawline.errors import RunFolderError
from thawline.records import digest
from thawline.runs.files import LEDGER
from thawline.runs.ledger import Ledger

STRATEGIES = ("linear_probe", "full")


class Notes(Callback):
    """Keeps the notes, and counts the images that are decoded."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.decoded = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def decoding(self, done: int, total: int) -> None:
        self.decoded = done

    @property
    def rebuilt(self) -> list[str]:
        return [note for note in self.notes if note.endswith("will be rebuilt.")]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixels"


def _digest(folder: Path) -> str:
    return digest(Ledger(folder / LEDGER).records)


def _zero(cache: Path) -> None:
    (path,) = cache.glob("*/pixels.npy")
    array = np.load(path, mmap_mode="r+")
    array[:] = 0
    array.flush()


@pytest.mark.thorough
def test_damaged_pixels_change_neither_the_next_run_nor_a_resumed_one(
    images: Path, cache: Path, tmp_path: Path
) -> None:
    request = small_request(images, STRATEGIES, learning_rate=1e-3)
    run(request, tmp_path / "first")
    _zero(cache)
    again = Notes()
    run(request, tmp_path / "second", again)
    assert len(again.rebuilt) == 1
    assert again.decoded == 56
    assert _digest(tmp_path / "second") == _digest(tmp_path / "first")

    with pytest.raises(KeyboardInterrupt):
        run(request, tmp_path / "third", Stop(1))
    _zero(cache)
    resumed = Notes()
    resume(tmp_path / "third", resumed)
    assert len(resumed.rebuilt) == 1
    assert _digest(tmp_path / "third") == _digest(tmp_path / "first")


def test_a_resumed_run_refuses_pixels_that_decode_otherwise(
    images: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(small_request(images, STRATEGIES, learning_rate=1e-3), tmp_path / "run", Stop(1))
    shutil.rmtree(cache)
    # As another build of the library below Pillow would: the same files and versions, other pixels.
    monkeypatch.setattr("thawline.data.survey._array", lambda image: np.full((32, 32, 3), 7, np.uint8))
    with pytest.raises(RunFolderError, match="decode to different pixels than when this run began"):
        resume(tmp_path / "run")
