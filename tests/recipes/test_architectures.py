"""BioTune on four networks: strategy x network for each dataset, the networks paired over the same test images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.data import torchvision_files as files
from tests.recipes import test_table1 as table1
from tests.recipes.test_recipes import hits, made_cell, made_row
from thawline.recipes.architectures import across, across_in_words
from thawline.recipes.recipe import load_recipe
from thawline.recipes.tables import gather
from thawline.recipes.verdict import findings
from thawline.results import RecipeCell, ScoredCellRow

RECIPE = load_recipe("biotune-architectures")
small_networks = table1.small_networks


def cell(model: str, right: dict[str, int], val: float = 0.5, images: str | None = "the same") -> RecipeCell:
    """A network with so many of 100 test images right by strategy, the first ones."""
    found = made_cell([made_row(name, [val], [hits(count)]) for name, count in right.items()], model=model)
    return replace(found, data=replace(found.data, test_images=images))


CELLS = [
    cell("small", {"full": 50, "lora": 70}, val=0.5),
    cell("large", {"full": 80, "lora": 72}, val=0.7),
    cell("middle", {"full": 79}, val=0.6),
]


def test_networks_are_paired_with_the_best_on_validation_by_strategy() -> None:
    found = across(CELLS)
    assert found is not None
    assert found.best == "large"
    differences = {(model, name): each.difference for model, own in found.versus.items() for name, each in own.items()}
    assert differences == pytest.approx({("small", "full"): -0.3, ("small", "lora"): -0.02, ("middle", "full"): -0.01})
    assert found.versus["small"]["full"].p_holm < 0.001
    assert found.versus["middle"]["full"].p_holm == 1.0


def test_networks_on_other_test_images_are_not_paired() -> None:
    assert across([CELLS[1], cell("small", {"full": 50}, images="others")]) is None
    assert across([cell("small", {"full": 50}, images=None), cell("large", {"full": 60}, images=None)]) is None


def test_tables_are_by_dataset_with_a_column_for_each_network() -> None:
    tables = {table.title: table for table in gather(RECIPE, CELLS)}
    assert list(tables["noise"].columns) == ["strategy", "small", "large", "middle"]
    assert [row[0] for row in tables["noise"].rows] == ["full", "lora"]
    assert tables["noise"].rows[1][-1] == "not run"
    against = tables["noise: networks against large"]
    assert list(against.columns) == ["strategy", "small", "middle"]
    assert against.rows[0][1].startswith("-30.0\\* (")
    assert against.rows[1][2] == ""


def test_the_verdict_begins_with_the_networks() -> None:
    (said,) = across_in_words(CELLS)
    assert said == (
        "On noise the best network on validation is large (full, 80.0 % on test). With the same strategy, small is "
        "worse with 1 and better with none of 2 strategies; middle is worse with none and better with none of 1 "
        "strategy."
    )
    assert findings(RECIPE, CELLS)[0] == said


@pytest.mark.slow
@pytest.mark.usefixtures("small_networks")
def test_four_networks_run_to_tables_by_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    files.without_checksums(monkeypatch)
    table1.write_sets(tmp_path / "cache" / "data" / "raw")
    study = table1.Study(tmp_path / "study", capsys, monkeypatch, RECIPE)
    options = table1.as_options(table1.TWO, table1.write_isic(tmp_path / "isic"))
    wanted = [f"{model}--{name}" for name in table1.TWO for model in RECIPE.run.models]
    assert study.run(*options) == (0, wanted)
    page = study.screen[study.screen.index("# biotune-architectures") :]
    assert study.run(*options) == (0, [])
    assert study.screen.endswith(page), "what is finished is not repeated"

    cells = study.cells()
    assert {each.cell for each in cells} == {*wanted}
    assert all(isinstance(row, ScoredCellRow) for each in cells for row in each.rows)
    tables = {table.title: table for table in gather(RECIPE, cells)}
    for name in table1.TWO:
        assert list(tables[name].columns) == ["strategy", *RECIPE.run.models]
        assert [row[0] for row in tables[name].rows] == table1.ROWS
        assert len({each.data.test_images for each in cells if each.setting.data == name}) == 1
        (against,) = (table for title, table in tables.items() if title.startswith(f"{name}: networks against"))
        assert {*against.columns[1:]} < {*RECIPE.run.models}
        assert len(against.columns) == len(RECIPE.run.models)
