"""Published studies: the recipes that come with thawline, their cells, their tables, and a broken run gone on with."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch

from tests.report import synthetic
from tests.small_runs import Stop
from thawline import api
from thawline.callback import Callback
from thawline.config import Request
from thawline.errors import DataError, ModelError, OptionError, PlanError, RunError, RunFolderError, ThawlineError
from thawline.recipes.cells import Overrides, expand
from thawline.recipes.folder import redraw
from thawline.recipes.listing import listed
from thawline.recipes.reading import on_test, scored
from thawline.recipes.recipe import Recipe, load_recipe, parse_recipe, recipe_names
from thawline.recipes.runs import is_study, read_cells, run_cells
from thawline.recipes.tables import gather, markdown
from thawline.recipes.verdict import findings, headline
from thawline.records import pack_bits, unpack_bits
from thawline.report.study import StudyPage, draw_study
from thawline.results import Comparison, RecipeCell, StudyResult
from thawline.runs.files import decode, write
from thawline.studies.depth_curve import depth_curve

ALL = ("biotune-architectures", "biotune-data-share", "biotune-table1", "depth", "mobilenetv2-grid", "partial-vs-full")

TINY = """
name = "tiny"
kind = "{kind}"
[paper]
title = "A study"
authors = "Nobody"
reference = "none"
[run]
{run}
models = ["test_efficientnet"]
[train]
epochs = 2
batch_size = 8
[images]
views = 2
[[columns]]
name = "noise"
{more}
"""


def tiny(kind: str, run: str, more: str = "") -> Recipe:
    return parse_recipe(TINY.format(kind=kind, run=run, more=more), "tiny")


def small(images: Path, **others: Any) -> Overrides:
    return Overrides(data=(f"noise={images}",), image_size=32, weights="random", threads=1, device="cpu", **others)


# what a recipe says


@pytest.mark.parametrize("name", ALL)
def test_every_shipped_recipe_can_be_run_on_ones_own_images(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.paper.notes
    assert recipe.expected
    overrides = Overrides(data=("some/images",), models=("local-dir:some/net",), limit=100, epochs=3, seeds=1)
    for cell in expand(recipe, overrides).cells:
        assert cell.setting.model == "net"
        assert cell.setting.data == "images"
        assert (cell.request.data, cell.request.images.limit) == ("some/images", 100)
        assert cell.request.train.epochs == 3


def test_the_shipped_recipes_are_the_published_studies() -> None:
    assert recipe_names() == ALL


def test_expected_tables_have_a_figure_in_every_column() -> None:
    for table in chain.from_iterable(load_recipe(name).expected for name in ALL):
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.title


def test_data_that_cannot_be_downloaded_is_left_out_and_said() -> None:
    expansion = expand(load_recipe("biotune-table1"))
    assert len(expansion.cells) == 4 * 8
    (note,) = expansion.notes
    assert note.startswith("ISIC is left out, because it cannot be downloaded: add --data ISIC=FOLDER")


@pytest.mark.parametrize(
    ("data", "sources"),
    [
        (("DTD=A", "Flowers-102=B"), ["A", "B"]),
        (("ISIC=some/isic",), ["some/isic"]),
        (("ISIC=some/isic", "DTD"), ["some/isic", "torchvision:DTD"]),
        (("Flowers-102=B", "other/images"), ["B", "other/images"]),
    ],
)
def test_named_data_sets_are_the_selected_ones(data: tuple[str, ...], sources: list[str]) -> None:
    expansion = expand(load_recipe("biotune-table1"), Overrides(data=data, models=("resnet50",)))
    assert [cell.request.data for cell in expansion.cells] == sources, "nothing else is read, or downloaded"
    (note,) = expansion.notes
    assert "MNIST" in note


def test_a_bare_name_runs_that_data_set_alone() -> None:
    cells = expand(load_recipe("biotune-table1"), Overrides(data=("DTD",), models=("resnet50",))).cells
    assert [cell.request.data for cell in cells] == ["torchvision:DTD"]
    assert cells[0].request.train.patience == 3


@pytest.mark.parametrize("name", recipe_names())
def test_published_studies_train_with_the_statistics_of_the_batch(name: str) -> None:
    cells = expand(load_recipe(name), Overrides(data=("some/images",))).cells
    assert {cell.request.search.norm for cell in cells} == {"moving"}


def test_each_data_set_of_partial_vs_full_has_its_network_and_augmentation() -> None:
    cells = expand(load_recipe("partial-vs-full"), Overrides(data=("FER2013=fer", "DeepWeeds=weeds"))).cells
    assert [(cell.setting.data, cell.request.model.split(".")[0], cell.request.images.augment) for cell in cells] == [
        ("FER2013", "resnet50", "mild"),
        ("DeepWeeds", "efficientnet_b0", "strong"),
    ]


def test_depth_has_twelve_shares_and_one_rate_for_all() -> None:
    cells = expand(load_recipe("depth"), Overrides(data=("some/images",))).cells
    assert len(cells) == 3
    assert [float(spec.partition("share=")[2]) for spec in cells[0].request.strategies] == [
        *(0, 10, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100)
    ]
    assert cells[0].rate_from


def test_the_grid_is_one_axis_at_a_time_or_whole() -> None:
    recipe = load_recipe("mobilenetv2-grid")
    cells = expand(recipe, Overrides(data=("some/images",))).cells
    assert len(cells) == 1 + 3 + 4 + 3 + 2 + 3
    assert max(len(cell.varied) for cell in cells) == 1
    batches = sorted(cell.request.train.batch_size for cell in cells if set(cell.varied) <= {"batch_size"})
    assert batches == [16, 32, 64, 128]
    assert len(expand(recipe, Overrides(data=("some/images",), full_grid=True)).cells) == 4 * 5 * 4 * 3 * 4
    shorter = expand(recipe, Overrides(data=("some/images",), epochs=20)).cells
    assert sorted(cell.request.train.epochs for cell in shorter if set(cell.varied) <= {"epochs"}) == [10, 20]


def test_top_10_and_20_of_keras_are_the_last_3_and_7_convolutions() -> None:
    """Keras lists convolution, batch norm, ReLU6 and addition apart; timm's BatchNormAct2d may be two of them."""
    with torch.device("meta"):
        network: Any = timm.create_model("mobilenetv2_100")
    keras: list[str] = []
    for block in chain.from_iterable(network.blocks):
        for module in block.children():
            keras += _as_in_keras(module)
        keras += ["add"] * bool(block.has_skip)
    keras += [*_as_in_keras(network.conv_head), *_as_in_keras(network.bn2)]
    assert [keras[-count:].count("conv") for count in (10, 20)] == [3, 7]
    axes = load_recipe("mobilenetv2-grid").axes
    assert axes is not None
    assert axes.strategy == ["linear_probe:solver=sgd", "last_layers:k=3", "last_layers:k=7", "full"]


