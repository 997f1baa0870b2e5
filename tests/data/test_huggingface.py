"""Datasets in the formats of the datasets library, made here; the hub itself is never contacted."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import MakeFolder, Picture
from thawline.data.huggingface import read_huggingface
from thawline.data.read import read_named
from thawline.data.sources import ImageSet
from thawline.errors import DataError, MissingExtraError

datasets = pytest.importorskip("datasets")
hub = importlib.import_module("huggingface_hub")

MakeTable = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_progress_bars() -> None:
    datasets.disable_progress_bars()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def table(picture: Picture) -> MakeTable:
    """`table([0, 1], first=3)` is a data set of JPEG images with these labels, drawn from seed 3 on."""

    def make(labels: Sequence[int | None], first: int = 0) -> Any:
        features = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["dog", "cat"])})
        images = [{"bytes": jpeg(picture, first + number), "path": None} for number in range(len(labels))]
        return datasets.Dataset.from_dict({"img": images, "kind": labels}, features=features)

    return make


def jpeg(picture: Picture, seed: int) -> bytes:
    stream = io.BytesIO()
    picture(seed).save(stream, "JPEG")
    return stream.getvalue()


def rows(images: ImageSet) -> list[tuple[str, str]]:
    return [(images.name(item), item.label) for item in images.items]


def test_a_saved_data_set_keeps_bytes_names_and_splits(
    tmp_path: Path, cache: Path, table: MakeTable, picture: Picture
) -> None:
    parts = {"train": table([0, 1, 1]), "validation": table([1], 3), "test": table([0], 4)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set")
    images = read_huggingface(str(tmp_path / "set"), cache)
    assert rows(images) == [
        ("test/00000000.jpg", "dog"),
        ("train/00000000.jpg", "dog"),
        ("train/00000001.jpg", "cat"),
        ("train/00000002.jpg", "cat"),
        ("val/00000000.jpg", "cat"),
    ]
    assert [path.read_bytes() for path in images.paths] == [jpeg(picture, seed) for seed in (4, 0, 1, 2, 3)]
    assert [item.split for item in images.items] == ["test", "train", "train", "train", "val"]


def test_parquet_files_and_a_test_split_without_labels(tmp_path: Path, cache: Path, table: MakeTable) -> None:
    (tmp_path / "set").mkdir()
    table([0, 1]).to_parquet(tmp_path / "set" / "train-00000-of-00001.parquet")
    table([None, None], 2).to_parquet(tmp_path / "set" / "test-00000-of-00001.parquet")
    images = read_huggingface(str(tmp_path / "set"), cache)
    assert rows(images) == [("train/00000000.jpg", "dog"), ("train/00000001.jpg", "cat")]
    assert images.notes == ("2 unlabeled images in test left out",)
    assert [entry.name for entry in cache.iterdir()] == [images.root.name]


def test_a_folder_of_class_folders_as_the_library_reads_it(cache: Path, make_folder: MakeFolder) -> None:
    root = make_folder({"train/dog": 2, "train/cat": 1, "test/cat": 1})
    images = read_huggingface(str(root), cache)
    assert sorted(path.read_bytes() for path in images.paths) == sorted(
        path.read_bytes() for path in root.rglob("*.png")
    )
    assert [(item.split, item.label) for item in images.items] == [
        ("test", "cat"),
        ("train", "cat"),
        ("train", "dog"),
        ("train", "dog"),
    ]


def test_one_part_alone_is_to_be_split(tmp_path: Path, cache: Path, table: MakeTable) -> None:
    table([0, 1]).save_to_disk(tmp_path / "part")
    assert {item.split for item in read_huggingface(str(tmp_path / "part"), cache).items} == {None}
    datasets.DatasetDict({"test": table([0, 1])}).save_to_disk(tmp_path / "parts")
    images = read_huggingface(str(tmp_path / "parts"), cache)
    assert {item.split for item in images.items} == {None}
    assert images.notes == ("the only split, 'test', is split again",)


def test_the_second_use_reads_nothing_until_a_file_changes(
    tmp_path: Path, cache: Path, table: MakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    table([0, 1]).to_parquet(tmp_path / "set" / "train.parquet")
    first = read_huggingface(str(tmp_path / "set"), cache)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "datasets", None)
        assert read_huggingface(str(tmp_path / "set"), cache) == first
    table([0, 1, 1]).to_parquet(tmp_path / "set" / "train.parquet")
    assert len(read_huggingface(str(tmp_path / "set"), cache).items) == 3


def test_splits_that_mean_nothing_here_are_said(tmp_path: Path, cache: Path, table: MakeTable) -> None:
    datasets.DatasetDict({"train": table([0, 1]), "extra": table([0], 2)}).save_to_disk(tmp_path / "set")
    images = read_huggingface(str(tmp_path / "set"), cache)
    assert len(images.items) == 2
    assert images.notes == ("splits not used: extra",)


@pytest.mark.parametrize(
    ("names", "words"),
    [(("test", "extra"), "no train split, only test, extra"), (("train", "val", "dev"), "two val splits")],
)
def test_splits_that_cannot_be_used(
    tmp_path: Path, cache: Path, table: MakeTable, names: Sequence[str], words: str
) -> None:
    datasets.DatasetDict({name: table([0, 1]) for name in names}).save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match=words):
        read_huggingface(str(tmp_path / "set"), cache)


def test_one_of_several_columns_must_be_chosen(tmp_path: Path, cache: Path, table: MakeTable) -> None:
    data = table([0, 1])
    data = data.add_column("coarse", [0, 0]).cast_column("coarse", datasets.ClassLabel(names=["animal"]))
    undecoded = data.cast_column("img", datasets.Image(decode=False))["img"][:]
    data = data.add_column("mask", undecoded, feature=datasets.Image())
    folder = str(tmp_path / "set")
    data.save_to_disk(folder)
    with pytest.raises(DataError, match=r"several image columns \(img, mask\): choose one, as in hf:.*set:image=img$"):
        read_huggingface(folder, cache)
    with pytest.raises(DataError, match=r"several label columns \(kind, coarse\)"):
        read_huggingface(f"{folder}:image=img", cache)
    with pytest.raises(DataError, match=r"'img' cannot be used as the label column; possible columns: kind, coarse"):
        read_huggingface(f"{folder}:image=img,label=img", cache)
    assert read_huggingface(f"{folder}:image=img,label=kind", cache).classes == ("cat", "dog")
    assert list(cache.glob(".*")) == []


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        ({"breed": ["pug", "cat"]}, ("cat", "pug")),
        ({"label": [3, 12]}, ("12", "3")),
        ({"note": ["x", "y"], "Label": ["pug", "cat"], "size": [1, 2]}, ("cat", "pug")),
    ],
)
def test_labels_without_class_names(
    tmp_path: Path, cache: Path, table: MakeTable, columns: dict[str, list[Any]], classes: tuple[str, ...]
) -> None:
    data = table([0, 1]).remove_columns("kind")
    for name, values in columns.items():
        data = data.add_column(name, values)
    data.save_to_disk(tmp_path / "set")
    assert read_huggingface(str(tmp_path / "set"), cache).classes == classes


@pytest.mark.parametrize(
    ("drop", "words"), [("img", "no image column; its columns are: kind"), ("kind", "no label column; .* are: img")]
)
def test_a_column_is_missing(tmp_path: Path, cache: Path, table: MakeTable, drop: str, words: str) -> None:
    table([0, 1]).remove_columns(drop).save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match=words):
        read_huggingface(str(tmp_path / "set"), cache)


def test_a_folder_without_data(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=r"'hf:.*set' cannot be loaded \(.*\): check the folder\.$") as error:
        read_huggingface(str(tmp_path / "set"), cache)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["no/such/folder/here", "./gone", "/gone", "", "a b"])
def test_what_is_no_name(cache: Path, name: str) -> None:
    with pytest.raises(DataError, match="neither a folder nor a dataset name"):
        read_huggingface(name, cache)


def test_unknown_options(cache: Path) -> None:
    with pytest.raises(DataError, match="unknown option 'color'; the options are image, label, revision"):
        read_huggingface("user/set:color=red", cache)


def test_without_the_library_the_command_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'thawline\[hf\]'$"):
        read_huggingface("user/set", cache)


class Hub:
    """Stands for the hub: what was asked of it, and what it answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.info_error: Exception | None = None
        self.answer: Any = None
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub.HfApi, "dataset_info", lambda _, name, **options: self._info(name, **options))
        monkeypatch.setattr(datasets, "load_dataset", self._load)

    def _info(self, name: str, *, revision: str | None, timeout: float) -> Any:
        self.asked.append(("info", name, revision))
        if self.info_error:
            raise self.info_error
        return hub.DatasetInfo(id=name, sha="c0ffee", private=False, downloads=0, likes=0, tags=[])

    def _load(self, name: str, config: str | None, revision: str | None) -> Any:
        self.asked.append(("load", name, config, revision))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(monkeypatch)


