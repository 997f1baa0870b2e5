"""A stream returns what a pixel cache would hold, whatever was announced, and notices files that change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from thawline.config import Preprocessing
from thawline.data import stream
from thawline.data.pixels import PixelStore, build_pixels
from thawline.data.stream import PixelStream, open_stream
from thawline.errors import DataError, RunError

if TYPE_CHECKING:
    from tests.data.conftest import Picture


@pytest.fixture
def files(tmp_path: Path, picture: Picture) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for number, path in enumerate(paths):
        picture(number, 20 + number, 30).save(path)
    return paths


def opened(
    files: list[Path], preprocessing: Preprocessing, cache: Path, threads: int = 1
) -> tuple[PixelStream, PixelStore]:
    return (
        open_stream(files, preprocessing, cache=cache / "streams", threads=threads),
        build_pixels(files, preprocessing, cache=cache / "pixels", threads=1),
    )


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("announced", [True, False])
def test_the_pixels_of_a_store_in_any_order(
    files: list[Path], preprocessing: Preprocessing, tmp_path: Path, threads: int, announced: bool
) -> None:
    streamed, store = opened(files, preprocessing, tmp_path / "cache", threads)
    assert (streamed.shape, streamed.key, list(streamed.facts)) == (store.array.shape, store.key, list(store.facts))
    order = np.random.default_rng(0).permutation(len(files))
    for _ in range(2):
        if announced:
            streamed.expect(order)
        for rows in (order[:5], order[5:10], np.resize(order[10:], 5)):  # the last batch is padded
            assert np.array_equal(streamed[rows], store.array[rows])
    assert streamed.decoded == 2 * len(files), "each image is decoded once in a pass"


def test_rows_that_come_twice_and_rows_that_nobody_announced(
    files: list[Path], preprocessing: Preprocessing, tmp_path: Path
) -> None:
    streamed, store = opened(files, preprocessing, tmp_path / "cache", threads=2)
    streamed.expect(np.array([3, 3, 1, 3, 2, 0, 5, 4]))
    for rows in ([3, 3, 1], [3, 2], [7, 8], [0, 5], [11, 11], [4]):
        assert np.array_equal(streamed[np.array(rows)], store.array[rows])


def test_nothing_is_decoded_before_it_is_asked_for_and_then_only_a_few_ahead(
    files: list[Path], preprocessing: Preprocessing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_AHEAD", 3)
    streamed, _ = opened(files, preprocessing, tmp_path / "cache")
    streamed.expect(np.arange(12))
    assert streamed.decoded == 0
    streamed[np.arange(2)]
    assert len(streamed._ahead) == 3
    streamed[np.arange(2, 4)]
    assert len(streamed._ahead) == 3
    streamed.expect(np.arange(4, 9))  # part of what was announced: what is ahead is still wanted
    assert [row for row, _ in streamed._ahead] == [4, 5, 6]
    streamed.expect(np.arange(9, 4, -1))
    assert not streamed._ahead


def test_a_file_that_changes_or_vanishes_ends_the_run(
    files: list[Path], preprocessing: Preprocessing, tmp_path: Path, picture: Picture
) -> None:
    streamed, _ = opened(files, preprocessing, tmp_path / "cache")
    picture(99, 40, 40).save(files[2])
    with pytest.raises(
        RunError, match=r"2\.png' has changed since the run started; restore it, then continue with `thawline resume`"
    ):
        streamed[np.array([1, 2])]
    files[3].unlink()
    with pytest.raises(RunError, match=r"3\.png' can no longer be opened \(No such file"):
        streamed[np.array([3])]


def test_a_damaged_image_is_found_before_any_training(
    files: list[Path], preprocessing: Preprocessing, tmp_path: Path
) -> None:
    files[4].write_bytes(files[4].read_bytes()[:60])
    with pytest.raises(DataError, match=r"4\.png' cannot be read as an image.*`on_bad='skip'`"):
        open_stream(files, preprocessing, cache=tmp_path / "cache")
    streamed = open_stream(files, preprocessing, cache=tmp_path / "cache", on_bad="skip")
    assert [row for row, file in enumerate(streamed.facts) if file.error] == [4]
    assert not streamed[np.array([4])].any()


def test_files_are_looked_at_once_and_again_when_one_changes(
    files: list[Path], preprocessing: Preprocessing, tmp_path: Path, picture: Picture
) -> None:
    looked: list[tuple[int, int]] = []

    def look() -> PixelStream:
        return open_stream(files, preprocessing, cache=tmp_path, progress=lambda *at: looked.append(at))

    first = look()
    assert len(looked) == 12
    again = look()
    assert len(looked) == 12
    assert (again.key, again.facts) == (first.key, first.facts)
    picture(99, 40, 40).save(files[2])
    assert look().key != first.key
    assert len(looked) == 24
