"""Small copies of torchvision's data sets in the files that the real ones have; nothing is downloaded."""

from __future__ import annotations

import bz2
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from tests.data.torchvision_files import (
    Pixels,
    Splits,
    jpeg,
    without_checksums,
    write_aircraft,
    write_cifar10,
    write_cifar100,
    write_dtd,
    write_flowers,
    write_mnist,
    write_stl10,
    write_svhn,
    write_usps,
)
from thawline.data.decode import decode
from thawline.data.sources import ImageSet
from thawline.data.torchvision import SETS, read_torchvision
from thawline.errors import DataError


def noise(seed: int, *shape: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def labels(images: ImageSet, split: str) -> list[str]:
    return [item.label for item in images.items if item.split == split]


def pixels(images: ImageSet, *splits: str) -> Pixels:
    """[N, H, W, 3], split by split."""
    items = [item for split in splits for item in images.items if item.split == split]
    return np.stack([np.asarray(decode(item.path)) for item in items])


@pytest.mark.parametrize(("name", "classes"), [("MNIST", ("2", "7")), ("FashionMNIST", ("Pullover", "Sneaker"))])
def test_mnist(tmp_path: Path, name: str, classes: tuple[str, ...]) -> None:
    train, test = noise(0, 3, 28, 28), noise(1, 2, 28, 28)
    write_mnist(tmp_path / "raw" / name, name, {"train": ([7, 2, 7], train), "test": ([2, 7], test)})
    images = read_torchvision(name, tmp_path)
    assert images.classes == classes
    assert labels(images, "train") == [classes[1], classes[0], classes[1]]
    assert labels(images, "test") == list(classes)
    assert (pixels(images, "train") == train[..., None]).all()
    assert (pixels(images, "test") == test[..., None]).all()


@pytest.mark.parametrize(("name", "write"), [("CIFAR10", write_cifar10), ("CIFAR100", write_cifar100)])
def test_cifar(tmp_path: Path, name: str, write: Callable[[Path, Sequence[str], Splits], None]) -> None:
    train, test = noise(0, 5, 32, 32, 3), noise(1, 1, 32, 32, 3)
    classes = ["airplane", "automobile"]
    write(tmp_path / "raw" / name, classes, {"train": ([0, 1, 0, 1, 0], train), "test": ([1], test)})
    images = read_torchvision(name, tmp_path)
    assert labels(images, "train") == [classes[0], classes[1]] * 2 + [classes[0]]
    assert labels(images, "test") == [classes[1]]
    assert (pixels(images, "train", "test") == np.concatenate([train, test])).all()


def test_usps(tmp_path: Path) -> None:
    train = noise(0, 2, 16, 16)
    write_usps(tmp_path / "raw" / "USPS", {"train": ([0, 9], train), "test": ([9], noise(1, 1, 16, 16))})
    images = read_torchvision("USPS", tmp_path)
    assert (labels(images, "train"), labels(images, "test")) == (["0", "9"], ["9"])
    found = pixels(images, "train").astype(int)
    assert abs(found - train[..., None]).max() <= 1, "the text rounds, and torchvision cuts off"


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_checksums(monkeypatch)
    train = noise(0, 3, 32, 32, 3)
    write_svhn(tmp_path / "raw" / "SVHN", {"train": ([1, 0, 2], train), "test": ([1, 0], noise(1, 2, 32, 32, 3))})
    images = read_torchvision("SVHN", tmp_path)
    assert (labels(images, "train"), labels(images, "test")) == (["1", "0", "2"], ["1", "0"])
    assert (pixels(images, "train") == train).all()


def test_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_checksums(monkeypatch)
    train = noise(0, 2, 96, 96, 3)
    splits: Splits = {"train": ([1, 0], train), "test": ([0], noise(1, 1, 96, 96, 3))}
    write_stl10(tmp_path / "raw" / "STL10", ["airplane", "bird"], splits)
    images = read_torchvision("STL10", tmp_path)
    assert (labels(images, "train"), labels(images, "test")) == (["bird", "airplane"], ["airplane"])
    assert (pixels(images, "train") == train).all()


def contents(images: ImageSet, split: str) -> list[bytes]:
    return [item.path.read_bytes() for item in images.items if item.split == split]


def in_three_splits(train: Sequence[int], val: Sequence[int], test: Sequence[int]) -> Splits:
    given = {"train": train, "val": val, "test": test}
    return {split: (own, noise(seed, len(own), 20, 24, 3)) for seed, (split, own) in enumerate(given.items())}


def files_of(splits: Splits, split: str) -> list[bytes]:
    return [jpeg(image) for image in splits[split][1]]


def test_flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_checksums(monkeypatch)
    splits = in_three_splits([1, 0], [1, 0], [0, 1])
    write_flowers(tmp_path / "raw" / "Flowers102", splits)
    images = read_torchvision("Flowers102", tmp_path)
    primrose, orchid = "pink primrose", "hard-leaved pocket orchid"
    assert labels(images, "train") == [orchid, primrose]
    assert (labels(images, "val"), labels(images, "test")) == ([orchid, primrose], [primrose, orchid])
    for split in splits:
        assert contents(images, split) == files_of(splits, split)


def test_aircraft(tmp_path: Path) -> None:
    splits = in_three_splits([1, 0], [1], [0])
    write_aircraft(tmp_path / "raw" / "FGVCAircraft", ["707-320", "F/A-18"], splits)
    images = read_torchvision("FGVCAircraft", tmp_path)
    assert labels(images, "train") == ["F/A-18", "707-320"]
    assert (labels(images, "val"), labels(images, "test")) == (["F/A-18"], ["707-320"])
    for split in splits:
        assert contents(images, split) == files_of(splits, split)


def small_dtd(cache: Path) -> Path:
    return write_dtd(cache / "raw" / "DTD", ["banded", "woven"], in_three_splits([0, 1], [0, 1], [0, 1]))


def test_textures_and_a_second_use_that_needs_nothing(tmp_path: Path) -> None:
    root = small_dtd(tmp_path)
    images = read_torchvision("DTD", tmp_path)
    assert labels(images, "train") == labels(images, "val") == labels(images, "test") == ["banded", "woven"]
    (root / "images" / "banded" / "banded_0000.jpg").unlink()
    (root / "labels" / "train1.txt").unlink()
    assert read_torchvision("DTD", tmp_path) == images


def test_an_incomplete_copy(tmp_path: Path) -> None:
    root = small_dtd(tmp_path)
    (root / "images" / "banded" / "banded_0000.jpg").unlink()
    with pytest.raises(DataError, match=r"'torchvision:DTD' cannot be read \(.*banded_0000.jpg"):
        read_torchvision("DTD", tmp_path)
    (root / "labels" / "train1.txt").unlink()
    with pytest.raises(DataError, match=r"is not a complete copy of DTD .*train1\.txt.*: delete it"):
        read_torchvision("DTD", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'torchvision:Cifar10' is unknown; available are CIFAR10, CIFAR100, DTD"):
        read_torchvision("Cifar10", tmp_path)


@pytest.mark.parametrize("name", SETS)
def test_a_download_that_fails_leaves_nothing(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(url: str, max_hops: int) -> str:
        asked.append(url)
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", refuse)
    with pytest.raises(DataError, match=f"'torchvision:{name}' cannot be downloaded .*Name or service") as error:
        read_torchvision(name, tmp_path)
    assert "\n" not in str(error.value)
    assert len(asked) <= 2  # MNIST has a mirror
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_download_is_complete_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, root: str, filename: str, md5: str) -> None:
        if filename == "usps.t.bz2":
            raise URLError("the line broke")
        (Path(root) / filename).write_bytes(bz2.compress(b"1 " + b" ".join(b"%d:0" % n for n in range(1, 257)) + b"\n"))

    monkeypatch.setattr("torchvision.datasets.usps.download_url", fetch)
    with pytest.raises(DataError, match="the line broke"):
        read_torchvision("USPS", tmp_path)
    assert list((tmp_path / "raw").iterdir()) == []
