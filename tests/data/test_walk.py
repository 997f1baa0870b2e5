from __future__ import annotations

import os
from pathlib import Path

from thawline.data.walk import walk


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def _walked(root: Path) -> tuple[list[str], dict[str, str]]:
    images, ignored = walk(root)
    return (
        [path.relative_to(root).as_posix() for path in images],
        {entry.path.relative_to(root).as_posix(): entry.reason for entry in ignored},
    )


def test_images_are_told_by_their_ending_in_any_case(tmp_path: Path) -> None:
    for name in ["b.JPG", "a.webp", "c.Tiff", "d.txt", "e", "f.pdf", "g.eps", "h.mp4"]:
        _touch(tmp_path / name)
    images, ignored = _walked(tmp_path)
    assert images == ["a.webp", "b.JPG", "c.Tiff"]
    assert sorted(ignored) == ["d.txt", "e", "f.pdf", "g.eps", "h.mp4"]


def test_what_systems_leave_behind_is_passed_over(tmp_path: Path) -> None:
    for name in [".hidden.jpg", "._a.jpg", ".git/a.jpg", "__MACOSX/a.jpg", "Thumbs.db", "..odd/a.jpg"]:
        _touch(tmp_path / name)
    images, ignored = _walked(tmp_path)
    assert images == ["..odd/a.jpg"]
    assert ignored == {
        ".hidden.jpg": "hidden (its name starts with a dot)",
        "._a.jpg": "hidden (its name starts with a dot)",
        ".git": "hidden (its name starts with a dot)",
        "__MACOSX": "created by the operating system",
        "Thumbs.db": "created by the operating system",
    }


def test_links_inside_are_followed_once_and_others_are_not(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    _touch(outside / "x.jpg")
    _touch(root / "raw" / "a.jpg")
    (root / "cat").mkdir()
    (root / "cat" / "linked").symlink_to(root / "raw")
    (root / "cat" / "file.jpg").symlink_to(root / "raw" / "a.jpg")
    (root / "cat" / "out").symlink_to(outside)
    (root / "cat" / "out.jpg").symlink_to(outside / "x.jpg")
    (root / "cat" / "gone.jpg").symlink_to(root / "missing.jpg")
    (root / "cat" / "self.jpg").symlink_to(root / "cat" / "self.jpg")
    (root / "cat" / "up").symlink_to(root)
    (root / "raw" / "back").symlink_to(root / "cat")
    images, ignored = _walked(root)
    assert images == ["cat/file.jpg", "cat/linked/a.jpg", "raw/a.jpg", "raw/back/file.jpg"]
    nowhere, outwards = "a broken symbolic link", "a symbolic link to outside the folder"
    circle, second = "a symbolic-link loop", "a symbolic link reached through another symbolic link"
    unused = {"gone.jpg": nowhere, "self.jpg": nowhere, "out": outwards, "out.jpg": outwards, "up": circle}
    assert ignored == {
        **{f"{folder}/{name}": reason for folder in ("cat", "raw/back") for name, reason in unused.items()},
        "cat/linked/back": second,
        "raw/back/linked": second,
    }


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    _touch(tmp_path / "real" / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert _walked(tmp_path / "link") == (["a.jpg"], {})


def test_pipes_and_names_that_are_no_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"")
    reasons = sorted(entry.reason for entry in walk(tmp_path)[1])
    assert reasons == ["its name is not valid Unicode", "not a regular file"]
