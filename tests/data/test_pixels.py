from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor

from thawline.config import Preprocessing
from thawline.data import pixels, survey
from thawline.data.cache import SEAL
from thawline.data.pixels import build_pixels, hash_files, normalize, store_key
from thawline.errors import DataError

if TYPE_CHECKING:
    from tests.data.conftest import Picture


def timm_transform(preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
    transform: Callable[[Image.Image], Tensor] = create_transform(
        input_size=(3, preprocessing.image_size, preprocessing.image_size),
        is_training=False,
        interpolation=preprocessing.interpolation,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
    return transform


@pytest.fixture
def files(tmp_path: Path, picture: Picture) -> list[Path]:
    """Wide, tall, square, tiny and large images as PNG and JPEG."""
    sizes = [(40, 20), (19, 64), (32, 32), (16, 16), (3, 5), (200, 150), (1, 1)]
    paths = []
    for number, size in enumerate(sizes):
        for ending in ("png", "jpg"):
            paths.append(tmp_path / f"{number}.{ending}")
            picture(number, *size).save(paths[-1])
    return paths


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875, 0.95])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_store_and_normalization_equal_timm_to_the_last_bit(
    files: list[Path], tmp_path: Path, preprocessing: Preprocessing, interpolation: str, crop_pct: float, crop_mode: str
) -> None:
    preprocessing = replace(
        preprocessing, image_size=32, interpolation=interpolation, crop_pct=crop_pct, crop_mode=crop_mode
    )
    store = build_pixels(files, preprocessing, cache=tmp_path / "cache", threads=2)
    ours = normalize(torch.from_numpy(store.array.copy()), preprocessing)
    transform = timm_transform(preprocessing)
    for row, path in enumerate(files):
        assert torch.equal(ours[row], transform(Image.open(path).convert("RGB")))
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_a_second_build_comes_from_the_cache_without_decoding(
    files: list[Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    calls: list[tuple[int, int]] = []
    options: dict[str, Any] = {"cache": tmp_path / "cache", "threads": 1, "progress": lambda *done: calls.append(done)}
    first = build_pixels(files, preprocessing, **options)
    assert calls == [(done, len(files)) for done in range(1, len(files) + 1)]
    second = build_pixels(files, preprocessing, **options, hashes=hash_files(files))
    assert len(calls) == len(files)
    assert first.key == second.key
    assert first.facts == second.facts
    assert np.array_equal(first.array, second.array)
    assert not second.array.flags.writeable


def test_files_are_hashed_beforehand_only_where_a_store_might_fit(
    files: list[Path], tmp_path: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[int] = []

    def counted(paths: list[Path], *, threads: int = 0) -> list[str]:
        hashed.append(len(paths))
        return hash_files(paths, threads=threads)

    monkeypatch.setattr(pixels, "hash_files", counted)
    for _ in range(2):
        build_pixels(files, preprocessing, cache=tmp_path / "cache")
        build_pixels(files[1:], preprocessing, cache=tmp_path / "cache")
        build_pixels(files, replace(preprocessing, crop_pct=1.0), cache=tmp_path / "cache")
    assert hashed == [len(files), len(files) - 1, len(files)]


def _zero_behind_the_header(path: Path) -> None:
    array = np.load(path, mmap_mode="r+")
    array[:] = 0
    array.flush()


def _flip_a_bit(path: Path) -> None:
    array = np.load(path, mmap_mode="r+")
    array[3, 2, 1, 0] ^= 1
    array.flush()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "zeros": _zero_behind_the_header,
    "one bit": _flip_a_bit,
    "rows rolled": lambda path: np.save(path, np.roll(np.load(path), 5, axis=0)),
    "another size": lambda path: np.save(path, np.zeros((14, 8, 8, 3), np.uint8)),
    "another dtype": lambda path: np.save(path, np.load(path).astype(np.int8)),
    "floats": lambda path: np.save(path, np.load(path).astype(np.float32)),
    "one row less": lambda path: np.save(path, np.load(path)[1:]),
    "no array": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "pickled": lambda path: np.save(path, np.array([{}], object), allow_pickle=True),
    "no facts": lambda path: path.with_name("facts.json").unlink(),
    "facts of other files": lambda path: path.with_name("facts.json").write_text("[]"),
    "facts without a field": lambda path: path.with_name("facts.json").write_text("[[5]]"),
    "written by an older version": lambda path: path.with_name(SEAL).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_pixels_are_decoded_again_with_one_line(
    files: list[Path], tmp_path: Path, preprocessing: Preprocessing, damage: str
) -> None:
    cache, notes = tmp_path / "cache", list[str]()
    before = build_pixels(files, preprocessing, cache=cache, note=notes.append)
    pixels, key, digest = before.array.copy(), before.key, before.sha256
    del before
    DAMAGE[damage](cache / key / "pixels.npy")
    after = build_pixels(files, preprocessing, cache=cache, note=notes.append)
    assert np.array_equal(after.array, pixels)
    assert (after.key, after.sha256) == (key, digest)
    (note,) = notes
    assert note.startswith(f"The cache entry {str(cache / key)!r} is damaged (")
    assert note.endswith(") and will be rebuilt.")
    assert build_pixels(files, preprocessing, cache=cache, note=pytest.fail).key == key


def test_the_store_of_other_images_under_the_right_name_is_not_used(
    files: list[Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    cache, notes = tmp_path / "cache", list[str]()
    forwards, backwards = (build_pixels(paths, preprocessing, cache=cache) for paths in (files, files[::-1]))
    expected = forwards.array.copy()
    shutil.rmtree(forwards.path)
    shutil.copytree(backwards.path, forwards.path)
    assert np.array_equal(build_pixels(files, preprocessing, cache=cache, note=notes.append).array, expected)
    assert len(notes) == 1


def test_proving_a_store_decodes_nothing(files: list[Path], tmp_path: Path, preprocessing: Preprocessing) -> None:
    build_pixels(files, preprocessing, cache=tmp_path / "cache")
    build_pixels(files, preprocessing, cache=tmp_path / "cache", progress=lambda *_: pytest.fail("decoded"))


def test_a_lack_of_memory_is_not_remembered(
    files: list[Path], tmp_path: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(content: bytes) -> Image.Image:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(survey, "load", fail)
        with pytest.raises(DataError, match=r"14 of 14 images .*needs more memory than is available; "):
            build_pixels(files, preprocessing, cache=tmp_path / "cache")
    assert build_pixels(files, preprocessing, cache=tmp_path / "cache").array.any()


def test_the_number_of_threads_changes_nothing(files: list[Path], tmp_path: Path, preprocessing: Preprocessing) -> None:
    single, threaded = (
        build_pixels(files * 5, preprocessing, cache=tmp_path / str(n), threads=n).array for n in (1, 4)
    )
    assert np.array_equal(single, threaded)


def test_the_key_follows_content_order_and_geometry(files: list[Path], preprocessing: Preprocessing) -> None:
    hashes = hash_files(files)
    keys = {
        store_key(hashes, preprocessing),
        store_key(hashes[::-1], preprocessing),
        store_key(hashes[1:], preprocessing),
        store_key(hashes, replace(preprocessing, image_size=17)),
        store_key(hashes, replace(preprocessing, crop_pct=1.0)),
        store_key(hashes, replace(preprocessing, interpolation="bilinear")),
    }
    assert len(keys) == 6
    assert store_key(hashes, replace(preprocessing, std=(1.0, 1.0, 1.0))) in keys


def test_a_changed_file_makes_a_new_store(
    files: list[Path], tmp_path: Path, preprocessing: Preprocessing, picture: Picture
) -> None:
    before = build_pixels(files, preprocessing, cache=tmp_path / "cache")
    picture(99).save(files[0])
    after = build_pixels(files, preprocessing, cache=tmp_path / "cache")
    assert before.key != after.key
    assert not np.array_equal(before.array[0], after.array[0])
    assert np.array_equal(before.array[1:], after.array[1:])


def test_unreadable_images_are_an_error_or_skipped_never_replaced(
    files: list[Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    files[3].write_bytes(files[3].read_bytes()[:300])
    files[5].write_text("no image")
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=r"2 of 14 images cannot be used; first: '.*1\.jpg' cannot be read"):
        build_pixels(files, preprocessing, cache=cache)
    store = build_pixels(files, preprocessing, cache=cache, on_bad="skip")
    assert [index for index, file in enumerate(store.facts) if file.error] == [3, 5]
    assert not store.array[3].any()
    assert store.array[4].any()


def test_a_sliver_is_refused_before_it_is_blown_up(tmp_path: Path, preprocessing: Preprocessing) -> None:
    Image.new("L", (60_000, 1)).save(tmp_path / "sliver.png")
    with pytest.raises(DataError, match="too narrow"):
        build_pixels([tmp_path / "sliver.png"], replace(preprocessing, image_size=224), cache=tmp_path / "cache")


def test_an_interrupted_build_leaves_nothing_and_harms_nothing(
    files: list[Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_pixels(files, preprocessing, cache=tmp_path / "cache", progress=interrupt)
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(build_pixels(files, preprocessing, cache=tmp_path / "cache").array) == len(files)


def test_a_cache_that_cannot_be_written_is_one_line(
    files: list[Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(
        DataError,
        match=r"cannot write to the cache folder .*cache' .*; move what is in its place, or set THAWLINE_CACHE "
        r"to another folder\.$",
    ):
        build_pixels(files, preprocessing, cache=tmp_path / "cache")


def test_the_cache_is_bounded(files: list[Path], tmp_path: Path, preprocessing: Preprocessing) -> None:
    cache = tmp_path / "cache"
    sizes = (16, 17, 18)
    stores = [
        build_pixels(files, replace(preprocessing, image_size=size), cache=cache, limit_bytes=40_000) for size in sizes
    ]
    assert [store.path.exists() for store in stores] == [False, True, True]
    alone = build_pixels(files, replace(preprocessing, image_size=19), cache=cache, limit_bytes=0)
    assert [entry.name for entry in cache.iterdir()] == [alone.key]


def _plain(path: Path, preprocessing: Preprocessing) -> Tensor:
    """What a loop around timm feeds its network, without our decoder."""
    return timm_transform(preprocessing)(Image.open(path).convert("RGB"))


def test_rotated_photographs_are_upright_where_plain_timm_leaves_them_lying(
    tmp_path: Path, preprocessing: Preprocessing, picture: Picture
) -> None:
    upright, exif = picture(0, 60, 40), Image.Exif()
    exif[0x0112] = 6
    upright.save(tmp_path / "upright.png")
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    paths = [tmp_path / "upright.png", tmp_path / "lying.png"]
    store = build_pixels(paths, preprocessing, cache=tmp_path / "cache")
    assert np.array_equal(store.array[0], store.array[1])
    assert not torch.equal(_plain(paths[0], preprocessing), _plain(paths[1], preprocessing))


def test_sixteen_bit_images_keep_their_grays_where_plain_timm_clips_them(
    tmp_path: Path, preprocessing: Preprocessing
) -> None:
    gray = np.linspace(0, 255, 32 * 32).reshape(32, 32)
    Image.fromarray(gray.round().astype(np.uint8)).save(tmp_path / "8.png")
    Image.fromarray((gray * 257).round().astype(np.uint16)).save(tmp_path / "16.png")
    paths = [tmp_path / "8.png", tmp_path / "16.png"]
    store = build_pixels(paths, preprocessing, cache=tmp_path / "cache")
    assert np.abs(store.array[0].astype(int) - store.array[1]).max() <= 1
    plain = [_plain(path, preprocessing) for path in paths]
    assert (plain[0] - plain[1]).abs().max() > 1