def _as_in_keras(module: Any) -> list[str]:
    if isinstance(module, torch.nn.Conv2d):
        return ["conv"]
    if not isinstance(module, torch.nn.BatchNorm2d):
        return []
    return ["norm"] if isinstance(module.act, torch.nn.Identity) else ["norm", "relu"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("[tran]\nepochs = 2", "'tran' is unknown; did you mean 'train'?"),
        ("image = {augment = 'mild'}", "'image' is unknown; did you mean 'images'?"),
        ("images = {augmet = 'mild'}", "'augmet' is unknown; did you mean 'augment'?"),
        ("[axes]\nrate = [1]", "'rate' is unknown"),
        ("[axes]\nepochs = [1]", "a grid needs"),
        ("= 3", "is not valid TOML"),
        (f"x = {'9' * 5000}", "is not valid TOML"),
        (f"x = {'[' * 5000}", "is not valid TOML"),
        ("images = {crop_pct = nan}", "`crop_pct` must be a number from 0.1 to 1, got nan."),
        ("source = 5", "recipe tiny: [[columns]] source: expected `str`, got `int`."),
        ("[[expected]]\ntitle = 'Table'", "recipe tiny: [[expected]] columns, rows missing."),
        ("[expected]\ntitle = 'Table'", "recipe tiny: [[expected]] columns, rows missing."),
        (
            "images = {augment = 'wild'}",
            "augment: invalid enum value 'wild'; choose from auto, none, mild, mild_no_flip, strong, strong_no_flip.",
        ),
        (
            "images = {views = -1}",
            "`views` must be a whole number from 0 to 1,000,000 (0 = new ones in every epoch), got -1.",
        ),
    ],
)
def test_a_mistake_in_a_recipe_is_one_clear_line(more: str, expected: str) -> None:
    with pytest.raises(OptionError) as caught:
        tiny("accuracy", 'strategies = ["full"]', more)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('title = "A study"', "recipe tiny: [paper] title missing."),
        ('models = ["test_efficientnet"]', "recipe tiny: [run] models missing."),
        ('name = "tiny"', "recipe tiny: name missing."),
        ('[[columns]]\nname = "noise"', "recipe 'tiny' needs at least one strategy, one model and one [[columns]]."),
    ],
)
def test_what_a_recipe_lacks_is_one_clear_line(line: str, expected: str) -> None:
    text = TINY.format(kind="accuracy", run='strategies = ["full"]', more="")
    assert line in text
    with pytest.raises(OptionError) as caught:
        parse_recipe(text.replace(line, ""), "tiny")
    assert str(caught.value) == expected


