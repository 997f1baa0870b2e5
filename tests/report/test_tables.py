"""What people read: whole at any width."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.report import synthetic
from thawline.plan import FineTunePlan, Phase
from thawline.report import tables as console
from thawline.results import (
    BlockRow,
    CheckResult,
    Cost,
    FailedRow,
    FileGroup,
    ImageSizes,
    NearestNeighbors,
    Row,
    ScoredRow,
    Versus,
)

RUN = Path("runs/textures")


def row(strategy: str, **others: Any) -> ScoredRow:
    cost = Cost(
        work=4.56,
        proof=0.0,
        trainings=9,
        seconds=840.0,
        image_passes=100,
        cache_hits=0,
        peak_memory_bytes=1234 * 2**20,
    )
    usual = synthetic.row(
        strategy,
        (None, None, None, 3e-4),
        0.75,
        4.56,
        learning_rate=3e-4,
        train=synthetic.scores(0.98765),
        val=synthetic.scores(0.8),
        trainable_percent=48.8,
        cost=cost,
        versus_full=None,
    )
    return replace(usual, test=replace(synthetic.scores_on_test(0.75), interval95=(0.70, 0.80)), **others)


BETTER = Versus(difference=0.104, interval95=(0.05, 0.15), p_holm=0.0003, words="")
ROWS: list[Row] = [
    row("full", batch_norm="kept"),
    row("gradual_first_last", versus_full=BETTER),
    FailedRow(strategy="lora", error="seed 0: the loss became nan"),
]


def shown(width: int, rows: list[Row]) -> str:
    text = io.StringIO()
    console.print_table(Console(file=text, width=width), rows, synthetic.comparison().data, RUN)
    return text.getvalue()


def test_a_wide_table_shows_everything_a_referee_asks_for() -> None:
    header, full, *_ = shown(180, ROWS).splitlines()
    assert [title for title in console.COLUMNS.values() if title not in header] == []
    figures = (
        "3e-4",
        " kept ",
        " random ",
        "0.800 ± 0.012",
        "0.750 ± 0.012",
        " 3 ",
        "0.700 to 0.800",
        "+0.238",
        "48.8 %",
        "4.56",
        " 9 ",
    )
    for figure in (*figures, "14 min", "1,234 MiB"):
        assert figure in full
    assert "comparison.csv" not in shown(180, ROWS)
    assert "moving = batch statistics" in shown(180, ROWS)


@pytest.mark.parametrize("width", [60, 80, 100, 150, 180])
def test_no_width_cuts_a_figure_and_what_is_left_out_is_said(width: int) -> None:
    text = shown(width, ROWS)
    assert "…" not in text
    table = text.splitlines()[: 1 + len(ROWS)]
    assert max(map(len, table)) <= width
    assert "0.750 ± 0.012" in table[1]
    assert "4.56" in table[1]
    left_out = [title for title in console.COLUMNS.values() if title not in table[0]]
    for title in left_out:
        assert title in text
    assert ("runs/textures/comparison.csv" in text) == bool(left_out)


def test_eighty_columns_keep_the_interval_and_the_rate() -> None:
    header = shown(80, ROWS).splitlines()[0].split("  ")
    assert {"strategy", "rate", "test", "95 % interval", "work"} <= {title.strip() for title in header}


def test_without_batch_norm_no_width_speaks_of_it() -> None:
    for width in (60, 180):
        assert "atch norm" not in shown(width, [row("full")])


def test_a_solved_probe_has_no_rate_and_its_neighbors_below_the_table() -> None:
    plan = FineTunePlan((Phase(dict.fromkeys(synthetic.BLOCKS)),), head_start="probe")
    neighbors = NearestNeighbors(val=0.544, test=0.485)
    facts: dict[str, Any] = {"plan": plan, "learning_rate": 0.0, "probe_strength": 1e-2}
    text = shown(180, [row("linear_probe", **facts, nearest_neighbors=neighbors)])
    assert "linear_probe  solved (L2 1e-2)  probe " in text
    assert "0e0" not in text
    assert "linear_probe: nearest neighbors in the same features have accuracy 0.485 on test and 0.544" in text


def test_a_solved_head_is_drawn_neither_as_frozen_nor_with_a_rate() -> None:
    blocks = [
        BlockRow(name=name, frozen=name != "head", learning_rate=None, parameters=1)
        for name in ("stem", "body", "head")
    ]
    assert console.block_band(blocks).plain == " stem ❄   body ❄   head solved  "
    many = [BlockRow(name=f"l{at}", frozen=True, learning_rate=None, parameters=1) for at in range(20)]
    assert console.block_band([*many, blocks[-1]]).plain == " l0 to l19 ❄   head solved  "


def test_a_comparison_says_what_its_best_plan_is() -> None:
    text = io.StringIO()
    console.print_comparison(Console(file=text, width=180), synthetic.comparison(row("full", batch_norm="kept")), RUN)
    words = "That is: train the head alone at 3e-4, freeze the rest (head from random weights; batch norm keeps its"
    assert words in text.getvalue()


def test_verdicts_and_failures_are_said_below_the_table() -> None:
    lines = shown(150, ROWS).splitlines()
    assert any(
        line.startswith("gradual_first_last: 10.4 points better than full (95 % interval over 60") for line in lines
    )
    assert "lora: failed: seed 0: the loss became nan" in lines


def test_of_many_blocks_neighbors_that_are_treated_alike_are_one() -> None:
    rates = [*(None for _ in range(30)), *(1e-4 for _ in range(20)), 1e-3]
    blocks = [
        BlockRow(name=f"l{at}", frozen=rate is None, learning_rate=rate, parameters=1) for at, rate in enumerate(rates)
    ]
    assert console.block_band(blocks).plain.split() == [
        "l0",
        "to",
        "l29",
        "❄",
        "l30",
        "to",
        "l49",
        "1e-4",
        "l50",
        "1e-3",
    ]
    assert "l0 ❄   l1 ❄" in console.block_band(blocks[:10]).plain


def test_a_large_group_is_listed_by_its_first_files() -> None:
    stream = io.StringIO()
    console._print_groups(Console(file=stream, width=100), "Copies", [[f"{number}.png" for number in range(115)]])
    assert stream.getvalue() == (
        "\nCopies (1 in 115 files)\n  0.png  =  1.png  =  2.png  =  3.png  =  4.png  =  5.png  and 109 more\n"
    )


def test_check_lists_each_kind_of_copy_once() -> None:
    def group(paths: str, labels: str, splits: str) -> FileGroup:
        return FileGroup(paths=paths.split(), labels=labels.split(), splits=splits.split())

    found = CheckResult(
        format_version=1,
        root="photos",
        images=9,
        classes={"a": 4, "b": 5},
        given_splits={},
        imbalance=1.25,
        warnings=[],
        unreadable=[],
        duplicates=[
            group("a/0.png a/1.png", "a", "train"),
            group("a/2.png b/2.png", "a b", "train"),
            group("a/8.png a/9.png", "a", "train test"),
        ],
        lookalikes=[
            group("a/3.png a/4.png", "a", "train test"),
            group("a/5.png b/5.png", "a b", "train test"),
            group("a/6.png a/7.png", "a", "train"),
        ],
        leaking_groups=[],
        oddities={},
        formats={"PNG": 9},
        modes={"RGB": 9},
        sizes=ImageSizes(different=1, smallest=(4, 3), largest=(4, 3)),
        ignored=[],
    )
    stream = io.StringIO()
    console.print_check(Console(file=stream, width=100), found)
    head, *parts = stream.getvalue().split("\n\n")
    assert head.splitlines() == [
        "photos: 9 images in 2 classes, 4 to 5 in each",
        "PNG 9",
        "All 4 × 3 pixels",
        "  No problems found.",
    ]
    sections = dict(part.split("\n", 1) for part in parts)
    assert {title: text.strip() for title, text in sections.items()} == {
        "The same file under different labels (1 in 2 files)": "a/2.png  =  b/2.png",
        "The same file across splits (1 in 2 files)": "a/8.png  =  a/9.png",
        "The same file twice (1 in 2 files)": "a/0.png  =  a/1.png",
        "Near-duplicates under different labels (1 in 2 files)": "a/5.png  =  b/5.png",
        "Near-duplicates across splits (1 in 2 files)": "a/3.png  =  a/4.png",
    }
