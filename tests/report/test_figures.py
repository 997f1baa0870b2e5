"""Figures of rows: who stands on the front, what a band says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.report.synthetic import BLOCKS, DEPTH, fit_results, row, search
from thawline.plan import FineTunePlan, Phase
from thawline.report import figures, search_figures
from thawline.report.band import band, label_of
from thawline.report.summary import copied_note
from thawline.results import FailedRow


def test_the_front_is_what_nothing_cheaper_beats() -> None:
    rows = [
        row("dear and good", (None, None, None, 1e-3), 0.8, 9.0),
        row("cheap", (None, None, None, 1e-3), 0.6, 1.0),
        row("dear and bad", (None, None, None, 1e-3), 0.5, 7.0),
        row("as good, dearer", (None, None, None, 1e-3), 0.6, 2.0),
    ]
    assert figures.front_of(rows) == [1, 0]


def test_what_the_search_found_is_one_point_at_the_cost_of_the_search() -> None:
    plan = (None, None, None, 1e-3)
    rows = [
        row("auto", plan, 0.8, 5.0, search=search()),
        row("full", (1e-3,) * 4, 0.7, 1.0),
        FailedRow(strategy="lora", error="the loss became nan"),
        row("linear_probe", plan, 0.8, 0.4),
        row("last_blocks", (None, None, 1e-3, 1e-3), 0.75, 0.6),
    ]
    points = figures.points_of(rows, one_search=True)
    assert list(points) == [1, 2, 5]
    assert points[1].cost.work == 5.0
    drawn = str(figures.front(points, "test"))
    assert drawn.count("<circle") == 3
    assert ">5</text>" in drawn, "numbered as in the table, failed rows included"
    assert list(figures.points_of(rows, one_search=False)) == [1, 2, 4, 5], (
        "rows of a comparison are tuned by themselves"
    )


def test_the_baseline_that_the_search_settled_on_is_named() -> None:
    plan = (None, None, None, 1e-3)
    baselines = [row("full", (1e-3,) * 4, 0.7, 1.0), row("linear_probe", plan, 0.8, 0.4)]
    found = fit_results(row("auto", plan, 0.8, 5.0, search=search()), baselines)
    assert copied_note(found) == (
        "linear_probe is the plan that the search chose; the cost of the search is in the work of auto."
    )
    assert copied_note(replace(found, baselines={})) == ""
    assert copied_note(replace(found, search=None)) == ""


def test_no_line_bridges_generations_that_are_missing() -> None:
    first, second, third = search().generations
    whole = replace(search(), generations=[first, second, third])
    gap = replace(whole, generations=[first, second, replace(third, generation=5)])
    assert str(search_figures.generations(whole, "x")).count('class="line') == 2 * 2
    assert str(search_figures.generations(gap, "x")).count('class="line') == 2 * 1
    assert str(search_figures.diversity(gap, "x")).count('class="line') == 1


def test_a_single_plan_has_no_diversity() -> None:
    first, *others = search().generations
    alone = replace(search(), generations=[replace(first, diversity=None), *others])
    drawn = str(search_figures.diversity(alone, "x"))
    assert drawn.count("<circle") == 2
    assert "generation 0:" not in drawn


def test_a_solved_head_is_neither_frozen_nor_slow() -> None:
    plan = FineTunePlan((Phase(dict.fromkeys(BLOCKS)),), head_start="probe")
    facts: dict[str, Any] = {"plan": plan, "learning_rate": 0.0, "probe_strength": 1e-2}
    solved = row("linear_probe", (None,) * 4, 0.5, 1.0, **facts)
    drawn = str(band("band", "label", solved).drawing)
    assert drawn.count("#snowflake") == 3
    assert drawn.count('class="cell solved"') == 1
    assert "head solved." in drawn
    assert ">solved</text>" in drawn
    assert label_of(solved) == "linear_probe, solved (L2 1e-2)"


def test_a_band_has_a_flake_for_every_frozen_block_and_the_rates_of_the_others() -> None:
    drawn = str(band("band", "label", row("x", (None, None, 1e-4, 3e-3), 0.5, 1.0)).drawing)
    assert drawn.count("#snowflake") == 2
    assert ">1e-4</text>" in drawn
    assert ">3e-3</text>" in drawn
    assert "blocks.2&lt;b&gt;" in drawn
    assert "<b>" not in drawn


def test_a_plan_of_phases_has_a_strip_for_each() -> None:
    rates = dict(zip(BLOCKS, (None, None, None, 1e-3), strict=True))
    plan = FineTunePlan((Phase(rates, 2), Phase(rates)))
    gradual = row("x", (None, None, None, 1e-3), 0.5, 1.0, plan=plan)
    assert str(band("band", "label", gradual).drawing).count('class="cell') == 8
    assert "2 phases, from the top: 2 epochs, the rest" in label_of(gradual)


def test_the_depth_curve_says_where_it_is_best() -> None:
    assert "highest where 25 %" in str(figures.depth(DEPTH))
    assert str(figures.gap(DEPTH)).count("whisker") == len(DEPTH.shares)


def test_every_block_shows_every_candidate_and_one_winner() -> None:
    charts = search_figures.tried(search(), "search0")
    assert len(charts) == 4
    for chart in charts:
        assert str(chart).count("<circle") == 12
        assert str(chart).count("dot best") == 1


def test_a_candidate_has_its_norm_mode_where_it_trains_batch_norm() -> None:
    first, *others = search().candidates or ()
    kept = replace(search(), candidates=[replace(first, batch_norm="kept"), *others])
    assert str(search_figures.tried(kept, "search0")[0]).count(", batch norm kept)</title>") == 1
    assert "batch norm" not in str(search_figures.tried(search(), "search0")[0])


def test_a_search_without_rates_or_importance_is_drawn_without() -> None:
    found = search()
    without = [replace(candidate, weights=None) for candidate in found.candidates or ()]
    assert search_figures.tried(replace(found, candidates=without), "x") == []
    assert search_figures.importance(replace(found, importance={}), "x") is None


def test_one_generation_is_drawn() -> None:
    found = search()
    only = replace(found, generations=found.generations[:1])
    assert "generation 0" in str(search_figures.generations(only, "x"))
