"""Tables of made-up cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks.ground
from benchmarks.ground.board import Board, Cell
from benchmarks.ground.duels import duel_tables
from benchmarks.ground.page import BEGIN, END, page, spliced, tables
from benchmarks.ground.regimes import backbone_table, depth_of, depth_table, regime, regime_table
from benchmarks.ground.study import CORNERS, by_data_set, sentence, squares, study_table
from benchmarks.ground.tables import (
    ANSWER,
    IN_SHORT,
    accuracy_table,
    label,
    readme_table,
    share_table,
    summary_table,
    versus_table,
)
from tests.ground.made_up import BLOCKS, board, cell
from thawline.errors import InputError
from thawline.recipes.recipe import Table


@pytest.fixture
def small() -> Board:
    """Four methods on three data sets; lora lacks one and failed on another, depth wins everywhere."""
    cells = [cell("full", data, accuracy) for data, accuracy in (("dtd10", 0.5), ("isic5", 0.6), ("mnist", 0.7))]
    cells += [cell("depth", data, accuracy) for data, accuracy in (("dtd10", 0.7), ("isic5", 0.7), ("mnist", 0.8))]
    cells += [cell("kNN", data, 0.4, right=None, work=None, seconds=None) for data in ("dtd10", "isic5", "mnist")]
    return board([*cells, cell("lora", "mnist", 0.6)], {("lora", "dtd10"): "the loss became nan"})


def rows(table: Table) -> dict[str, list[str]]:
    return {row[0]: list(row[1:]) for row in table.rows}


def test_a_missing_cell_is_left_out_and_a_failed_one_says_so(small: Board) -> None:
    assert rows(accuracy_table(small)) == {
        "`kNN`": ["40.0", "40.0", "40.0"],
        "`full`": ["50.0", "60.0", "70.0"],
        "`depth`": ["**70.0**", "**70.0**", "**80.0**"],
        "`lora`": ["failed", "", "60.0"],
    }


def test_only_complete_methods_have_a_mean_and_a_rank(small: Board) -> None:
    found = rows(summary_table(small))
    assert [found[f"`{name}`"][:3] for name in ("depth", "full", "kNN", "lora")] == [
        ["3", "73.3", "1.0"],
        ["3", "60.0", "2.0"],
        ["3", "40.0", "3.0"],
        ["1, 1 failed", "", ""],
    ]


def test_differences_are_paired_over_shared_data_sets(small: Board) -> None:
    found = rows(summary_table(small))
    # 20, 10 and 10 points: mean 13.33, standard error 3.33, t = 4.303.
    assert found["`depth`"][3:6] == ["+13.3 (-1.0 to +27.7)", "0.75", "3/0/0"]
    assert found["`lora`"][3:6] == ["-10.0", "1", "0/0/1"]
    assert found["`kNN`"][5:] == ["", "", ""], "which images the neighbors got right is not kept"
    assert found["`full`"][3:6] == ["", "", ""]


def test_a_name_needs_its_arguments_only_beside_others_like_it() -> None:
    some = board([cell(name, "mnist", 0.5) for name in ("full", "full:norm=moving", "biotune:elites=2")])
    assert [label(name, some) for name in some.methods] == ["full", "full:norm=moving", "biotune"]


def test_shares_are_those_of_methods_that_freeze(small: Board) -> None:
    frozen = dict.fromkeys(BLOCKS, None) | {"head": 1e-3}
    cells = [each for row in small.rows.values() for each in row.values()]
    some = board([*cells, cell("subtune", "mnist", 0.5, learning_rates=frozen, trainable_share=0.125)])
    assert rows(share_table(some)) == {"`subtune`": ["", "", "12.5"]}


def test_a_duel_counts_wins_by_data_set() -> None:
    cells = [cell("linear_probe", "dtd10", 0.7), cell("linear_probe", "isic5", 0.5), cell("linear_probe", "mnist", 0.5)]
    trained = [cell("linear_probe:solver=sgd", "dtd10", 0.5), cell("linear_probe:solver=sgd", "isic5", 0.51)]
    (table,) = duel_tables(board([*cells, *trained, cell("full", "dtd10", 0.5), cell("full", "isic5", 0.5)]))
    assert list(rows(table)) == ["dtd10", "isic5"]
    note = table.notes[0]
    assert note.startswith("`linear_probe` minus `linear_probe:solver=sgd` on 2 data sets")
    assert "higher on 1, lower on 1 (sign test, p = 1)" in note
    assert "wins/ties/losses by the intervals over images: 1/1/0" in note


def study(data: str, depth: str, accuracies: tuple[float, ...]) -> list[Cell]:
    """Cells of the study at some or all corners."""
    name = "full:" if depth == "all" else f"last_blocks:k={depth},"
    corners = zip(CORNERS, accuracies, strict=False)
    return [cell(f"{name}head_start={start},norm={norm}", data, own, group="study") for (start, norm), own in corners]


def test_the_study_shows_whole_squares_and_their_mean() -> None:
    cells = [*study("dtd10", "1", (0.5, 0.6, 0.5, 0.7)), *study("isic5", "1", (0.7, 0.6, 0.5, 0.5))]
    cells += [*study("dtd10", "all", (0.4, 0.4, 0.4, 0.5)), *study("isic5", "2", (0.9, 0.9, 0.9))]
    some = board([*cells, cell("full", "dtd10", 0.5), cell("full", "isic5", 0.5)])
    table = study_table(some)
    assert table is not None
    assert [list(row) for row in table.rows] == [
        ["dtd10", "1", "50.0", "60.0", "50.0", "**70.0**"],
        ["dtd10", "all", "40.0", "40.0", "40.0", "**50.0**"],
        ["isic5", "1", "**70.0**", "60.0", "50.0", "50.0"],
        ["mean of 2", "1", "**60.0**", "**60.0**", "50.0", "**60.0**"],
        ["mean of 1", "all", "40.0", "40.0", "40.0", "**50.0**"],
    ]
    assert some.methods == ["full"], "the study has no row in the other tables"


def test_the_sentence_averages_the_depths_of_a_data_set_first() -> None:
    cells = [*study("dtd10", "1", (0.5, 0.6, 0.5, 0.7)), *study("dtd10", "all", (0.4, 0.4, 0.4, 0.5))]
    found = squares(board([*cells, cell("full", "dtd10", 0.5)]))
    words = sentence(found)
    assert words.startswith(
        "Over 1 data set, a data set's depths averaged first, kept statistics change the accuracy by +5.0 points from "
        "a random head and by +15.0 from the probe's; the probe's head changes it by +0.0 with moving statistics and "
        "by +10.0 with kept ones"
    )
    assert words.endswith("probe head and kept statistics in 2 of 2.")
    assert by_data_set(found).endswith("in points: dtd10 +5.0 and +15.0.")


@pytest.mark.parametrize(
    ("method", "chosen", "depth"),
    [
        ("linear_probe", "linear_probe", "0"),
        ("linear_probe:solver=sgd", "linear_probe:solver=sgd", None),
        ("last_blocks", "last_blocks:k=3,norm=kept", "3"),
        ("depth", "depth:share=25.0,norm=moving", "25 %"),
        ("full:head_start=probe", "full:head_start=probe", "all"),
        ("full_10x_head", "full_10x_head", None),
        ("auto", "last_blocks:k=2", None),
    ],
)
def test_depths(method: str, chosen: str, depth: str | None) -> None:
    assert depth_of(cell(method, "mnist", 0.5, chosen=chosen)) == depth


@pytest.fixture
def regimes_board() -> Board:
    """On dtd10 two blocks are best by far; on isic5 full is; on mnist there is no probe."""
    first, second = "last_blocks:k=2,head_start=random,norm=kept", "last_blocks:k=2,head_start=probe,norm=kept"
    cells = [cell("full", data, 0.6, norm="moving") for data in ("dtd10", "isic5", "mnist")]
    cells += [cell("linear_probe", "dtd10", 0.65), cell("linear_probe", "isic5", 0.5)]
    cells += [cell(first, "dtd10", 0.75, group="study", norm="kept", val_accuracy=0.6)]
    cells += [cell(second, "dtd10", 0.72, group="study", norm="kept", head_start="probe", val_accuracy=0.7)]
    return board(cells)


def test_validation_picks_the_cell_of_a_depth_and_test_the_best_depth(regimes_board: Board) -> None:
    found = regime(regimes_board, "dtd10")
    assert found is not None
    assert {depth: own.accuracy for depth, own in found.depths.items()} == {"0": 0.65, "2": 0.72, "all": 0.6}
    assert (found.best.head_start, found.picked.accuracy, found.proving) == ("probe", 0.72, True)


def test_a_data_set_where_full_is_best_is_to_do_no_harm(regimes_board: Board) -> None:
    table = regime_table(regimes_board)
    found = rows(table)
    assert list(found) == ["dtd10", "isic5"], "mnist has no probe"
    assert found["dtd10"][:4] == ["2", "kept", "probe", "72.0"]
    assert [found[data][-1] for data in found] == ["proving", "do no harm"]
    assert "(1 of 2: dtd10)" in table.notes[0]
    assert rows(depth_table(regimes_board))["isic5"] == ["50.0", "", "**60.0**"]


def test_the_page_has_every_table_and_picture(small: Board) -> None:
    text = page([small], "ground")
    assert "## tiny, split 200 (published), 3 data sets" in text
    assert "](ground/ranks-tiny-200.svg)" in text
    assert all(f"### {table.title}\n" in text for table in tables(small))
    assert "- `lora` on dtd10: the loss became nan" in text


def test_boards_stand_side_by_side(regimes_board: Board, small: Board) -> None:
    other = replace(regimes_board, backbone="other", rows={"full": regimes_board.row("full")})
    assert rows(backbone_table([regimes_board, other])) == {
        "dtd10": ["2, kept, probe: proving", ""],
        "isic5": ["all, moving, random: do no harm", ""],
    }
    assert "by backbone" in page([regimes_board, other], "ground")
    assert "by backbone" not in page([small], "ground")


def test_the_readme_of_the_benchmarks_asks_for_the_summary(small: Board) -> None:
    readme = Path(benchmarks.ground.__file__).parents[1] / "README.md"
    assert "### tiny, split 200 (published), 3 data sets" in spliced(readme, [small], "results/ground")


def test_a_form_stands_between_two_lines_of_a_file(small: Board, tmp_path: Path) -> None:
    readme, begin = tmp_path / "README.md", BEGIN.format("summary")
    readme.write_text(f"before\n{begin}\nstale words\n{END}\nafter\n", encoding="utf-8")
    text = spliced(readme, [small], "results/ground")
    assert text.startswith(f"before\n{begin}\n\n### tiny, split 200 (published), 3 data sets\n")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "stale words" not in text
    assert "](results/ground/ranks-tiny-200.svg)" in text
    readme.write_text(text, encoding="utf-8")
    assert spliced(readme, [small], "results/ground") == text
    readme.write_text(f"{begin}\nno end\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"README\.md must have the line '<!-- proving ground, summary"):
        spliced(readme, [small], "")


def test_the_table_of_the_readme_is_against_auto(small: Board) -> None:
    cells = [each for row in small.rows.values() for each in row.values()]
    some = board([*cells, cell("auto", "dtd10", 0.6), cell("auto", "isic5", 0.7)])
    assert rows(readme_table(some)) == {
        IN_SHORT["full"]: ["3", "60.0", "-10.0 (-10.0 to -10.0)", "0/0/2", "7.0"],
        IN_SHORT["auto"]: ["2", "", "", "", "7.0"],
    }
    tried = board([*(each for row in some.rows.values() for each in row.values()), cell(ANSWER, "mnist", 0.9)])
    assert rows(readme_table(tried))[IN_SHORT["full"]][2] == "-20.0", "from its trial on, the default answer"
    assert rows(versus_table(some, "auto"))["`depth`"] == ["3", "+5.0 (-58.5 to +68.5)", "1", "1/1/0"]
    assert "`lora`" not in rows(versus_table(some, "auto")), "no data set in common"