def test_unknown_recipes_strategies_and_missing_images_are_errors() -> None:
    with pytest.raises(OptionError, match="did you mean 'depth'"):
        load_recipe("deepth")
    with pytest.raises(OptionError, match="did you mean 'full'"):
        tiny("accuracy", 'strategies = ["ful"]')
    with pytest.raises(OptionError, match="--data FER2013=FOLDER --data DeepWeeds=FOLDER"):
        expand(load_recipe("partial-vs-full"))
    with pytest.raises(OptionError, match="twice"):
        expand(load_recipe("depth"), Overrides(data=("here/images", "there/images")))


# tables from stored cells


FIGURES = (
    *("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1"),
    *("negative_log_likelihood", "calibration_error"),
)


def score(*per_seed: float) -> dict[str, Any]:
    error = float(np.std(per_seed, ddof=1) / len(per_seed) ** 0.5) if len(per_seed) > 1 else None
    return {"mean": float(np.mean(per_seed)), "standard_error": error, "n": len(per_seed), "per_seed": list(per_seed)}


def scores(*per_seed: float) -> dict[str, Any]:
    return {name: score(*per_seed) for name in FIGURES}


def made_cell(rows: Sequence[Mapping[str, Any]], *, images: int = 100, **setting: Any) -> RecipeCell:
    return decode(
        {
            "format_version": 1,
            "recipe": "made",
            "cell": "made",
            "setting": {"model": "net", "data": "noise", **setting},
            "varied": [],
            "key": "",
            "rates_tuned": {},
            "environment": {
                "python": "3.11",
                "platform": "",
                "processor": "",
                "packages": {},
                "device": "cpu",
                "threads": 1,
            },
            "model": {"architecture": "net", "weights_fingerprint": ""},
            "data": {"classes": ["a", "b"], "images": {"train": 10, "val": 10, "test": images}, "fingerprint": ""},
            "request": {"train": {"epochs": 2}, "search": {"seeds": 1}, "images": {"image_size": 32}},
            "rows": list(rows),
        },
        RecipeCell,
    )