def test_a_name_is_downloaded_once(fake_hub: Hub, cache: Path, table: MakeTable) -> None:
    fake_hub.answer = datasets.DatasetDict({"train": table([0, 1]), "test": table([1], 2)})
    first = read_huggingface("user/set/small:revision=v2", cache)
    assert fake_hub.asked == [("info", "user/set", "v2"), ("load", "user/set", "small", "v2")]
    assert first.notes == ("hf:user/set/small:revision=v2 was read at revision c0ffee",)
    trainable = read_named("hf:user/set/small:revision=v2", cache)
    assert trainable.notes == (*first.notes, "test has no images of class 'dog'")
    assert read_huggingface("user/set/small:revision=v2", cache) == first
    assert len(fake_hub.asked) == 2


def test_no_connection_is_one_error_at_once(fake_hub: Hub, cache: Path) -> None:
    http_error = hub.errors.HfHubHTTPError.__bases__[0]
    fake_hub.info_error = http_error("Name or service not known")
    words = r"^'hf:user/set' cannot be loaded \(Name or service not known\): check the name and the connection\.$"
    with pytest.raises(DataError, match=words):
        read_huggingface("user/set", cache)
    assert fake_hub.asked == [("info", "user/set", None)]
    assert list(cache.iterdir()) == []


def test_what_is_wrong_with_a_name_is_said(fake_hub: Hub, cache: Path) -> None:
    fake_hub.answer = datasets.exceptions.DatasetNotFoundError("Dataset 'user/set' doesn't exist on the Hub.")
    with pytest.raises(
        DataError, match=r"'hf:user/set' cannot be loaded \(Dataset 'user/set' doesn't exist on the Hub\)"
    ):
        read_huggingface("user/set", cache)
