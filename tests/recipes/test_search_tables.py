"""BioTune's two recipes: their settings, their tables from stored cells, and a small one run to its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.test_recipes import Runner, hits, made_cell, made_row, small, tiny, versus
from thawline.config import preset
from thawline.errors import OptionError
from thawline.recipes.cells import Overrides, expand
from thawline.recipes.reading import scored
from thawline.recipes.recipe import load_recipe
from thawline.recipes.runs import read_cells, run_cells
from thawline.recipes.tables import gather, markdown
from thawline.strategies.base import variants
from thawline.strategies.biotune import BioTune, EvolutionConfig

SMALL = "population=2,elites=1,generations=1,seeds=1,top=1"


def found(strategy: str, weights: Mapping[str, float | None], *, share: float = 0.5, **others: Any) -> dict[str, Any]:
    """A row with what a search found."""
    search = {
        "settings": {},
        "base_rate": 1e-3,
        "genes": list(weights),
        "blocks": [{"name": name, "weight": weight} for name, weight in weights.items()],
        "trainable_percent": 30.0,
        "data_share": share,
        "generations": [],
        "importance": {},
        "winner": [0, 0],
        "trainings": 40,
        "work": 12.0,
        "digest": "",
    }
    row = made_row(strategy, [1.0, 1.0], [hits(50), hits(60)], search=search, **others)
    row["test"]["interval95"] = [0.45, 0.65]
    row["cost"] |= {"work": 12.34, "seconds": 56.7, "trainings": 40}
    return row


# settings


@pytest.mark.parametrize("name", ["biotune-table1", "biotune-data-share"])
def test_both_recipes_train_as_the_preset_does(name: str) -> None:
    recipe, paper = load_recipe(name), preset("paper")
    assert recipe.train == paper["train"]
    # Every network at its own size; 224 for ResNet-50.
    assert (recipe.images.crop_pct, recipe.images.augment) == (0.9655, "none")
    assert recipe.run.seeds == 3


def test_biotune_is_in_table_1_with_the_papers_settings() -> None:
    spec = load_recipe("biotune-table1").run.strategies[-1]
    assert variants(spec)[0] == BioTune()
    settings = EvolutionConfig()
    assert (settings.population, settings.elites, settings.generations, settings.seeds) == (10, 3, 10, 3)
    assert (settings.exploration, settings.top, settings.folds, settings.encoding) == (0.25, 5, 2, "biotune")


def test_published_rows_and_columns_are_called_as_the_measured_ones() -> None:
    recipe = load_recipe("biotune-table1")
    accuracy, trained = recipe.expected
    assert [row[0] for row in accuracy.rows] == recipe.run.strategies
    assert "linear_probe:solver=sgd" in recipe.run.strategies, "papers train the probe"
    assert [row[0] for row in trained.rows] == ["biotune"]
    for table in recipe.expected:
        assert list(table.columns) == ["strategy", *(column.name for column in recipe.columns)]


def test_every_published_share_has_its_row() -> None:
    recipe = load_recipe("biotune-data-share")
    searches = [variants(spec)[0] for spec in recipe.run.strategies]
    assert all(isinstance(search, EvolutionConfig) for search in searches)
    shares = [f"{100 / search.folds:g}" for search in searches if isinstance(search, EvolutionConfig)]
    assert shares == [row[0] for row in recipe.expected[0].rows] == ["10", "20", "25", "50", "100"]


def test_a_shorter_run_falls_as_far_down_the_cosine() -> None:
    overrides = Overrides(data=("some/images",), epochs=6, batch_size=32)
    train = expand(load_recipe("biotune-table1"), overrides).cells[0].request.train
    assert (train.epochs, train.schedule_epochs, train.batch_size) == (6, 20, 32)


def test_rows_without_a_share_are_refused() -> None:
    with pytest.raises(OptionError, match="its rows are biotune:folds=NUMBER, got 'full'"):
        tiny("data_share", 'strategies = ["biotune:folds=2", "full"]')
    with pytest.raises(OptionError, match="its rows are biotune:folds=NUMBER, got 'biotune'"):
        expand(load_recipe("biotune-data-share"), Overrides(data=("some/images",), strategies=("biotune",)))


# tables


def test_shares_stand_in_order_with_accuracy_and_cost() -> None:
    rows = [
        found("biotune:folds=1", {"stem": 1.0, "head": 2.5}, share=1.0),
        found("biotune:folds=10", {"stem": None, "head": 0.126}, share=0.1),
        {"strategy": "biotune:folds=2", "error": "every top candidate failed"},
    ]
    cost, plans = gather(tiny("data_share", 'strategies = ["biotune:folds=1"]'), [made_cell(rows)])
    assert cost.rows == [
        ["10", "55.00 ± 5.00", "45.0 to 65.0", "30.00", "40", "12.3", "57"],
        ["100", "55.00 ± 5.00", "45.0 to 65.0", "30.00", "40", "12.3", "57"],
    ]
    assert "biotune:folds=2 failed: every top candidate failed" in cost.notes
    assert list(plans.columns) == ["block", "10 %", "100 %"]
    assert plans.rows == [["stem", "❄", "1"], ["head", "0.13", "2.5"]]


def test_table_1_brings_table_2_and_figure_2() -> None:
    full = made_row("full", [1, 1], [hits(50), hits(50)])
    cells = [
        made_cell([full, found("biotune", {"stem": None, "head": 1.0}, versus_full=versus(0.2))]),
        made_cell([full, found("biotune", {"stem": 10.0, "head": 0.1}, versus_full=versus(0.2))], data="other"),
        made_cell([full], data="unsearched"),
    ]
    accuracy, _, _, trained, plans = gather(tiny("accuracy", 'strategies = ["full"]'), cells)
    assert accuracy.rows[1] == ["biotune", *["**55.00 ± 5.00** (+10.0 %)"] * 2, "not run"]
    assert (list(trained.columns), trained.rows) == (["noise", "other"], [["30.00", "30.00"]])
    assert plans.rows == [["stem", "❄", "10"], ["head", "1", "0.1"]]


@pytest.mark.thorough
def test_a_study_of_shares_runs_to_its_tables(images: Path, tmp_path: Path) -> None:
    specs = [f"biotune:folds={folds},{SMALL}" for folds in (4, 1)]
    recipe = tiny("data_share", f"strategies = {specs}")
    run_cells(recipe, expand(recipe, small(images, epochs=1)).cells, tmp_path, Runner())
    cells = read_cells(recipe, tmp_path)
    cost, plans = gather(recipe, cells)
    assert [line[0] for line in cost.rows] == ["25", "100"]
    assert plans.rows[-1][0] == "head"
    assert "❄" not in plans.rows[-1]
    rows = scored(cells[0])
    assert len(rows) == 2
    for row in rows:
        assert row.search is not None
        assert row.search.generations
        assert row.search.candidates is None
        assert len(row.search.blocks) == len(plans.rows)
    assert "| 25 |" in markdown(recipe, cells)