def made_row(strategy: str, train: Sequence[float], right: Sequence[Sequence[bool]], **others: Any) -> dict[str, Any]:
    test = scores(*(float(np.mean(seed)) for seed in right))
    return {
        "strategy": strategy,
        "chosen": strategy,
        "learning_rate": 1e-3,
        "trainable_percent": 50.0,
        "cost": {
            **dict.fromkeys(("work", "proof", "seconds"), 1.0),
            **dict.fromkeys(("trainings", "image_passes", "cache_hits", "peak_memory_bytes"), 1),
        },
        "best_epochs": [0] * len(train),
        "versus_full": None,
        "train": scores(*train),
        "val": scores(*train),
        "test": {**test, "interval95": [0.4, 0.6], "confusion_matrix": [[1, 0], [0, 1]]},
        "test_right": [pack_bits(seed) for seed in right],
        **others,
    }


def versus(p_holm: float) -> dict[str, Any]:
    return {"difference": 0.1, "interval95": [0.01, 0.2], "p_holm": p_holm, "words": ""}


def hits(count: int, images: int = 100) -> list[bool]:
    return [number < count for number in range(images)]


def test_right_and_wrong_images_survive_being_stored() -> None:
    right = [True, False, False, True, True, False, True, False, True, True]
    assert unpack_bits(pack_bits(right), len(right)) == right
    assert len(pack_bits([True] * 400)) == 100


def test_depth_curve_by_hand() -> None:
    """60 %, 80 %, 80 % (the same images) and 50 % right; train 60, 80, 85 and 100: gaps of 0, 0, 5 and 50 points."""
    right = np.array([[hits(60)], [hits(80)], [hits(80)], [hits(50)]])
    curve = depth_curve(np.array([0.0, 20, 25, 100]), np.array([[0.6], [0.8], [0.85], [1.0]]), right, 10_000)
    assert curve.best == 20.0
    assert curve.alike == (20.0, 25.0)
    assert curve.chance_best[1] == pytest.approx(1, abs=1e-3)
    assert curve.test == pytest.approx((0.6, 0.8, 0.8, 0.5))
    # The 20 images that share 20 has right and share 0 has wrong move both gaps: growth 0 +- 3 x 4 points.
    low, high = curve.gap_growth[1]
    assert low == pytest.approx(-0.10, abs=0.03)
    assert high == pytest.approx(0.10, abs=0.03)
    low, high = curve.gap_growth[3]
    assert 0.3 < low < 0.5 < high < 0.7
    assert curve.over_fitting_from is None, "one seed cannot say"


def test_depth_curve_counts_the_spread_over_seeds() -> None:
    """Two seeds that disagree about which share is better: neither is, though all images agree within a seed."""
    right = np.array([[hits(100), hits(0)], [hits(10), hits(100)]])
    curve = depth_curve(np.array([50.0, 0.0]), np.ones((2, 2)), right, 100)
    assert curve.shares == (0.0, 50.0)
    assert curve.best == 0.0
    assert curve.alike == (0.0, 50.0)
    assert curve.over_fitting_from is None


def test_depth_table_says_the_sweet_spot_and_where_over_fitting_begins() -> None:
    rows = [
        made_row("depth:share=0", [0.6] * 2, [hits(60)] * 2),
        made_row("depth:share=20", [0.8] * 2, [hits(80)] * 2),
        made_row("depth:share=100", [1.0] * 2, [hits(50)] * 2),
        {"strategy": "depth:share=50", "error": "seed 0: the loss became nan"},
    ]
    (table,) = gather(tiny("depth", 'strategies = ["depth:share=0"]'), [made_cell(rows)])
    assert [line[0] for line in table.rows] == ["0", "20 (best)", "100"]
    assert table.rows[2][1:4] == ["100.0", "50.0", "50.0"]
    assert "Highest on test (0.800): 20 % of the layers; all other shares are worse" in table.notes[0]
    assert "has grown at 100 % and beyond" in table.notes[0]


