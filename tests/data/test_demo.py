"""The demo's digits are the same everywhere; its network loads offline and does what its README says."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data.config import resolve_model_data_config

from thawline.data.demo import demo_network, source_set, write_digits
from thawline.errors import DataError, OptionError


def _content(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits") / "0", train_per_class=20, val_per_class=10, seed=0)


def test_every_digit_is_written_once_and_in_the_numbers_asked_for(digits: Path) -> None:
    counts = Counter(path.relative_to(digits).parts[:2] for path in digits.glob("*/*/*.png"))
    assert {counts["train", str(digit)] for digit in range(10)} == {20}
    assert {counts["val", str(digit)] for digit in range(10)} == {10}
    assert counts["test", "3"] == 183 - 30
    assert sorted(int(path.stem) for path in digits.glob("*/*/*.png")) == list(range(1797))
    assert len(set(_content(digits).values())) == 1797  # no duplicates, so none can straddle the splits


def test_images_are_gray_and_32_pixels_wide(digits: Path) -> None:
    with Image.open(next(digits.glob("test/7/*.png"))) as image:
        assert (image.mode, image.size, image.getextrema()[1]) == ("L", (32, 32), 255)


@pytest.mark.thorough
def test_the_seed_decides_the_split(digits: Path, tmp_path: Path) -> None:
    again = write_digits(tmp_path / "again", train_per_class=20, val_per_class=10, seed=0)
    other = write_digits(tmp_path / "other", train_per_class=20, val_per_class=10, seed=1)
    assert _content(again) == _content(digits)
    assert _content(other).keys() != _content(digits).keys()


def test_more_images_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="fewer than 174 in total; got 170 and 4"):
        write_digits(tmp_path / "digits", train_per_class=170, val_per_class=4, seed=0)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="is not empty"):
        write_digits(tmp_path, train_per_class=20, val_per_class=10, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_network_knows_its_letters_as_its_readme_says() -> None:
    model = timm.create_model(f"local-dir:{demo_network()}", pretrained=True)
    images, labels, names = source_set()
    inputs = (torch.from_numpy(images).float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        logits = model.eval()(inputs[:, None].expand(-1, 3, -1, -1))
    percent = 100 * float((logits.argmax(1).numpy() == labels).mean())

    readme = (demo_network() / "README.md").read_text(encoding="utf-8")
    stated = re.search(r"Source accuracy: ([\d.]+) %", readme)
    assert stated is not None
    assert percent == pytest.approx(float(stated[1]), abs=0.5)
    config = json.loads((demo_network() / "config.json").read_text(encoding="utf-8"))
    assert tuple(config["label_names"]) == names


def test_the_network_states_its_preprocessing() -> None:
    model = timm.create_model(f"local-dir:{demo_network()}", pretrained=True)
    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    assert tuple(config["input_size"]) == (3, 32, 32)
    assert {*config["mean"], *config["std"]} == {0.5}
    assert (config["crop_pct"], config["crop_mode"], config["interpolation"]) == (1.0, "center", "bicubic")


def test_the_source_set_is_balanced_and_has_no_digits() -> None:
    images, labels, names = source_set()
    assert images.dtype == np.uint8
    assert images.shape == (len(labels), 32, 32)
    assert set(np.bincount(labels)) == {20}
    assert len(set(names)) == len(names) == 37
    assert "".join(names).isalpha()


def test_what_is_shipped_is_small() -> None:
    sizes = {path.name: path.stat().st_size for path in demo_network().iterdir()}
    assert sizes.keys() == {"README.md", "config.json", "model.safetensors", "source_test.json", "source_test.png"}
    assert sizes["model.safetensors"] < 500_000
    assert sizes["source_test.png"] < 300_000
