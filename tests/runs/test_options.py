"""What `fit` makes of odd data: unreadable files, groups, limits, imbalance, no test split."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import thawline
from tests.small_runs import small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import DataConfig, Request, TrainConfig
from thawline.errors import DataError, OptionError, RunFolderError
from thawline.runs.model_folder import opening_lines

PROBE = ("linear_probe",)


class Notes(Callback):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def quick(images: Path, **options: object) -> Request:
    """One `fit` of a linear probe with changed image options."""
    request = small_request(images, PROBE, verb="fit", learning_rate=1e-2)
    return replace(request, images=replace(request.images, **options))  # type: ignore[arg-type]


def splits_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "splits.csv").read_text().splitlines()))


@pytest.fixture
def flat(images: Path, tmp_path: Path) -> Path:
    """All images in class folders without a split, named by camera."""
    root = tmp_path / "flat"
    for path in sorted(images.glob("*/*/*.png")):
        target = root / path.parent.name / f"camera{int(path.stem) % 4}-{path.parent.parent.name}{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return root


def test_unreadable_files_are_listed_and_left_out(flat: Path, tmp_path: Path) -> None:
    (flat / "red" / "broken.png").write_text("no picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        api.run(quick(flat), tmp_path / "run")
    notes = Notes()
    results = api.run(quick(flat, on_bad="skip"), tmp_path / "run", notes)
    assert any("cannot be read" in line for line in notes.lines)
    assert [row["split"] for row in splits_of(tmp_path / "run") if "broken" in row["path"]] == [""]
    assert sum(results["data"]["images"].values()) == 56
    check = json.loads((tmp_path / "run" / "check.json").read_text())
    assert [Path(one["path"]).name for one in check["unreadable"]] == ["broken.png"]


def test_a_group_never_straddles_splits(flat: Path, tmp_path: Path) -> None:
    api.run(quick(flat, group_pattern=r"(camera\d)"), tmp_path / "run")
    found: dict[str, set[str]] = {}
    for row in splits_of(tmp_path / "run"):
        found.setdefault(Path(row["path"]).name[:7], set()).add(row["split"])
    assert set(map(len, found.values())) == {1}
    assert set.union(*found.values()) == {"train", "val", "test"}


def test_a_limit_keeps_the_classes_in_proportion(flat: Path, tmp_path: Path) -> None:
    results = api.run(quick(flat, limit=28), tmp_path / "run")
    assert sum(results["data"]["images"].values()) == 28
    labels = [row["label"] for row in splits_of(tmp_path / "run")]
    assert labels.count("red") == labels.count("blue") == 14
    with pytest.raises(DataError, match="--limit 1 "):
        api.run(quick(flat, limit=1), tmp_path / "other")


def test_without_a_test_split_there_are_no_test_figures_and_the_user_is_told(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "two", ignore=shutil.ignore_patterns("test"))
    notes = Notes()
    results = api.run(quick(tmp_path / "two"), tmp_path / "run", notes)
    assert results["test"] is None
    assert any("No test split" in line for line in notes.lines)
    carved = api.run(quick(tmp_path / "two", test_share=0.25), tmp_path / "carved")
    assert carved["data"]["images"] == {"train": 18, "val": 16, "test": 6}
    assert carved["test"]["accuracy"]["n"] == 1


@pytest.mark.parametrize("change", [{"balance": "loss"}, {"balance": "sampler"}, {"metric": "macro_f1"}])
def test_imbalance_options_run(change: dict[str, str], images: Path, tmp_path: Path) -> None:
    request = quick(images, augment="strong")
    request = replace(request, train=replace(request.train, **change))  # type: ignore[arg-type]
    assert api.run(request, tmp_path / "run")["val"]["macro_f1"]["n"] == 1


def test_a_resumed_run_refuses_images_that_changed(flat: Path, tmp_path: Path) -> None:
    api.run(quick(flat), tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()  # as if it had been interrupted
    first = next((flat / "red").iterdir())
    first.write_bytes(next((flat / "blue").iterdir()).read_bytes())
    with pytest.raises(RunFolderError, match="changed since this run began"):
        api.resume(tmp_path / "run")


def test_python_objects_train_like_the_folder_they_came_from(images: Path, tmp_path: Path) -> None:
    pairs = [(path, path.parent.name) for path in sorted((images / "train").glob("*/*.png"))]
    pictures = [(Image.open(path).copy(), label) for path, label in pairs]
    options = {"model": "test_efficientnet", "weights": "random", "strategy": "linear_probe"}
    train = TrainConfig(epochs=1, batch_size=8, threads=1, device="cpu")
    figures = [
        api.fit(data, tmp_path / name, train=train, images=DataConfig(image_size=32), **options)["val"]  # type: ignore[arg-type]
        for name, data in (("folder", images / "train"), ("pairs", pairs), ("pictures", pictures_as_set(pictures)))
    ]
    assert figures[0]["accuracy"]["n"] == 1
    assert [set(one) for one in figures] == [set(figures[0])] * 3
    assert api.resume(tmp_path / "pairs")["val"] == figures[1]


def pictures_as_set(pictures: list[tuple[Image.Image, str]]) -> object:
    """What a torch `Dataset` is: a length and items."""

    class Pictures:
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, index: int) -> tuple[Image.Image, str]:
            return pictures[index]

    return Pictures()


def test_a_network_of_the_users_own_code_is_trained_saved_and_used(images: Path, tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text(
        "from torch import nn\n"
        "def small(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2),\n"
        "        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))\n"
    )
    request = replace(quick(images), model=f"{code}:small", weights=None, strategies=("last_blocks:k=1",))
    results = api.run(replace(request, granularity="layer"), tmp_path / "run")
    assert [block["frozen"] for block in results["blocks"]] == [True, False, False]
    assert api.evaluate(tmp_path / "run", str(images))["accuracy"] == results["test"]["accuracy"]["per_seed"][0]
    found: dict[str, object] = {}
    sys.path.insert(0, str(tmp_path))
    try:
        exec(opening_lines(tmp_path / "run" / "model"), found)
    finally:
        sys.path.remove(str(tmp_path))
    assert "model" in found


def test_options_that_a_function_cannot_use_are_named(images: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--budget must be .* got '5'"):
        api.fit(images, tmp_path / "run", budget="5")
    with pytest.raises(OptionError, match="--budget is for --strategy auto; full costs"):
        api.fit(images, tmp_path / "run", strategy="full", budget="5x")
    with pytest.raises(TypeError, match=r"fit\(\) takes no 'sampler'; its options are weights, .*search"):
        api.fit(images, tmp_path / "run", sampler="tpe")  # type: ignore[call-arg]
    assert not (tmp_path / "run").exists()


def test_the_old_name_of_callback_still_works_and_says_so(images: Path) -> None:
    class Decoded(thawline.Listener):
        images = 0

        def decoding(self, done: int, total: int) -> None:
            self.images = done

    decoded = Decoded()
    with pytest.warns(DeprecationWarning, match="listener= is now callback="):
        api.check(images, listener=decoded)  # type: ignore[call-arg]
    assert decoded.images == 56
    assert thawline.Listener is thawline.Callback
    with pytest.raises(TypeError, match="both callback and listener"):
        api.check(images, callback=decoded, listener=decoded)  # type: ignore[call-arg]