def test_depth_table_names_the_shares_that_the_test_images_cannot_separate() -> None:
    counts = {0: 60, 20: 80, 25: 79, 100: 50}
    rows = [made_row(f"depth:share={share}", [0.9], [hits(count)]) for share, count in counts.items()]
    (table,) = gather(tiny("depth", 'strategies = ["depth:share=0"]'), [made_cell(rows)])
    assert (
        "20 % of the layers; 100 test images cannot tell 25 % apart from it (95 %, paired over test images; one "
        in table.notes[0]
    )


def test_accuracy_table_has_the_spread_and_the_gain_over_full() -> None:
    rows = [
        made_row("full", [1, 1], [hits(50), hits(50)]),
        made_row("linear_probe", [1, 1], [hits(58), hits(62)], versus_full=versus(0.01)),
        {"strategy": "lora", "error": "seed 0: the loss became nan"},
    ]
    other = made_cell([made_row("full", [1], [hits(40)])], data="other")
    recipe = tiny("accuracy", 'strategies = ["full"]')
    table, intervals, _ = gather(recipe, [other, made_cell(rows)])
    assert intervals.rows == [
        ["full", "40.0 to 60.0", "40.0 to 60.0"],
        ["linear_probe", "40.0 to 60.0 (+1.0 to +20.0)", ""],
        ["lora", "", ""],
    ]
    assert list(table.columns) == ["strategy", "noise", "other"]
    assert table.rows == [
        ["full", "50.00 ± 0.00", "**40.00**"],
        ["linear_probe", "**60.00 ± 2.00** (+20.0 %\\*)", "not run"],
        ["lora", "failed", "not run"],
    ]
    assert "| lora | failed | not run |" in markdown(recipe, [other, made_cell(rows)])


def test_what_was_chosen_stands_beside_the_accuracies() -> None:
    solved = {"learning_rate": 0.0, "probe_strength": 1e-2, "nearest_neighbors": {"val": 0.5, "test": 0.4321}}
    rows = [
        made_row("full", [1], [hits(50)], batch_norm="kept"),
        made_row("linear_probe", [1], [hits(58)], **solved),
        {"strategy": "lora", "error": "seed 0: the loss became nan"},
    ]
    table, _, chosen = gather(tiny("accuracy", 'strategies = ["full"]'), [made_cell(rows)])
    assert chosen.rows == [["full", "1e-3, kept, random"], ["linear_probe", "solved (L2 1e-2), probe"], ["lora", ""]]
    assert table.rows[-1] == ["nearest neighbors", "43.21"]


def test_a_table_of_classes_has_the_norm_mode_and_head_start() -> None:
    rows = [
        made_row("full", [1], [hits(50)], batch_norm="moving"),
        made_row("linear_probe", [1], [hits(50)], learning_rate=0.0, probe_strength=1e-2),
        {"strategy": "lora", "error": "seed 0: the loss became nan"},
    ]
    table, *_ = gather(tiny("classes", 'strategies = ["full"]'), [made_cell(rows)])
    assert list(table.columns)[2:6] == ["strategy", "rate", "batch norm", "head start"]
    assert [line[2:6] for line in table.rows] == [
        ["full", "1e-3", "moving", "random"],
        ["linear_probe", "solved (L2 1e-2)", "", "probe"],
        ["lora", "", "", ""],
    ]
    assert {len(line) for line in table.rows} == {len(table.columns)}


# running


class Runner:
    """As the command line runs a cell; counts what was really trained."""

    def __init__(self, callback: Callback | None = None) -> None:
        self.callback = callback or Callback()
        self.folders: list[str] = []

    def __call__(self, request: Request, folder: Path) -> Comparison:
        self.folders.append(folder.name)
        if (folder / "run.json").exists():
            return cast(Comparison, api.resume(folder, self.callback))
        return cast(Comparison, api.run(request, folder, self.callback))


