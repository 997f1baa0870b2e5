from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from thawline.data.layout import split_of
from thawline.data.sources import find_images, read_images
from thawline.errors import DataError

if TYPE_CHECKING:
    from tests.data.conftest import MakeFolder


def test_class_folders_in_code_point_order(make_folder: MakeFolder) -> None:
    root = make_folder({"10": 2, "2": 1, "b": 1, "B": 1})
    images = read_images(root)
    assert images.classes == ("10", "2", "B", "b")
    assert [(images.name(item), item.label, item.split) for item in images.items[:2]] == [
        ("10/000.png", "10", None),
        ("10/001.png", "10", None),
    ]
    assert images.targets == (0, 0, 1, 2, 3)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val", "DEV", "dev", "Development", "val_set"])
def test_split_folders(make_folder: MakeFolder, val: str) -> None:
    images = read_images(make_folder({"train/cat": 2, "train/dog": 1, f"{val}/cat": 1, "test/dog": 1}))
    assert images.classes == ("cat", "dog")
    assert [item.split for item in images.items].count("train") == 3
    assert {item.split for item in images.items} == {"train", "val", "test"}
    assert images.notes == ("val has no images of class 'dog'", "test has no images of class 'cat'")


def test_folders_inside_a_class_folder_belong_to_it(make_folder: MakeFolder) -> None:
    images = read_images(make_folder({"cat/outdoors/day": 1, "cat": 1, "dog/a": 1}))
    assert [item.label for item in images.items] == ["cat", "cat", "dog"]


def test_a_class_may_be_called_train(make_folder: MakeFolder) -> None:
    assert read_images(make_folder({"bus": 1, "car": 1, "train": 1})).classes == ("bus", "car", "train")


def test_a_class_called_train_with_folders_in_it(make_folder: MakeFolder) -> None:
    assert read_images(make_folder({"bus/day": 1, "train/day": 1})).classes == ("bus", "train")


def test_folders_beside_the_splits_are_listed(make_folder: MakeFolder) -> None:
    images = read_images(make_folder({"train/a": 1, "train/b": 1, "val/a": 1, "raw": 2, "extra/x": 1}))
    assert images.classes == ("a", "b")
    assert [entry.reason for entry in images.ignored] == ["outside the train, val and test folders"] * 3
    assert images.notes[0] == "2 folders next to the split folders not used: 'extra', 'raw'"


@pytest.mark.parametrize(
    "name", ["..foo", "..\\..\\x", "a b", "🌵", "<script>alert(1)", "قطة", "a'b\"c", "line\nbreak"]
)
def test_class_names_are_just_strings(make_folder: MakeFolder, name: str) -> None:
    images = read_images(make_folder({name: 1, "zzz": 1}))
    assert name in images.classes


def test_one_name_in_two_unicode_forms_is_one_class(make_folder: MakeFolder) -> None:
    images = read_images(make_folder({"train/caf\u00e9": 1, "train/tea": 1, "val/cafe\u0301": 1}))
    assert images.classes == ("caf\u00e9", "tea")


def test_loose_files_and_empty_class_folders_are_listed(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 1, "b": 1, "empty": 0})
    (root / "a" / "notes.txt").write_text("no image")
    (root / "loose.PNG").write_bytes((root / "a" / "000.png").read_bytes())
    ignored = {entry.path.name: entry.reason for entry in read_images(root, on_bad="skip").ignored}
    assert ignored == {
        "notes.txt": "not a supported image format (by its extension)",
        "loose.PNG": "outside the class folders",
        "empty": "a class folder without images",
    }


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "does not exist"),
        ({"a": 0}, "contains no images"),
        ({"a": 3}, "only one class, 'a'"),
        ({"train/a": 1, "train/b": 1, "val/c": 1}, "val has class 'c' that train lacks"),
        ({"val/a": 1, "test/a": 1}, "no train folder"),
        ({"train": 2, "test": 2}, "no train folder with one subfolder of images per class"),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "valid/a": 1}, "two folders for the same split"),
    ],
)
def test_unusable_folders_get_one_line(make_folder: MakeFolder, counts: dict[str, int], words: str) -> None:
    with pytest.raises(DataError) as error:
        read_images(make_folder(counts))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("counts", "splits"),
    [
        ({"a": 3}, {None}),
        ({"a": 1}, {None}),
        ({"test/a": 2, "test/b": 1}, {"test"}),
        ({"Testing/a": 1}, {"test"}),
        ({"val/a": 1, "test/a": 1}, {"val", "test"}),
        ({"train/a": 1, "train/b": 1, "test/c": 1}, {"train", "test"}),
        ({"a/x": 1, "a/y": 1, "b/x": 1, "b/y": 1}, {None}),
        ({"test/x": 1}, {"test"}),
    ],
)
def test_what_is_too_little_to_train_on_can_be_scored(
    make_folder: MakeFolder, counts: dict[str, int], splits: set[str | None]
) -> None:
    images = read_images(make_folder(counts), known=("a", "b", "c"))
    assert {item.split for item in images.items} == splits
    assert len(images.items) == sum(counts.values())


