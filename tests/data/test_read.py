"""The table of named datasets: one line adds a kind, and everything that names kinds follows."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.data.conftest import MakeFolder
from thawline.cli.app import app
from thawline.data.materialise import Sample, materialise
from thawline.data.named import SOURCES, hub_dataset, is_named, named_forms
from thawline.data.read import absolute_name, name_of, read_named
from thawline.data.sources import ImageSet
from thawline.errors import DataError


def read_fake(name: str, cache: Path) -> ImageSet:
    """The reader that a contributor would write: two classes, called after the dataset."""
    samples = [Sample(_png(cache, number), f"{name}-{number % 2}") for number in range(4)]
    return materialise(f"fake:{name}", samples, cache)


def _png(cache: Path, number: int) -> bytes:
    return (cache.parent / "images" / "cat" / f"{number:03}.png").read_bytes()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, make_folder: MakeFolder) -> None:
    make_folder({"cat": 4})
    monkeypatch.setitem(SOURCES, "fake", f"{__name__}:read_fake")


@pytest.mark.usefixtures("fake")
def test_a_new_kind_is_one_line_in_the_table(tmp_path: Path) -> None:
    images = read_named("fake:pets", tmp_path / "cache")
    assert images.classes == ("pets-0", "pets-1")
    assert [path.is_relative_to(tmp_path / "cache") for path in images.paths] == [True] * 4
    assert name_of("fake:pets", tmp_path) == absolute_name("fake:pets") == "fake:pets"
    assert is_named("fake:pets")
    assert named_forms() == "hf:NAME; torchvision:NAME; fake:NAME"


def test_help_names_every_kind() -> None:
    shown = CliRunner().invoke(app, ["fit", "--help"], env={"COLUMNS": "200"}).output
    assert [kind for kind in SOURCES if f"{kind}:NAME" not in shown] == []


def test_paths_are_not_names(tmp_path: Path) -> None:
    assert not any(map(is_named, ("hf", "images", "fake:pets", "C:/images", str(tmp_path))))
    assert absolute_name("images") == str(Path("images").absolute())
    with pytest.raises(DataError, match="'fake:pets' does not exist"):
        read_named("fake:pets", tmp_path)


def test_what_a_dataset_is_called_on_the_hub(tmp_path: Path) -> None:
    names = ("hf:uoft-cs/cifar10", "hf:uoft-cs/cifar10/plain:image=img", "hf:mnist", "torchvision:MNIST", "photos")
    assert [hub_dataset(name) for name in names] == ["uoft-cs/cifar10", "uoft-cs/cifar10", "mnist", "", ""]
    assert hub_dataset(f"hf:{tmp_path}") == ""