def test_a_solved_probe_gives_no_rate_to_all_rows(images: Path, tmp_path: Path) -> None:
    recipe = tiny("accuracy", 'strategies = ["full"]\nrate_from = ["linear_probe"]')
    solved = synthetic.comparison(synthetic.row("linear_probe", (None,) * 4, 0.7, 0.1, learning_rate=0.0))
    with pytest.raises(RunError, match="linear_probe is solved and has none; take it out"):
        run_cells(recipe, expand(recipe, small(images)).cells, tmp_path, lambda *_: solved)


def figures(cells: Sequence[RecipeCell]) -> list[Any]:
    """All that the seed decides."""
    return [[{**row.to_dict(), "cost": row.cost.work} for row in scored(cell)] for cell in cells]


@pytest.mark.thorough
def test_a_study_killed_and_gone_on_with_is_the_unbroken_study(images: Path, tmp_path: Path) -> None:
    shares = [f"depth:share={share}" for share in (0, 50, 100)]
    recipe = tiny("depth", f"strategies = {shares}\nrate_from = {shares[-1:]}\nseeds = 2")
    cells = expand(recipe, small(images, epochs=1)).cells
    whole = run_cells(recipe, cells, tmp_path / "whole", Runner())
    for folder in ("rate", "run"):
        runner = Runner(Stop(4))
        while runner.folders[-1:] != [folder]:
            runner = Runner(Stop(4))
            with pytest.raises(KeyboardInterrupt):
                run_cells(recipe, cells, tmp_path / "broken", runner)
        assert read_cells(recipe, tmp_path / "broken") == []
    broken = run_cells(recipe, cells, tmp_path / "broken", Runner())
    assert figures(broken) == figures(whole)
    (cell,) = broken
    (rate,) = cell.rates_tuned.values()
    assert {row.learning_rate for row in scored(cell)} == {rate}
    assert len(scored(cell)) == 3
    for row in scored(cell):
        right = [sum(unpack_bits(seed, 16)) / 16 for seed in row.test_right]
        assert right == pytest.approx(on_test(row).accuracy.per_seed)
    assert str(images) not in (tmp_path / "broken" / f"{cell.cell}.json").read_text()
    assert "Highest on test" in markdown(recipe, broken)
    again = Runner()
    assert run_cells(recipe, cells, tmp_path / "broken", again) == broken
    assert again.folders == []


@pytest.mark.thorough
def test_a_grid_runs_to_a_table_for_each_axis(images: Path, tmp_path: Path) -> None:
    recipe = tiny(
        "grid",
        'strategies = ["full"]\nlearning_rate = 1e-3',
        '[axes]\nstrategy = ["linear_probe", "full"]\nlearning_rate = [1e-1, 1e-3]',
    )
    run_cells(recipe, expand(recipe, small(images)).cells, tmp_path, Runner())
    strategy, rate = gather(recipe, read_cells(recipe, tmp_path))
    assert [line[0] for line in strategy.rows] == ["linear_probe", "full"]
    assert [line[0] for line in rate.rows] == ["0.001", "0.1"]
    assert rate.rows[0][1:] == strategy.rows[1][1:]
    assert "batch_size 8" in rate.notes[0]


@pytest.mark.thorough
def test_partial_and_full_run_to_macro_figures_and_confusion_matrices(images: Path, tmp_path: Path) -> None:
    recipe = tiny("classes", 'strategies = ["last_blocks:k=1", "full"]\nlearning_rate = 1e-3')
    overview, partial, full = gather(recipe, run_cells(recipe, expand(recipe, small(images)).cells, tmp_path, Runner()))
    assert [line[2] for line in overview.rows] == ["last_blocks:k=1", "full"]
    for table in (partial, full):
        assert [sum(map(int, line[1:])) for line in table.rows] == [8, 8]