def test_a_known_class_may_be_called_like_a_split(make_folder: MakeFolder) -> None:
    images = read_images(make_folder({"test/x": 2}), known=("test", "exam"))
    assert {(item.label, item.split) for item in images.items} == {("test", None)}


def test_split_folders_without_class_folders_cannot_be_scored(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="no folder with one subfolder of images per class"):
        read_images(make_folder({"test": 2}), known=("a", "b"))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="is a file"):
        read_images(tmp_path / "x.jpg")


def test_images_without_class_folders(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="no images in class folders"):
        read_images(make_folder({".": 3}))


def test_find_images_takes_files_and_folders_once(make_folder: MakeFolder) -> None:
    root = make_folder({"b": 2, "a": 1})
    odd = root / "photo.unknown"
    odd.write_bytes((root / "a" / "000.png").read_bytes())
    found, ignored = find_images([root / "b", root / "b" / "001.png", root / "a", odd])
    assert [path.relative_to(root).as_posix() for path in found] == [
        "a/000.png",
        "b/000.png",
        "b/001.png",
        "photo.unknown",
    ]
    assert ignored == []


def test_find_images_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg' does not exist"):
        find_images([tmp_path / "gone.jpg"])
    with pytest.raises(DataError, match="no images found"):
        find_images([Path(tmp_path)])


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (
            ["train", "Train", "TRAIN", "training", "Training", "training_set", "train-data", "Train Images", "trn"],
            "train",
        ),
        (["val", "VAL", "valid", "validation", "Validation Set", "dev", "DevSet", "development"], "val"),
        (["test", "Testing", "TEST", "test_set", "eval", "Evaluation", "holdout", "hold-out", "Held_out"], "test"),
        (["cat", "trainer", "test tube", "evaluator", "train2", "validity", "test_train", "", "_", "set"], None),
    ],
)
def test_usual_names_of_splits_are_known_in_any_case(names: list[str], split: str | None) -> None:
    assert {name: split_of(name) for name in names} == dict.fromkeys(names, split)


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("Training", "Testing", "test"),
        ("train", "dev", "val"),
        ("TRAIN", "Holdout", "test"),
        ("training_set", "eval", "test"),
    ],
)
def test_split_folders_of_other_names_are_splits_and_not_classes(
    make_folder: MakeFolder, train: str, other: str, split: str
) -> None:
    images = read_images(make_folder({f"{top}/{name}": 2 for top in (train, other) for name in ("a", "b", "c")}))
    assert images.classes == ("a", "b", "c")
    assert {item.split for item in images.items} == {"train", split}


@pytest.mark.parametrize(
    ("tops", "below"),
    [
        (("fold1", "fold2"), ("a", "b", "c")),
        (("train2017", "val2017"), ("a", "b")),
        (("train", "second"), ("a", "b", "c")),
        (("patient 1", "patient 2", "patient 3"), ("healthy", "ill")),
    ],
)
def test_folders_of_the_same_subfolders_are_no_classes_without_a_question(
    make_folder: MakeFolder, tops: tuple[str, ...], below: tuple[str, ...]
) -> None:
    root = make_folder({f"{top}/{name}": 1 for top in tops for name in below})
    with pytest.raises(DataError, match=r"contain the same subfolders .*name them train, val and test") as caught:
        read_images(root)
    assert "\n" not in str(caught.value)
    (root / tops[-1] / below[-1].upper()).mkdir()
    (root / tops[-1] / below[-1] / "000.png").rename(root / tops[-1] / below[-1].upper() / "000.png")
    with pytest.raises(DataError, match="contain the same subfolders"):  # also if a case differs, or one is missing
        read_images(root)


