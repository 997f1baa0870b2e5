"""Figures of rows: who stands on the front, what a band says."""

from __future__ import annotations

from dataclasses import replace

from tests.report.synthetic import BLOCKS, DEPTH, row, search
from thawline.plan import FineTunePlan, Phase
from thawline.report import figures, search_figures
from thawline.report.band import band, label_of


def test_the_front_is_what_nothing_cheaper_beats() -> None:
    rows = [
        row("dear and good", (None, None, None, 1e-3), 0.8, 9.0),
        row("cheap", (None, None, None, 1e-3), 0.6, 1.0),
        row("dear and bad", (None, None, None, 1e-3), 0.5, 7.0),
        row("as good, dearer", (None, None, None, 1e-3), 0.6, 2.0),
    ]
    assert figures.front_of(rows) == [1, 0]


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
    gradual = row("x", (None, None, None, 1e-3), 0.5, 1.0, plan=plan.to_dict())
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


def test_a_search_without_rates_or_importance_is_drawn_without() -> None:
    found = search()
    without = [replace(candidate, weights=None) for candidate in found.candidates or ()]
    assert search_figures.tried(replace(found, candidates=without), "x") == []
    assert search_figures.importance(replace(found, importance={}), "x") is None


def test_one_generation_is_drawn() -> None:
    found = search()
    only = replace(found, generations=found.generations[:1])
    assert "generation 0" in str(search_figures.generations(only, "x"))