@pytest.mark.thorough
def test_cells_of_other_settings_are_never_mixed_in(images: Path, tmp_path: Path) -> None:
    recipe = tiny("classes", 'strategies = ["linear_probe"]\nlearning_rate = 1e-3')
    cells = expand(recipe, small(images)).cells
    with pytest.raises(KeyboardInterrupt):
        run_cells(recipe, cells, tmp_path, Runner(Stop(0)))
    longer = expand(recipe, small(images, epochs=3)).cells
    with pytest.raises(RunFolderError, match="started with other settings"):
        run_cells(recipe, longer, tmp_path, Runner())
    run_cells(recipe, cells, tmp_path, Runner())
    with pytest.raises(RunFolderError, match="run with other settings"):
        run_cells(recipe, longer, tmp_path, Runner())
    other = dataclasses.replace(recipe, name="other")
    with pytest.raises(RunFolderError, match="choose another `out`"):
        run_cells(other, expand(other, small(images, seed=1)).cells, tmp_path, Runner())


@pytest.mark.thorough
def test_a_cell_that_fails_stands_in_no_others_way(images: Path, tmp_path: Path) -> None:
    study, missing, out = tmp_path / "tiny.toml", tmp_path / "missing", tmp_path / "out"
    text = TINY.format(kind="accuracy", run='strategies = ["full"]\nlearning_rate = 1e-3', more="")
    study.write_text(text + '[[columns]]\nname = "later"\n[[columns]]\nname = "other"\n')

    def repeat(*data: str, **others: Any) -> StudyResult:
        return api.repeat_study(str(study), out, vars(small(images)) | {"data": data} | others)

    with pytest.raises(DataError, match="missing"):
        repeat(f"noise={missing}")
    result = repeat(f"noise={missing}", f"later={images}", epochs=1)  # other settings, as nothing was computed before
    assert [cell.setting.data for cell in result.cells] == ["later"]
    assert list(result.failed) == ["test_efficientnet--noise"]
    assert str(missing) in result.failed["test_efficientnet--noise"]
    missing.symlink_to(images)
    result = repeat(f"noise={missing}", f"later={images}", epochs=1)
    assert not result.failed
    header = "| strategy | noise | later |"
    assert header in result.tables
    other = repeat(f"other={images}", epochs=1)
    assert "| strategy | noise | later | other |" in other.tables, "cells of earlier commands stay in the tables"
    assert (out / "tables.md").read_text() == other.tables
    with pytest.raises(RunFolderError, match="run with other settings"):
        repeat(f"other={images}", epochs=2)


def test_only_errors_of_the_cell_itself_are_passed_over(images: Path, tmp_path: Path) -> None:
    recipe = tiny("accuracy", 'strategies = ["full"]')
    cells = expand(recipe, small(images)).cells
    failed: list[str] = []

    def execute(error: ThawlineError) -> Callable[[Request, Path], Comparison]:
        def fail(*_: object) -> Comparison:
            raise error

        return fail

    for error in (DataError("gone"), ModelError("unknown"), PlanError("too deep"), RunError("diverged")):
        run_cells(recipe, cells, tmp_path, execute(error), failed=lambda _, error: failed.append(str(error)))
        with pytest.raises(type(error)):
            run_cells(recipe, cells, tmp_path, execute(error))
    assert failed == ["gone", "unknown", "too deep", "diverged"]
    with pytest.raises(OptionError):
        run_cells(recipe, cells, tmp_path, execute(OptionError("wrong")), failed=lambda _, error: None)