def test_subfolders_that_differ_belong_to_their_classes(make_folder: MakeFolder) -> None:
    assert read_images(make_folder({"cat/in": 1, "cat/out": 1, "dog/in": 1, "dog/water": 1})).classes == ("cat", "dog")
    assert read_images(make_folder({"cat/water": 1, "dog/out": 1, "dog": 1})).classes == ("cat", "dog")


Make = Callable[[Path], object]

LOST: dict[str, tuple[Make, str]] = {
    "empty": (Path.mkdir, "empty"),
    "empty folders": (lambda path: (path / "more").mkdir(parents=True), "empty"),
    "only hidden files": (lambda path: _fill(path, ".DS_Store", ".gitkeep"), "empty"),
    "a format that cannot be decoded": (
        lambda path: _fill(path, "1.heic", "2.HEIC", "3.heic", "notes.txt"),
        r"4 not a supported image format \(by its extension\): .heic, .txt",
    ),
    "an archive": (lambda path: _fill(path, "images.zip"), r"1 not a supported .*: \.zip"),
    "a link out": (lambda path: path.symlink_to("/usr"), "1 a symbolic link to outside the folder"),
    "links out": (lambda path: _link(path, "/usr/a.png"), "1 a broken symbolic link"),
    "a broken link": (lambda path: path.symlink_to("nowhere"), "1 a broken symbolic link"),
    "pipes": (lambda path: _pipe(path / "1.png"), "1 not a regular file"),
}


def _pipe(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)


def _fill(path: Path, *names: str) -> None:
    path.mkdir()
    for name in names:
        (path / name).write_bytes(b"x")


def _link(path: Path, target: str) -> None:
    path.mkdir()
    (path / "1.png").symlink_to(target)


@pytest.mark.parametrize("layout", ["{}", "train/{}"])
@pytest.mark.parametrize("kind", LOST)
def test_a_class_that_loses_all_its_images_ends_with_the_way_out(
    make_folder: MakeFolder, kind: str, layout: str
) -> None:
    root = make_folder({layout.format(name): 2 for name in ("a", "b")})
    make, why = LOST[kind]
    make(root / layout.format("lost"))
    with pytest.raises(DataError, match=rf"has no usable images in the folder 'lost' \({why}") as caught:
        read_images(root)
    assert "`on_bad='skip'`" in str(caught.value)
    assert "\n" not in str(caught.value)
    images = read_images(root, on_bad="skip")
    assert images.classes == ("a", "b")
    assert any(note.startswith("'lost' (") and note.endswith("left out: no usable images") for note in images.notes)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_class_folder_that_cannot_be_entered(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 1, "b": 1, "c": 1})
    (root / "c").chmod(0)
    with pytest.raises(DataError, match=r"'c' \(1 cannot be opened"):
        read_images(root)


@pytest.mark.parametrize("name", ["test", "Testing", "val", "dev"])
@pytest.mark.parametrize("kind", LOST)
def test_a_split_folder_that_is_not_read_ends_with_the_way_out(make_folder: MakeFolder, name: str, kind: str) -> None:
    root = make_folder({"train/a": 2, "train/b": 2})
    make, why = LOST[kind]
    make(root / name)
    with pytest.raises(DataError, match=rf"has no usable images in the folder '{name}' \({why}"):
        read_images(root)
    assert {item.split for item in read_images(root, on_bad="skip").items} == {"train"}


def test_several_lost_folders_are_named_and_counted(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 1, "b": 1, **{f"lost{number}": 0 for number in range(5)}})
    with pytest.raises(DataError, match=r"folders 'lost0' \(empty\); 'lost1' .* and 2 more"):
        read_images(root)


def test_folders_of_texts_are_not_meant_as_classes(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 1, "b": 1, ".hidden": 0, "__MACOSX": 0})
    _fill(root / "annotations", "000.xml", "labels.JSON", "read me.txt")
    images = read_images(root)
    assert images.classes == ("a", "b")
    assert images.notes == (
        "5 files or folders skipped: 3 not a supported image format (by its extension): .xml, .json, .txt, "
        "1 hidden (its name starts with a dot), 1 created by the operating system",
    )


