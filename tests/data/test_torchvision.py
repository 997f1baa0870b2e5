"""Small copies of torchvision's data sets in the files that the real ones have; nothing is downloaded."""

from __future__ import annotations

import bz2
import hashlib
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from torchvision import datasets

from tests.data.conftest import Picture
from thawline.data.decode import decode
from thawline.data.sources import ImageSet
from thawline.data.torchvision import SETS, read_torchvision
from thawline.errors import DataError

Pixels = NDArray[np.uint8]


def noise(seed: int, *shape: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Where the files of `tmp_path` as a cache belong."""
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def labels(images: ImageSet, split: str) -> list[str]:
    return [item.label for item in images.items if item.split == split]


def pixels(images: ImageSet, *splits: str) -> Pixels:
    """[N, H, W, 3], split by split."""
    items = [item for split in splits for item in images.items if item.split == split]
    return np.stack([np.asarray(decode(item.path)) for item in items])


def write_mnist(folder: Path, name: str, digits: Pixels, images: Pixels) -> None:
    """The IDX format: magic number, sizes (big-endian), bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("labels-idx1", digits), ("images-idx3", images)):
        header = np.array([0x0800 + array.ndim, *array.shape], ">i4")
        (folder / f"{name}-{kind}-ubyte").write_bytes(header.tobytes() + array.tobytes())


@pytest.mark.parametrize(("name", "classes"), [("MNIST", ("2", "7")), ("FashionMNIST", ("Pullover", "Sneaker"))])
def test_mnist(tmp_path: Path, raw: Path, name: str, classes: tuple[str, ...]) -> None:
    train, test = noise(0, 3, 28, 28), noise(1, 2, 28, 28)
    write_mnist(raw / name / name / "raw", "train", np.array([7, 2, 7], np.uint8), train)
    write_mnist(raw / name / name / "raw", "t10k", np.array([2, 7], np.uint8), test)
    images = read_torchvision(name, tmp_path)
    assert images.classes == classes
    assert labels(images, "train") == [classes[1], classes[0], classes[1]]
    assert labels(images, "test") == list(classes)
    assert (pixels(images, "train") == train[..., None]).all()
    assert (pixels(images, "test") == test[..., None]).all()


@pytest.mark.parametrize(
    ("name", "folder", "names", "train", "test", "head"),
    [
        ("CIFAR10", "cifar-10-batches-bin", "batches.meta.txt", "data_batch_{}.bin", "test_batch.bin", []),
        ("CIFAR100", "cifar-100-binary", "fine_label_names.txt", "train.bin", "test.bin", [9]),
    ],
)
def test_cifar(
    tmp_path: Path, raw: Path, name: str, folder: str, names: str, train: str, test: str, head: list[int]
) -> None:
    root = raw / name / folder
    root.mkdir(parents=True)
    (root / names).write_text("airplane\nautomobile\n\n")
    planes = noise(0, 6, 3, 32, 32)
    records = [bytes([*head, number % 2]) + planes[number].tobytes() for number in range(6)]
    for number in range(1, 6):
        (root / train.format(number)).write_bytes(records[number - 1] if "{}" in train else b"".join(records[:5]))
    (root / test).write_bytes(records[5])
    images = read_torchvision(name, tmp_path)
    assert labels(images, "train") == ["airplane", "automobile", "airplane", "automobile", "airplane"]
    assert labels(images, "test") == ["automobile"]
    assert (pixels(images, "train", "test") == planes.transpose(0, 2, 3, 1)).all()


def test_usps(tmp_path: Path, raw: Path) -> None:
    (raw / "USPS").mkdir()
    line = " ".join(f"{number}:{-1 + 2 * number / 256:.4f}" for number in range(1, 257))
    (raw / "USPS" / "usps.bz2").write_bytes(bz2.compress(f"1 {line}\n10 {line}\n".encode()))
    (raw / "USPS" / "usps.t.bz2").write_bytes(bz2.compress(f"10 {line}\n".encode()))
    images = read_torchvision("USPS", tmp_path)
    assert (labels(images, "train"), labels(images, "test")) == (["0", "9"], ["9"])
    assert pixels(images, "train", "test").shape == (3, 16, 16, 3)


