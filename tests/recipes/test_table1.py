"""BioTune's Table I end to end: nine data sets in torchvision's own files and four networks by name, all tiny.

All four networks run on two of the sets and ResNet-50 on all nine: a cell costs the same for every set, and all 36
would take four times as long to show nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.cli.test_app import run
from tests.data import torchvision_files as files
from tests.recipes.test_search_tables import SMALL
from thawline.recipes.recipe import Recipe, load_recipe
from thawline.recipes.runs import read_cells
from thawline.recipes.tables import gather
from thawline.results import RecipeCell, ScoredCellRow

RECIPE = load_recipe("biotune-table1")
SETS = [column.name for column in RECIPE.columns]
ROWS = [f"biotune:{SMALL}" if spec == "biotune" else spec for spec in RECIPE.run.strategies]
RESNET = RECIPE.run.models[0]
TWO = ["USPS", "ISIC"]
"""The sets of the other networks: one by name, and one in a folder."""

SMALLER: Mapping[str, Mapping[str, Any]] = {
    "resnet50": {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)},
    "densenet121": {"growth_rate": 8, "block_config": (1, 1, 1, 1)},
    "vgg19": {"mlp_ratio": 0.002},
    "inception_v3": {},
}
"""What timm takes to make the networks small; the channels of the last two are fixed and changed elsewhere."""


@pytest.fixture
def small_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The four architectures with few channels, and weights for them where the Hub's client keeps downloads."""
    create, whole = timm.create_model, importlib.import_module("timm.layers").ConvNormAct
    vgg, inception = (importlib.import_module(f"timm.models.{name}") for name in ("vgg", "inception_v3"))

    def grouped(inputs: int, outputs: int, **others: Any) -> torch.nn.Module:
        return whole(inputs, outputs, groups=gcd(inputs, outputs), **others)  # type: ignore[no-any-return]

    def small(name: str, **others: Any) -> torch.nn.Module:
        return create(name, **others, **SMALLER[name.partition(".")[0]])

    monkeypatch.setitem(vgg.cfgs, "vgg19", [4 if width != "M" else "M" for width in vgg.cfgs["vgg19"]])
    monkeypatch.setattr(inception, "ConvNormAct", grouped)
    monkeypatch.setattr(timm, "create_model", small)
    hub = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    for name in RECIPE.run.models:
        # torchvision's Inception-v3 comes with a second classifier, which timm leaves out
        published = small(name, **({"aux_logits": True} if name.startswith("inception") else {}))
        folder = hub / f"models--timm--{name}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
        save_file(published.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")


def splits(*shape: int, val: bool = False) -> files.Splits:
    """Noise of two classes, the second a little brighter: 8 training images a class, 4 in every other split."""
    generator = np.random.default_rng(shape)
    counts = {"train": 16, **({"val": 8} if val else {}), "test": 8}
    found: dict[str, tuple[Sequence[int], files.Pixels]] = {}
    for split, count in counts.items():
        labels = [number % 2 for number in range(count)]
        images = generator.integers(0, 200, (count, *shape), dtype=np.uint8)
        images[1::2] += 40
        found[split] = labels, images
    return found


def write_sets(raw: Path) -> Path:
    """All data sets that have names; returns DTD's folder."""
    files.write_mnist(raw / "MNIST", "MNIST", splits(28, 28))
    files.write_usps(raw / "USPS", splits(16, 16))
    files.write_svhn(raw / "SVHN", splits(32, 32, 3))
    files.write_cifar10(raw / "CIFAR10", ["airplane", "automobile"], splits(32, 32, 3))
    files.write_stl10(raw / "STL10", ["airplane", "bird"], splits(96, 96, 3))
    files.write_flowers(raw / "Flowers102", splits(40, 50, 3, val=True))
    files.write_aircraft(raw / "FGVCAircraft", ["707-320", "F/A-18"], splits(40, 60, 3, val=True))
    return files.write_dtd(raw / "DTD", ["banded", "woven"], splits(50, 40, 3, val=True))


def write_isic(folder: Path) -> Path:
    """A folder of one's own with a folder for each class, and no splits."""
    for label, image in zip(*splits(45, 60, 3)["train"], strict=True):
        place = folder / ("benign", "malignant")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{len(list(place.iterdir()))}.jpg")
    return folder


@dataclass
class Study:
    """The command that repeats the study, at settings that take seconds a cell."""

    out: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    recipe: Recipe = RECIPE
    screen: str = ""
    errors: str = ""

    def run(self, *others: str) -> tuple[int, list[str]]:
        """Exit code, and the cells that were run."""
        options = f"--image-size 75 --epochs 2 --seeds 1 --threads 1 --device cpu --strategies {','.join(ROWS)}"
        command = ["compare", "--recipe", self.recipe.name, "--out", str(self.out), *options.split(), *others]
        code = run(self.capsys, self.monkeypatch, command)
        self.screen, self.errors = self.capsys.readouterr()
        return code, [line.split(": ")[1] for line in self.screen.splitlines() if line.startswith("Cell ")]

    def cells(self) -> list[RecipeCell]:
        """All that are finished."""
        return read_cells(self.recipe, self.out)


def as_options(names: Iterable[str], isic: Path) -> list[str]:
    """These data sets for the command line; ISIC is a folder of one's own."""
    return [part for name in names for part in ("--data", f"ISIC={isic}" if name == "ISIC" else name)]


@pytest.mark.slow
@pytest.mark.usefixtures("small_networks")
def test_nine_sets_and_four_networks_run_to_the_papers_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    files.without_checksums(monkeypatch)
    textures, isic = write_sets(tmp_path / "cache" / "data" / "raw"), write_isic(tmp_path / "isic")
    study = Study(tmp_path / "study", capsys, monkeypatch)
    nine, two = as_options(SETS, isic), as_options(TWO, isic)

    damaged = next((textures / "images" / "woven").iterdir())
    content = damaged.read_bytes()
    damaged.unlink()
    on_resnet = [f"{RESNET}--{name}" for name in SETS]
    assert study.run("--model", RESNET, *nine) == (1, on_resnet), "a set that cannot be read stands in no other's way"
    assert study.errors.startswith(f"thawline: {RESNET}--DTD: 'torchvision:DTD' cannot be read")
    assert study.errors.count("\n") == 1
    assert {cell.setting.data for cell in study.cells()} == {*SETS} - {"DTD"}

    damaged.write_bytes(content)
    assert study.run("--model", RESNET, *nine) == (0, [f"{RESNET}--DTD"])

    others = [f"{model}--{name}" for name in TWO for model in RECIPE.run.models[1:]]
    assert study.run(*two) == (0, others), "those of ResNet-50 are there"
    page, cells = study.screen[study.screen.index("# biotune-table1") :], study.cells()
    assert (study.out / "tables.md").read_text() == page.removesuffix(f"\nReport: {study.out / 'report.html'}\n")
    assert study.run(*two) == (0, [])
    assert study.screen.endswith(page)
    assert study.cells() == cells

    assert {cell.cell for cell in cells} == {*on_resnet, *others}
    for cell in cells:
        check_cell(cell)
    check_tables(cells)


def check_cell(cell: RecipeCell) -> None:
    """Every row was trained as the recipe says, on all images of the set."""
    assert [row.strategy for row in cell.rows] == ROWS
    assert all(isinstance(row, ScoredCellRow) for row in cell.rows), cell.rows
    drawn = {"ISIC": (8, 4, 4), "Flowers-102": (16, 8, 8), "FGVC-Aircraft": (16, 8, 8), "DTD": (16, 8, 8)}
    train, val, test = drawn.get(cell.setting.data, (12, 4, 8))
    assert cell.data.images == {"train": train, "val": val, "test": test}
    assert cell.request["search"]["norm"] == "moving"
    assert cell.request["images"]["augment"] == "none"
    assert cell.request["train"]["schedule_epochs"] == 7


def check_tables(cells: Sequence[RecipeCell]) -> None:
    """A network's Table I, then its Table II and Figure 2, with every cell that was run."""
    tables = {table.title: table for table in gather(RECIPE, cells)}
    search = ROWS[-1]
    for model in RECIPE.run.models:
        sets = SETS if model == RESNET else TWO
        accuracy = tables.pop(model)
        assert list(accuracy.columns) == ["strategy", *sets]
        assert [row[0] for row in accuracy.rows] == ROWS
        assert not {"failed", "not run"} & {cell for row in accuracy.rows for cell in row}
        assert all(
            " to " in text
            for row in tables.pop(f"{model}: 95 % intervals of the test accuracy").rows
            for text in row[1:]
        )
        chosen = {row[0]: row[1:] for row in tables.pop(f"{model}: what was chosen").rows}
        for name, choices in chosen.items():
            has_norm = not name.startswith("linear_probe") and not model.startswith("vgg19")
            ending = ", moving, random" if has_norm else ", random"
            assert {choice.partition(",")[1] + choice.partition(",")[2] for choice in choices} == {ending}
        assert [sum("**" in cell for cell in column) > 0 for column in zip(*accuracy.rows, strict=True)][1:]
        trained, plans = (
            tables.pop(f"{model}, {search}: parameters that train, %"),
            tables.pop(f"{model}, {search}: plans"),
        )
        assert list(trained.columns) == sets
        assert all(0 < float(share) <= 100 for share in trained.rows[0])
        assert list(plans.columns) == ["block", *sets]
        assert plans.rows[-1][0] == "head"
        assert "❄" not in plans.rows[-1], "the head always trains"
    assert not tables