def test_a_recipe_that_is_not_text_and_an_override_that_is_not_a_number(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(OptionError, match=r"cannot be read .*; it must be a UTF-8 text file"):
        load_recipe(str(tmp_path / "own.toml"))
    with pytest.raises(OptionError, match="`epochs` must be a whole number, got '3'"):
        Overrides(epochs="3")  # type: ignore[arg-type]


def test_the_list_says_what_each_study_is_and_how_large() -> None:
    found = {study["name"]: study for study in listed()}
    assert tuple(found) == recipe_names()
    table1 = found["biotune-table1"]
    assert table1["cost"] == "36 comparisons of 9 strategies, 3 seeds, up to 30 epochs each"
    assert table1["data_to_give"] == ["ISIC"]
    grid = load_recipe("mobilenetv2-grid")
    cells = expand(grid, Overrides(data=("Kigezi=photos",))).cells
    assert found["mobilenetv2-grid"]["comparisons"] == len(cells)


@pytest.mark.thorough
def test_a_study_ends_with_a_page_that_report_draws_again(images: Path, tmp_path: Path) -> None:
    study, out = tmp_path / "tiny.toml", tmp_path / "out"
    run_ = 'strategies = ["full", "linear_probe"]\nlearning_rate = 1e-3'
    study.write_text(TINY.format(kind="accuracy", run=run_, more=""))
    result = api.repeat_study(str(study), out, vars(small(images)))
    page = (out / "report.html").read_text()
    said = re.search(r"<h1><bdi>(.*?)</bdi></h1>", page)
    assert said is not None
    assert re.fullmatch(r"Against full fine-tuning, in 1 comparison: linear_probe is .* in 1\.", said[1])
    assert f"**{said[1]}**" in result.tables
    assert "95 % intervals of the test accuracy" in page
    assert page.count("<table") == len(gather(load_recipe(str(study)), result.cells))
    assert "http" not in page.replace("http-equiv", "")
    (out / "report.html").unlink()
    study.unlink()
    assert api.report(out) == out / "report.html"
    assert (out / "report.html").read_text() == page


def test_the_verdict_counts_what_differs_from_full() -> None:
    def cell(data: str, **found: dict[str, Any]) -> RecipeCell:
        rows = [made_row(name, [0.5], [hits(80)], versus_full=versus) for name, versus in found.items()]
        return made_cell([made_row("full", [0.9], [hits(90)]), *rows], data=data)

    better, unclear = versus(0.01), versus(0.2)
    worse = {**better, "difference": -0.1, "interval95": [-0.2, -0.01]}
    cells = [cell("a", lora=better, probe=unclear), cell("b", lora=worse), cell("c", lora=unclear)]
    recipe = tiny("accuracy", 'strategies = ["full"]')
    assert headline(recipe, cells) == (
        "Against full fine-tuning, in 3 comparisons: lora is better in 1, worse in 1 and not distinguishable in 1; "
        "probe is not distinguishable in 1."
    )
    assert [text.partition(":")[0] for text in findings(recipe, cells)] == ["net on a", "net on b", "net on c"]
    assert headline(recipe, []) == "No cell of this study is finished yet."


def test_names_on_the_page_of_a_study_are_text() -> None:
    evil = made_cell([made_row("full", [0.9], [hits(90)])], data="<script>alert(1)</script>")
    recipe = tiny("accuracy", 'strategies = ["full"]')
    tables = gather(recipe, [evil])
    page = draw_study(
        StudyPage(
            name="<i>",
            paper="&",
            answer=headline(recipe, [evil]),
            findings=findings(recipe, [evil]),
            measured=tables,
            published=(),
            settings=(),
            notes=(),
            size="",
            machines=(),
        )
    )
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>90.00</b>" in page


def test_a_folder_of_cells_without_a_copy_of_the_recipe_is_a_study_too(tmp_path: Path) -> None:
    cell = made_cell([made_row("depth:share=0", [0.9], [hits(90)])])
    write(tmp_path / "made.json", dataclasses.replace(cell, recipe="partial-vs-full"))
    assert is_study(tmp_path)
    assert "best on validation is depth:share=0" in redraw(tmp_path).read_text()
    (tmp_path / "empty").mkdir()
    assert not is_study(tmp_path / "empty")
    with pytest.raises(RunFolderError, match="holds no study"):
        redraw(tmp_path / "empty")