def test_svhn(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (raw / "SVHN").mkdir()
    train = noise(0, 32, 32, 3, 3)
    for split, array in (("train", train), ("test", noise(1, 32, 32, 3, 2))):
        file = raw / "SVHN" / f"{split}_32x32.mat"
        scipy.io.savemat(file, {"X": array, "y": np.array([[1], [10], [2]][: array.shape[-1]])})
        monkeypatch.setitem(datasets.SVHN.split_list, split, ["", file.name, md5(file)])
    images = read_torchvision("SVHN", tmp_path)
    assert (labels(images, "train"), labels(images, "test")) == (["1", "0", "2"], ["1", "0"])
    assert (pixels(images, "train") == train.transpose(3, 0, 1, 2)).all()


def test_stl10(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = raw / "STL10" / "stl10_binary"
    root.mkdir(parents=True)
    train = noise(0, 2, 3, 96, 96)
    contents = {"train_X": train, "train_y": [2, 1], "test_X": noise(1, 1, 3, 96, 96), "test_y": [1], "unlabeled_X": []}
    for name, content in contents.items():
        (root / f"{name}.bin").write_bytes(np.asarray(content, np.uint8).tobytes())
    (root / "class_names.txt").write_text("airplane\nbird\n")
    sums = [[f"{name}.bin", md5(root / f"{name}.bin")] for name in contents]
    monkeypatch.setattr(datasets.STL10, "train_list", [sums[0], sums[1], sums[4]])
    monkeypatch.setattr(datasets.STL10, "test_list", sums[2:4])
    images = read_torchvision("STL10", tmp_path)
    assert (labels(images, "train"), labels(images, "test")) == (["bird", "airplane"], ["airplane"])
    assert (pixels(images, "train") == train.transpose(0, 3, 2, 1)).all()


def write_pictures(folder: Path, names: list[str], picture: Picture) -> list[bytes]:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / name)
    return [(folder / name).read_bytes() for name in names]


def test_flowers(tmp_path: Path, raw: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    root = raw / "Flowers102" / "flowers-102"
    contents = write_pictures(root / "jpg", [f"image_{number:05d}.jpg" for number in range(1, 5)], picture)
    scipy.io.savemat(root / "imagelabels.mat", {"labels": np.array([2, 1, 2, 1])})
    scipy.io.savemat(
        root / "setid.mat", {"trnid": np.array([1, 4]), "valid": np.array([3, 2]), "tstid": np.array([2, 3])}
    )
    for key, name in (("label", "imagelabels.mat"), ("setid", "setid.mat")):
        monkeypatch.setitem(datasets.Flowers102._file_dict, key, (name, md5(root / name)))
    images = read_torchvision("Flowers102", tmp_path)
    primrose, orchid = "pink primrose", "hard-leaved pocket orchid"
    assert labels(images, "train") == [orchid, primrose]
    assert (labels(images, "val"), labels(images, "test")) == ([orchid, primrose], [primrose, orchid])
    assert [path.read_bytes() for path in images.paths] == [contents[number - 1] for number in (2, 3, 1, 4, 3, 2)]


def test_aircraft(tmp_path: Path, raw: Path, picture: Picture) -> None:
    root = raw / "FGVCAircraft" / "fgvc-aircraft-2013b" / "data"
    contents = write_pictures(root / "images", ["0.jpg", "1.jpg", "2.jpg", "3.jpg"], picture)
    (root / "variants.txt").write_text("707-320\nF/A-18\n")
    for split, lines in {"train": "1 F/A-18\n0 707-320\n", "val": "2 F/A-18\n", "test": "3 707-320\n"}.items():
        (root / f"images_variant_{split}.txt").write_text(lines)
    images = read_torchvision("FGVCAircraft", tmp_path)
    assert labels(images, "train") == ["F/A-18", "707-320"]
    assert (labels(images, "val"), labels(images, "test")) == (["F/A-18"], ["707-320"])
    assert [path.read_bytes() for path in images.paths] == [contents[number] for number in (3, 1, 0, 2)]


def write_dtd(raw: Path, picture: Picture) -> Path:
    root = raw / "DTD" / "dtd" / "dtd"
    names = [f"{kind}/{kind}_{number}.jpg" for kind in ("banded", "woven") for number in range(3)]
    write_pictures(root / "images", names, picture)
    (root / "labels").mkdir()
    for number, split in enumerate(("train", "val", "test")):
        (root / "labels" / f"{split}1.txt").write_text(f"{names[number]}\n{names[number + 3]}\n")
    return root


def test_textures_and_a_second_use_that_needs_nothing(tmp_path: Path, raw: Path, picture: Picture) -> None:
    root = write_dtd(raw, picture)
    images = read_torchvision("DTD", tmp_path)
    assert labels(images, "train") == labels(images, "val") == labels(images, "test") == ["banded", "woven"]
    (root / "images" / "banded" / "banded_0.jpg").unlink()
    (root / "labels" / "train1.txt").unlink()
    assert read_torchvision("DTD", tmp_path) == images


def test_an_incomplete_copy(tmp_path: Path, raw: Path, picture: Picture) -> None:
    root = write_dtd(raw, picture)
    (root / "images" / "banded" / "banded_0.jpg").unlink()
    with pytest.raises(DataError, match=r"'torchvision:DTD' cannot be read \(.*banded_0.jpg"):
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
