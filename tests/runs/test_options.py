"""What `fit` makes of odd data: unreadable files, groups, limits, imbalance, no test split."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import thawline
from tests.small_runs import small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import CacheConfig, DataConfig, Request, TrainConfig, TuningConfig
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


@pytest.mark.thorough
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
    assert [Path(file["path"]).name for file in check["unreadable"]] == ["broken.png"]


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
    with pytest.raises(DataError, match="`limit` 1 "):
        api.run(quick(flat, limit=1), tmp_path / "other")


@pytest.mark.thorough
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


def test_weights_without_an_adapter_are_named_once(images: Path, tmp_path: Path) -> None:
    found: list[str] = []

    class Notes(Callback):
        def note(self, text: str) -> None:
            found.append(text)

    request = replace(quick(images), strategies=("lora:rank=2",))
    api.run(replace(request, train=replace(request.train, epochs=1)), tmp_path / "run", Notes())
    (said,) = [text for text in found if text.startswith("Adapters do not train")]
    assert "blocks.3.0.conv_dw.weight" in said


def test_a_resumed_run_refuses_images_that_changed(flat: Path, tmp_path: Path) -> None:
    api.run(quick(flat), tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()  # as if it had been interrupted
    first = next((flat / "red").iterdir())
    first.write_bytes(next((flat / "blue").iterdir()).read_bytes())
    with pytest.raises(RunFolderError, match="changed since this run began"):
        api.resume(tmp_path / "run")


@pytest.mark.thorough
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
    assert [set(scores) for scores in figures] == [set(figures[0])] * 3
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
    scores = api.evaluate(tmp_path / "run", str(images), trust_code=True)
    assert scores["accuracy"] == results["test"]["accuracy"]["per_seed"][0]
    found: dict[str, object] = {}
    sys.path.insert(0, str(tmp_path))
    try:
        exec(opening_lines(tmp_path / "run" / "model"), found)
    finally:
        sys.path.remove(str(tmp_path))
    assert "model" in found


def test_options_that_a_function_cannot_use_are_named(images: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"`budget` must be .* got '5'"):
        api.fit(images, tmp_path / "run", budget="5")
    with pytest.raises(OptionError, match="`budget` is for `strategy` auto; full costs"):
        api.fit(images, tmp_path / "run", strategy="full", budget="5x")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", [api.fit, api.compare])
def test_an_unknown_keyword_is_a_type_error_with_the_nearest_name(verb: Callable[..., object], tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"keyword argument 'image_sizes'; did you mean 'image_size'\?"):
        verb(tmp_path, tmp_path / "run", image_sizes=64)


def test_options_are_keywords_and_reach_the_run(images: Path, tmp_path: Path) -> None:
    seen = requested(
        images, image_size=64, epochs=3, cache_memory="500M", cache_disk=0, seeds=3, seed=7, explain=False, patience=0
    )
    assert seen.images == DataConfig(image_size=64, seed=7)
    assert seen.train == TrainConfig(epochs=3, patience=0)
    assert seen.search == TuningConfig(seeds=3)
    assert seen.cache == CacheConfig(memory_bytes=500 << 20, disk_bytes=0)
    assert not seen.explain


def test_a_preset_comes_after_the_options_that_are_given(images: Path) -> None:
    seen = requested(images, preset="paper", epochs=5)
    assert (seen.train.epochs, seen.train.batch_size, seen.search.seeds, seen.images.image_size) == (5, 96, 3, 224)


def test_a_part_is_given_whole_or_by_its_options(images: Path) -> None:
    assert requested(images, train=TrainConfig(epochs=3), image_size=64).train == TrainConfig(epochs=3)
    with pytest.raises(OptionError, match="`train` and `epochs` cannot both be given"):
        requested(images, train=TrainConfig(epochs=3), epochs=3)
    with pytest.raises(OptionError, match="`images` and `preset` cannot both be given"):
        requested(images, images=DataConfig(), preset="paper")
    with pytest.raises(OptionError, match=r"`images` must be a DataConfig, got .'image_size': 64."):
        requested(images, images={"image_size": 64})


def test_strategies_may_be_one_text(images: Path) -> None:
    assert requested(images, api.compare, strategies="full,lora:rank=8,alpha=16").strategies == (
        "full",
        "lora:rank=8,alpha=16",
    )


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ({"epochs": "3"}, "`epochs` must be a whole number from 1 to 1,000,000, got '3'"),
        ({"epochs": True}, "`epochs` must be a whole number from 1 to 1,000,000, got True"),
        ({"learning_rate": "fast"}, "`learning_rate` must be a number from 1e-9 to 100, got 'fast'"),
        ({"limit": 2.5}, "`limit` must be a whole number from 1 to 1,000,000,000,000, got 2.5"),
        ({"optimizer": "lion"}, "`optimizer` must be one of adamw, adam, sgd, rmsprop, got 'lion'"),
        ({"group_pattern": 3}, "`group_pattern` must be a string, got 3"),
    ],
)
def test_a_value_of_another_type_is_an_option_error(images: Path, option: Mapping[str, object], rule: str) -> None:
    with pytest.raises(OptionError, match=re.escape(rule)):
        requested(images, **option)


def requested(data: Path, verb: Callable[..., object] = api.fit, /, **options: object) -> Request:
    """The request that a call makes, without running it."""
    with pytest.MonkeyPatch.context() as patch:
        seen: list[Request] = []
        patch.setattr(api, "run", lambda request, *_: seen.append(request))
        verb(data, data / "run", **options)
        return seen[0]


def test_the_old_name_of_callback_still_works_and_says_so(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path))  # else nothing may be left to decode

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