def test_everything_skipped_is_counted_in_one_line(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 2, "b": 2})
    for name in ("1.heic", "2.heic", "3.txt", ".hidden"):
        (root / "a" / name).write_bytes(b"x")
    (root / "b" / "out.png").symlink_to("/etc/hostname")
    assert read_images(root).notes == (
        "5 files or folders skipped: 3 not a supported image format (by its extension): .heic, .txt, "
        "1 hidden (its name starts with a dot), 1 a symbolic link to outside the folder",
    )


def _run_in(folder: Path) -> None:
    _fill(folder, "run.json", "ledger.journal", "results.json")
    (folder / "explain").mkdir()
    (folder / "explain" / "cat.png").write_bytes(b"x")


@pytest.mark.parametrize("place", ["run1", "a/run1", "runs/run1"])
def test_runs_inside_the_data_are_no_images(make_folder: MakeFolder, place: str) -> None:
    root = make_folder({"a": 1, "b": 1})
    (root / place).parent.mkdir(exist_ok=True)
    _run_in(root / place)
    images = read_images(root)
    assert images.classes == ("a", "b")
    assert len(images.items) == 2
    assert images.notes[0] == "1 folder of thawline runs skipped: 'run1'"


def test_a_run_is_not_a_folder_of_images(tmp_path: Path) -> None:
    _run_in(tmp_path / "run")
    with pytest.raises(DataError, match="is a thawline run"):
        read_images(tmp_path / "run")


def test_one_class_in_two_unicode_forms_is_said(make_folder: MakeFolder) -> None:
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    images = read_images(make_folder({composed: 1, decomposed: 1, "tea": 1}))
    assert images.classes == (composed, "tea")
    assert images.notes == (
        f"class {composed!r} is written in 2 ways that differ only by Unicode form: they are one class",
    )


@pytest.mark.parametrize(
    ("names", "difference"),
    [
        (("Cat", "cat"), "case"),
        (("cat", "cat "), "surrounding or repeated spaces"),
        ((" cat", "cat"), "surrounding or repeated spaces"),
        (("a cat", "a  cat"), "surrounding or repeated spaces"),
        (("Cat", "cat "), "case, spaces, invisible or compatible characters"),
        (("cat", "cat\u200b"), "case, spaces, invisible or compatible characters"),
        (("\uff43at", "cat"), "case, spaces, invisible or compatible characters"),
        (("stra\u00dfe", "STRASSE"), "case"),
    ],
)
def test_classes_that_look_alike_are_said(make_folder: MakeFolder, names: tuple[str, str], difference: str) -> None:
    images = read_images(make_folder({**dict.fromkeys(names, 1), "dog": 1}))
    assert len(images.classes) == 3
    (note,) = images.notes
    assert note.startswith(f"classes {' and '.join(map(repr, sorted(names)))} differ only by {difference}: ")


def test_labels_of_a_table_that_look_alike_are_said(make_folder: MakeFolder) -> None:
    root = make_folder({"x": 5})
    labels = ["cat", "Cat", "cafe\u0301", "caf\u00e9", "dog"]
    rows = "\n".join(f"x/{number:03}.png,{label}" for number, label in enumerate(labels))
    (root / "images.csv").write_text(f"path,label\n{rows}\n", encoding="utf-8")
    notes = read_images(root / "images.csv").notes
    assert [note.split(" differ")[0] for note in notes] == [
        "class 'caf\u00e9' is written in 2 ways that",
        "classes 'Cat' and 'cat'",
    ]


def test_no_extension_reaches_the_screen_as_it_is(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 1, "b": 1})
    (root / "a" / "x.\x1b[2J").write_bytes(b"x")
    (root / "a" / f"y.{'long' * 50}").write_bytes(b"x")
    (note,) = read_images(root).notes
    assert note.endswith(r": .\x1b[2j..., .longlonglonglonglon...")


def test_a_name_that_is_too_long_does_not_exist() -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_images("x" * 5000)
    with pytest.raises(DataError, match="does not exist"):
        find_images(["x" * 5000])
